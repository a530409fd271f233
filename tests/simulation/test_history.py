"""Points, history objects, retention and names of branches, one rule at a time, without faults."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

sys.path.insert(0, str(Path(__file__).parent))

from nodes import DB, Log, boundaries, branches, uncleansed
from world import World, pack

from palimp.engine import protocol
from palimp.engine.protocol import (
    Keep,
    Lane,
    Manifest,
    Parent,
    Piece,
    Timeline,
    Wanted,
    add_checkpoint,
    condense,
    delete_branch,
    find_profile,
    fork,
    is_crowded,
    list_branches,
    locate,
    read_timeline,
    rebase,
    recover,
    remove_branch,
    ship,
    take_ownership,
)
from palimp.engine.protocol import expire as expire_steps
from palimp.engine.protocol import history as history_module
from palimp.engine.protocol.heads import FORMING_MS_MAX, reserve
from palimp.engine.protocol.records import (
    Name,
    decode,
    encode,
    head_key,
    history_key,
    key_txids,
    manifest_key,
    name_key,
    segment_epoch,
    segment_key,
)
from palimp.engine.protocol.requests import Create, Join, Refused, Replace, Steps
from palimp.errors import Conflict, Internal, Invalid, NotFound
from palimp.points import Point

segments_module = sys.modules["palimp.engine.protocol.segments"]
DAY = 86_400_000
NEVER = Keep(fine_ms=0, snapshots_ms=0)


class Branch:
    """A branch in a world where nothing goes wrong."""

    def __init__(self, world: World, branch: str = "main") -> None:
        self.world = world
        self.lane: Lane = world.run_alone(take_ownership(DB, branch, "a")).lane
        self.log: Log = []

    def piece(self, log: Log, at: int, size: int = 0) -> Piece:
        data = pack(log) + b" " * size
        checksum = f"{len(self.log):016x}"
        return Piece(log[-1][0], len(log), len(self.log), checksum, _sha(data), data, at)

    def ship(self, txid: int, at: int | None = None, size: int = 0) -> None:
        self.log.append((txid, f"w{txid}"))
        piece = self.piece(self.log[-1:], txid * 1_000 if at is None else at, size)
        self.world.run_alone(ship(self.lane, piece))

    def rebase(self, at: int) -> None:
        self.world.run_alone(rebase(self.lane, self.piece(self.log, at)))

    def retain(self, keep: Keep, now: int = 10**12) -> int:
        return self.world.run_alone(protocol.retain(self.lane, keep, now))

    @property
    def timeline(self) -> Timeline:
        return self.world.run_alone(read_timeline(DB, self.lane.branch_id))

    def reads_right(self) -> bool:
        timeline = self.timeline
        return all(
            self.world.log_along(timeline.path(txid)) == [one for one in self.log if one[0] <= txid]
            for txid in timeline.boundaries()
        )


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def main() -> Branch:
    return Branch(World(1))


def shipped(main: Branch, *txids: int) -> Branch:
    for txid in txids:
        main.ship(txid)
    return main


def test_keys_say_epoch_and_txids() -> None:
    segment = segment_key(DB, "main", 2, 17, 300, "n_ab")
    history = history_key(DB, "main", 2, 17, 300, "n_ab")
    assert history.endswith("/history-0000000000000002-0000000000000011-0000012c-n_ab.json")
    for key in (segment, history):
        assert segment_epoch(key) == 300
        assert key_txids(key) == (2, 17)


# -- points -----------------------------------------------------------------------------------------


def test_points_mean_boundaries(main: Branch) -> None:
    shipped(main, 2, 5, 9)
    main.world.run_alone(add_checkpoint(main.lane, "safe", 5))
    main.rebase(9_000)
    timeline = main.timeline
    assert timeline.boundaries() == (2, 5, 9)
    assert timeline.resolve(Point.checkpoint("safe")) == 5
    assert timeline.resolve(Point.txid(2)) == 2
    assert [timeline.resolve(Point.time(at)) for at in (2_000, 4_999, 5_000, 10**9)] == [2, 2, 5, 9]
    assert [timeline.at(txid) for txid in (2, 5, 9)] == [2_000, 5_000, 9_000]


@pytest.mark.parametrize(
    ("point", "error", "says", "details"),
    [
        (Point.checkpoint("other"), NotFound, "no checkpoint 'other'; known are: c1, c2, c3, c4, c5 and 1 more", {}),
        (Point.txid(4), Invalid, "txid 4 is no boundary; the nearest are 2 and 5", {"below": 2, "above": 5}),
        (Point.txid(10), Invalid, "txid 10 is ahead of the branch, whose head is 9", {"below": 9}),
        (Point.txid(1), Invalid, "out of retention: the first boundary that is kept is 2", {"above": 2}),
        (Point.time(1_999), Invalid, "before the first boundary that is kept: txid 2, of 1970-01-01T00:00:02", {"above": 2}),
    ],
)  # fmt: skip
def test_what_a_point_cannot_mean(
    main: Branch, point: Point, error: Any, says: str, details: Any
) -> None:
    shipped(main, 2, 5, 9)
    for number in range(1, 7):
        main.world.run_alone(add_checkpoint(main.lane, f"c{number}", 5))
    with pytest.raises(error, match=says) as caught:
        main.timeline.resolve(point)
    assert caught.value.details == details


def test_a_branch_without_points(main: Branch) -> None:
    with pytest.raises(NotFound, match="was never written"):
        main.timeline.resolve(Point.txid(1))
    with pytest.raises(NotFound, match="was never written") as caught:
        main.world.run_alone(read_timeline(DB, "nobody"))
    assert caught.value.code == "branch_not_found"


def test_the_path_is_the_one_of_fewest_bytes(main: Branch) -> None:
    main.ship(1, size=10)
    main.ship(2, size=500)
    main.ship(3, size=10)
    main.rebase(3_000)
    main.ship(4)
    assert [(ref.min, ref.max) for ref in main.timeline.path(4)] == [(1, 3), (4, 4)]
    assert [(ref.min, ref.max) for ref in main.timeline.path(2)] == [(1, 1), (2, 2)]
    with pytest.raises(Invalid, match="is ahead"):
        main.timeline.path(5)


# -- history objects ----------------------------------------------------------------------------------


def test_a_snapshot_takes_the_place_of_the_chain_and_no_boundary_goes(main: Branch) -> None:
    shipped(main, 1, 2, 3)
    main.rebase(99_000)
    assert [(ref.min, ref.max, ref.at) for ref in main.lane.manifest.chain()] == [(1, 3, 3_000)]
    # Beyond the head, with a clock that was set back.
    main.log.append((7, "w7"))
    main.rebase(1)
    assert [(ref.min, ref.max, ref.at) for ref in main.lane.manifest.chain()] == [(1, 7, 3_000)]
    assert main.timeline.boundaries() == (1, 2, 3, 7)
    assert main.reads_right()


def test_a_snapshot_of_something_else_is_refused(main: Branch) -> None:
    shipped(main, 1, 2)
    before = main.lane.manifest
    other = main.piece(main.log, 1)._replace(checksum="f" * 16)
    with pytest.raises(Internal, match="the local file is not this branch"):
        main.world.run_alone(rebase(main.lane, other))
    assert main.lane.manifest == before


def test_the_first_piece_is_the_snapshot(main: Branch) -> None:
    main.ship(4, at=5)
    manifest = main.lane.manifest
    assert manifest.snapshot is not None
    assert (manifest.snapshot.min, manifest.snapshot.max, manifest.segments) == (1, 4, ())


def test_condensing_keeps_every_boundary(main: Branch) -> None:
    shipped(main, *range(1, 12))
    assert main.world.run_alone(condense(main.lane)) == 1
    assert main.world.run_alone(condense(main.lane)) == 0
    assert main.world.run_alone(condense(main.lane, 2)) == 6
    assert [(ref.min, ref.max) for ref in main.lane.manifest.chain()] == [
        (1, 1), (2, 9), (10, 10), (11, 11),
    ]  # fmt: skip
    assert main.timeline.boundaries() == tuple(range(1, 12))
    assert main.reads_right()


def test_condensing_reads_no_more_at_once_than_the_limit(
    main: Branch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held in memory does not grow with what was written."""
    limit, most = 2_000, 16
    monkeypatch.setattr(segments_module, "JOIN_BYTES_MAX", limit)
    sizes: dict[str, int] = {}
    longest = condensed = 0
    for txid in range(1, 201):
        main.ship(txid, size=300)
        sizes |= {ref.key: ref.bytes for ref in main.lane.manifest.chain()}
        longest = max(longest, len(main.lane.manifest.segments))
        if is_crowded(main.lane.manifest, most):
            steps, joins = noted(condense(main.lane))
            assert main.world.run_alone(steps) >= most // 4
            sizes |= {ref.key: ref.bytes for ref in main.lane.manifest.chain()}
            assert joins
            assert all(sum(sizes[key] for key, _ in one.parts) <= limit for one in joins)
            condensed += 1
    # Each piece is joined about once: what is large already is not read again.
    assert 10 < condensed < 200 // (most // 4)
    assert longest <= max(most, 200 * 320 * 2 // limit) + most
    assert main.timeline.boundaries() == tuple(range(1, 201))
    assert main.reads_right()


def test_a_chain_of_large_segments_is_not_crowded(
    main: Branch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments_module, "JOIN_BYTES_MAX", 500)
    for txid in range(1, 40):
        main.ship(txid, size=300)
    assert not is_crowded(main.lane.manifest, 16)
    assert main.world.run_alone(condense(main.lane)) == 0


def test_condensing_goes_as_far_as_it_can_read(
    main: Branch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments_module, "JOIN_BYTES_MAX", 1_000)
    for txid in range(1, 20):
        main.ship(txid, size=300)
    steps = condense(main.lane, 0)
    joins = 0

    def until_it_fails() -> Steps[int]:
        nonlocal joins
        answer: Any = None
        failure: Exception | None = None
        while True:
            try:
                request = steps.send(answer) if failure is None else steps.throw(failure)
            except StopIteration as end:
                return int(end.value)
            joins += isinstance(request, Join)
            failure = Refused() if isinstance(request, Join) and joins == 3 else None
            answer = None if failure else (yield request)

    assert main.world.run_alone(until_it_fails()) > 0
    assert joins == 3
    assert main.timeline.boundaries() == tuple(range(1, 20))
    assert main.reads_right()


def noted(steps: Steps[int]) -> tuple[Steps[int], list[Join]]:
    """Return the same steps, and a list that gets what they ask to be joined."""
    joins: list[Join] = []

    def passed() -> Steps[int]:
        answer: Any = None
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as end:
                return int(end.value)
            if isinstance(request, Join):
                joins.append(request)
            answer = yield request

    return passed(), joins


def test_history_objects_stay_few_and_are_seldom_rewritten(main: Branch) -> None:
    written = 0
    for txid in range(1, 401):
        main.ship(txid)
        main.rebase(txid)
        written += main.lane.manifest.history[-1].refs if main.lane.manifest.history else 0
        assert len(main.lane.manifest.history) <= 16
    older = len(main.timeline.older)
    assert older == sum(part.refs for part in main.lane.manifest.history) == 799
    # Each reference is written again at most log 1.5 of n times; one object for all would be 160,000.
    assert written < 799 * 17
    assert len(main.timeline.keys()) == older + 1 + len(main.lane.manifest.history)


def test_no_history_object_holds_more_than_it_may(
    main: Branch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "REFS_MAX", 5)
    shipped(main, *range(1, 13))
    main.rebase(1)
    assert [part.refs for part in main.lane.manifest.history] == [5, 5, 2]
    main.ship(13)
    main.rebase(1)
    assert [part.refs for part in main.lane.manifest.history] == [5, 5, 4]
    assert main.reads_right()


def test_a_history_object_that_is_gone_or_damaged_is_named(main: Branch) -> None:
    shipped(main, 1, 2)
    main.rebase(2)
    (part,) = main.lane.manifest.history
    data, version = main.world.objects.pop(part.key)
    with pytest.raises(Internal, match="is missing: 2 references") as caught:
        main.timeline  # noqa: B018
    assert caught.value.details == {"key": part.key, "txids": (1, 2)}
    main.world.objects[part.key] = (data.replace(b'"pages":1', b'"pages":2'), version)
    with pytest.raises(Internal, match="is damaged") as caught:
        main.timeline  # noqa: B018
    assert caught.value.details["key"] == part.key


def test_a_reader_whose_history_moved_on_begins_again(main: Branch) -> None:
    shipped(main, 1, 2)
    main.rebase(2)
    old = main.lane.manifest
    shipped(main, 3)
    main.rebase(3)
    assert main.world.run_alone(protocol.collect(main.lane)) == 1
    assert main.world.run_alone(read_timeline(DB, "main", old)).manifest == main.lane.manifest
    # An owner that does not know that it is none any more learns it here.
    stale = Lane(DB, "main", old, None)
    with pytest.raises(protocol.Fenced):
        main.world.run_alone(protocol.collect(stale))
    main.world.run_alone(delete_branch(main.lane))
    with pytest.raises(NotFound, match="is deleted"):
        main.world.run_alone(read_timeline(DB, "main", old))


# -- retention ----------------------------------------------------------------------------------------


def test_the_fine_window_stays_and_days_are_thinned(main: Branch) -> None:
    for day in range(4):
        for hour in (1, 2, 3):
            txid = day * 10 + hour
            main.ship(txid, at=day * DAY + hour)
            main.rebase(day * DAY + hour)
    now = 3 * DAY + 4
    # Day 0 is too old even for a snapshot, day 3 is young; the last of days 1 and 2 remain.
    keep = Keep(fine_ms=DAY // 2, snapshots_ms=2 * DAY + 2)
    assert main.retain(keep, now) > 0
    assert main.timeline.boundaries() == (13, 23, 31, 32, 33)
    assert main.retain(keep, now) == 0
    assert main.reads_right()
    version = main.lane.version
    assert main.retain(keep, now) == 0
    assert main.lane.version == version
    main.retain(NEVER, now)
    assert main.timeline.boundaries() == (33,)
    assert main.lane.manifest.history == ()


def test_what_lies_between_points_becomes_one(main: Branch) -> None:
    shipped(main, *range(1, 8))
    main.world.run_alone(add_checkpoint(main.lane, "mid", 4))
    assert main.retain(NEVER) == 6
    assert [(ref.min, ref.max) for ref in main.lane.manifest.chain()] == [(1, 1), (2, 4), (5, 7)]
    assert main.lane.manifest.history == ()
    assert main.retain(NEVER) == 0
    main.rebase(1)
    assert main.retain(NEVER) == 1
    assert main.timeline.boundaries() == (1, 4, 7)
    assert main.reads_right()


def test_what_two_ways_share_is_stored_once(main: Branch) -> None:
    shipped(main, 1, 2, 3, 4)
    main.world.run_alone(condense(main.lane, 0))
    main.world.run_alone(add_checkpoint(main.lane, "early", 2))
    main.retain(NEVER)
    assert [(ref.min, ref.max) for ref in main.timeline.refs()] == [(2, 2), (1, 1), (2, 4)]
    assert main.reads_right()


def test_joins_are_bounded_and_the_rest_is_joined_later(
    main: Branch, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped(main, *range(1, 20))
    for txid in range(3, 20, 2):
        main.world.run_alone(add_checkpoint(main.lane, f"c{txid}", txid))
    assert [main.retain(NEVER) for _ in range(3)] == [16, 2, 0]
    monkeypatch.setattr(segments_module, "JOIN_BYTES_MAX", 80)
    for name in list(main.lane.manifest.checkpoints):
        main.world.run_alone(protocol.drop_checkpoint(main.lane, name))
    for _ in range(20):
        main.retain(NEVER)
    assert main.retain(NEVER) == 0
    assert all(ref.bytes <= 80 for ref in main.lane.manifest.segments)
    assert len(main.lane.manifest.segments) > 1
    assert main.reads_right()


def test_a_run_that_ends_in_the_fine_window_is_left(main: Branch) -> None:
    """It would be joined again whenever a boundary leaves the window."""
    shipped(main, *range(1, 8))
    assert main.retain(Keep(fine_ms=2_500, snapshots_ms=0), 8_000) == 0
    assert main.timeline.boundaries() == tuple(range(1, 8))


def test_an_empty_branch_retains_nothing(main: Branch) -> None:
    assert main.retain(NEVER) == 0


# -- checkpoints and forks of old points --------------------------------------------------------------


def test_old_points_take_checkpoints_and_forks(main: Branch) -> None:
    shipped(main, 1, 2, 3)
    main.rebase(3)
    main.world.run_alone(add_checkpoint(main.lane, "two", 2))
    with pytest.raises(Invalid, match="is ahead"):
        main.world.run_alone(add_checkpoint(main.lane, "nine", 9))
    child = main.world.run_alone(fork(DB, Wanted("main", "old", 2), uncleansed))
    made = main.world.manifests[manifest_key(DB, child.branch_id)]
    assert main.world.log_of(made) == main.log[:2]
    assert (made.commit_pages, made.checksum, made.history) == (2, f"{2:016x}", ())
    assert Branch(main.world, child.branch_id).lane.floor == 2
    with pytest.raises(Invalid, match="is ahead"):
        main.world.run_alone(fork(DB, Wanted("main", "none", 9), uncleansed))


def paused(main: Branch, meanwhile: Any, wanted: Wanted) -> Manifest:
    """Fork, and let something happen after the child was written and before the second look."""
    steps = fork(DB, wanted, uncleansed)
    answer: Any = None
    while True:
        request = steps.send(answer)
        answer = main.world.run_alone(_one(request))
        if isinstance(request, Create) and "/heads/" not in request.key:
            break
    meanwhile()

    def rest() -> Any:
        value = answer
        while True:
            try:
                value = yield steps.send(value)
            except StopIteration as end:
                return end.value

    child = main.world.run_alone(rest())
    return main.world.manifests[manifest_key(DB, child.branch_id)]


def _one(request: Any) -> Any:
    return (yield request)


def test_a_fork_lives_where_its_references_moved_into_history(main: Branch) -> None:
    shipped(main, 1, 2)
    made = paused(main, lambda: main.rebase(2), Wanted("main", "f"))
    assert [(ref.min, ref.max) for ref in made.chain()] == [(1, 1), (2, 2)]
    assert made.version == 2


def test_a_fork_copies_again_where_its_references_went(main: Branch) -> None:
    shipped(main, 1, 2)

    def meanwhile() -> None:
        main.rebase(2)
        main.retain(NEVER)
        main.world.run_alone(protocol.collect(main.lane))

    made = paused(main, meanwhile, Wanted("main", "f"))
    assert [(ref.min, ref.max) for ref in made.chain()] == [(1, 2)]
    assert made.version == 3
    assert main.world.log_of(made) == main.log


# -- names of branches --------------------------------------------------------------------------------


def test_removing_a_branch_fences_its_owner_and_frees_its_name(main: Branch) -> None:
    world = shipped(main, 1).world
    child = world.run_alone(fork(DB, Wanted("main", "f"), uncleansed))
    owner = Branch(world, child.branch_id)
    owner.log = list(main.log)
    owner.ship(2)
    assert world.run_alone(remove_branch(DB, "f")) == child.branch_id
    with pytest.raises(protocol.Fenced):
        owner.ship(3)
    for name in ("f", "nobody", "main"):
        with pytest.raises(NotFound, match=f"branch not found: '{name}'") as caught:
            world.run_alone(remove_branch(DB, name))
        assert caught.value.code == "branch_not_found"
    assert [found[0] for found in world.run_alone(list_branches(DB))] == ["main"]
    # Its own two objects (the second never linked); not the one it has from its parent.
    assert world.run_alone(protocol.collect_deleted(DB, child.branch_id)) == 2
    assert world.log_of(main.lane.manifest) == main.log
    with pytest.raises(Conflict, match="is live; only a deleted one"):
        world.run_alone(protocol.collect_deleted(DB, "main"))
    with pytest.raises(Conflict, match="was never written"):
        world.run_alone(protocol.collect_deleted(DB, "nobody"))
    assert world.run_alone(fork(DB, Wanted("main", "f"), uncleansed)).txid == 1


def test_what_a_living_fork_needs_of_a_deleted_branch_stays(main: Branch) -> None:
    world = shipped(main, 1).world
    first = Branch(world, world.run_alone(fork(DB, Wanted("main", "f"), uncleansed)).branch_id)
    first.log = list(main.log)
    first.ship(2)
    second = world.run_alone(fork(DB, Wanted(first.lane.branch_id, "g"), uncleansed))
    owner = Branch(world, second.branch_id)
    owner.log = list(first.log)
    owner.rebase(9)
    world.run_alone(delete_branch(first.lane))
    # Named by the history of g alone.
    assert world.run_alone(protocol.collect_deleted(DB, first.lane.branch_id)) == 0
    assert boundaries(world, second.branch_id) == (1, 2)
    assert owner.reads_right()


def test_what_is_over_expires(main: Branch) -> None:
    world = shipped(main, 1).world
    short = world.run_alone(fork(DB, Wanted("main", "short", ttl_ms=1_000), uncleansed))
    world.run_alone(fork(DB, Wanted("main", "long", ttl_ms=10**9), uncleansed))
    world.run_alone(fork(DB, Wanted("main", "kept"), uncleansed))
    gone = world.run_alone(fork(DB, Wanted("main", "gone"), uncleansed))
    world.run_alone(delete_branch(Branch(world, gone.branch_id).lane))
    world.run_alone(reserve(DB, "begun", "b1"))

    def expire(now: int) -> list[str]:
        return world.run_alone(expire_steps(DB, now))

    assert expire(world.now) == ["gone"]
    assert expire(world.now + 999) == []
    assert expire(world.now + 1_000) == ["short"]
    assert short.branch_id not in branches(world)
    assert expire(world.now + FORMING_MS_MAX) == []
    assert expire(world.now + FORMING_MS_MAX + 1) == ["begun"]
    # What was begun may not come to live any more.
    assert world.manifests[manifest_key(DB, "b1")].state == "deleted"
    assert [found[0] for found in world.run_alone(list_branches(DB))] == ["main", "kept", "long"]
    assert b'"branch_id":null' in world.objects[head_key(DB, "begun")][0]
    assert world.run_alone(fork(DB, Wanted("main", "short"), uncleansed)).txid == 1


def test_a_recovered_branch_needs_nothing_but_itself(main: Branch) -> None:
    world = shipped(main, 1, 2).world
    main.log = [(1, "w1"), (2, "lost"), (3, "lost too")]
    piece = main.piece(main.log, 77)
    parent = Parent(branch_id="main", txid=1)
    child = world.run_alone(recover(DB, "recovered-a-1", parent, lambda: piece, "a"))
    made = world.manifests[manifest_key(DB, child.branch_id)]
    assert (made.state, made.epoch, made.owner, made.txid, made.limit) == ("live", 1, None, 3, 3)
    assert (made.parent, made.snapshot and made.snapshot.at) == (parent, 77)
    assert world.log_of(made) == main.log
    assert all(child.branch_id in ref.key for ref in made.chain())
    assert world.run_alone(take_ownership(DB, child.branch_id, "b")).first_txid == 4
    for name in ("recovered-a-1", "main"):
        with pytest.raises(Conflict, match="exists already") as caught:
            world.run_alone(recover(DB, name, None, lambda: piece, "a"))
        assert caught.value.code == "already_exists"


def test_a_recovery_whose_name_was_taken_fails(main: Branch) -> None:
    world = shipped(main, 1).world
    steps = recover(DB, "r", None, lambda: main.piece(main.log, 1), "a")
    answer: Any = None
    while True:
        request = steps.send(answer)
        if isinstance(request, Create) and request.key.endswith("/manifest.json"):
            break
        answer = world.run_alone(_one(request))
    assert world.run_alone(expire_steps(DB, world.now + FORMING_MS_MAX + 1)) == ["r"]

    def rest() -> Any:
        value = yield request
        while True:
            try:
                value = yield steps.send(value)
            except StopIteration as end:
                return end.value

    with pytest.raises(Conflict, match="'r' of node a was not finished"):
        world.run_alone(rest())
    assert branches(world) == ["main"]


# -- finding a branch ---------------------------------------------------------------------------------


def test_a_name_leads_to_its_branch() -> None:
    world = World(1)
    assert world.run_alone(locate("ns", "p", "main")) is None
    assert world.run_alone(locate("ns", "p", "other")) is None
    made = world.run_alone(find_profile("ns", "p", create=True))
    assert world.run_alone(find_profile("ns", "p", create=True)) == made
    found = world.run_alone(locate("ns", "p", "main"))
    assert found == (made.db_id, "main", 1, None, None)
    with pytest.raises(NotFound, match="branch not found: 'x' of profile 'p' in 'ns'") as caught:
        world.run_alone(locate("ns", "p", "x"))
    assert caught.value.code == "branch_not_found"

    lane = world.run_alone(take_ownership(made.db_id, "main", "a")).lane
    world.run_alone(ship(lane, Piece(1, 1, 1, "", "", b"[]", 0)))
    child = world.run_alone(fork(made.db_id, Wanted("main", "x"), uncleansed))
    found = world.run_alone(locate("ns", "p", "main"))
    assert found is not None
    assert (found.manifest, found.version) == (lane.manifest, lane.version)
    found = world.run_alone(locate("ns", "p", "x"))
    assert found is not None
    assert found.branch_id == child.branch_id
    world.run_alone(remove_branch(made.db_id, "x"))
    with pytest.raises(NotFound, match="branch not found: 'x'"):
        world.run_alone(locate("ns", "p", "x"))

    # Deleted, and the name not taken off yet.
    world.run_alone(delete_branch(lane))
    assert world.run_alone(locate("ns", "p", "main")) is None
    stored = world.objects[name_key("ns", "p")][0]
    assert decode(stored, Name, "name").db_id is None
    again = world.run_alone(find_profile("ns", "p", create=True))
    assert again.db_id != made.db_id
    assert again.gen == 2


def test_fields_of_a_newer_release_survive_in_history_too(main: Branch) -> None:
    shipped(main, 1, 2)
    chain = main.lane.manifest.chain()
    newer = structs.replace(chain[1], extra={"hint": [1], "extra": 2})
    changed = structs.replace(
        main.lane.manifest, segments=(newer,), version=main.lane.manifest.version + 1
    )
    replaced = _one(Replace(main.lane.key, encode(changed), main.lane.version))
    main.lane.version = main.world.run_alone(replaced)
    main.lane.manifest = changed
    main.rebase(2)
    assert main.timeline.older[1].extra == {"hint": [1], "extra": 2}
