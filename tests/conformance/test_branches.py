"""History through every client: the same points, branches and errors, whichever way they are asked for."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
from msgspec.structs import fields

import palimp
from palimp.api import OPERATIONS, Ingest, MemoryInput, Target
from palimp.api.limits import PAGE_MAX
from palimp.clock import ManualClock
from palimp.points import Point


def texts(do: Any, profile: Any) -> list[str]:
    return sorted(memory.text for memory in do.all(profile.list()))


# Points


def test_a_checkpoint_can_be_read_while_writing_goes_on(do: Any, alice: Any) -> None:
    do(alice.remember("one"))
    before = do(alice.checkpoint("before"))
    do(alice.remember("two"))
    assert before == Point.checkpoint("before")
    assert texts(do, alice.at(before)) == texts(do, alice.at("before")) == ["one"]
    assert texts(do, alice) == ["one", "two"]


def test_every_read_has_a_past(do: Any, alice: Any) -> None:
    old = do(alice.remember("aisle", topic="seat", session="s"))
    do(alice.session("s").append("user", "an aisle seat please"))
    before = do(alice.checkpoint("before"))
    new = do(alice.supersede(old, "window"))
    do(alice.session("s").append("user", "rather a window seat"))
    do(alice.session("t").append("user", "hello"))
    past = alice.at(before)
    assert do(past.get(old)).superseded_by is None
    assert do(alice.get(old)).superseded_by == new.id
    with pytest.raises(palimp.NotFound):
        do(past.get(new))
    assert texts(do, past) == ["aisle"]
    assert [memory.text for memory in do(past.history(topic="seat"))] == ["aisle"]
    assert [hit.text for hit in do(past.recall("aisle window"))] == ["aisle"]
    assert [turn.seq for turn in do(past.session("s").window())] == [1]
    assert [turn.seq for turn in do(past.session("s").search("seat"))] == [1]
    assert [session.id for session in do.all(past.sessions())] == ["s"]
    assert len(do(alice.session("s").search("seat"))) == 2


def test_the_past_has_no_way_to_write(do: Any, client: Any, alice: Any) -> None:
    do(alice.remember("one"))
    past = alice.at(do(alice.checkpoint("here")))
    offered = {name for name in dir(past) if not name.startswith("_")}
    values = {"branch_name", "client", "name", "namespace", "point", "target"}
    reads = {"get", "history", "list", "recall", "session", "sessions"}
    assert offered >= values | reads
    writes = {"branch", "delete_branch", "drop_checkpoint", "fork", "forget", "import_", "ingest"}
    writes |= {"checkpoint", "remember", "rewind", "supersede", "sync"}
    assert writes <= set(dir(alice))
    assert offered.isdisjoint(writes)
    session = {name for name in dir(past.session("s")) if not name.startswith("_")}
    assert session == {"context", "name", "profile", "search", "window"}
    # Whoever builds the request by hand is told the two ways that exist.
    request = Ingest(memories=(MemoryInput(text="two"),))
    with pytest.raises(palimp.Invalid, match="fork a branch from that point, or rewind"):
        do(client.call("memories.ingest", past.target, request))
    assert texts(do, alice) == ["one"]


def test_no_write_takes_a_point(client: Any, do: Any) -> None:
    target = Target("default", "alice", at="1")
    for row in OPERATIONS.values():
        if row.writes and not row.past and "{" in row.path:
            with pytest.raises(palimp.Invalid, match="would write to the past"):
                do(client.call(row.name, target, any_request(row.request)))


def any_request(cls: type[msgspec.Struct]) -> Any:
    """Return a request with something in every field that has to be given."""
    return cls(**{one.name: something(one.type) for one in fields(cls) if one.required})


def something(kind: Any) -> Any:
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if isinstance(kind, UnionType):
        return None if type(None) in get_args(kind) else something(get_args(kind)[0])
    kind = getattr(kind, "__origin__", kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return any_request(kind)
    return "x" if kind is str else kind()


def test_the_past_is_a_value(alice: Any) -> None:
    past = alice.at("before")
    assert past == alice.at(Point.checkpoint("before"))
    assert len({past, alice.at("before"), alice, alice.at("after")}) == 3
    assert repr(past).endswith(f"PastProfile {alice} at before>")
    trial = alice.branch("trial").at(Point.txid(41))
    assert repr(trial).endswith(f"PastProfile {alice}@trial at 41>")


def test_points_are_listed_newest_first_and_can_be_read(do: Any, alice: Any) -> None:
    for n in range(3):
        do(alice.remember(f"item {n}"))
        do(alice.checkpoint(f"c{n}"))
    found = do.all(alice.points())
    assert [point.txid for point in found] == sorted({p.txid for p in found}, reverse=True)
    named = do(alice.checkpoints())
    assert [one.name for one in named] == ["c0", "c1", "c2"]
    assert {one.txid for one in named} <= {point.txid for point in found}
    assert [len(texts(do, alice.at(one.point))) for one in named] == [1, 2, 3]
    assert [len(texts(do, alice.at(Point.txid(one.txid)))) for one in named] == [1, 2, 3]
    newest = found[0]
    assert texts(do, alice.at(newest.point)) == texts(do, alice)
    times = [point.at for point in found]
    assert times == sorted(times, reverse=True)


def test_points_come_in_pages(do: Any, client: Any, alice: Any) -> None:
    for n in range(5):
        do(alice.remember(f"item {n}", durability="durable"))
    every = [point.txid for point in do.all(alice.points())]
    assert len(every) >= 5
    request = OPERATIONS["points.list"].request
    paged, cursor = [], None
    while True:
        page = do(client.call("points.list", alice.target, request(limit=2, cursor=cursor)))
        assert 1 <= len(page.points) <= 2
        paged += [point.txid for point in page.points]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert paged == every
    for limit in (0, PAGE_MAX + 1):
        with pytest.raises(palimp.Invalid, match="limit"):
            do(client.call("points.list", alice.target, request(limit=limit)))
    with pytest.raises(palimp.Invalid, match="did not come from an earlier page"):
        do(client.call("points.list", alice.target, request(cursor="x")))


def test_a_time_means_the_last_point_before_it(timed: palimp.Client, clock: ManualClock) -> None:
    alice = timed.profile("alice")
    start = clock.now_ms()
    for n in range(3):
        clock.advance(3600)
        alice.remember(f"item {n}")
        alice.checkpoint(f"c{n}")

    def at(hours: float) -> list[str]:
        when = datetime.fromtimestamp(start / 1000, UTC) + timedelta(hours=hours)
        return sorted(memory.text for memory in alice.at(when).list())

    assert at(1.5) == ["item 0"]
    assert at(2.5) == ["item 0", "item 1"]
    assert at(99) == ["item 0", "item 1", "item 2"]
    with pytest.raises(palimp.Invalid):
        at(0.5)


def test_a_checkpoint_may_be_named_for_what_comes_next(do: Any, alice: Any) -> None:
    do(alice.remember("Lives in Lyon"))
    named = do(alice.checkpoint("mine"))
    made = [do(alice.checkpoint(before="clean_up")) for _ in range(21)]
    assert re.fullmatch(r"pre_clean_up_[0-9a-f]{8}", made[0].value)
    held = [one.name for one in do(alice.checkpoints())]
    # Of one txid all of them: the first that was made has gone.
    assert held == [named.value, *(one.value for one in made[1:])]
    assert texts(do, alice.at(made[-1])) == ["Lives in Lyon"]


@pytest.mark.parametrize("given", [{}, {"name": "here", "before": "clean_up"}])
def test_a_checkpoint_has_one_name(do: Any, alice: Any, given: Any) -> None:
    do(alice.remember("Lives in Lyon"))
    with pytest.raises(palimp.Invalid, match="`before`"):
        do(alice.checkpoint(**given))
    assert list(do(alice.checkpoints())) == []


@pytest.mark.parametrize("word", ["", "Clean", "a-b", "_a", "a__b", "a" * 41, "säubern"])
def test_what_a_checkpoint_is_made_before_is_a_word(do: Any, alice: Any, word: str) -> None:
    do(alice.remember("Lives in Lyon"))
    with pytest.raises(palimp.Invalid, match="1 to 40 of a-z"):
        do(alice.checkpoint(before=word))
    with pytest.raises(palimp.Invalid):
        do(alice.checkpoint(before=7))
    assert list(do(alice.checkpoints())) == []


def test_a_dropped_checkpoint_is_unknown_and_its_name_free(do: Any, alice: Any) -> None:
    do(alice.remember("one"))
    do(alice.checkpoint("here"))
    do(alice.drop_checkpoint("here"))
    assert list(do(alice.checkpoints())) == []
    with pytest.raises(palimp.NotFound, match="here"):
        do.all(alice.at("here").list())
    do(alice.remember("two"))
    do(alice.checkpoint("here"))
    assert texts(do, alice.at("here")) == ["one", "two"]


# Rewind


def test_a_rewind_can_be_undone(do: Any, alice: Any) -> None:
    do(alice.remember("one", topic="t"))
    before = do(alice.checkpoint("before"))
    do(alice.remember("two", topic="t"))
    do(alice.remember("three"))
    done = do(alice.rewind(before))
    assert texts(do, alice) == ["one"]
    assert done.to_txid < done.from_txid < done.txid
    assert [one.name for one in do(alice.checkpoints())] == ["before"]
    again = do(alice.rewind(done.undo))
    assert sorted(m.text for m in do.all(alice.list(include_superseded=True))) == [
        "one",
        "three",
        "two",
    ]
    assert again.to_txid == done.from_txid
    # What a rewind left behind stays in the history of the branch too.
    assert texts(do, alice.at(again.undo)) == ["one"]


def test_writing_goes_on_after_a_rewind(do: Any, alice: Any) -> None:
    do(alice.remember("one"))
    before = do(alice.checkpoint("before"))
    do(alice.remember("two"))
    done = do(alice.rewind(before))
    written = do(alice.remember("three"))
    assert written.txid > done.txid
    assert texts(do, alice) == ["one", "three"]
    assert [hit.text for hit in do(alice.recall("two three"))] == ["three"]


# Branches


def test_branches_do_not_see_each_other(do: Any, client: Any, alice: Any) -> None:
    do(alice.remember("shared"))
    trial = do(alice.fork("trial"))
    assert trial == alice.branch("trial") == client.profile("alice@trial")
    do(trial.remember("of trial"))
    do(alice.remember("of main"))
    assert texts(do, trial) == ["of trial", "shared"]
    assert texts(do, alice) == ["of main", "shared"]
    assert [hit.text for hit in do(trial.recall("of"))] == ["of trial"]


def test_a_fork_of_the_past_and_of_a_branch(do: Any, alice: Any) -> None:
    do(alice.remember("one"))
    do(alice.checkpoint("early"))
    do(alice.remember("two"))
    earlier = do(alice.fork("earlier", at="early"))
    assert texts(do, earlier) == ["one"]
    assert list(do(earlier.checkpoints())) == []
    do(earlier.remember("three"))
    deeper = do(earlier.fork("deeper"))
    assert texts(do, deeper) == ["one", "three"]
    rows = {row.name: row for row in do(alice.branches())}
    assert set(rows) == {"main", "earlier", "deeper"}
    assert rows["main"].parent is None
    assert rows["main"].checkpoints == 1
    assert rows["earlier"].parent == "main"
    assert rows["earlier"].parent_txid == do(alice.checkpoints())[0].txid
    assert rows["deeper"].parent == "earlier"
    assert not any(row.recovered for row in rows.values())
    assert len({row.branch_id for row in rows.values()}) == 3


def test_a_deleted_branch_is_gone_and_its_name_free(do: Any, alice: Any) -> None:
    do(alice.remember("one"))
    trial = do(alice.fork("trial"))
    do(trial.remember("of trial"))
    child = do(trial.fork("child"))
    do(alice.delete_branch("trial"))
    assert {row.name for row in do(alice.branches())} == {"main", "child"}
    for use in (lambda: trial.remember("late"), lambda: trial.recall("x"), trial.checkpoints):
        with pytest.raises(palimp.NotFound, match="trial") as caught:
            do(use())
        assert caught.value.code == "branch_not_found"
    assert texts(do, child) == ["of trial", "one"]
    again = do(alice.fork("trial"))
    assert texts(do, again) == ["one"]


def test_a_burner_says_when_it_goes(timed: palimp.Client, clock: ManualClock) -> None:
    alice = timed.profile("alice")
    alice.remember("one")
    alice.fork("probe", ttl=timedelta(minutes=5))
    alice.fork("kept")
    rows = {row.name: row for row in alice.branches()}
    assert rows["probe"].ttl_at == clock.now_ms() + 300_000
    assert rows["kept"].ttl_at is rows["main"].ttl_at is None


# Durability and request ids


def test_a_durable_write_is_a_point_at_once(do: Any, alice: Any) -> None:
    written = do(alice.remember("one", durability="durable"))
    assert do.all(alice.points())[0].txid == written.txid
    appended = do(alice.session("s").append("user", "x", durability="durable"))
    assert do.all(alice.points())[0].txid == appended.txid


def test_sync_makes_a_point_of_what_is_there(do: Any, alice: Any) -> None:
    do(alice.remember("one"))
    reached = do(alice.sync())
    do(alice.remember("two"))
    assert texts(do, alice.at(reached)) == ["one"]


WRITES: dict[str, Callable[..., Any]] = {
    "remember": lambda p, first, **how: p.remember("new", topic="t", **how),
    "ingest": lambda p, first, **how: p.ingest([{"text": "a"}, {"text": "b"}], **how),
    "supersede": lambda p, first, **how: p.supersede(first, "newer", **how),
    "forget": lambda p, first, **how: p.forget(first, **how),
    "append": lambda p, first, **how: p.session("s").append("user", "hi", **how),
    "extend": lambda p, first, **how: p.session("s").extend(
        [{"role": "user", "content": 1}], **how
    ),
    "end": lambda p, first, **how: p.session("s").end(turns=True, **how),
    "rewind": lambda p, first, **how: p.rewind("start", **how),
    "checkpoint": lambda p, first, **how: p.checkpoint("now", **how),
}


@pytest.fixture
def first(do: Any, alice: Any) -> Any:
    """A memory; beside it a session with a turn, a checkpoint, and something after it."""
    memory = do(alice.remember("first"))
    do(alice.session("s").append("user", "before"))
    do(alice.checkpoint("start"))
    do(alice.remember("after the checkpoint"))
    return memory


@pytest.mark.parametrize("case", WRITES)
def test_a_repeat_with_the_same_request_id_gets_the_first_answer(
    do: Any, alice: Any, first: Any, case: str
) -> None:
    answer = do(WRITES[case](alice, first, request_id="r-1"))
    # A checkpoint's name stands for one txid, also in a repeat.
    if case != "checkpoint":
        do(alice.remember("in between"))
    there = texts(do, alice)
    assert do(WRITES[case](alice, first, request_id="r-1")) == answer
    assert texts(do, alice) == there


def test_a_repeated_rewind_to_the_present_does_not_undo_what_came_after(
    do: Any, alice: Any
) -> None:
    do(alice.remember("one"))
    here = do(alice.checkpoint("here"))
    first = do(alice.rewind(here, request_id="r-1"))
    do(alice.remember("two"))
    assert do(alice.rewind(here, request_id="r-1")) == first
    assert texts(do, alice) == ["one", "two"]


@pytest.mark.parametrize("case", WRITES)
def test_every_write_can_be_durable(do: Any, alice: Any, first: Any, case: str) -> None:
    do(WRITES[case](alice, first, durability="durable"))
    newest = do.all(alice.points())[0]
    reached = do(alice.sync())
    assert reached.value == newest.txid


def test_a_request_id_stands_for_one_request(do: Any, alice: Any) -> None:
    do(alice.remember("one", request_id="r-1"))
    with pytest.raises(palimp.Conflict, match="r-1"):
        do(alice.remember("two", request_id="r-1"))
    assert texts(do, alice) == ["one"]


# Files


def test_an_export_comes_back_as_a_new_profile(
    do: Any, client: Any, alice: Any, tmp_path: Path
) -> None:
    old = do(alice.remember("aisle", topic="seat"))
    do(alice.session("s").append("user", "hello"))
    do(alice.checkpoint("early"))
    do(alice.supersede(old, "window"))
    file, past = tmp_path / "alice.db", tmp_path / "early.db"
    assert do(alice.export(file)) > do(alice.export(past, at="early"))
    with sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True) as plain:
        assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    plain.close()
    copy = client.profile("copy", namespace="other")
    do(copy.import_(file))
    assert texts(do, copy) == ["window"]
    assert do(copy.history(topic="seat"))[0].id == old.id
    assert [turn.content for turn in do(copy.session("s").window())] == ["hello"]
    early = client.profile("early")
    do(early.import_(past))
    assert texts(do, early) == ["aisle"]
    do(early.remember("goes on"))
    assert texts(do, early) == ["aisle", "goes on"]


def test_an_export_overwrites_only_when_told(do: Any, alice: Any, tmp_path: Path) -> None:
    do(alice.remember("one"))
    file = tmp_path / "alice.db"
    file.write_bytes(b"mine")
    with pytest.raises(palimp.Conflict, match="overwrite=True") as caught:
        do(alice.export(file))
    assert caught.value.code == "already_exists"
    assert file.read_bytes() == b"mine"
    do(alice.export(file, overwrite=True))
    assert file.read_bytes().startswith(b"SQLite format 3\0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alice.db", "memory"]
    # SQLite would replay this journal into the new file.
    (tmp_path / "alice.db-wal").write_bytes(b"stale")
    with pytest.raises(palimp.Conflict, match=r"alice\.db-wal exists"):
        do(alice.export(file, overwrite=True))
    with pytest.raises(palimp.NotFound, match="no folder"):
        do(alice.export(tmp_path / "nowhere" / "alice.db"))


def test_an_import_refuses_what_it_cannot_be(
    do: Any, client: Any, alice: Any, tmp_path: Path
) -> None:
    do(alice.remember("one"))
    file = tmp_path / "alice.db"
    do(alice.export(file))
    with pytest.raises(palimp.Conflict) as caught:
        do(alice.import_(file))
    assert caught.value.code == "already_exists"
    copy = client.profile("copy")
    with pytest.raises(palimp.NotFound, match="no file"):
        do(copy.import_(tmp_path / "nothing.db"))
    (tmp_path / "text.db").write_text("not a database")
    with pytest.raises(palimp.Invalid):
        do(copy.import_(tmp_path / "text.db"))
    with pytest.raises(palimp.Invalid, match="cannot be read"):
        do(copy.import_(tmp_path))
    # What was refused left nothing in the way.
    do(copy.import_(file))
    assert texts(do, copy) == ["one"]


# The whole store


def test_verify_counts_what_it_read(do: Any, client: Any, alice: Any) -> None:
    bob = client.profile("bob", namespace="other")
    for profile in (alice, bob):
        do(profile.remember("one"))
        do(profile.sync())
    do(alice.fork("trial"))
    found = do(alice.verify())
    assert list(found) == []
    assert found.branches == 2
    assert found.objects > 0
    assert found.bytes > 0
    every = dict(do.all(client.verify()))
    assert set(every) == {alice, bob}
    assert every[alice] == found
    assert every[bob].branches == 1


def test_the_object_store_alone_brings_everything_back(do: Any, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/objects"
    first = do.open(tmp_path / "first", embed_provider="none", object_store=url)
    alice = first.profile("alice")
    do(alice.remember("one"))
    do(alice.checkpoint("early"))
    trial = do(alice.fork("trial"))
    do(trial.remember("of trial"))
    do(first.profile("bob", namespace="other").remember("hello"))
    do.end(first)
    second = do.open(tmp_path / "second", embed_provider="none", object_store=url)
    done = do(second.restore())
    assert (done.profiles, done.branches, done.failed) == (2, 3, ())
    alice = second.profile("alice")
    assert texts(do, alice) == texts(do, alice.at("early")) == ["one"]
    assert texts(do, alice.branch("trial")) == ["of trial", "one"]
    assert texts(do, second.profile("bob", namespace="other")) == ["hello"]
    do(second.close())


# What every client refuses

ABSENT = "an unknown checkpoint"
REFUSED: dict[str, tuple[Callable[[Any], Any], type[palimp.Error], str, str]] = {
    ABSENT: (lambda p: p.at("nix").recall("x"), palimp.NotFound, "not_found", "nix"),
    "rewind to nothing": (lambda p: p.rewind("nix"), palimp.NotFound, "not_found", "nix"),
    "fork of nothing": (lambda p: p.fork("f", at="nix"), palimp.NotFound, "not_found", "nix"),
    "drop of nothing": (lambda p: p.drop_checkpoint("nix"), palimp.NotFound, "not_found", "nix"),
    "ahead of the head": (
        lambda p: p.at(Point.txid(10**6)).recall("x"),
        palimp.Invalid,
        "invalid_request",
        "1000000",
    ),
    "a number for a point": (lambda p: p.rewind(7), palimp.Invalid, "invalid_request", "Point"),
    "a bad checkpoint name": (
        lambda p: p.checkpoint("7up"),
        palimp.Invalid,
        "invalid_request",
        "begin with a letter",
    ),
    "a checkpoint's name in use": (lambda p: p.checkpoint("start"), palimp.Conflict, "", "start"),
    "a branch's name in use": (
        lambda p: p.fork("taken"),
        palimp.Conflict,
        "already_exists",
        "taken",
    ),
    "fork named main": (lambda p: p.fork("main"), palimp.Error, "", "main"),
    "a bad branch name": (lambda p: p.fork("A B"), palimp.Invalid, "invalid_request", "'A B'"),
    "a ttl of nothing": (
        lambda p: p.fork("f", ttl=0),
        palimp.Invalid,
        "invalid_request",
        "ttl is 0",
    ),
    "a ttl that is none": (
        lambda p: p.fork("f", ttl="soon"),
        palimp.Invalid,
        "invalid_request",
        "ttl is not a duration",
    ),
    "delete of main": (lambda p: p.delete_branch("main"), palimp.Invalid, "", "main"),
    "delete of nothing": (
        lambda p: p.delete_branch("nix"),
        palimp.NotFound,
        "branch_not_found",
        "nix",
    ),
    "another durability": (
        lambda p: p.remember("x", durability="maybe"),
        palimp.Invalid,
        "invalid_request",
        "'local' or 'durable'",
    ),
    "a request id that is none": (
        lambda p: p.remember("x", request_id="y" * 129),
        palimp.Invalid,
        "invalid_request",
        "128",
    ),
    "never written": (
        lambda p: p.client.profile("nobody").checkpoint("c"),
        palimp.NotFound,
        "",
        "nobody",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_same_errors(do: Any, alice: Any, case: str) -> None:
    do(alice.remember("here"))
    do(alice.checkpoint("start"))
    do(alice.fork("taken"))
    do(alice.remember("and there"))
    act, kind, code, said = REFUSED[case]
    with pytest.raises(kind) as caught:
        do(act(alice))
    assert not code or caught.value.code == code
    assert said in str(caught.value)
    assert texts(do, alice) == ["and there", "here"]
    assert {row.name for row in do(alice.branches())} == {"main", "taken"}
