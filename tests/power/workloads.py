"""What is done to a folder before the power goes, and what has to be there afterwards.

A workload is a class with `run` and `check`. `run` tells `note` what it is about to do and what was
answered, in this order; `check` is handed what was noted before the power went, of all lives of the
folder, and asserts that the folder holds all that was answered and nothing half. `run` may be
called again on what `check` has seen. Everything comes from `rng`, so that a seed is enough.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import apsw

import palimp
from palimp.disk import sync_path
from palimp.errors import NotFound
from palimp.store.directory import DirectoryStore
from palimp.store.files import Files

# Of folders, the first time; the last is of the name of the store, which nobody writes again.
SYNCS_OF_AN_OPEN = 7

Note = Callable[[Any], None]
Noted = list[Any]


class Workload(Protocol):
    """Something that keeps promises in a folder."""

    def run(self, folder: Path, rng: random.Random, note: Note) -> None:
        """Work in the folder for a while."""
        ...

    def check(self, folder: Path, noted: Noted) -> None:
        """Assert that what was answered is there."""
        ...


class Killed(BaseException):
    """The process died here."""


@contextmanager
def dying(syncs: int) -> Iterator[None]:
    """A process that dies, unless it ends before, instead of a folder's sync after so many.

    Of its own: what its background still ships is shipped.
    """
    real, left, mine = os.fsync, syncs, threading.get_ident()

    def fsync(descriptor: Any) -> None:
        nonlocal left
        if threading.get_ident() == mine and stat.S_ISDIR(os.fstat(descriptor).st_mode):
            if not left:
                raise Killed
            left -= 1
        real(descriptor)

    os.fsync = fsync
    try:
        with suppress(Killed):
            yield
    finally:
        os.fsync = real


class _Mortal(Files):
    """Files of a process that may die before a folder's names are durable."""

    def __init__(self) -> None:
        self.dies = False

    def sync_folder(self, path: str) -> None:
        if self.dies:
            raise Killed
        super().sync_folder(path)


class Objects:
    """A directory store alone: creates, replaces, deletes and reads; processes that die."""

    keys = tuple(f"{folder}{name}" for folder in ("", "a/", "a/b/", "c/d/e/") for name in "xyz")

    def run(self, folder: Path, rng: random.Random, note: Note) -> None:
        files = _Mortal()
        store = DirectoryStore(folder / "objects", files=files)
        for number in range(40):
            key = rng.choice(self.keys)
            data = b"%d " % number * rng.choice((0, 1, 100, 2_000))
            files.dies = rng.random() < 0.1
            try:
                self._change(store, key, data, rng, note)
            except Killed:
                files.dies = False
                store = DirectoryStore(folder / "objects", files=files)
            files.dies = False
            if rng.random() < 0.3:
                # What was read stays true, whoever wrote it. That it is gone may not: a delete whose
                # process died leaves no mark, and whoever repeats it syncs again.
                found = store.get(key)
                if found is not None:
                    note(("done", key, found.data))

    @staticmethod
    def _change(
        store: DirectoryStore, key: str, data: bytes, rng: random.Random, note: Note
    ) -> None:
        held = store.get(key)
        if held is None:
            note(("begun", key, data))
            store.create(key, data)
            note(("done", key, data))
        elif rng.random() < 0.7:
            note(("begun", key, data))
            store.replace(key, data, held.version)
            note(("done", key, data))
        else:
            note(("begun", key, None))
            store.delete(key)
            note(("done", key, None))

    def check(self, folder: Path, noted: Noted) -> None:
        may_be: dict[str, set[bytes | None]] = {key: {None} for key in self.keys}
        for what, key, data in noted:
            may_be[key] = {data} if what == "done" else may_be[key] | {data}
        store = DirectoryStore(folder / "objects")
        found = {entry.key: entry.size for entry in store.list().entries}
        for key, values in may_be.items():
            stored = store.get(key)
            assert (stored and stored.data) in values, (key, stored, values)
            assert found.get(key) == (stored and len(stored.data)), key
        assert set(found) <= set(self.keys)


class Memories:
    """Memories of several profiles, one or all of them open, in a folder that is reopened.

    The store is in the folder, or in another one of the same disk. Some processes die opening it.
    """

    profiles = ("alice", "bob", "carol")

    def __init__(self, *, elsewhere: bool = False) -> None:
        self._elsewhere = elsewhere

    def run(self, folder: Path, rng: random.Random, note: Note) -> None:
        self._make_elsewhere(folder)
        for _ in range(rng.randint(1, 4)):
            syncs = rng.choice((SYNCS_OF_AN_OPEN - 1, rng.randrange(SYNCS_OF_AN_OPEN)))
            with dying(syncs):
                self._open(folder).close()
        for _ in range(rng.randint(1, 3)):
            with self._open(folder, hot_cap=rng.choice((1, 8))) as memory:
                for _ in range(rng.randint(1, 8)):
                    self._change(memory.profile(rng.choice(self.profiles)), rng, note)

    @staticmethod
    def _change(profile: Any, rng: random.Random, note: Note) -> None:
        name = profile.name
        word = f"w{rng.randrange(10**9)}"
        chance = rng.random()
        held = list(profile.list())
        if chance < 0.2 and held:
            gone = rng.choice(held)
            note(("forgetting", name, gone))
            profile.forget(gone)
            note(("forgotten", name, gone))
            return
        if chance < 0.5:
            # More than a sector of the disk, and than a page of the file.
            texts = [f"{word} {number} {'harbour ' * 80}" for number in range(rng.randint(2, 12))]
            note(("writing", name, texts))
            done = profile.ingest([{"type": "event", "text": text} for text in texts])
            ids = [one.id for one in done.results]
        else:
            texts = [word]
            note(("writing", name, texts))
            done = profile.remember(word, topic=f"t{rng.randrange(3)}")
            ids = [done.id]
        note(("written", name, (done.txid, ids, texts)))

    def _make_elsewhere(self, folder: Path) -> None:
        # The store makes its own folder, not those above it.
        parent = folder / "elsewhere"
        if self._elsewhere and not parent.exists():
            parent.mkdir()
            sync_path(folder)

    def _open(self, folder: Path, **options: Any) -> palimp.Client:
        if self._elsewhere:
            options["object_store"] = f"file://{folder.absolute()}/elsewhere/store"
        return palimp.open(folder / "memory", embed_provider="none", **options)

    def check(self, folder: Path, noted: Noted) -> None:
        self._make_elsewhere(folder)
        with self._open(folder) as memory:
            for name in self.profiles:
                self._check(memory.profile(name), [(what, v) for what, n, v in noted if n == name])
        for current in (folder / "memory").rglob("current"):
            # What it names counts, unless the name is all that is left; others are half made.
            path = current.parent / current.read_text("utf-8") / "main.db"
            if path.exists():
                connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
                assert connection.execute("PRAGMA integrity_check").get == "ok", path
                connection.close()

    @staticmethod
    def _check(profile: Any, noted: list[tuple[str, Any]]) -> None:
        begun = [set(texts) for what, texts in noted if what == "writing"]
        written = [value for what, value in noted if what == "written"]
        forgetting = {gone.id: gone.text for what, gone in noted if what == "forgetting"}
        forgotten = {gone.id for what, gone in noted if what == "forgotten"}
        for _, ids, texts in written:
            for one, text in zip(ids, texts, strict=True):
                if one not in forgetting:
                    assert profile.get(one).text == text
        listed = {one.id: one.text for one in profile.list()}
        assert not listed.keys() & forgotten
        # What was not answered happened as a whole, or not at all.
        for texts in begun:
            kept = texts - set(forgetting.values())
            assert kept & set(listed.values()) in (set(), kept), texts
        assert set(listed.values()) <= set().union(*begun)
        txids = [txid for txid, _, _ in written]
        assert txids == sorted(set(txids)), "a txid was given twice"


# What a branch holds, sorted.
State = tuple[str, ...]


class Change(NamedTuple):
    """What is asked of a branch, and what it holds afterwards; None: there is no such branch.

    `word` is what it is about: a text, the point of a rewind, the name of a checkpoint or a file.
    """

    kind: str
    branch: str
    after: State | None
    word: Any = ""
    request_id: str | None = None
    durable: bool = True


class History:
    """One profile with its branches and its history: what is done is durable or will be.

    Checked twice: the folder as it is, and what was durable, of the objects alone.
    """

    kinds = (
        *("write",) * 8,
        *("checkpoint", "rewind", "fork") * 3,
        *("maintain", "cool", "export") * 2,
        *("sync", "drop", "delete", "look back"),
    )

    def run(self, folder: Path, rng: random.Random, note: Note) -> None:
        for _ in range(rng.randint(1, 3)):
            kept = rng.choice((0, 86_400))
            with self._open(
                folder, pitr_retention_secs=kept, pitr_snapshot_retention_secs=kept
            ) as memory:
                process = _Process(folder, memory, rng, note)
                for _ in range(rng.randint(2, 7)):
                    process.do(rng.choice(self.kinds))

    @staticmethod
    def _open(folder: Path, **options: Any) -> palimp.Client:
        # Nothing is shipped by the clock, so that a seed does the same again.
        return palimp.open(folder / "memory", embed_provider="none", ship_interval=3_600, **options)

    def check(self, folder: Path, noted: Noted) -> None:
        alone = folder.with_name(f"{folder.name}-objects")
        shutil.copytree(folder, alone, ignore=shutil.ignore_patterns("hot", "cache"))
        try:
            with self._open(folder) as memory:
                _Promises(noted).check(memory)
                self._check_files(folder, memory, noted)
            with self._open(alone) as memory:
                _Promises(noted, only_durable=True).check(memory)
        finally:
            shutil.rmtree(alone)

    @staticmethod
    def _check_files(folder: Path, memory: palimp.Client, noted: Noted) -> None:
        for what, change, _ in noted:
            if change.kind == "export":
                path = folder / change.word
                assert what == "begun" or path.exists(), change
                if path.exists():
                    copy = memory.profile(path.stem)
                    if not _held(copy):
                        copy.import_(path)
                    assert _held(copy) == change.after, change


class _Process:
    """One process that works on a history."""

    def __init__(self, folder: Path, memory: palimp.Client, rng: random.Random, note: Note) -> None:
        self._folder, self._memory, self._rng, self._note = folder, memory, rng, note
        self._profile = memory.profile("alice")
        self._free: list[str] = []

    def do(self, kind: str) -> None:
        """Do one thing to a branch, if it can be done to it."""
        rng = self._rng
        main, *forks = _branches(self._profile)
        branch = self._profile.branch(rng.choice((main, *forks, *forks)))
        held = _held(branch)
        if kind == "write" or not held:
            self._write_text(branch, held)
        elif kind == "sync":
            self._change(Change("sync", branch.branch_name, held), branch.sync)
        elif kind == "checkpoint":
            name = self._word("c")
            change = Change("checkpoint", branch.branch_name, held, name)
            self._change(change, lambda: branch.checkpoint(name))
        elif kind == "fork":
            self._fork(branch, held)
        elif kind == "delete" and branch.branch_name != "main":
            change = Change("delete", branch.branch_name, None)
            self._change(change, lambda: self._profile.delete_branch(branch.branch_name))
            self._free.append(branch.branch_name)
        elif kind == "maintain":
            self._memory.maintain()
        elif kind == "cool":
            # What a full disk makes of branches that nobody uses: only the store has them.
            engine = self._memory._transport.node.context.engine
            engine._residents.shrink_to(0, engine._look_after)
        elif kind == "export":
            name = self._word("x")
            change = Change("export", branch.branch_name, held, f"{name}.db", durable=False)
            self._change(change, lambda: branch.export(self._folder / change.word))
        else:
            self._with_a_checkpoint(kind, branch, held)

    def _with_a_checkpoint(self, kind: str, branch: palimp.Profile, held: State) -> None:
        names = [one.name for one in branch.checkpoints()] if held else []
        if not names:
            return
        name = self._rng.choice(names)
        if kind == "drop":
            change = Change("drop", branch.branch_name, held, name, durable=False)
            self._change(change, lambda: branch.drop_checkpoint(name))
            return
        earlier = _held(branch.at(name))
        if kind == "rewind":
            done = self._write(branch, earlier, "rewind", palimp.Point.checkpoint(name))
            if self._rng.random() < 0.3:
                self._write(branch, held, "rewind", done.undo)

    def _write_text(self, branch: palimp.Profile, held: State) -> None:
        text = self._word("w") + self._rng.choice(("", "", " harbour" * 400))
        self._write(branch, tuple(sorted((*held, text))), "write", text)

    def _write(self, branch: palimp.Profile, after: State, kind: str, word: Any) -> Any:
        """Ask with a request id, now and then twice."""
        rng = self._rng
        # A rewind is durable whatever is asked for.
        durable = rng.random() < 0.4
        change = Change(
            kind, branch.branch_name, after, word, self._word("r"), durable or kind == "rewind"
        )
        durability = "durable" if durable else "local"
        answer = self._change(change, lambda: _ask(branch, change, durability))
        if rng.random() < 0.2:
            assert _ask(branch, change, durability) == answer
        return answer

    def _fork(self, branch: palimp.Profile, held: State) -> None:
        name = self._rng.choice([*self._free, self._word("f")])
        if name in self._free:
            self._free.remove(name)
        self._change(Change("fork", name, held), lambda: branch.fork(name))
        # It begins with what its parent holds, so that was made durable first.
        self._change(Change("sync", branch.branch_name, held), lambda: None)
        # Read first, it has a local file before this process may write it.
        self._write_text(self._profile.branch(name), _held(self._profile.branch(name)))

    def _change(self, change: Change, call: Callable[[], Any]) -> Any:
        self._note(("begun", change, None))
        answer = call()
        self._note(("done", change, answer))
        return answer

    def _word(self, letter: str) -> str:
        return f"{letter}{self._rng.randrange(10**9)}"


class _Promises:
    """What has to be there: of all that was answered, or only of what was answered as durable."""

    def __init__(self, noted: Noted, *, only_durable: bool = False) -> None:
        # What each branch may hold; None: there may be no such branch.
        self._states: dict[str, set[State | None]] = {"main": {()}}
        self._points: dict[tuple[str, str], State] = {}
        self._answers: list[tuple[Change, Any]] = []
        # They become durable with the next durable change of their branch.
        self._waiting: list[tuple[Change, Any]] = []
        self._is_written = False
        for what, change, answer in noted:
            if what == "begun":
                self._begin(change)
            else:
                self._is_written = True
                if change.request_id:
                    self._waiting.append((change, answer))
                if change.durable or not only_durable:
                    self._finish(change)
        what, change, _ = noted[-1] if noted else ("", None, None)
        # With a part of what was written gone it would have another result.
        is_open = what == "begun" and not only_durable and change.request_id
        self._open: Change | None = change if is_open else None

    def _begin(self, change: Change) -> None:
        self._states.setdefault(change.branch, {None}).add(change.after)
        if change.kind == "drop":
            self._points.pop((change.branch, change.word), None)
        elif change.kind == "delete":
            self._points = {
                key: one for key, one in self._points.items() if key[0] != change.branch
            }
            for kept in (self._answers, self._waiting):
                kept[:] = [one for one in kept if one[0].branch != change.branch]

    def _finish(self, change: Change) -> None:
        self._states[change.branch] = {change.after}
        if change.kind == "checkpoint" and change.after is not None:
            self._points[change.branch, change.word] = change.after
        self._answers += [one for one in self._waiting if one[0].branch == change.branch]
        self._waiting = [one for one in self._waiting if one[0].branch != change.branch]

    def check(self, memory: palimp.Client) -> None:
        """Assert all of it."""
        profile = memory.profile("alice")
        found: dict[str, State] = {}
        for name, states in self._states.items():
            with suppress(NotFound):
                found[name] = _held(profile.branch(name))
            assert found.get(name) in states, (name, found.get(name), states)
        assert set(_branches(profile)) == found.keys()
        for (name, point), state in self._points.items():
            assert _held(profile.branch(name).at(point)) == state, (name, point)
        for change, answer in self._answers:
            assert _ask(profile.branch(change.branch), change) == answer, change
        for name, state in found.items():
            assert _held(profile.branch(name)) == state, f"{name}: something was done twice"
        if self._open is not None:
            branch = profile.branch(self._open.branch)
            _ask(branch, self._open)
            assert _held(branch) == self._open.after, (self._open, _held(branch))
        if self._is_written:
            assert not profile.verify().findings


def _ask(branch: palimp.Profile, change: Change, durability: Any = "local") -> Any:
    options: dict[str, Any] = {"durability": durability, "request_id": change.request_id}
    if change.kind == "rewind":
        return branch.rewind(change.word, **options)
    done = branch.remember(change.word, **options)
    return done.id, done.txid


def _held(branch: palimp.Profile | palimp.PastProfile) -> State:
    return tuple(sorted(one.text for one in branch.list()))


def _branches(profile: palimp.Profile) -> list[str]:
    try:
        return [one.name for one in profile.branches()]
    except NotFound:
        # Nothing was written yet.
        return ["main"]
