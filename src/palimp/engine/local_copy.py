"""The local file of a branch, and whether it may stand for what the manifest says."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from .. import ltx
from ..errors import Error, Internal, Invalid, NotFound, Unavailable
from ..observe import logger
from .driver import drive
from .files import BranchFiles
from .local_database import LocalDatabase
from .options import Parts
from .protocol import Manifest, read_timeline
from .protocol.lane import read
from .protocol.records import SegmentRef, decode, manifest_key
from .restore import Held, Missing, advance, build, continuation, fetch, file_sums
from .strays import recover_strays
from .wal import committed_image

if TYPE_CHECKING:
    from .pushed import Pushed

__all__ = ["LocalCopy"]

_LOG = logger("engine")
# Of the time that it takes to follow: what is pushed is not applied before so many times as long.
_REST_TIMES = 9


class LocalCopy:
    """Makes the local file a continuation of the manifest: kept, restored, or set aside.

    `written` says whether the branch has content, None while nobody knows that the local file
    continues `manifest`, which was looked at `looked_at` (monotonic). `set_aside` are the txids
    that were last found not to continue the branch. Everything in here happens in the writer's
    place.
    """

    def __init__(self, parts: Parts, name: str, key: tuple[str, str], local: LocalDatabase) -> None:
        self.files = BranchFiles(parts.root, *key)
        self.manifest: Manifest | None = None
        # One word, so that who reads it without waiting never sees half of a change.
        self.written: bool | None = None
        self.set_aside = range(0)
        self.looked_at = 0.0
        self._parts = parts
        self._name = name
        self._key = key
        self._local = local
        # What its owner, on another node, told of it; and until when that waits.
        self.pushed: Pushed | None = None
        self.rests_until = -math.inf
        self._offered: list[Manifest | None] = []
        # The file is one that was restored to be read, and is not trusted after this process.
        self._provisional: Path | None = None
        # Of its pages, where it was made of an earlier one.
        self._sums: ltx.PageChecksums | None = None
        self._forgotten_at = -math.inf

    def close(self) -> None:
        """Trust the file no more: what holds is looked at anew."""
        self.written = None
        self._offered.clear()

    @property
    def opened(self) -> bool:
        """Whether the local file is known to continue the branch."""
        return self.written is not None

    @property
    def txid(self) -> int:
        """The last txid in the local file."""
        return self._local.read(_nothing).txid

    @property
    def is_ahead(self) -> bool:
        """Whether commits are in the local file that the manifest lacks."""
        return (
            self.opened
            and not self._provisional
            and self.txid > (self.manifest.txid if self.manifest else 0)
        )

    def offer(self, manifest: Manifest | None) -> None:
        """Take a manifest that was read on the way here, so that it is not read again."""
        if not self.opened:
            self._offered = [manifest]

    def look_anew(self) -> None:
        """Forget that it was looked at: what was looked at before now is not good enough."""
        self._forgotten_at = self._parts.clock.monotonic()
        self.looked_at = -math.inf

    def has_looked(self, began: float) -> None:
        """Note that what is here was all there was at a time (monotonic)."""
        if began > self._forgotten_at:
            self.looked_at = max(self.looked_at, began)

    def look(self, *, anew: bool = False) -> Manifest | None:
        """Read the manifest; `NotFound` where the branch was deleted.

        One that was offered will do, unless what holds now is asked for, `anew`.
        """
        if self._offered:
            offered = self._offered.pop()
            if not anew:
                return offered
        key = manifest_key(*self._key)
        try:
            stored = drive(read(key), self._parts.outside, self._parts.options.patience)
        except Unavailable as error:
            # Nothing was asked for but a read.
            raise error.located(self._name, in_doubt=False) from error
        manifest = decode(stored.data, Manifest, key) if stored else None
        if manifest is not None and manifest.state != "live":
            self._drop_dead(manifest)
            raise NotFound(f"branch not found: {self._name} is deleted", code="branch_not_found")
        return manifest

    def settle(self, manifest: Manifest | None) -> None:
        """Make the local file a continuation of `manifest`, to be read.

        Without content on either side there is no file afterwards. One that is behind is followed
        by the segments it lacks, if they continue it, and otherwise restored.
        """
        if self._provisional and self._is_still(manifest):
            assert manifest is not None
            self._reads(manifest)
            return
        began = self._parts.clock.monotonic()
        held = self._held()
        path = None if self._provisional else self.files.current()
        if path is not None:
            if not self._local.has_file:
                self._local.switch(path)
            with self._told_apart(path, manifest):
                continues = self._continues(manifest)
            if continues:
                self.manifest, self.written = manifest, self.txid > 0
                return
            held = self._warm(path)
        fresh = self._advanced(held, manifest)
        if path is not None:
            self.part(manifest)
        if manifest is None or not manifest.txid:
            self._drop_provisional()
            self.manifest = manifest
            return
        if fresh is None:
            manifest, fresh = self._restored(manifest)
            self._count("whole", held, manifest)
        now = self._parts.clock.monotonic()
        self.rests_until = now + _REST_TIMES * (now - began)
        self._read_from(*fresh, manifest)

    def promote(self) -> ltx.PageChecksums | None:
        """Make a file that was restored to be read one that may be written, and that stays.

        Returns its page checksums; None where the file is such a one already. `Internal` where the
        content is not what the manifest says.
        """
        path = self._provisional
        if path is None:
            return None
        assert self.manifest is not None
        sums = self._sums
        if sums is None:
            size = self._local.read(lambda connection: connection.pragma("page_size")).value
            sums = file_sums(path, size)
        if f"{sums.checksum:016x}" != self.manifest.checksum:
            self._drop_provisional()
            self.close()
            raise Internal(
                f"{self._name}: its objects make a database of checksum {sums.checksum:016x}, the "
                f"manifest says {self.manifest.checksum}; `palimp verify` says which do not fit"
            )
        target = self.files.new_incarnation()
        # Under both names until nobody reads it under the old one any more.
        os.link(path, target)
        self.files.make_current(target)
        self.files.write_clean(target, self.manifest.txid, sums)
        self.files.note_shipped(self.manifest.txid, self.manifest.checksum)
        self._local.switch(target)
        path.unlink()
        self._provisional = self._sums = None
        return sums

    def begin(self) -> None:
        """Make the file of a branch without content."""
        path = self.files.new_incarnation()
        self._parts.make_file(path)
        self.files.make_current(path)
        self._local.switch(path)
        self.written = False

    def part(self, manifest: Manifest | None) -> None:
        """Take the local file out of use; set aside where its commits may be nowhere else."""
        path = self.files.current()
        assert path is not None
        checksum, txid, _ = self._local.read(_checksum)
        clean = self.files.read_clean(path, txid) is not None
        behind = manifest is not None and txid <= manifest.txid
        known = txid == 0 or (clean and behind) or self._is_shipped(manifest, txid, checksum)
        self._local.switch(None)
        self.written = None
        if known:
            self.files.discard()
            return
        stray = self.files.set_aside(path, manifest.epoch if manifest else 0)
        shipped = self.files.shipped_of(stray)
        self.set_aside = range(shipped.txid + 1 if shipped else 1, txid + 1)
        _LOG.warning(
            "%s: the local file at txid %d may not continue the branch (%s); its commits become a "
            "recovered branch, meanwhile they are in %s",
            self._name, txid, f"head {manifest.txid}, epoch {manifest.epoch}" if manifest else "-",
            stray,
        )  # fmt: skip

    def recover(self) -> None:
        """Make branches of the files that were set aside; what cannot be now waits where it is."""
        try:
            recover_strays(self._parts, self._name, self._key, self.files)
        except Error as error:
            _LOG.warning("%s: a recovered branch is still to be made: %s", self._name, error)

    @contextmanager
    def _told_apart(self, path: Path, manifest: Manifest | None) -> Iterator[None]:
        """Say of a damaged local file that the store has the history; it may hold more than that.

        So it is not thrown away for its owner, who may be able to save what is in it.
        """
        try:
            yield
        except Internal as error:
            self._local.switch(None)
            upto = f"up to txid {manifest.txid}" if manifest and manifest.txid else "nothing of it"
            raise Internal(
                f"{self._name}: the local file {path} is damaged ({error}). The object store has "
                f"{upto}: move {self.files.folder} away and open it again to go on from there"
            ) from error

    def _continues(self, manifest: Manifest | None) -> bool:
        """Whether the local file may go on from the manifest: nothing shipped is missing in it."""
        txid = self.txid
        if manifest is None:
            # Epochs are taken before a file is made, so the store has lost the manifest: this file
            # is what there is.
            return True
        if txid < manifest.txid:
            return False
        path = self.files.current()
        assert path is not None
        sums = self.files.read_clean(path, txid)
        if sums is not None and txid == manifest.txid:
            return f"{sums.checksum:016x}" == manifest.checksum
        return manifest.owner is not None and self.files.is_ours(manifest.owner.nonce)

    def _drop_dead(self, manifest: Manifest) -> None:
        """Remove the file of a deleted branch, unless it has commits that were never shipped."""
        if manifest.state != "deleted":
            return
        self._drop_provisional()
        path = self.files.current()
        if path is None:
            return
        if not self._local.has_file:
            self._local.switch(path)
        checksum, txid, _ = self._local.read(_checksum)
        if txid == 0 or self.files.is_noted(txid, checksum):
            self._local.switch(None)
            self.files.discard()
        else:
            _LOG.warning("%s is deleted; %s has commits that were never shipped", self._name, path)
        self.close()

    def _is_shipped(self, manifest: Manifest | None, txid: int, checksum: str) -> bool:
        if manifest is None:
            return False
        timeline = drive(
            read_timeline(*self._key, manifest), self._parts.outside, self._parts.options.patience
        )
        return any((ref.max, ref.checksum) == (txid, checksum) for ref in timeline.refs())

    def _held(self) -> Held | None:
        """Return the file that was restored to be read."""
        held = self.manifest
        if self._provisional is None or held is None:
            return None
        return Held(self._provisional, held.txid, held.checksum, held.epoch, self._sums)

    def _warm(self, path: Path) -> Held | None:
        """Return the local file, where it is what it was when it was closed in order."""
        txid = self.txid
        sums = self.files.read_clean(path, txid)
        return None if sums is None else Held(path, txid, f"{sums.checksum:016x}", 0, sums)

    def _advanced(
        self, held: Held | None, manifest: Manifest | None
    ) -> tuple[Path, ltx.PageChecksums | None] | None:
        """Make a file of what is held and the segments it lacks; None where that cannot be done."""
        if held is None or manifest is None:
            return None
        pushed = self.pushed.refs() if self.pushed is not None else {}
        segments = continuation(held, manifest, pushed)
        if not segments:
            return None
        path = self.files.provisional(keep=self._provisional)
        try:
            sums = advance(held, segments, self._segment, path)
        except Missing as missing:
            # Compacted away since: whoever restores it finds out whether it is lost.
            path.unlink()
            _LOG.info("%s is restored: %s is not there", self._name, missing.ref.key)
            return None
        except (Internal, Invalid) as error:
            path.unlink()
            _LOG.warning("%s is restored, because its file cannot follow: %s", self._name, error)
            return None
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._count("segments", held, manifest, sum(ref.bytes for ref in segments))
        return path, sums

    def _segment(self, ref: SegmentRef) -> bytes:
        data = self.pushed.data(ref) if self.pushed is not None else None
        return fetch(self._parts.store, ref) if data is None else data

    def _restored(self, manifest: Manifest) -> tuple[Manifest, tuple[Path, None]]:
        """Make a file of all that a manifest, or one that has taken its place, consists of."""
        parts = self._parts
        path = self.files.provisional(keep=self._provisional)
        while True:
            try:
                build(parts.store, manifest.chain(), path)
                break
            except Missing as missing:
                # Compacted away while it was read; or, if it is still named, lost.
                path.unlink()
                again = self.look()
                if again is None or again.names(missing.ref.key):
                    raise missing.as_error(parts.store) from missing
                manifest = again
            except BaseException:
                # Whoever tries again and again must not fill the disk.
                path.unlink(missing_ok=True)
                raise
        parts.metrics.add("branches_restored")
        return manifest, (path, None)

    def _read_from(self, path: Path, sums: ltx.PageChecksums | None, manifest: Manifest) -> None:
        """Let a file that was made to be read take the place of the one before it."""
        before = self._provisional
        self._local.switch(path, immutable=True)
        self._provisional, self._sums = path, sums
        if before is not None:
            before.unlink()
        self._reads(manifest)

    def _reads(self, manifest: Manifest) -> None:
        self.manifest, self.written = manifest, True
        if self.pushed is not None:
            self.pushed.drop(manifest.txid)

    def _count(self, how: str, held: Held | None, manifest: Manifest, size: int = 0) -> None:
        """Count that a file that is read was made to follow its branch."""
        if held is None:
            return
        metrics, chain = self._parts.metrics, manifest.chain()
        metrics.add("replicas_followed", how=how)
        metrics.add("replica_bytes_applied", size or sum(ref.bytes for ref in chain))
        lag_ms = self._parts.clock.now_ms() - chain[-1].at
        metrics.observe("replica_lag_seconds", max(0, lag_ms) / 1000)

    def _is_still(self, manifest: Manifest | None) -> bool:
        """Whether a manifest says the same of the content as the one that was restored from."""
        held = self.manifest
        return (
            held is not None
            and manifest is not None
            and (held.txid, held.checksum) == (manifest.txid, manifest.checksum)
        )

    def _drop_provisional(self) -> None:
        if self._provisional is not None:
            self._local.switch(None)
            self._provisional.unlink()
            self._provisional = self._sums = None
            self.written = None


def _nothing(_: apsw.Connection) -> None:
    return None


def _checksum(connection: apsw.Connection) -> str:
    size = connection.pragma("page_size")
    return f"{ltx.database_checksum(committed_image(connection), size):016x}"
