"""Whether what clients were told is what the cluster holds. Knows nothing of how it got there.

Every rule is a function that yields violations of one profile; `check` runs all of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from .history import CACHED, WRITES, BranchState, Call, Disturbance, ProfileState, Run

MAIN, RECOVERED = "main", "recovered-"
# What is acknowledged may wait so long for its shipment while nothing else is wrong.
SHIP_SECONDS = 15.0
# So long it takes where nothing is wrong, and so long an owner goes on after it was cut off.
_LAG_SECONDS = 3.0
# Request ids older than the newest so many are forgotten.
REQUESTS_KEPT = 10_000
# What ends a local write's way to the store. With the disk go those that were only there.
CUTS_OFF = ("kill", "stop", "suspend", "cut", "down", "disk", "etcd")


class Violation(NamedTuple):
    """A rule that was broken, where, and by what."""

    rule: str
    profile: str
    what: str

    def __str__(self) -> str:
        return f"{self.profile}: {self.rule}: {self.what}"


class Scene(NamedTuple):
    """All that the rules look at, of one profile."""

    writes: list[Call]
    reads: list[Call]
    state: ProfileState
    main: BranchState
    recovered: dict[str, BranchState]
    disturbances: list[Disturbance]
    on_main: dict[str, int]
    txids: dict[str, int]


Found = Iterator[tuple[str, str]]
Rule = Callable[[Scene], Found]


def check(run: Run) -> list[Violation]:
    """Return everything that is wrong with a run."""
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in run.calls:
        calls[call.profile].append(call)
    found = [Violation("not linked", "", what) for what in run.unlinked]
    for profile in sorted(set(calls) | set(run.final)):
        state = run.final.get(profile, ProfileState(branches={}))
        scene = _scene(calls[profile], state, run.disturbances)
        for rule in RULES:
            found += [Violation(name, profile, what) for name, what in rule(scene)]
    return found


def _scene(calls: list[Call], state: ProfileState, disturbances: list[Disturbance]) -> Scene:
    main = state.branches.get(MAIN, BranchState())
    writes = [call for call in calls if call.what in WRITES]
    on_main = Counter([text for _, text in main.turns] + main.memories)
    txids = {}
    for write in writes:
        if write.text in on_main:
            # Without its row only the acknowledgement says what number it has.
            txid = main.requests.get(write.request_id) or write.txid
            if txid:
                txids[write.text] = txid
    return Scene(
        writes=writes,
        reads=[call for call in calls if call.what not in WRITES and call.outcome == "ok"],
        state=state,
        main=main,
        recovered={n: b for n, b in state.branches.items() if n.startswith(RECOVERED)},
        disturbances=disturbances,
        on_main=dict(on_main),
        txids=txids,
    )


def acknowledged_is_there(scene: Scene) -> Found:
    """An acknowledged write is on main, or on a branch that names a node which was cut off."""
    saved: dict[str, list[str]] = defaultdict(list)
    for name, branch in scene.recovered.items():
        for text in texts(branch):
            saved[text].append(name)
    for write in scene.writes:
        if write.outcome != "ok" or write.text in scene.on_main:
            continue
        where = saved[write.text]
        if write.durable:
            yield "durable not on main", f"{shown(write)}, but on {where}"
        elif not where:
            if not _cut_off(scene, write, ("disk",)):
                yield "lost", shown(write)
        elif not any(_cut_off(scene, write, CUTS_OFF, _node_of(name)) for name in where):
            yield "set aside without a cause", f"{shown(write)} on {where}"


def _node_of(branch: str) -> str:
    """Return the node of a branch `recovered-{node}-{epoch}`, or `...-{epoch}-{number}`."""
    return branch.removeprefix(RECOVERED).partition("-")[0]


def _cut_off(scene: Scene, write: Call, kinds: tuple[str, ...], node: str | None = None) -> bool:
    """Whether something of that kind happened before the write was sure to be shipped.

    To that node, or to what all of them need. A node that was killed, or could not ship for another
    reason, has its time for that afterwards.
    """
    return any(
        one.what.partition(" ")[0] in kinds
        and (node is None or one.node in ("", node))
        and one.begin - SHIP_SECONDS <= _undisturbed(scene, write, one.node)
        and write.begin <= one.end + SHIP_SECONDS
        for one in scene.disturbances
    )


def _undisturbed(scene: Scene, write: Call, node: str) -> float:
    """Return from when on a node had all it needs to ship a write of its own."""
    since = write.end
    for one in sorted(scene.disturbances, key=lambda one: one.begin):
        hinders = one.what.partition(" ")[0] in CUTS_OFF and one.node in ("", node)
        if hinders and write.end - SHIP_SECONDS <= one.begin <= since + SHIP_SECONDS:
            since = max(since, one.end)
    return since


def nothing_twice(scene: Scene) -> Found:
    """What was written once is there once."""
    for text, times in scene.on_main.items():
        if times > 1:
            yield "doubled", f"{text} is on main {times} times"


def nothing_foreign(scene: Scene) -> Found:
    """Nothing is there that nobody wrote, or that was refused."""
    known = {write.text: write for write in scene.writes}
    for name, branch in scene.state.branches.items():
        for text in texts(branch):
            if text not in known:
                yield "foreign", f"{text} on {name} was written by nobody"
            elif known[text].outcome == "refused":
                yield "refused is there", f"{shown(known[text])} on {name}"


def answers_are_true(scene: Scene) -> Found:
    """The txid and the number that were acknowledged are those that are stored."""
    numbers = {text: seq for seq, text in scene.main.turns}
    for write in scene.writes:
        if write.outcome != "ok" or write.text not in scene.on_main:
            continue
        stored = scene.main.requests.get(write.request_id)
        if stored is None:
            if len(scene.main.requests) < REQUESTS_KEPT:
                yield "request id gone", shown(write)
        elif stored != write.txid:
            yield "other txid", f"{shown(write)} is stored with txid {stored}"
        if write.what == "append" and numbers.get(write.text) != write.seq:
            yield "other number", f"{shown(write)} is turn {numbers.get(write.text)}"


def order_is_kept(scene: Scene) -> Found:
    """What was acknowledged before another write began has a lower txid, and a lower number."""
    numbers = {text: seq for seq, text in scene.main.turns}
    kinds: tuple[tuple[str, dict[str, int], list[Call]], ...] = (
        ("order of txids", scene.txids, scene.writes),
        ("order of turns", numbers, [w for w in scene.writes if w.what == "append"]),
    )
    for rule, place, writes in kinds:
        there = [write for write in writes if write.text in place]
        done = sorted((w for w in there if w.outcome == "ok"), key=lambda write: write.end)
        highest: Call | None = None
        upto = 0
        for write in sorted(there, key=lambda write: write.begin):
            while upto < len(done) and done[upto].end < write.begin:
                if highest is None or place[done[upto].text] > place[highest.text]:
                    highest = done[upto]
                upto += 1
            if highest is not None and place[highest.text] >= place[write.text]:
                yield rule, f"{shown(highest)} was acknowledged before {shown(write)} began"


def reads_keep_their_floor(scene: Scene) -> Found:
    """A read is never of a state before its own min_txid."""
    for read in scene.reads:
        if read.txid < read.floor:
            yield "below its min_txid", shown(read)


def reads_show_their_txid(scene: Scene) -> Found:
    """A read shows what main held at the txid it names: all of it, and nothing later.

    A primary read shows what was acknowledged before it began, too.
    """
    kinds = {"append": _by_txid(scene, "append"), "remember": _by_txid(scene, "remember")}
    numbers = {text: seq for seq, text in scene.main.turns}
    for read in scene.reads:
        writes, txids = kinds["append" if read.what == "window" else "remember"]
        found = set(read.found)
        upto = bisect_left(txids, read.txid + 1)
        for place, write in enumerate(writes):
            if not _asks_for(read, write, numbers):
                continue
            here = write.text in found
            if place < upto and not here:
                yield "incomplete", f"{shown(read)} lacks {shown(write)}"
            elif place >= upto and here and not _maybe_elsewhere(read, write):
                yield "ahead of its txid", f"{shown(read)} shows {shown(write)}"
            elif here or read.consistency == CACHED or not _was_done(write, read):
                continue
            elif not _waits_at_its_owner(scene, write, read):
                yield "stale", f"{shown(read)} lacks {shown(write)}"


def _by_txid(scene: Scene, what: str) -> tuple[list[Call], list[int]]:
    writes = [w for w in scene.writes if w.what == what and w.text in scene.txids]
    writes.sort(key=lambda write: scene.txids[write.text])
    return writes, [scene.txids[write.text] for write in writes]


def _asks_for(read: Call, write: Call, numbers: dict[str, int]) -> bool:
    if read.asked is not None:
        return write.text in read.asked
    return numbers.get(write.text, read.low) >= read.low


def _maybe_elsewhere(read: Call, write: Call) -> bool:
    """Whether a write may have been done twice: at a node that was set aside, and then on main.

    Until the first of the two was gone, a read could show it, under its txid there. Nodes repeat by
    themselves what they send on, so that an attempt which has no answer yet may be two.
    """
    return any(
        attempt.begin < read.end and (attempt.doubt or read.end < attempt.end)
        for attempt in write.attempts
    )


def _waits_at_its_owner(scene: Scene, write: Call, read: Call) -> bool:
    """Whether a write may have been at its owner alone, which was cut off, when another was read.

    Until it is shipped a local write is there only. Where nobody wrote elsewhere meanwhile, its
    owner goes on when it comes back, and the write is on main; else it is set aside.
    """
    if write.durable:
        return False
    return any(
        one.what.partition(" ")[0] in CUTS_OFF
        and abs(one.begin - write.end) <= _LAG_SECONDS
        and one.begin < read.end
        and read.begin <= one.end + _LAG_SECONDS
        for one in scene.disturbances
    )


def _was_done(write: Call, read: Call) -> bool:
    """Whether a write was acknowledged before a read began."""
    return write.outcome == "ok" and write.end < read.begin


def history_is_linked(scene: Scene) -> Found:
    """Every branch's segments follow each other, none is of a later epoch, and verify is clean."""
    for finding in scene.state.findings:
        yield "verify", finding
    for name, branch in scene.state.branches.items():
        manifest = branch.manifest
        chain = [ref for ref in [manifest.get("snapshot"), *manifest.get("segments", ())] if ref]
        for before, after in pairwise(chain):
            if after["min"] != before["max"] + 1:
                yield "gap", f"{name}: {after['min']} follows {before['max']}"
        if chain and chain[-1]["max"] != manifest["txid"]:
            yield "head", f"{name}: the chain ends at {chain[-1]['max']}, not {manifest['txid']}"
        for ref in chain:
            # Not more: a later owner may have joined what was there before other segments.
            if ref["epoch"] > manifest["epoch"]:
                yield "epoch", f"{name}: txid {ref['max']} is of epoch {ref['epoch']}"


RULES: tuple[Rule, ...] = (
    acknowledged_is_there,
    nothing_twice,
    nothing_foreign,
    answers_are_true,
    order_is_kept,
    reads_keep_their_floor,
    reads_show_their_txid,
    history_is_linked,
)


def texts(branch: BranchState) -> list[str]:
    """Return everything a branch says."""
    return [text for _, text in branch.turns] + branch.memories


def shown(call: Call) -> str:
    """Return a call as a person looks for it in the logs."""
    how = "durable " if call.durable else f"{call.consistency} " if call.consistency else ""
    floor = f" floor {call.floor}" if call.floor else ""
    nodes = ",".join(f"{one.node}:{one.status}{one.reason}" for one in call.attempts)
    return (
        f"[{how}{call.what} {call.text or call.request_id} txid {call.txid}{floor} {call.outcome} "
        f"{call.begin:.3f}-{call.end:.3f} by {call.client} at {nodes}]"
    )
