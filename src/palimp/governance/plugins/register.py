"""What a store knows of plugins: signers, releases, what is bound, and what happened lately.

    v1/plugins/register.json                          all of that, changed by compare and swap
    v1/plugins/packages/{domain}/{name}/v{n}/{version}.json   the files of a release; never changed

A release that is in the register has its files; files without it are what an interrupted publish
has left, and the next one of that release goes on with them. Nothing is taken for good that was
not checked again: who runs a release looks at its digest and signature once more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from ...decoding import from_json
from ...errors import Conflict, Denied, Internal, Invalid, NotFound
from ...ids import random_id
from ...store import AlreadyThere, ObjectStore, change_object
from ..strategy import BUILT_IN
from .manifest import is_signer
from .package import (
    Package,
    check_signature,
    decode_files,
    encode_files,
    open_package,
    public_key,
)
from .versions import is_version, parse_range, parse_version

__all__ = [
    "ANYBODY",
    "Bound",
    "Event",
    "Noted",
    "Register",
    "Release",
    "Rule",
    "Signer",
    "Who",
    "add_signer",
    "bind",
    "change",
    "find",
    "note",
    "publish",
    "read",
    "read_release",
    "remove_signer",
    "rule_key",
    "rule_of",
]

_KEY = "v1/plugins/register.json"
ANYBODY = "*"
_EVENTS_KEPT = 200
_SIGNERS_MAX = 100
_RELEASES_MAX = 1_000
_RULES_MAX = 100


class Signer(msgspec.Struct, frozen=True):
    """A public key in base64; not `active` where its signatures hold no more."""

    public_key: str
    active: bool
    at: int
    by: str


class Release(msgspec.Struct, frozen=True):
    """One version of a plugin, as it was published."""

    name: str
    sha256: str
    signer: str
    capabilities: tuple[str, ...]
    at: int
    by: str


class Rule(msgspec.Struct, frozen=True):
    """What is bound: a version of a plugin, or the highest in a range."""

    plugin_key: str
    version: str
    at: int
    by: str


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say of an event."""

    type: str
    status: str = "ok"
    message: str = ""
    domain: str = "governance"
    binding: str | None = None
    subject: str | None = None
    plugin_key: str | None = None
    version: str | None = None


class Event(Noted, frozen=True, kw_only=True):
    """An event that is kept."""

    id: str
    at: int
    by: str


class Register(msgspec.Struct, frozen=True):
    """All of it. `number` grows with every change, so that no two states have the same bytes."""

    number: int = 0
    signers: dict[str, Signer] = {}
    releases: dict[str, dict[str, Release]] = {}
    rules: dict[str, Rule] = {}
    # The newest last.
    events: tuple[Event, ...] = ()

    def keys(self) -> dict[str, str]:
        """Return the keys of the signers whose signatures hold."""
        return {name: one.public_key for name, one in self.signers.items() if one.active}


class Bound(NamedTuple):
    """What a rule leads to."""

    plugin_key: str
    version: str
    release: Release


class Who(NamedTuple):
    """Who does something, and when (ms)."""

    at: int
    by: str


def read(store: ObjectStore) -> Register:
    """Return what the store knows."""
    found = store.get(_KEY)
    return _decode(found.data if found else None, store)


def change(
    store: ObjectStore, who: Who, make: Callable[[Register], tuple[Register, Noted]]
) -> None:
    """Change it and keep an event of that; nothing, and no event, where nothing changes."""

    def changed(data: bytes | None) -> bytes | None:
        old = _decode(data, store)
        new, noted = make(old)
        if new is old:
            return None
        event = Event(**msgspec.structs.asdict(noted), id=random_id("event"), at=who.at, by=who.by)
        events = (*new.events, event)[-_EVENTS_KEPT:]
        return msgspec.json.encode(
            msgspec.structs.replace(new, number=old.number + 1, events=events)
        )

    change_object(store, _KEY, changed)


def note(store: ObjectStore, who: Who, noted: Noted) -> None:
    """Keep an event."""
    change(store, who, lambda old: (msgspec.structs.replace(old), noted))


def add_signer(store: ObjectStore, who: Who, name: str, key: str) -> Signer:
    """Let the signatures of a key hold; `Conflict` where the name has another key that holds."""
    if not is_signer(name):
        raise Invalid(
            f"signer {name!r:.130} is no name; give 1 to 128 of letters, digits and . _ @ -"
        )
    public_key(key)
    made = Signer(key, active=True, at=who.at, by=who.by)

    def make(old: Register) -> tuple[Register, Noted]:
        known = old.signers.get(name)
        if known is not None and known.active:
            if known.public_key == key:
                return old, noted
            raise Conflict(
                f"signer {name} has another key; remove it first: what that key has signed holds "
                "no more then",
                code="already_exists",
            )
        if known is None and len(old.signers) >= _SIGNERS_MAX:
            raise Invalid(f"there are {_SIGNERS_MAX} signers, as many as are kept")
        signers = {**old.signers, name: made}
        return msgspec.structs.replace(old, signers=signers), noted

    noted = Noted(type="signer.added", message=name)
    change(store, who, make)
    return read(store).signers[name]


def remove_signer(store: ObjectStore, who: Who, name: str) -> Signer:
    """Let its signatures hold no more; the name stays known."""

    def make(old: Register) -> tuple[Register, Noted]:
        known = old.signers.get(name)
        if known is None:
            raise NotFound(f"no signer {name!r:.130}; {_list('those here are', old.signers)}")
        if not known.active:
            return old, noted
        signers = {
            **old.signers,
            name: Signer(known.public_key, active=False, at=who.at, by=who.by),
        }
        return msgspec.structs.replace(old, signers=signers), noted

    noted = Noted(type="signer.removed", message=name)
    change(store, who, make)
    return read(store).signers[name]


def publish(store: ObjectStore, who: Who, files: Mapping[str, bytes]) -> Bound:
    """Keep a release that a known signer has signed, for good; again is the same.

    Raises `Conflict` where its version has other content, `Denied` for its signature.
    """
    package = open_package(files)
    manifest = package.manifest
    if manifest.plugin_key == BUILT_IN:
        raise Invalid(f"{BUILT_IN} is the name of the built-in rules; give the plugin another")
    signer = check_signature(package, read(store).keys())
    key, version = manifest.plugin_key, manifest.version
    made = Release(manifest.name, package.sha256, signer, manifest.capabilities, who.at, who.by)
    noted = Noted(
        type="package.published",
        message=f"{package.sha256} by {signer}",
        domain=manifest.domain,
        plugin_key=key,
        version=version,
    )

    def make(old: Register) -> tuple[Register, Noted]:
        known = old.releases.get(key, {})
        if version in known:
            if known[version].sha256 != package.sha256:
                raise _other(key, version)
            return old, noted
        if sum(map(len, old.releases.values())) >= _RELEASES_MAX:
            raise Invalid(f"there are {_RELEASES_MAX:,} releases, as many as are kept")
        releases = {**old.releases, key: {**known, version: made}}
        return msgspec.structs.replace(old, releases=releases), noted

    place = _place(key, version)
    try:
        store.create(place, msgspec.json.encode(encode_files(files)))
    except AlreadyThere:
        # Published before, or by whom did not come to the register.
        if _load(store, place).sha256 != package.sha256:
            raise _other(key, version) from None
    change(store, who, make)
    return Bound(key, version, read(store).releases[key][version])


def bind(store: ObjectStore, who: Who, place: str, rule: Rule) -> None:
    """Have `place` (`rule_key`) lead to a release, or to the built-in rules."""

    def make(old: Register) -> tuple[Register, Noted]:
        if place not in old.rules and len(old.rules) >= _RULES_MAX:
            raise Invalid(f"there are {_RULES_MAX} bindings, as many as are kept")
        domain, binding, subject = place.split("/")
        noted = Noted(
            type="binding.rule_upserted",
            domain=domain,
            binding=binding,
            subject=subject,
            plugin_key=rule.plugin_key,
            version=rule.version,
        )
        known = old.rules.get(place)
        if known is not None and _same(known, rule):
            return old, noted
        return msgspec.structs.replace(old, rules={**old.rules, place: rule}), noted

    change(store, who, make)


def rule_key(domain: str, binding: str, subject: str) -> str:
    """Return what a binding is kept under; `Invalid` for names that cannot be."""
    for name, text in (("binding", binding), ("subject", subject)):
        if not is_signer(text) and not (name == "subject" and text == ANYBODY):
            raise Invalid(
                f"{name} {text!r:.130} is no name; give 1 to 128 of letters, digits and . _ @ -"
            )
    return f"{domain}/{binding}/{subject}"


def rule_of(register: Register, domain: str, binding: str, subject: str) -> Rule | None:
    """Return the rule of a subject, else that of everybody; None where nothing is bound."""
    for one in (subject, ANYBODY):
        found = register.rules.get(rule_key(domain, binding, one))
        if found is not None:
            return found
    return None


def find(register: Register, rule: Rule) -> Bound:
    """Return the release of a rule: that version, or the highest of a range whose signer holds.

    Raises `NotFound` where there is none, `Denied` where its signer was removed.
    """
    known = register.releases.get(rule.plugin_key, {})
    if is_version(rule.version):
        names = [rule.version] if rule.version in known else []
    else:
        wanted = parse_range(rule.version, "version")
        parsed = {name: parse_version(name, "version") for name in known}
        names = sorted((n for n in known if wanted.has(parsed[n])), key=parsed.__getitem__)
    if not names:
        raise NotFound(
            f"no release {rule.version} of plugin {rule.plugin_key} is published; "
            f"{_list('there are', known)}"
        )
    keys = register.keys()
    for name in reversed(names):
        if known[name].signer in keys:
            return Bound(rule.plugin_key, name, known[name])
    raise Denied(
        f"plugin {rule.plugin_key} {names[-1]} is signed by {known[names[-1]].signer}, who is no "
        "signer here any more; publish a version that another one has signed"
    )


def read_release(store: ObjectStore, register: Register, bound: Bound) -> Package:
    """Return a release as it was published, its digest and signature checked again."""
    package = _load(store, _place(bound.plugin_key, bound.version))
    if package.sha256 != bound.release.sha256:
        raise Internal(
            f"{store.name}: plugin {bound.plugin_key} {bound.version} is not what was published: "
            f"its digest is {package.sha256}, not {bound.release.sha256}; it is not run"
        )
    check_signature(package, register.keys())
    return package


def _load(store: ObjectStore, place: str) -> Package:
    found = store.get(place)
    if found is None:
        raise Internal(f"{store.name}: {place} is missing; publish that release again")
    try:
        files = from_json(found.data, dict[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Internal(f"{store.name}: {place} is damaged: {error}") from error
    return open_package(decode_files(files))


def _decode(data: bytes | None, store: ObjectStore) -> Register:
    if data is None:
        return Register()
    try:
        return from_json(data, Register)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Internal(f"{store.name}: {_KEY} is damaged: {error}") from error


def _place(key: str, version: str) -> str:
    return f"v1/plugins/packages/{key.replace(':', '/')}/{version}.json"


def _same(known: Rule, rule: Rule) -> bool:
    return (known.plugin_key, known.version) == (rule.plugin_key, rule.version)


def _other(key: str, version: str) -> Conflict:
    return Conflict(
        f"plugin {key} {version} is published with other content, and a release never changes; "
        "give the new one a higher version",
        code="already_exists",
    )


def _list(what: str, names: Mapping[str, object]) -> str:
    return f"{what} {', '.join(sorted(names)[:10])}" if names else "there is none"
