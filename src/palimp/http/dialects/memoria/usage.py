"""The tools that users come with, as their requests say it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from ....clock import Clock
from .admission import NAME

if TYPE_CHECKING:
    from ....node import Node
    from .call import Call

__all__ = ["Tools", "used"]

_PREFIX = "tool/"
_HEADERS = ("x-memoria-tool", "x-tool-name")
_NAME_BYTES_MAX = 128
# So often one is written down, and of so many it is known when that was.
_NOTED_SECONDS = 5.0
_KNOWN_MAX = 10_000


class Tools:
    """Notes when which tool was used by whom, each at most every 5 seconds. Thread-safe."""

    def __init__(self, node: Node, clock: Clock) -> None:
        self._node = node
        self._clock = clock
        self._lock = threading.Lock()
        self._noted: OrderedDict[tuple[str, str], float] = OrderedDict()

    def note(self, user: str, headers: Mapping[str, str]) -> None:
        """Note the tool that a request says, if it says one and there is a catalog."""
        tool = next((headers[name] for name in _HEADERS if headers.get(name)), None)
        notes = self._node.context.notes
        if tool is None or notes is None or len(tool.encode()) > _NAME_BYTES_MAX:
            return
        now = self._clock.monotonic()
        with self._lock:
            known = self._noted.pop((user, tool), None)
            due = known is None or now - known > _NOTED_SECONDS
            self._noted[user, tool] = now if known is None or due else known
            if len(self._noted) > _KNOWN_MAX:
                self._noted.popitem(last=False)
        if due:
            notes.put(NAME, user, _PREFIX + tool, str(self._clock.now_ms()))


def used(call: Call) -> list[tuple[str, int]]:
    """Return the tools of a user and when each was used last (ms), the newest first."""
    notes = call.node.context.notes
    rows = [] if notes is None else notes.list(NAME, call.user, _PREFIX)
    found = [(one.key.removeprefix(_PREFIX), msgspec.json.decode(one.value)) for one in rows]
    return sorted(found, key=lambda one: one[1], reverse=True)
