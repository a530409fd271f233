"""Whether everything a database's branches name is there and sound, and what can still be read.

One object at a time is read, and each only once, however many branches name it: what is kept of a
segment is what its header and trailer say. A retention that runs meanwhile is not taken for damage:
where an object is missing the manifest is read again, and only what it still names is reported.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from .. import ltx
from ..errors import Internal, Invalid, Unconfigured
from ..store import ObjectStore
from .protocol.records import (
    History,
    HistoryRef,
    Manifest,
    SegmentRef,
    branch_prefix,
    decode,
    heads_prefix,
    key_txids,
    manifest_key,
    tombstone,
)

__all__ = ["Finding", "Verification", "verify_database"]

# A manifest that moves on faster than it can be read is given up on, and taken as it was.
_STATES_READ_MAX = 10
_STRETCHES_MAX = 8
_NOTHING = "nothing"
_MANIFEST = "/manifest.json"


class Finding(NamedTuple):
    """What is wrong with one object of a branch, which txids it concerns, and what is left.

    `readable` says in words which boundaries of the branch can be read in spite of all findings.
    """

    key: str
    branch: str
    min_txid: int
    max_txid: int
    what: str
    readable: str


class Verification(NamedTuple):
    """What was read, and what is wrong with it.

    `unnamed` objects are no fault: a collector removes them. Where a manifest or a history object
    cannot be read, what only that names counts as unnamed.
    """

    branches: int
    objects: int
    bytes: int
    unnamed: int
    findings: tuple[Finding, ...]


def verify_database(
    store: ObjectStore,
    db_id: str,
    branches: Iterable[tuple[str, str]],
) -> Verification:
    """Check every byte of every object that the branches (name and id) of a database name.

    What is damaged, missing or does not fit is a finding. Raised is only what says nothing about
    the database: a store that does not answer, a format of a newer release.
    """
    reader = _Reader(store)
    findings: list[Finding] = []
    count = 0
    for name, branch_id in branches:
        findings += _verify(reader, db_id, name, branch_id)
        count += 1
    return reader.result(count, _count_unnamed(reader, db_id), findings)


class _Content(NamedTuple):
    """What is kept of a segment that was read: what it is, or why it is none.

    Without a digest where the store did not give its bytes.
    """

    size: int
    sha256: str
    verified: ltx.Verified | None
    damage: str


class _Fault(NamedTuple):
    """A finding before it is known what can still be read."""

    key: str
    min_txid: int
    max_txid: int
    what: str


class _Reader:
    """Reads objects, each once, and counts them."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self.named: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._segments: dict[str, _Content] = {}
        self._histories: dict[str, tuple[str, tuple[SegmentRef, ...]]] = {}

    def result(self, branches: int, unnamed: int, findings: Iterable[Finding]) -> Verification:
        """Return what came of it."""
        read = self._sizes.values()
        return Verification(branches, len(read), sum(read), unnamed, tuple(findings))

    def get(self, key: str) -> tuple[bytes, object] | None:
        """Return an object and its version; a manifest may be read again."""
        self.named.add(key)
        stored = self.store.get(key)
        if stored is None:
            return None
        self._sizes[key] = len(stored.data)
        return stored.data, stored.version

    def segment(self, key: str) -> _Content | None:
        """Return what a segment is, or None where it is missing."""
        if key not in self._segments:
            try:
                found = self.get(key)
            except (Internal, Unconfigured) as error:
                # Of a sealed one: altered, or its key is not there.
                if isinstance(error, Unconfigured) and error.details.get("reason") != "key":
                    raise
                self._segments[key] = _Content(0, "", None, error.message)
                return self._segments[key]
            if found is None:
                return None
            self._segments[key] = _content(found[0])
        return self._segments[key]

    def history(self, ref: HistoryRef) -> tuple[str, tuple[SegmentRef, ...]] | None:
        """Return what is wrong with a history object and what it names; None where it is missing.

        What a damaged one says is not believed.
        """
        if ref.key not in self._histories:
            found = self.get(ref.key)
            if found is None:
                return None
            self._histories[ref.key] = _history(ref, found[0])
        return self._histories[ref.key]


class _State:
    """A branch as one of its manifests says it is, with everything that names read."""

    def __init__(self, reader: _Reader, key: str, manifest: Manifest) -> None:
        self.key = key
        self.manifest = manifest
        # Faults of history objects, whose references are therefore not known.
        self.unknown: list[_Fault] = []
        self.is_missing_some = False
        older: list[SegmentRef] = []
        reader.named.update(ref.key for ref in manifest.history)
        reader.named.update(ref.key for ref in manifest.chain())
        for history in manifest.history:
            found = reader.history(history)
            self.is_missing_some |= found is None
            what, refs = found or ("the object is missing", ())
            if what:
                self.unknown.append(_Fault(history.key, *key_txids(history.key), what))
            older += refs
        reader.named.update(ref.key for ref in older)
        # In the order in which what leads to a segment comes before it.
        self.refs = _in_order((*older, *manifest.chain()))
        self.contents: dict[str, _Content] = {}
        for ref in self.refs:
            content = reader.segment(ref.key)
            if content is None:
                self.is_missing_some = True
            else:
                self.contents[ref.key] = content

    def faults(self) -> Iterator[tuple[_Fault, SegmentRef | None]]:
        """Yield everything that is wrong, and the reference nothing can be read through for it."""
        yield from ((fault, None) for fault in self.unknown)
        sound: list[tuple[SegmentRef, ltx.Verified]] = []
        for ref in self.refs:
            content = self.contents.get(ref.key)
            what = "; ".join(_segment_problems(ref, content))
            if what:
                yield _Fault(ref.key, ref.min, ref.max, what), ref
            elif content is not None and content.verified is not None:
                sound.append((ref, content.verified))
        yield from _link_faults(sound)
        yield from ((fault, None) for fault in self._chain_faults())
        if not self.unknown:
            # What a history object names that cannot be read may be what is looked for here.
            yield from ((fault, None) for fault in self._gap_faults())

    def boundaries(self) -> list[int]:
        """Return every txid somebody may ask for, whether it can be read or not."""
        manifest = self.manifest
        found = {ref.max for ref in self.refs}
        found.update(txid for fault in self.unknown for txid in (fault.min_txid, fault.max_txid))
        return sorted((found | {manifest.txid, *manifest.checkpoints.values()}) - {0})

    def _chain_faults(self) -> Iterator[_Fault]:
        """Compare the manifest with itself."""
        manifest, chain = self.manifest, self.manifest.chain()
        upto = 0
        for ref in chain:
            if ref.min > upto + 1:
                what = f"nothing before it covers txids {upto + 1} to {ref.min - 1}"
                yield _Fault(ref.key, upto + 1, ref.min - 1, what)
            elif ref.min <= upto:
                what = f"it begins at txid {ref.min}, what is before it ends at {upto}"
                yield _Fault(ref.key, ref.min, ref.max, what)
            upto = ref.max
        last = chain[-1] if chain else None
        for name, said, found in (
            ("txid", manifest.txid, last.max if last else 0),
            ("pages", manifest.commit_pages, last.commit if last else 0),
            ("checksum", manifest.checksum, last.checksum if last else ""),
        ):
            if said != found:
                what = f"the manifest gives {name} {said or None}, its last segment {found or None}"
                yield _Fault(self.key, manifest.txid, manifest.txid, what)

    def _gap_faults(self) -> Iterator[_Fault]:
        """Find references and checkpoints that no chain of references leads to."""
        chain = {ref.key for ref in self.manifest.chain()}
        reached = _reached(self.refs)
        for ref in self.refs:
            if ref.min - 1 not in reached and ref.key not in chain:
                what = f"no segment that leads to it ends at txid {ref.min - 1}"
                yield _Fault(ref.key, ref.min, ref.max, what)
        for name, txid in sorted(self.manifest.checkpoints.items()):
            if txid not in reached:
                yield _Fault(self.key, txid, txid, f"no segment ends at checkpoint {name!r}")


def _verify(reader: _Reader, db_id: str, name: str, branch_id: str) -> list[Finding]:
    key = manifest_key(db_id, branch_id)
    try:
        state = _read_state(reader, key)
    except Internal as error:
        return [Finding(key, name, 0, 0, error.message, _NOTHING)]
    if state is None:
        # Of a profile that was never written there is nothing at all.
        prefix = branch_prefix(db_id, branch_id)
        if branch_id == "main" and not reader.store.list(prefix, limit=1).entries:
            return []
        return [Finding(key, name, 0, 0, "the manifest is missing", _NOTHING)]
    found = list(state.faults())
    unusable = {ref.key for _, ref in found if ref is not None}
    reached = _reached([ref for ref in state.refs if ref.key not in unusable])
    readable = _in_words(state.boundaries(), reached)
    return [Finding(f.key, name, f.min_txid, f.max_txid, f.what, readable) for f, _ in found]


def _read_state(reader: _Reader, key: str) -> _State | None:
    """Return the branch as it is, all of it read; None where it has no manifest."""
    state = None
    version: object = None
    for _ in range(_STATES_READ_MAX):
        found = reader.get(key)
        if found is None:
            return None
        if state is not None and found[1] == version:
            break
        version = found[1]
        manifest = decode(found[0], Manifest, key)
        if manifest.state == "deleted":
            # It still says what it once named, some of which may be gone by right.
            manifest = tombstone(manifest.nonce)
        state = _State(reader, key, manifest)
        if not state.is_missing_some:
            break
    return state


def _content(data: bytes) -> _Content:
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        # The digest says whether these are the bytes that were written, so no page need be
        # compressed again to find out.
        return _Content(len(data), sha256, ltx.verify(data, foreign=True), "")
    except (Internal, Invalid) as error:
        return _Content(len(data), sha256, None, error.message)


def _history(ref: HistoryRef, data: bytes) -> tuple[str, tuple[SegmentRef, ...]]:
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != ref.sha256:
        return _differs("SHA-256", sha256, ref.sha256), ()
    try:
        refs = decode(data, History, ref.key).refs
    except Internal as error:
        return error.message, ()
    if (len(refs), sum(one.bytes for one in refs)) != (ref.refs, ref.bytes):
        return f"it names {len(refs)} segments, the manifest says {ref.refs} of other sizes", ()
    return "", refs


def _segment_problems(ref: SegmentRef, content: _Content | None) -> Iterator[str]:
    """Yield where a segment is not what its reference says."""
    if content is None:
        yield "the object is missing"
        return
    if not content.sha256:
        yield content.damage
        return
    if content.size != ref.bytes:
        yield _differs("size", content.size, ref.bytes)
    if content.sha256 != ref.sha256:
        yield _differs("SHA-256", content.sha256, ref.sha256)
    if content.verified is None:
        yield content.damage
        return
    header, trailer = content.verified.header, content.verified.trailer
    for name, found, said in (
        ("first txid", header.min_txid, ref.min),
        ("last txid", header.max_txid, ref.max),
        ("database size in pages", header.commit, ref.commit),
        ("database checksum", f"{trailer.post_apply_checksum:016x}", ref.checksum),
    ):
        if found != said:
            yield _differs(name, found, said)


def _link_faults(
    sound: Sequence[tuple[SegmentRef, ltx.Verified]],
) -> Iterator[tuple[_Fault, SegmentRef]]:
    """Compare, at each txid, what ends there with each other and with what begins after it.

    What most of them say is taken for right; of two, the one that ends there.
    """
    said: dict[int, Counter[int]] = defaultdict(Counter)
    for ref, (header, trailer, _, _) in sound:
        said[ref.min - 1][header.pre_apply_checksum] += 1
        said[ref.max][trailer.post_apply_checksum] += 1
    right = {txid: votes.most_common(1)[0][0] for txid, votes in said.items()}
    for ref, (header, trailer, _, _) in sound:
        before, after = right[ref.min - 1], right[ref.max]
        page_size = sound[0][1].header.page_size
        what = ""
        if header.page_size != page_size:
            what = f"its pages have {header.page_size} bytes, those before it {page_size}"
        elif header.pre_apply_checksum != before:
            what = (
                f"it continues a database of checksum {header.pre_apply_checksum:016x}, "
                f"at txid {ref.min - 1} it is {before:016x}"
            )
        elif trailer.post_apply_checksum != after:
            what = (
                f"it leaves a database of checksum {trailer.post_apply_checksum:016x}, "
                f"at txid {ref.max} it is {after:016x}"
            )
        if what:
            yield _Fault(ref.key, ref.min, ref.max, what), ref


def _differs(name: str, found: object, said: object) -> str:
    return f"its {name} is {found}, the reference to it says {said or None}"


def _in_order(refs: Iterable[SegmentRef]) -> list[SegmentRef]:
    """Return the references by where they begin, each once."""
    unique = {}
    for ref in refs:
        claims = (ref.bytes, ref.sha256, ref.pages, ref.commit, ref.checksum)
        unique[(ref.min, ref.max, ref.key, *claims)] = ref
    return [ref for _, ref in sorted(unique.items())]


def _reached(refs: Sequence[SegmentRef]) -> set[int]:
    """Return the txids that a chain of these references (`_in_order`) leads to, 0 included."""
    reached = {0}
    for ref in refs:
        if ref.min - 1 in reached:
            reached.add(ref.max)
    return reached


def _in_words(boundaries: Sequence[int], reached: Collection[int]) -> str:
    """Return which of the boundaries are reached: `txids up to 41 and from 90 on`."""
    stretches: list[list[int]] = []
    broken = True
    for txid in boundaries:
        if txid not in reached:
            broken = True
        elif broken:
            stretches.append([txid])
            broken = False
        else:
            stretches[-1].append(txid)
    if not stretches:
        return _NOTHING
    if len(stretches[0]) == len(boundaries):
        return "every boundary"
    words = [_stretch(one, boundaries) for one in stretches[:_STRETCHES_MAX]]
    if len(stretches) > _STRETCHES_MAX:
        words.append(f"{len(stretches) - _STRETCHES_MAX} more stretches")
    return "txids " + " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _stretch(txids: Sequence[int], boundaries: Sequence[int]) -> str:
    first, last = txids[0], txids[-1]
    if last == boundaries[-1]:
        return f"from {first} on"
    if first == boundaries[0]:
        return f"up to {last}"
    return f"{first}" if first == last else f"{first} to {last}"


def _count_unnamed(reader: _Reader, db_id: str) -> int:
    prefix, heads = f"v1/db/{db_id}/", heads_prefix(db_id)
    unnamed = 0
    after: str | None = None
    while True:
        page = reader.store.list(prefix, after)
        for entry in page.entries:
            # Names, and the tombstones of branches that were, are nobody's content.
            is_content = not entry.key.startswith(heads) and not entry.key.endswith(_MANIFEST)
            unnamed += is_content and entry.key not in reader.named
        if page.after is None:
            return unnamed
        after = page.after
