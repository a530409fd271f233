"""The agents of an organisation: each is kept once, under its name, to which its id leads.

So a name is taken by one write that compares, and what was interrupted leaves nothing that shows.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import msgspec

from ....api.events import Event
from ....clock import Clock
from ....decoding import from_json, from_plain
from ....errors import Unavailable, Unconfigured
from ....observe import logger
from .call import Call
from .names import AGENT, AGENT_NAME, DIALECT, is_id, name_key
from .refusals import conflict

__all__ = ["Agent", "Touches", "add", "everyone", "find", "remove", "touch"]

_LOG = logger("memtrace")
_TRIES = 20
# So often it is written down at most that an agent was active.
_TOUCH_SECONDS = 60.0
_TOUCHED_MAX = 10_000


class Agent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An agent as it is kept; times in ms."""

    id: str
    name: str
    created_at: int
    description: str = ""
    config: dict[str, Any] | None = None
    last_active_at: int | None = None


class _Pointer(msgspec.Struct, frozen=True):
    """Where the agent with an id is kept."""

    key: str


class Touches:
    """Says when it is time to write down that an agent was active. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def due(self, org: str, agent: str) -> bool:
        """Whether it is; then it is not again for a minute."""
        now, key = self._clock.monotonic(), (org, agent)
        with self._lock:
            last = self._at.get(key)
            if last is not None and now - last < _TOUCH_SECONDS:
                return False
            self._at[key] = now
            self._at.move_to_end(key)
            if len(self._at) > _TOUCHED_MAX:
                self._at.popitem(last=False)
            return True


def add(call: Call, agent: Agent) -> bool:
    """Keep a new agent; False, and nothing kept, where its name is taken."""
    key = name_key(agent.name)
    # First where it is found by its id: what leads to nothing does not show.
    call.keep(AGENT + agent.id, _Pointer(key))
    if call.bindings.put(DIALECT, call.org, key, _text(agent), 0) is not None:
        return True
    call.bindings.delete(DIALECT, call.org, AGENT + agent.id)
    return False


def everyone(call: Call) -> list[Agent]:
    """Return all agents, the newest first."""
    found = [from_json(row.value, Agent) for row in call.kept_all(AGENT_NAME)]
    return sorted(found, key=lambda one: (one.created_at, one.id), reverse=True)


def remove(call: Call, identity: str) -> bool:
    """Remove the agent of an id; whether there was one."""
    for _ in range(_TRIES):
        found = _by_id(call, identity)
        if found is None:
            return False
        agent, version = found
        # Of another version: it was active meanwhile, or somebody else removed it.
        if call.bindings.delete(DIALECT, call.org, name_key(agent.name), version):
            call.bindings.delete(DIALECT, call.org, AGENT + identity)
            return True
    raise conflict(f"agent {identity} is being changed by others; repeat it")


def find(call: Call, word: str) -> Agent | None:
    """Return the agent of an id, or of a name; None where there is none."""
    found = _by_id(call, word) or _at(call, name_key(word))
    return None if found is None else found[0]


def touch(call: Call, events: Iterable[Event]) -> None:
    """Note that the agents of events were active just now; at most once a minute each.

    An event may name its agent by the id or by the name, and one that is not registered.
    """
    for word in dict.fromkeys(one.agent for one in events):
        if not word or not call.app.touches.due(call.org, word):
            continue
        try:
            found = _by_id(call, word) or _at(call, name_key(word))
            if found is not None:
                agent = msgspec.structs.replace(found[0], last_active_at=call.now_ms)
                key = name_key(agent.name)
                call.bindings.put(DIALECT, call.org, key, _text(agent), found[1])
        except (Unavailable, Unconfigured) as error:
            # What it did is written: that it did it must not make an error of that.
            _LOG.info("that an agent was active was not written: %s", error)


def _by_id(call: Call, identity: str) -> tuple[Agent, int] | None:
    """Return an agent and the version of its row."""
    kept = call.kept(AGENT + identity) if is_id(identity) else None
    if kept is None:
        return None
    found = _at(call, from_plain(kept, _Pointer).key)
    # The name may be another's by now.
    return found if found is not None and found[0].id == identity else None


def _at(call: Call, key: str) -> tuple[Agent, int] | None:
    row = call.bindings.get(DIALECT, call.org, key)
    if row is None:
        return None
    return from_json(row.value, Agent), row.version


def _text(one: Agent) -> str:
    return msgspec.json.encode(one).decode()
