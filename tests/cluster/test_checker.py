"""The checker finds what it is there for: hand-made histories, each with one thing wrong."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import checker
from .checker import check
from .history import Attempt, BranchState, Call, Disturbance, ProfileState, Run


def written(number: int, **more: Any) -> Call:
    """The write that gets txid and turn `number`, in the second `number`."""
    fields: dict[str, Any] = {
        "client": "c",
        "what": "append",
        "profile": "p",
        "begin": float(number),
        "end": number + 0.5,
        "outcome": "ok",
        "request_id": f"r{number}",
        "text": f"t{number}",
        "txid": number,
        "seq": number,
    }
    return Call(**{**fields, **more})


def window(txid: int, found: range, **more: Any) -> Call:
    """A primary read of all turns, begun after everything was acknowledged."""
    fields: dict[str, Any] = {
        "client": "c",
        "what": "window",
        "profile": "p",
        "begin": 90.0,
        "end": 91.0,
        "outcome": "ok",
        "txid": txid,
        "found": tuple(f"t{number}" for number in found),
        "low": 1,
    }
    return Call(**{**fields, **more})


def reference(first: int, last: int, epoch: int) -> dict[str, int]:
    return {"min": first, "max": last, "epoch": epoch}


def sound() -> Run:
    """Three writes, three reads: nothing is wrong."""
    main = BranchState(
        turns=[(n, f"t{n}") for n in (1, 2, 3)],
        requests={f"r{n}": n for n in (1, 2, 3)},
        manifest={
            "txid": 3,
            "epoch": 2,
            "snapshot": reference(1, 1, 1),
            "segments": [reference(2, 2, 1), reference(3, 3, 2)],
        },
    )
    return Run(
        calls=[
            written(1),
            written(2, durable=True),
            written(3),
            window(3, range(1, 4), floor=3),
            window(2, range(1, 3), consistency="cached"),
            window(3, range(2, 4), low=2),
        ],
        final={"p": ProfileState(branches={"main": main})},
    )


def recovered(run: Run, *numbers: int) -> None:
    """Take writes off main, and put them on a recovered branch."""
    main = run.final["p"].branches["main"]
    main.turns = [(n, text) for n, text in main.turns if n not in numbers]
    for number in numbers:
        main.requests.pop(f"r{number}", None)
    run.calls = [call for call in run.calls if call.what == "append"]
    run.final["p"].branches["recovered-a-1"] = BranchState(turns=[(n, f"t{n}") for n in numbers])


def lose(run: Run) -> None:
    recovered(run, 3)
    del run.final["p"].branches["recovered-a-1"]


def lose_with_a_killed_node(run: Run) -> None:
    lose(run)
    run.disturbances.append(Disturbance(what="kill", node="a", begin=3.6))


def set_a_durable_one_aside(run: Run) -> None:
    recovered(run, 2)
    run.disturbances.append(Disturbance(what="kill", node="a", begin=2.6))


def set_aside_for_nothing(run: Run) -> None:
    recovered(run, 3)
    run.disturbances.append(Disturbance(what="kill", node="a", begin=100.0))


def double(run: Run) -> None:
    run.final["p"].branches["main"].turns.append((4, "t1"))


def invent(run: Run) -> None:
    run.final["p"].branches["main"].memories.append("t9")


def do_what_was_refused(run: Run) -> None:
    run.calls[2].outcome = "refused"


def forget_an_id(run: Run) -> None:
    del run.final["p"].branches["main"].requests["r1"]


def answer_another_txid(run: Run) -> None:
    run.final["p"].branches["main"].requests["r3"] = 4


def answer_another_number(run: Run) -> None:
    run.calls[2].seq = 7


def reorder_txids(run: Run) -> None:
    run.calls[0].txid = 5
    run.final["p"].branches["main"].requests["r1"] = 5


def reorder_within_a_round(run: Run) -> None:
    run.calls[1].txid = 1
    run.final["p"].branches["main"].requests["r2"] = 1


def reorder_turns(run: Run) -> None:
    run.final["p"].branches["main"].turns = [(3, "t1"), (2, "t2"), (1, "t3")]
    for call in run.calls[:3]:
        call.seq = 4 - call.seq


def read_below_the_floor(run: Run) -> None:
    run.calls[4].floor = 3


def read_without_one(run: Run) -> None:
    run.calls[4].found = ("t1",)


def read_a_memory_without_it(run: Run) -> None:
    run.calls[0].what = "remember"
    run.final["p"].branches["main"].turns.pop(0)
    run.final["p"].branches["main"].memories.append("t1")
    read = window(1, range(0), what="get", asked=("t1",), consistency="cached")
    run.calls = [*run.calls[:3], read]


def read_ahead(run: Run) -> None:
    run.calls[4].found = ("t1", "t2", "t3")


def read_stale(run: Run) -> None:
    run.calls[4].consistency = "primary"


def damage(run: Run) -> None:
    run.final["p"].findings.append("segment 2-2 is not there")


def open_a_gap(run: Run) -> None:
    run.final["p"].branches["main"].manifest["segments"][1]["min"] = 4


def raise_an_epoch(run: Run) -> None:
    run.final["p"].branches["main"].manifest["segments"][0]["epoch"] = 3


def break_a_link(run: Run) -> None:
    run.unlinked.append("main/manifest.json: version 3, epoch 1 follows epoch 2")


def set_aside_at_another_node(run: Run) -> None:
    recovered(run, 3)
    run.disturbances.append(Disturbance(what="kill", node="b", begin=3.6, end=3.6))


def another_head(run: Run) -> None:
    run.final["p"].branches["main"].manifest["txid"] = 9


WRONG: dict[Callable[[Run], None], str] = {
    lose: "lost",
    lose_with_a_killed_node: "lost",
    set_a_durable_one_aside: "durable not on main",
    set_aside_for_nothing: "set aside without a cause",
    double: "doubled",
    invent: "foreign",
    do_what_was_refused: "refused is there",
    forget_an_id: "request id gone",
    answer_another_txid: "other txid",
    answer_another_number: "other number",
    reorder_txids: "order of txids",
    reorder_within_a_round: "order of txids",
    reorder_turns: "order of turns",
    read_below_the_floor: "below its min_txid",
    read_without_one: "incomplete",
    read_a_memory_without_it: "incomplete",
    read_ahead: "ahead of its txid",
    read_stale: "stale",
    damage: "verify",
    open_a_gap: "gap",
    raise_an_epoch: "epoch",
    break_a_link: "not linked",
    set_aside_at_another_node: "set aside without a cause",
    another_head: "head",
}


def test_a_sound_run_is_sound() -> None:
    assert check(sound()) == []


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_what_is_wrong_is_found(wrong: Callable[[Run], None]) -> None:
    run = sound()
    wrong(run)
    assert WRONG[wrong] in {violation.rule for violation in check(run)}


def cut(node: str, begin: float, end: float) -> Callable[[Run], None]:
    return lambda run: run.disturbances.append(
        Disturbance(what="cut peers both", node=node, begin=begin, end=end)
    )


@pytest.mark.parametrize(
    ("durable", "begin", "end", "excused"),
    [
        (False, 3.6, 89.0, True),
        (True, 3.6, 89.0, False),
        (False, 40.0, 92.0, False),
        (False, 3.6, 50.0, False),
    ],
    ids=["its owner is away", "durable", "shipped before", "its owner is back"],
)
def test_a_local_write_may_wait_for_its_owner(
    durable: bool, begin: float, end: float, excused: bool
) -> None:
    run = sound()
    read_stale(run)
    # The third write, which that read lacks, at the second 3.5.
    run.calls[2].durable = durable
    cut("a", begin, end)(run)
    assert ("stale" in {violation.rule for violation in check(run)}) is not excused


def test_every_rule_has_a_history_that_breaks_it() -> None:
    tree = ast.parse(Path(checker.__file__).read_text("utf-8"))
    yields = [node.value for node in ast.walk(tree) if isinstance(node, ast.Yield)]
    said = {node.elts[0] for node in yields if isinstance(node, ast.Tuple)}
    words = {node.value for node in said if isinstance(node, ast.Constant)}
    # Of those that name their rule otherwise.
    assert words | {"order of txids", "order of turns", "not linked"} == set(WRONG.values())


def test_what_may_be_set_aside_is_named_and_sound() -> None:
    run = sound()
    recovered(run, 3)
    run.disturbances.append(Disturbance(what="kill", node="a", begin=3.6, end=3.6))
    assert check(run) == []


def test_what_was_only_on_a_lost_disk_may_be_gone() -> None:
    run = sound()
    lose(run)
    run.disturbances.append(Disturbance(what="disk", node="a", begin=3.6, end=3.6))
    assert check(run) == []


def test_a_node_that_was_killed_has_its_time_to_ship_before_its_disk_is_lost() -> None:
    run = sound()
    lose(run)
    run.disturbances.append(Disturbance(what="disk", node="a", begin=30.0, end=30.0))
    assert check(run) != []
    run.disturbances.append(Disturbance(what="kill", node="a", begin=4.0, end=16.0))
    assert check(run) == []
    run.disturbances[-1].node = "b"
    assert check(run) != []


def test_what_was_in_doubt_may_be_there_or_not() -> None:
    run = sound()
    run.calls[2].outcome = "maybe"
    assert check(run) == []
    lose(run)
    assert check(run) == []


def test_what_was_done_at_a_node_that_was_set_aside_may_be_seen_before_it_is_on_main() -> None:
    run = sound()
    read_ahead(run)
    attempt = Attempt("a", 3.0, 3.1, 0, doubt=True)
    run.calls[2].attempts = [attempt]
    assert check(run) == []
    attempt.begin = 95.0
    assert check(run) != []
    # Or while it was under way: the node that was asked may have repeated it.
    end = run.calls[4].end
    attempt.begin, attempt.end, attempt.doubt = 3.0, end + 1, False
    assert check(run) == []
    attempt.end = end - 0.1
    assert check(run) != []


def test_a_run_is_the_same_after_it_was_written_down(tmp_path: Any) -> None:
    run = sound()
    run.save(tmp_path / "run.json")
    assert Run.load(tmp_path / "run.json") == run
