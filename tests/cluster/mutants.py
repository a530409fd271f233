"""Defects that a run must find: each is put into the nodes, not into what checks them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any


def forget_requests() -> None:
    """A repeat is done again."""
    from palimp.engine import rounds

    keep = rounds.keep_answer

    def kept_again(connection: Any, repeat: Any, *more: Any) -> None:
        connection.execute("DELETE FROM __palimp_requests WHERE id = ?", (repeat.id,))
        keep(connection, repeat, *more)

    rounds.find_answer = lambda *_: None  # type: ignore[assignment]
    rounds.keep_answer = kept_again  # type: ignore[assignment]


def ignore_epochs() -> None:
    """An owner that was fenced writes its manifest over that of the next one."""
    import palimp.engine.engine  # noqa: F401  all that uses it
    from palimp.engine.protocol import lane as module
    from palimp.engine.protocol.records import Manifest, decode, encode
    from palimp.engine.protocol.requests import InDoubt, Refused, Replace, Sleep

    def swap(lane: Any, new: Any) -> Iterator[Any]:
        lane.must_be_settled()
        lane.unsettled = True
        for attempt in module._attempts():
            try:
                version = yield Replace(lane.key, encode(new), lane.version)
            except (InDoubt, Refused):
                yield Sleep(attempt)
                version = None
            if version is None:
                stored = yield from module.read(lane.key)
                if decode(stored.data, Manifest, lane.key).nonce != new.nonce:
                    lane.version = stored.version
                    continue
                version = stored.version
            lane.manifest, lane.version, lane.unsettled = new, version, False
            return

    replace_everywhere(module.swap, swap)


def ignore_deadlines() -> None:
    """A lease is believed until somebody says that it is lost."""
    from palimp.engine.claims import Claims

    Claims._lasts = lambda self, grant: grant > 0  # type: ignore[method-assign]


def count_without_suspend() -> None:
    """Deadlines are in a time that stands still while the machine is suspended."""
    from palimp.clock import Clock

    Clock.boottime = Clock.monotonic  # type: ignore[method-assign]


def ignore_claims() -> None:
    """Whoever is asked takes the database, whoever has it."""
    from palimp.engine.claims import Claims

    class Granted:
        def __init__(self, leaser: Any) -> None:
            self._leaser = leaser

        def __getattr__(self, name: str) -> Any:
            return getattr(self._leaser, name)

        def claim(self, _name: str) -> None:
            return None

    made = Claims.__init__

    def granted(claims: Any, leaser: Any, clock: Any) -> None:
        made(claims, Granted(leaser), clock)

    Claims.__init__ = granted  # type: ignore[method-assign]


def forget_floors() -> None:
    """Whatever a caller has seen, a read shows what is here."""
    # By its name: the package has a function of the same name.
    dispatch = import_module("palimp.operations.dispatch")
    dispatch._check_floor = lambda *_: None  # type: ignore[attr-defined]


def replace_everywhere(old: Any, new: Any) -> None:
    """Put something in the place of another wherever it was imported to."""
    for name, module in list(sys.modules.items()):
        if name.startswith("palimp."):
            for attribute, value in list(vars(module).items()):
                if value is old:
                    setattr(module, attribute, new)


MUTANTS: dict[str, Callable[[], None]] = {
    "forget requests": forget_requests,
    "ignore epochs": ignore_epochs,
    "ignore deadlines": ignore_deadlines,
    "count without suspend": count_without_suspend,
    "ignore claims": ignore_claims,
    "forget floors": forget_floors,
}
