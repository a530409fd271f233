"""Defects of merges and of governance that kills must find; put into the lives, not into the looks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from palimp.engine import find_answer
from palimp.governance.rules import acting
from palimp.operations import compare, governance_run, safety
from palimp.operations.context import Context

# Its package has a function of that name.
_BRING = sys.modules["palimp.profile.compare.bring"]


def pointers_apart() -> None:
    """What took the place of a memory is noted in a second transaction."""
    real, write = _BRING._point, compare._write
    late: list[tuple[Any, ...]] = []

    def point(_: Any, *given: Any) -> None:
        late.append(given)

    def written(context: Any, branch: Any, *given: Any, **more: Any) -> Any:
        late.clear()
        done = write(context, branch, *given, **more)
        for one in late:
            branch.write(lambda connection, one=one: real(connection, *one))
        return done

    _BRING._point, compare._write = point, written


def answer_apart() -> None:
    """The answer is kept for a repeat in a transaction of its own."""

    real = Context.commit

    def commit(context: Any, branch: Any, operation: Any, answer: Any, **how: Any) -> Any:
        repeat = context.repeat(answer)
        if repeat is None or branch.read(lambda c: find_answer(c, repeat)).value is not None:
            return real(context, branch, operation, answer, **how)
        done = branch.write(operation, alone=True)
        return branch.write(lambda _: done.value, repeat=repeat)

    Context.commit = commit  # type: ignore[method-assign]


def checkpoint_after() -> None:
    """The state before is named when it has passed."""
    write, before = compare._write, safety.before
    late: list[tuple[Any, ...]] = []

    def named(*given: Any) -> str:
        late.append(given)
        return f"pre_merge_{len(late):08x}"

    def written(*given: Any, **more: Any) -> Any:
        done = write(*given, **more)
        for one in late:
            before(*one)
        late.clear()
        return done

    compare.safety.before, compare._write = named, written


def deeds_apart() -> None:
    """What a run of governance did is noted in a transaction after the one that did it."""
    real, write = acting.governed.note, governance_run.Run.write
    late: list[tuple[Any, ...]] = []

    def note(_: Any, *given: Any) -> None:
        late.append(given)

    def written(run: Any, change: Any) -> Any:
        done = write(run, change)
        while late:
            given = late.pop(0)
            run.branch.write(lambda connection, given=given: real(connection, *given))
        return done

    acting.governed.note, governance_run.Run.write = note, written


MUTANTS: dict[str, Callable[[], None]] = {
    "pointers apart": pointers_apart,
    "answer apart": answer_apart,
    "checkpoint after": checkpoint_after,
    "deeds apart": deeds_apart,
}
