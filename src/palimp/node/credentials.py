"""Where signing keys come from, and which start-ups are refused because of what they would expose.

Keys, in this order: `PALIMP_AUTH_KEY`, the folder's `keys/`, the object store (only with
`PALIMP_PERSIST_AUTH_KEY=1`), and where this is the only node a new one, with a warning.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..addresses import is_loopback
from ..clock import Clock
from ..decoding import from_json
from ..disk import make_folders, replace_file
from ..errors import Internal, Invalid, Unavailable, Unconfigured
from ..observe import logger
from ..security.keys import KeyRing, SigningKey
from ..store import ObjectStore, change_object
from .settings import PREFIX, Settings

__all__ = ["check_exposure", "hash_keys", "load_keys", "receipt_key", "rotate"]

_LOG = logger("node")
_FOLDER = "keys"
_FILE = "signing.json"
_RECEIPTS = "receipts.json"
_OBJECT = "v1/keys/signing.json"
_FORMAT = 1
_HASHING = b"palimp credential hashes 1"


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A private key, and until when its signatures hold (ms); None: it signs."""

    key: str
    until: int | None = None


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of signing keys: the newest first."""

    format: int
    keys: tuple[_Kept, ...]


def check_exposure(settings: Settings, host: str) -> None:
    """Refuse a start that would serve more people than it should; every message says what to set.

    Raises `Invalid`.
    """
    on, local = settings.auth == "on", is_loopback(host)
    if on and settings.platform_key is None:
        raise Invalid(
            f"{PREFIX}AUTH=on requires {PREFIX}PLATFORM_KEY to be set: the key that mints tokens"
        )
    if settings.cluster_key is not None and settings.cluster_key == settings.platform_key:
        raise Invalid(f"{PREFIX}CLUSTER_KEY must differ from {PREFIX}PLATFORM_KEY")
    if not on and not local:
        raise Invalid(
            f"{host} is not a loopback address, and everybody who reaches it could read and write "
            f"everything: set {PREFIX}AUTH=on and {PREFIX}PLATFORM_KEY, or listen on 127.0.0.1 and "
            "let a proxy on this machine ask for credentials"
        )
    alone = settings.lease_store == "single" and not settings.single_node
    if (on or not local) and alone:
        raise Invalid(
            "no lease store configured but this looks like a multi-node deployment: set "
            f"{PREFIX}SINGLE_NODE=1 where this is the only node that writes to its object store, "
            f"else {PREFIX}ETCD or {PREFIX}LEASES=sql"
        )


def load_keys(settings: Settings, folder: Path, store: ObjectStore, clock: Clock) -> KeyRing:
    """Return the keys that verify tokens, the one that signs first.

    Raises `Invalid` where there is none and none may be made.
    """
    given = settings.auth_key
    if given is not None:
        parts = [part for part in given.split(",") if part.strip()]
        return KeyRing(SigningKey.parse(part, f"{PREFIX}AUTH_KEY") for part in parts)
    path = folder / _FOLDER / _FILE
    if path.exists():
        return _ring(_read_file(path), str(path), clock)
    if settings.persist_auth_key:
        return _ring(_in_store(store), f"{store.name}: {_OBJECT}", clock)
    if not settings.single_node:
        raise Invalid(
            f"{PREFIX}AUTH=on needs a signing key: set {PREFIX}AUTH_KEY (`palimp keygen` makes "
            f"one), or {PREFIX}PERSIST_AUTH_KEY=1 to keep one in the object store, or "
            f"{PREFIX}SINGLE_NODE=1 to have one made in {path}"
        )
    _LOG.warning("no signing key is set: one is made in %s; tokens hold as long as it does", path)
    made = _File(format=_FORMAT, keys=(_Kept(key=SigningKey.generate().export()),))
    _write_file(path, made)
    return _ring(made, str(path), clock)


def receipt_key(settings: Settings, folder: Path, store: ObjectStore, clock: Clock) -> SigningKey:
    """Return what signs receipts: the key of tokens where there is one, else one of this folder.

    That one signs no token: to have erased something does not let anybody in.
    """
    if _has_key(settings, folder):
        return load_keys(settings, folder, store, clock).signing
    return _own_key(folder, clock)


def hash_keys(settings: Settings, folder: Path, store: ObjectStore, clock: Clock) -> list[bytes]:
    """Return what hashes of other systems' keys are made with: the first makes new ones.

    Raises `Unconfigured` where several nodes share a store and there is none that all of them have.
    """
    if settings.api_key_secret is not None:
        return [hmac.digest(settings.api_key_secret.encode(), _HASHING, "sha256")]
    found: list[SigningKey] = []
    own = folder / _FOLDER / _RECEIPTS
    if _has_key(settings, folder) or settings.single_node:
        found = list(load_keys(settings, folder, store, clock))
    elif settings.lease_store != "single":
        raise Unconfigured(
            "keys of other systems' clients are kept as hashes, and nothing is set that all nodes "
            f"make them with: set {PREFIX}API_KEY_SECRET to one secret of 16 characters or more on "
            "all of them"
        )
    if not found or own.exists():
        # What they were made with before this node had a key that signs tokens.
        found.append(_own_key(folder, clock))
    return [hmac.digest(key.private.private_bytes_raw(), _HASHING, "sha256") for key in found]


def rotate(
    settings: Settings, folder: Path, store: ObjectStore, clock: Clock, overlap_seconds: int
) -> KeyRing:
    """Make a new key that signs from now on; tokens of the old ones hold for the overlap."""
    if settings.auth_key is not None:
        raise Invalid(
            f"the signing key is that of {PREFIX}AUTH_KEY; put a new one before it, separated by a "
            "comma, and take the old one out when its tokens have expired"
        )
    until = clock.now_ms() + overlap_seconds * 1000

    def change(kept: _File) -> _File:
        old = (
            msgspec.structs.replace(one, until=until if one.until is None else one.until)
            for one in kept.keys
        )
        still = tuple(one for one in old if (one.until or 0) > clock.now_ms())
        return _File(format=_FORMAT, keys=(_Kept(key=SigningKey.generate().export()), *still))

    path = folder / _FOLDER / _FILE
    if path.exists() or not settings.persist_auth_key:
        load_keys(settings, folder, store, clock)
        changed = change(_read_file(path))
        _write_file(path, changed)
    else:
        changed = _in_store(store, change)
    return _ring(changed, "the new keys", clock)


def _has_key(settings: Settings, folder: Path) -> bool:
    there = (folder / _FOLDER / _FILE).exists()
    return there or settings.auth_key is not None or settings.persist_auth_key


def _own_key(folder: Path, clock: Clock) -> SigningKey:
    """Return the key of this folder that signs no token; made where there is none."""
    path = folder / _FOLDER / _RECEIPTS
    if not path.exists():
        made = _File(format=_FORMAT, keys=(_Kept(key=SigningKey.generate().export()),))
        _write_file(path, made)
    return _ring(_read_file(path), str(path), clock).signing


def _ring(kept: _File, place: str, clock: Clock) -> KeyRing:
    now = clock.now_ms()
    keys = [one for one in kept.keys if one.until is None or one.until > now]
    return KeyRing(SigningKey.parse(one.key, f"a key in {place}") for one in keys)


def _read_file(path: Path) -> _File:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}", reason="folder") from error
    return _decode(data, str(path))


def _write_file(path: Path, kept: _File) -> None:
    make_folders(path.parent, path.parent.parent)
    replace_file(path, msgspec.json.encode(kept))


def _in_store(store: ObjectStore, change: Callable[[_File], _File] | None = None) -> _File:
    """Return what the store holds, after a change if one is given; made where there is none."""
    place = f"{store.name}: {_OBJECT}"

    def changed(data: bytes | None) -> bytes | None:
        if data is None:
            made = _File(format=_FORMAT, keys=(_Kept(key=SigningKey.generate().export()),))
        elif change is None:
            return None
        else:
            made = change(_decode(data, place))
        return msgspec.json.encode(made)

    data = change_object(store, _OBJECT, changed)
    assert data is not None
    return _decode(data, place)


def _decode(data: bytes, place: str) -> _File:
    try:
        found = from_json(data, _File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Internal(f"{place} is damaged") from error
    if found.format > _FORMAT:
        raise Unavailable(f"{place} has format {found.format}, this release reads {_FORMAT}")
    return found
