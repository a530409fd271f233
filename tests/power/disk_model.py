"""What a disk may hold after the power went: a log of file operations, played up to a point.

What was synced is there: a file's content after an fsync of the file, the names in a folder after
an fsync of the folder. Of the rest anything may be there:

- names: of each folder, the changes since its last fsync up to some moment, in their order
- content: each write is kept, lost, or torn at sectors of 512 bytes; a size may be an earlier one,
  and what lies between is zeros

That is more than most file systems lose (ext4 keeps the name of a file that was synced), and what
POSIX lets them lose. A rename from one folder to another is never lost half.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

SECTOR = 512
ROOT = 0


@dataclass(frozen=True, slots=True)
class Made:
    """A name now stands for a node: created, linked, or the target of a rename."""

    folder: int
    name: str
    node: int
    is_folder: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """A name is gone; `only_after` is the name it had become, in another folder."""

    folder: int
    name: str
    only_after: Made | None = None


@dataclass(frozen=True, slots=True)
class Renamed:
    """A name of a folder became another one of the same folder, whatever that was before."""

    folder: int
    name: str
    to: str
    node: int


@dataclass(frozen=True, slots=True)
class Wrote:
    """Bytes of a file were written."""

    node: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Sized:
    """A file was cut or extended."""

    node: int
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    """A file's content or a folder's names were forced to the disk, by this line of code."""

    node: int
    site: str


@dataclass(frozen=True, slots=True)
class Noted:
    """The workload said something: what it is about to do, what was answered."""

    what: Any


# Every folder (None) and file by its path, folders before what is in them.
Image = dict[str, bytes | None]
NameEvent = Made | Removed | Renamed
Event = NameEvent | Wrote | Sized | Synced | Noted


class Mood(NamedTuple):
    """How much of what was not synced survives."""

    name: str
    kept: float
    torn: float


LOST, KEPT = Mood("lost", 0.0, 0.0), Mood("kept", 1.0, 0.0)
MOODS = (LOST, KEPT, Mood("mixed", 0.5, 0.5), Mood("mostly kept", 0.9, 0.1))


class Disk:
    """The state of a folder as far as it is durable, and what is not durable yet."""

    def __init__(self, base: Iterable[Event] = ()) -> None:
        self._names: dict[int, dict[str, int]] = {ROOT: {}}
        self._pending_names: dict[int, list[NameEvent]] = {ROOT: []}
        self._data: dict[int, bytes] = {}
        self._pending_data: dict[int, list[Wrote | Sized]] = {}
        for event in base:
            self.apply(event)
        for node in [*self._names, *self._data]:
            self._sync(node)

    def apply(self, event: Event) -> None:
        """Take the next event of the log."""
        if isinstance(event, Wrote | Sized):
            self._pending_data[event.node].append(event)
        elif isinstance(event, Synced):
            self._sync(event.node)
        elif isinstance(event, Made | Removed | Renamed):
            if isinstance(event, Made):
                self._know(event)
            self._pending_names[event.folder].append(event)

    def image(self, mood: Mood, rng: random.Random) -> Image:
        """Return the folder as it may be found after a crash now."""
        left = Disk()
        left._names = {node: dict(names) for node, names in self._names.items()}
        left._pending_names = {node: list(one) for node, one in self._pending_names.items()}
        for folder in self._pending_names:
            # What a rename took with it may be there already.
            pending = len(left._pending_names[folder])
            left._keep_names(folder, _part(pending, mood, rng))
        return dict(self._walk(left._names, ROOT, "", mood, rng))

    def _know(self, event: Made) -> None:
        if event.is_folder:
            self._names.setdefault(event.node, {})
            self._pending_names.setdefault(event.node, [])
        else:
            self._data.setdefault(event.node, b"")
            self._pending_data.setdefault(event.node, [])

    def _sync(self, node: int) -> None:
        if node in self._names:
            self._keep_names(node, len(self._pending_names[node]))
        else:
            pending = self._pending_data[node]
            self._data[node] = _content(self._data[node], pending, KEPT, random.Random(0))
            pending.clear()

    def _keep_names(self, folder: int, count: int) -> None:
        pending, names = self._pending_names[folder], self._names[folder]
        kept, self._pending_names[folder] = pending[:count], pending[count:]
        for event in kept:
            if isinstance(event, Made):
                names[event.name] = event.node
            elif isinstance(event, Renamed):
                names.pop(event.name, None)
                names[event.to] = event.node
            else:
                names.pop(event.name, None)
                if event.only_after is not None:
                    self._keep_before(event.only_after)

    def _keep_before(self, made: Made) -> None:
        pending = self._pending_names[made.folder]
        for count, event in enumerate(pending, 1):
            if event is made:
                self._keep_names(made.folder, count)
                return

    def _walk(
        self,
        names: dict[int, dict[str, int]],
        folder: int,
        prefix: str,
        mood: Mood,
        rng: random.Random,
    ) -> Iterator[tuple[str, bytes | None]]:
        for name, node in sorted(names[folder].items()):
            if node in self._names:
                yield prefix + name, None
                yield from self._walk(names, node, f"{prefix}{name}/", mood, rng)
            else:
                content = _content(self._data[node], self._pending_data[node], mood, rng)
                yield prefix + name, content


def write_image(image: Image, target: Path) -> None:
    """Make a folder of an image."""
    target.mkdir()
    for name, content in image.items():
        if content is None:
            (target / name).mkdir(mode=0o700)
        else:
            (target / name).write_bytes(content)


def _part(count: int, mood: Mood, rng: random.Random) -> int:
    """Return how many of so many changes in order survived."""
    if mood.kept in (0.0, 1.0):
        return round(count * mood.kept)
    return count if rng.random() < mood.kept / 2 else rng.randrange(count + 1)


def _content(durable: bytes, pending: list[Wrote | Sized], mood: Mood, rng: random.Random) -> bytes:
    """Return what a file may hold: the durable content and some of what was written since."""
    data, size = bytearray(durable), len(durable)
    sized = _part(len(pending), mood, rng)
    for number, event in enumerate(pending):
        if isinstance(event, Sized):
            if number < sized:
                del data[event.size :]
                size = event.size
            elif event.size < size:
                # What was written after a cut lies in other sectors than what was cut off.
                break
            continue
        if number < sized:
            size = max(size, event.offset + len(event.data))
        _write(data, event, mood, rng)
    del data[size:]
    return bytes(data) + bytes(size - len(data))


def _write(data: bytearray, event: Wrote, mood: Mood, rng: random.Random) -> None:
    is_torn = rng.random() < mood.torn
    is_kept = rng.random() < mood.kept
    start, end = event.offset, event.offset + len(event.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        if rng.random() < 0.5 if is_torn else is_kept:
            data.extend(bytes(max(0, stop - len(data))))
            data[start:stop] = event.data[start - event.offset : stop - event.offset]
        start = stop
