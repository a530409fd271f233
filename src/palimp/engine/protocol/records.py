"""The JSON objects of a branch, and the keys they stand under.

Every object carries `format` (who may read it), `writer` (the least release that may write it), a
`version` that counts its changes and a fresh `nonce` (equal bytes would give equal ETags and hide a
race). Fields this release does not know survive a read-modify-write.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, TypeVar

import msgspec

from ...decoding import from_json, from_plain
from ...errors import Internal, Unavailable

__all__ = [
    "FORMAT",
    "GONE",
    "WRITER",
    "Gone",
    "Head",
    "History",
    "HistoryRef",
    "Manifest",
    "Name",
    "Owner",
    "Parent",
    "SegmentRef",
    "branch_prefix",
    "decode",
    "encode",
    "evolve",
    "gone_key",
    "head_key",
    "heads_prefix",
    "history_key",
    "is_collectable",
    "key_txids",
    "manifest_key",
    "name_key",
    "name_prefix",
    "segment_epoch",
    "segment_key",
    "tombstone",
]

FORMAT = 1
WRITER = 1
_HISTORY = "history-"
GONE = ".gone"
_EXTRA = b'"extra":'


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`extra` holds the fields of a newer release; they are written back as they were read."""

    extra: dict[str, Any] = {}


R = TypeVar("R", bound=_Record)


class SegmentRef(_Record, frozen=True, kw_only=True, omit_defaults=True):
    """One segment or snapshot: the txids it covers (a snapshot begins at 1) and where it is.

    `commit` and `checksum` are the database's after it: its pages, and 16 hex digits. `at` is when
    its last txid became a boundary, in ms; it never runs backwards along a chain. `redacted`: a
    state that was cleansed by an erasure and stored again under its old txid.
    """

    min: int
    max: int
    epoch: int
    pages: int
    bytes: int
    sha256: str
    key: str
    commit: int = 0
    checksum: str = ""
    at: int = 0
    redacted: bool = False


class HistoryRef(_Record, frozen=True, kw_only=True):
    """A history object: how many references it holds, and the bytes of what they name."""

    key: str
    refs: int
    bytes: int
    sha256: str


class History(_Record, frozen=True, kw_only=True):
    """What a history object holds: references older than the manifest's. Written once."""

    format: int = FORMAT
    writer: int = WRITER
    refs: tuple[SegmentRef, ...]


class Owner(_Record, frozen=True, kw_only=True):
    """Who may write: a node, and the nonce its folder recorded for this epoch."""

    node: str
    nonce: str


class Parent(_Record, frozen=True, kw_only=True):
    """Where a fork came from."""

    branch_id: str
    txid: int


class Manifest(_Record, frozen=True, kw_only=True):
    """What a branch consists of. Changed only by compare-and-swap, only by its owner.

    `txid` is the last shipped txid, `limit` the last one that may be acknowledged under this
    manifest, `checksum` the database's at `txid`. The chain is `snapshot`, then `segments`; it is
    enough for the head. References to older points are in the objects of `history`, oldest first.
    `erasing` are erasures for which states before the head are still to be cleansed; below txid
    `erased` only states that were are left.
    """

    format: int = FORMAT
    writer: int = WRITER
    version: int
    nonce: str
    state: Literal["forming", "live", "deleted"] = "live"
    epoch: int
    owner: Owner | None
    txid: int = 0
    limit: int = 0
    commit_pages: int = 0
    checksum: str = ""
    parent: Parent | None = None
    snapshot: SegmentRef | None = None
    segments: tuple[SegmentRef, ...] = ()
    history: tuple[HistoryRef, ...] = ()
    checkpoints: dict[str, int] = {}
    ttl_at: int | None = None
    formed_at: int | None = None
    erasing: tuple[str, ...] = ()
    erased: int = 0

    def chain(self) -> tuple[SegmentRef, ...]:
        """Return all references in the order they are applied."""
        return (*((self.snapshot,) if self.snapshot else ()), *self.segments)

    def boundaries(self) -> tuple[int, ...]:
        """Return the txids at which a segment of the chain ends, ascending."""
        return tuple(ref.max for ref in self.chain())

    def names(self, key: str) -> bool:
        """Whether the chain refers to an object."""
        return any(ref.key == key for ref in self.chain())


class Head(_Record, frozen=True, kw_only=True):
    """A branch's name; reserves it for one fork."""

    format: int = FORMAT
    writer: int = WRITER
    version: int = 1
    nonce: str
    gen: int = 1
    branch_id: str | None
    formed_at: int = 0


class Name(_Record, frozen=True, kw_only=True):
    """Which database a profile's name means, since when (ms); `gen` counts its deletions."""

    format: int = FORMAT
    writer: int = WRITER
    version: int = 1
    nonce: str
    gen: int = 1
    db_id: str | None
    revoked_before: int = 0
    created_at: int = 0


class Gone(_Record, frozen=True, kw_only=True):
    """Beside a name: that its database was deleted once, so that a listing has to look at it."""

    format: int = FORMAT
    writer: int = WRITER


def encode(record: _Record) -> bytes:
    """Return the JSON of a record, fields of newer releases included."""
    # Nearly always there are none. Inside of a string the quotes would be escaped, so that what is
    # taken out is the empty field; it comes first, so that a comma follows it.
    data = msgspec.json.encode(record).replace(b'"extra":{},', b"")
    return data if _EXTRA not in data else msgspec.json.encode(_plain(record))


def decode(data: bytes, cls: type[R], key: str) -> R:
    """Return a record; `Unavailable` where it is of a newer release, `Internal` where damaged."""
    try:
        return _decode_known(data, cls)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError):
        # Fields of a newer release, or damage.
        pass
    try:
        raw = msgspec.json.decode(data)
        if isinstance(raw, dict) and isinstance(raw.get("format"), int) and raw["format"] > FORMAT:
            raise Unavailable(
                f"{key} has format {raw['format']}, this release reads up to {FORMAT}; "
                "use the release that wrote it, or a newer one",
                reason="format",
            )
        return from_plain(_gather(raw, cls), cls)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Internal(f"object {key} is damaged: {error}", key=key) from error


def _decode_known(data: bytes, cls: type[R]) -> R:
    """Return a record that has no field, and no format, this release does not know."""
    if _EXTRA in data:
        raise msgspec.ValidationError("a field of the name that ours for unknown fields has")
    record = from_json(data, cls)
    if getattr(record, "format", FORMAT) > FORMAT:
        raise msgspec.ValidationError("a newer format")
    return record


def evolve(manifest: Manifest, nonce: str, **changes: Any) -> Manifest:
    """Return the next version of a manifest."""
    if manifest.writer > WRITER:
        raise Unavailable(
            f"this branch may be written by releases from {manifest.writer} on, this is {WRITER}; "
            "reads go on",
            reason="format",
        )
    return msgspec.structs.replace(manifest, version=manifest.version + 1, nonce=nonce, **changes)


def tombstone(nonce: str) -> Manifest:
    """Return the manifest of a branch that was deleted before it was written."""
    return Manifest(version=1, nonce=nonce, state="deleted", epoch=1, owner=None)


def branch_prefix(db_id: str, branch_id: str) -> str:
    """Return the prefix of everything that belongs to a branch."""
    return f"v1/db/{db_id}/{branch_id}/"


def manifest_key(db_id: str, branch_id: str) -> str:
    """Return the key of a branch's manifest."""
    return f"{branch_prefix(db_id, branch_id)}manifest.json"


def heads_prefix(db_id: str) -> str:
    """Return the prefix of the branch names of a database."""
    return f"v1/db/{db_id}/heads/"


def head_key(db_id: str, branch: str) -> str:
    """Return the key of a branch's name."""
    return f"{heads_prefix(db_id)}{branch}.json"


def name_prefix(namespace: str | None = None) -> str:
    """Return the prefix of the names of profiles: of one namespace, or of all."""
    return "v1/names/" if namespace is None else f"v1/names/{namespace}/"


def name_key(namespace: str, profile: str) -> str:
    """Return the key of a profile's name."""
    return f"v1/names/{namespace}/{profile}.json"


def gone_key(namespace: str, profile: str) -> str:
    """Return the key that says that a profile was deleted once; it sorts just before its name's."""
    return f"v1/names/{namespace}/{profile}{GONE}"


def segment_key(db_id: str, branch_id: str, low: int, high: int, epoch: int, nonce: str) -> str:
    """Return the key of a segment; txids in 16 hex digits, so that they sort as text."""
    return f"{branch_prefix(db_id, branch_id)}{low:016x}-{high:016x}-{epoch:08x}-{nonce}.ltx"


def history_key(db_id: str, branch_id: str, low: int, high: int, epoch: int, nonce: str) -> str:
    """Return the key of a history object, by the first and last boundary its references end at."""
    name = f"{_HISTORY}{low:016x}-{high:016x}-{epoch:08x}-{nonce}.json"
    return f"{branch_prefix(db_id, branch_id)}{name}"


def segment_epoch(key: str) -> int:
    """Return the epoch in the key of a segment or a history object."""
    return int(_words(key)[2], 16)


def key_txids(key: str) -> tuple[int, int]:
    """Return the txids in the key of a segment or a history object."""
    low, high, *_ = _words(key)
    return int(low, 16), int(high, 16)


def is_collectable(key: str) -> bool:
    """Whether this is the key of a segment or a history object: what a manifest may name."""
    return key.endswith(".ltx") or key.rsplit("/", 1)[1].startswith(_HISTORY)


def _words(key: str) -> list[str]:
    return key.rsplit("/", 1)[1].removeprefix(_HISTORY).split("-")


def _plain(record: _Record) -> dict[str, Any]:
    fields = msgspec.structs.asdict(record)
    plain: dict[str, Any] = {**fields.pop("extra"), **fields}
    for field, value in fields.items():
        if isinstance(value, _Record):
            plain[field] = _plain(value)
        elif isinstance(value, tuple):
            plain[field] = [_plain(v) if isinstance(v, _Record) else v for v in value]
    return plain


_NESTED: dict[str, type[_Record]] = {
    "owner": Owner,
    "parent": Parent,
    "snapshot": SegmentRef,
    "segments": SegmentRef,
    "history": HistoryRef,
    "refs": SegmentRef,
}


@functools.cache
def _known(cls: type[_Record]) -> frozenset[str]:
    return frozenset(cls.__struct_fields__) - {"extra"}


def _gather(raw: Any, cls: type[_Record]) -> Any:
    """Move the fields `cls` does not know into `extra`, in nested records too; return `raw`."""
    if not isinstance(raw, dict):
        return raw
    # Set operations, because a history object may hold thousands of records.
    if raw.keys() - _known(cls):
        extra = {name: value for name, value in raw.items() if name not in _known(cls)}
        for name in extra:
            del raw[name]
        raw["extra"] = extra
    for name in raw.keys() & _NESTED.keys():
        value, inner = raw[name], _NESTED[name]
        if isinstance(value, list):
            raw[name] = [_gather(one, inner) for one in value]
        else:
            raw[name] = _gather(value, inner)
    return raw
