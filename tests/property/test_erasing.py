"""Whatever was done before: once an erasure is done, no byte of any file is of what was erased.

Searched for are the words of its text, also as the index keeps them, and its vectors, whole and as
signs; in every object (segments unpacked), every page of every file, free ones too, every log.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, given, settings

import palimp
from palimp import ltx
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.errors import Conflict, Invalid, NotFound
from palimp.node import Node, load_settings
from palimp.points import Point
from palimp.security.receipts import encode_receipt, verify_receipt

DIMENSIONS = 256
# No suffix that a stemmer knows.
_LETTERS = "bcdfgjklmpqrtvxz"
_TOPICS = (None, "home", "work")
_SESSIONS = ("s1", "s2")
_ACTIONS = (
    *("remember",) * 6, *("secret",) * 3, "many", "long", "turn", "checkpoint", "fork", "rewind", "forget",
    "recall", "sync", "maintain", "reopen", "past", "export",
)  # fmt: skip


class HashEmbedder:
    """A vector of its own for every text."""

    name, dimensions, local, egress = "hash", DIMENSIONS, True, "none"

    def embed(self, texts: Sequence[str], **_: object) -> Any:
        seeds = [np.random.default_rng(zlib.crc32(text.encode())) for text in texts]
        rows = [seed.standard_normal(self.dimensions) for seed in seeds]
        unit = [row / np.linalg.norm(row) for row in rows]
        return np.array(unit, np.float32).reshape(len(texts), self.dimensions)

    def of(self, name: str) -> None:
        return None


class Life:
    """A folder, what is done with it at random, and what is secret in it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.clock = ManualClock()
        self.names: list[str] = []
        self.branches = ["main"]
        # Of every secret: its memory (None: a turn), topic, session, and the words it is told by.
        self.secrets: list[dict[str, Any]] = []
        self.client = self._open()

    def _open(self) -> palimp.Client:
        given = {"past_cache_bytes": 1 << 20, "hot_cap": 2}
        node = Node(
            load_settings({"data_dir": str(self.folder), **given}, {}),
            clock=self.clock,
            embedder=HashEmbedder(),
        )
        return palimp.Client(Embedded(node))

    def close(self) -> None:
        self.client.close()

    @property
    def profile(self) -> Any:
        return self.client.profile("alice").branch(self.random.choice(self.branches))

    def act(self, action: str) -> None:
        self.clock.advance(self.random.choice((0.5, 3_600)))
        try:
            getattr(self, f"_{action}")()
        except (Conflict, NotFound, Invalid):
            # Not everything fits what there is.
            return

    def _word(self) -> str:
        return "".join(self.random.choices(_LETTERS, k=14))

    def _text(self) -> str:
        plain = " ".join(self.random.choices(("harbour", "tea", "Rome", "blue", "seven"), k=4))
        return f"{plain} {self.random.randrange(10**9)}"

    def _remember(self) -> None:
        self._written(self._text())

    def _written(self, text: str) -> Any:
        topic = self.random.choice(_TOPICS)
        session = self.random.choice((None, *_SESSIONS))
        return self.profile.remember(text, topic=topic, session=session, entities=["Rome"])

    def _secret(self, filler: str = "") -> None:
        words = [self._word() for _ in range(3)]
        topic, session = self.random.choice((None, self._word())), self.random.choice(_SESSIONS)
        text = f"{words[0]} the {words[1]} {filler}{words[2]}"
        given: dict[str, Any] = {"topic": topic} if topic else {}
        source = self._word()
        # One is named and stands in no text.
        words.append(self._word())
        known = [one.id for one in self.profile.list()][:1]
        given["relations"] = [{"to": identity, "type": "causal"} for identity in known]
        given["entities"] = [words[-1], "Rome"]
        done = self.profile.remember(text, session=session, source=source, **given)
        self.secrets.append(
            {"id": done.id, "topic": topic, "session": None, "source": source, "words": words}
        )

    def _long(self) -> None:
        self._secret(" ".join(self._text() for _ in range(self.random.choice((40, 200)))) + " ")

    def _many(self) -> None:
        """Write so much that pages are split, and their rows moved."""
        texts = [self._text() for _ in range(80)]
        self.profile.ingest([{"type": "event", "text": text} for text in texts])

    def _turn(self) -> None:
        words, session = [self._word() for _ in range(2)], self._word()
        self.profile.session(session).append("user", f"{words[0]} said {words[1]}")
        self.profile.ingest([{"type": "event", "text": f"heard of {words[1]}", "session": session}])
        self.secrets.append(
            {"id": None, "topic": None, "session": session, "source": None, "words": words}
        )

    def _checkpoint(self) -> None:
        name = f"c{len(self.names)}"
        self.profile.checkpoint(name)
        self.names.append(name)

    def _fork(self) -> None:
        name = f"f{len(self.branches)}"
        at = self._point() if self.random.random() < 0.5 else None
        self.profile.fork(name, at=at)
        if len(self.branches) < 4:
            self.branches.append(name)

    def _point(self) -> Point | None:
        points = list(self.profile.points())
        return Point.txid(self.random.choice(points).txid) if points else None

    def _rewind(self) -> None:
        point = self._point()
        if point is not None:
            self.profile.rewind(point)

    def _forget(self) -> None:
        found = list(self.profile.list())
        if found:
            self.profile.forget(self.random.choice(found).id)

    def _recall(self) -> None:
        self._remember()
        self.profile.recall("harbour", k=3)

    def _sync(self) -> None:
        self.profile.sync()

    def _maintain(self) -> None:
        self.client.maintain()

    def _reopen(self) -> None:
        self.client.close()
        self.client = self._open()

    def _past(self) -> None:
        point = self._point()
        if point is not None:
            list(self.profile.at(point).list())

    def _export(self) -> None:
        with tempfile.TemporaryDirectory() as elsewhere:
            self.profile.export(Path(elsewhere) / "copy.db")

    # -- what is searched for -----------------------------------------------------------------------

    def erase(self) -> bool:
        """Erase one of the secrets, one way or the other; False where there is none."""
        if not self.secrets:
            return False
        chosen = self.secrets.pop(self.random.randrange(len(self.secrets)))
        for branch in self.branches:
            # What is found there is embedded before.
            there = self.client.profile("alice").branch(branch)
            there.remember(self._text())
            there.recall("anything", k=1)
        taint = [*self._vectors(chosen), *(word[-9:].encode() for word in chosen["words"])]
        ways: list[dict[str, Any]] = [{}] if chosen["id"] else []
        ways += [{n: chosen[n]} for n in ("topic", "session", "source") if chosen[n]]
        way = self.random.choice(ways)
        ids = () if way else (chosen["id"],)
        grace = self.random.choice((0, 10 * 3_600))
        job = self.client.profile("alice").erase(*ids, grace=grace, **way)
        if grace:
            for _ in range(self.random.randrange(4)):
                self.act(self.random.choice(("fork", "rewind", "past", "remember", "checkpoint")))
            assert job.run().status == "waiting"
            self.clock.advance(10 * 3_600)
            job.run()
        assert job.status == "done", job.blocked_by
        verify_receipt(encode_receipt(job.receipt))
        self._search(taint)
        if self.random.random() < 0.5:
            for _ in range(self.random.randrange(4)):
                self.act(self.random.choice(("rewind", "past", "remember", "maintain", "recall")))
            self._search(taint)
        return True

    def _search(self, taint: list[bytes]) -> None:
        for path, data in pieces(self.folder):
            for one in taint:
                assert one not in data, f"{path} has {one!r:.40}"

    def _vectors(self, secret: dict[str, Any]) -> Iterator[bytes]:
        """Yield the vectors of a secret, as they are in the files of the branches."""
        for current in (self.folder / "hot").glob("*/*/current"):
            path = current.parent / current.read_text("utf-8") / "main.db"
            connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            try:
                found: Any = connection.execute(
                    """SELECT v.vector, c.signs FROM __palimp_memories m
                    JOIN __palimp_memories_codes c ON c.handle = m.handle
                    JOIN __palimp_memories_vectors v ON v.code = c.code
                    WHERE m.id = ? OR m.session = ?""",
                    (secret["id"], secret["session"]),
                ).fetchall()
            finally:
                connection.close()
            for vector, signs in found:
                yield bytes(vector)
                yield bytes(signs)


def pieces(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield every file, and of segments every page unpacked."""
    # What is parked meanwhile comes and goes.
    for parent, _, names in os.walk(folder):
        for path in (Path(parent) / name for name in names):
            try:
                data = path.read_bytes()
            except OSError:
                # The socket, too.
                continue
            if path.suffix == ".ltx":
                # The directory store puts a line of its own before an object.
                whole = data[data.index(b"LTX1") :]
                pages = ltx.trusted_pages(whole, ltx.Header.decode(whole))
                data = b"\n".join((data, *(page for _, page in pages)))
            yield path, data


@settings(max_examples=36, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    before=st.lists(st.sampled_from(_ACTIONS), min_size=4, max_size=30),
    between=st.lists(st.sampled_from(_ACTIONS), max_size=10),
)
def test_nothing_of_it_is_in_any_byte(seed: int, before: list[str], between: list[str]) -> None:
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    life = Life(folder / "memory", seed)
    try:
        life.act("secret")
        held = b"".join(data for _, data in pieces(folder))
        assert life.secrets[0]["words"][0][-9:].encode() in held, "the search finds nothing"
        for actions in (before, between):
            for action in actions:
                life.act(action)
            life.erase()
    finally:
        life.close()
        shutil.rmtree(folder)
