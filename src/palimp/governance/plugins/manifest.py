"""`manifest.json` of a plugin: what it is called, what it is asked for, and how far it may go."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ...decoding import from_plain
from ...errors import Invalid
from ...version import __version__
from .versions import Version, parse_range, parse_version

__all__ = [
    "CAPABILITIES",
    "DOMAIN",
    "LOG_LEVELS",
    "MANIFEST",
    "Integrity",
    "Limits",
    "Manifest",
    "is_signer",
    "parse_manifest",
    "read_json",
]

MANIFEST = "manifest.json"
DOMAIN = "governance"
CAPABILITIES = ("governance.plan", "governance.execute")
LOG_LEVELS = ("PALIMP_PLUGIN_LOG_LEVEL", "MEMORIA_PLUGIN_LOG_LEVEL")
_RUNTIME = "python"
_API_VERSION = "v1"
_NAME = re.compile(r"[a-z0-9-]{3,128}")
_CAPABILITY = re.compile(r"(?:retrieval|governance|consolidation|trust)\.[a-z_]{1,64}")
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
_SIGNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,127}")
_TEXT_CHARS_MAX = 1_000


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a manifest: what is not known is refused, as it may have been meant to limit."""


class Python(_Part, frozen=True):
    """A callable `object` of a `module` of the package; it takes a JSON object and returns one."""

    module: str
    object: str


class Entry(_Part, frozen=True):
    """How the plugin is called."""

    python: Python


class Compatibility(_Part, frozen=True):
    """With which releases it works. That of Memoria is checked for its form only."""

    palimp: str | None = None
    memoria: str | None = None


class Permissions(_Part, frozen=True):
    """What it may use besides its input; of the environment the level of its log."""

    network: bool = False
    filesystem: bool = False
    env: tuple[str, ...] = ()


class Limits(_Part, frozen=True):
    """What one call may take."""

    timeout_ms: int = 1_500
    max_memory_mb: int = 128
    max_output_bytes: int = 262_144


class Integrity(_Part, frozen=True):
    """The digest of the package, and who has signed it."""

    sha256: str
    signature: str = ""
    signer: str = ""


class About(_Part, frozen=True):
    """What people are told."""

    display_name: str = ""
    description: str = ""
    homepage: str = ""
    license: str = ""


class Manifest(_Part, frozen=True):
    """A manifest whose every field was checked."""

    name: str
    version: str
    api_version: str
    runtime: str
    entry: Entry
    capabilities: tuple[str, ...]
    compatibility: Compatibility
    permissions: Permissions = Permissions()
    limits: Limits = Limits()
    integrity: Integrity | None = None
    metadata: About = About()

    @property
    def domain(self) -> str:
        """The domain of its first capability."""
        return self.capabilities[0].partition(".")[0]

    @property
    def plugin_key(self) -> str:
        """What it is bound by: all its versions that may take each other's place have the same."""
        stem = self.name.removeprefix("memoria-").removeprefix(f"{self.domain}-")
        return f"{self.domain}:{stem}:v{self.parsed.major}"

    @property
    def parsed(self) -> Version:
        """Its version, to be compared."""
        return parse_version(self.version, "version")


def parse_manifest(plain: Mapping[str, Any]) -> Manifest:
    """Return a manifest; raises `Invalid` naming the field and what may stand there."""
    # Said first: of these every other field would be wrong too.
    runtime = plain.get("runtime")
    if runtime in ("rhai", "grpc"):
        raise Invalid(
            f"{MANIFEST}: runtime {runtime!r} is not run here; write the hooks in Python: runtime "
            f"{_RUNTIME!r}, entry.python {{module, object}}"
        )
    try:
        found = from_plain(plain, Manifest)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        where = f" {place.strip('.`')}:" if place.strip(".`") else ""
        raise Invalid(f"{MANIFEST}:{where} {reason[:1].lower()}{reason[1:]}") from error
    for check in (_check_capabilities, _check_names, _check_compatibility, _check_reach):
        check(found)
    return found


def read_json(data: bytes) -> dict[str, Any]:
    """Return the object of a manifest's bytes; raises `Invalid` where it is none."""
    try:
        plain = json.loads(data.decode("utf-8"), object_pairs_hook=_once)
        # Half a surrogate pair can be written in JSON, and then in no digest.
        json.dumps(plain, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{MANIFEST} is not JSON in UTF-8: {error}") from error
    if not isinstance(plain, dict):
        raise Invalid(f"{MANIFEST} must be a JSON object")
    return plain


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Readers differ in which of two they take, and one of them has checked the signature.
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field stands there twice")
    return found


def _check_names(found: Manifest) -> None:
    if not _NAME.fullmatch(found.name):
        raise _wrong("name", found.name, "give 3 to 128 of a-z, 0-9 and '-'")
    parse_version(found.version, f"{MANIFEST}: version")
    if found.api_version != _API_VERSION:
        raise _wrong("api_version", found.api_version, f"this host speaks {_API_VERSION!r}")
    if found.runtime != _RUNTIME:
        raise _wrong("runtime", found.runtime, f"give {_RUNTIME!r}")
    for name in ("module", "object"):
        text = getattr(found.entry.python, name)
        if not _MODULE.fullmatch(text) or len(text) > _TEXT_CHARS_MAX:
            raise _wrong(f"entry.python.{name}", text, "give names parted by dots, as calm.hooks")
    if not found.plugin_key.split(":")[1]:
        raise _wrong("name", found.name, "something has to follow its prefix")


def _check_capabilities(found: Manifest) -> None:
    if not found.capabilities:
        raise Invalid(f"{MANIFEST}: capabilities is empty; give some of {', '.join(CAPABILITIES)}")
    for one in found.capabilities:
        if not _CAPABILITY.fullmatch(one):
            raise _wrong("capabilities", one, "give domain.action, as governance.plan")
        if one not in CAPABILITIES:
            raise _wrong("capabilities", one, f"this host asks for {', '.join(CAPABILITIES)}")
    if len(set(found.capabilities)) < len(found.capabilities):
        raise Invalid(f"{MANIFEST}: capabilities names one twice; give each once")


def _check_compatibility(found: Manifest) -> None:
    given = found.compatibility
    if given.palimp is None and given.memoria is None:
        raise Invalid(f"{MANIFEST}: compatibility is empty; give palimp, as {{'palimp': '>=0.1'}}")
    if given.memoria is not None:
        parse_range(given.memoria, f"{MANIFEST}: compatibility.memoria")
    if given.palimp is not None:
        wanted = parse_range(given.palimp, f"{MANIFEST}: compatibility.palimp")
        if not wanted.has(parse_version(__version__, "this release")):
            raise Invalid(
                f"{MANIFEST}: the plugin is for palimp {given.palimp}, and this is {__version__}"
            )


def _check_reach(found: Manifest) -> None:
    for name in ("network", "filesystem"):
        if getattr(found.permissions, name):
            raise Invalid(f"{MANIFEST}: permissions.{name} is never given to a plugin; say false")
    for one in found.permissions.env:
        if one not in LOG_LEVELS:
            raise _wrong("permissions.env", one, f"a plugin may read {' or '.join(LOG_LEVELS)}")
    most = Limits()
    for name in Limits.__struct_fields__:
        value, limit = getattr(found.limits, name), getattr(most, name)
        if not 1 <= value <= limit:
            raise Invalid(f"{MANIFEST}: limits.{name} is {value:,}; give 1 to {limit:,}")
    for name in About.__struct_fields__:
        size = len(getattr(found.metadata, name))
        if size > _TEXT_CHARS_MAX:
            raise Invalid(
                f"{MANIFEST}: metadata.{name} has {size:,} characters; give at most "
                f"{_TEXT_CHARS_MAX:,}"
            )
    signer = "" if found.integrity is None else found.integrity.signer
    if signer and not is_signer(signer):
        raise _wrong("integrity.signer", signer, "give 1 to 128 of letters, digits and . _ @ -")


def is_signer(name: str) -> bool:
    """Whether a text may name a signer."""
    return _SIGNER.fullmatch(name) is not None


def _wrong(field: str, value: str, advice: str) -> Invalid:
    return Invalid(f"{MANIFEST}: {field} is {value!r:.120}; {advice}")
