"""`/metrics` in that system's names, made of what this node counts of the dialect's requests."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from ....api import Target
from ....api.profiles import ListProfiles
from ....observe import BUCKETS
from ....operations import OWNER
from ....version import __version__
from .admission import NAME, NAMESPACE

if TYPE_CHECKING:
    from ...api import Api

__all__ = ["Figures"]

_SECONDS = 5.0
_COUNTED_SECONDS = 300.0
_PROFILES_PAGE = 1_000
_SERIES = re.compile(rf'(\w+)\{{operation="{NAME} (\w+) ([^"]+)"(?:,status="(\d+)")?\}}')
_NOT_COUNTED = ("/metrics", "/health", "/health/instance")
_UNAUTHORIZED = "401"


class Figures:
    """The text, made anew when it is 5 seconds old. Thread-safe."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._made: tuple[float, str] | None = None
        self._counted: tuple[float, int] | None = None

    def text(self) -> str:
        """Return the figures in the text format of Prometheus, 0.0.4."""
        now = self._api.node.context.clock.monotonic()
        with self._lock:
            if self._made is None or now - self._made[0] > _SECONDS:
                self._made = now, "\n".join((*self._lines(), ""))
            return self._made[1]

    def _lines(self) -> Iterator[str]:
        about = self._api.node.context.about
        yield from _head("memoria_info", "gauge", "This instance.")
        yield f'memoria_info{{instance="{about.node}-{about.process}",version="{__version__}"}} 1'
        yield from self._requests()
        yield from self._durations()
        yield from _head("memoria_http_requests_inflight", "gauge", "Requests under way.")
        yield f"memoria_http_requests_inflight {self._api.in_flight}"
        yield from _head("memoria_users_total", "gauge", "Users with memories.")
        yield f"memoria_users_total {self._known_users()}"

    def _requests(self) -> Iterator[str]:
        counts: Counter[tuple[str, str, str]] = Counter()
        refused = 0.0
        for key, value in self._api.node.context.metrics.snapshot().items():
            found = _SERIES.fullmatch(key)
            if found is None or found[1] != "http_requests" or found[3] in _NOT_COUNTED:
                continue
            counts[found[2], found[3], f"{found[4][0]}xx"] += int(value)
            refused += value if found[4] == _UNAUTHORIZED else 0
        name = "memoria_http_requests_total"
        yield from _head(name, "counter", "Requests, by the class of their status.")
        for (method, route, status), count in sorted(counts.items()):
            labels = f'method="{method}",route="{route}",status="{status}",source="api"'
            yield f"{name}{{{labels}}} {count}"
        yield from _head("memoria_auth_failures_total", "counter", "Requests without a valid key.")
        yield f"memoria_auth_failures_total {refused:g}"

    def _durations(self) -> Iterator[str]:
        name = "memoria_http_request_duration_seconds"
        yield from _head(name, "histogram", "From the head of a request to its answer's end.")
        for key, counts in sorted(self._api.node.context.metrics.durations().items()):
            found = _SERIES.fullmatch(key)
            if found is None or found[1] != "http_request_seconds" or found[3] in _NOT_COUNTED:
                continue
            *each, seconds = counts
            labels = f'method="{found[2]}",route="{found[3]}",source="api"'
            totals = [f"{count:g}" for count in accumulate(each)]
            for end, count in zip((*map(str, BUCKETS), "+Inf"), totals, strict=True):
                yield f'{name}_bucket{{{labels},le="{end}"}} {count}'
            yield f"{name}_sum{{{labels}}} {seconds:g}"
            yield f"{name}_count{{{labels}}} {totals[-1]}"

    def _known_users(self) -> int:
        """Return how many users there are, which takes looking at the name of each."""
        now = self._api.node.context.clock.monotonic()
        if self._counted is None or now - self._counted[0] > _COUNTED_SECONDS:
            self._counted = now, self._users()
        return self._counted[1]

    def _users(self) -> int:
        count, cursor = 0, None
        while True:
            request = ListProfiles(limit=_PROFILES_PAGE, cursor=cursor)
            page = self._api.node.call("profiles.list", Target(NAMESPACE), request, principal=OWNER)
            count += len(page.profiles)  # type: ignore[attr-defined]
            cursor = page.next_cursor  # type: ignore[attr-defined]
            if cursor is None:
                return count


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
