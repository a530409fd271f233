"""Endpoints of one model, asked in turn: what fails or is busy is passed over and tried later.

- 2xx with JSON: that is the result.
- 429: it rests for as long as `Retry-After` says, and the next is asked.
- 408, 5xx, silence, a cut connection, anything but JSON: its breaker counts, the next is asked.
- 401, 402, 403, 404, 405 or a redirect: `Unconfigured` at once. Every call would end so, and asking
  another endpoint would only hide it.
- Another 4xx: `Invalid` at once, for the others would refuse it too; `details["status"]` is which.

No message and no log line holds a key, a query or the user of a URL, nor what was sent or answered.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from ..clock import Clock
from ..decoding import from_json
from ..errors import Error, Invalid, Unavailable, Unconfigured
from ..observe import Metrics, logger
from ..spending import Spending
from .breaker import Breaker
from .exchange import Endpoint, Failed, Refused, endpoints_exchange

__all__ = ["Endpoint", "Family", "Pool", "Unusable"]

T = TypeVar("T")
Family = Literal["embed", "extract", "assistant"]

CONCURRENCY_MAX = 32
QUEUE_SECONDS_MAX = 5.0
_ROUNDS = 2
# A connection that was idle for too long is opened again at once; what is busy may be free soon.
_PAUSE_SECONDS_MIN = 0.2
_PAUSE_SECONDS_MAX = 2.0
_NAMES = {"embed": "embedder", "extract": "extraction model", "assistant": "assistant's model"}
_LOG = logger("models")


class Unusable(Exception):
    """What an endpoint answered is not what was asked for: raised by the reader of a `Pool.ask`.

    `reason` follows on "answered" and quotes nothing. `lasting`: it would answer so again, and is
    left alone at once.
    """

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.lasting = lasting


class _Call(NamedTuple):
    path: str
    body: bytes
    headers_of: Callable[[Endpoint], Mapping[str, str]]
    read: Callable[[bytes], Any]
    spending: Spending | None
    texts: int


class _Member(NamedTuple):
    endpoint: Endpoint
    breaker: Breaker


class Pool:
    """Asks the endpoints of one model, each call another one first, until one answers.

    Each is asked at most twice a call. Where none answers, `Unavailable` says when to come again.
    Redirects are not followed. Proxies of the environment are used, unless all hosts are one's own.
    `what` is the family of settings that the endpoints come from. Safe to share between threads.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        clock: Clock,
        metrics: Metrics,
        *,
        timeout: float,
        what: Family,
    ) -> None:
        assert endpoints
        self.endpoints = tuple(endpoints)
        self._members = [_Member(endpoint, Breaker(clock)) for endpoint in endpoints]
        self._exchange = endpoints_exchange(self.endpoints, clock, timeout)
        self._clock = clock
        self._metrics = metrics
        self._timeout = timeout
        self._what = what
        self._lock = threading.Lock()
        self._turn = 0
        self._slots = threading.BoundedSemaphore(CONCURRENCY_MAX)

    def __repr__(self) -> str:
        return f"Pool({self._what!r}, {', '.join(e.place for e in self.endpoints)})"

    def post(
        self,
        path: str,
        body: bytes,
        headers_of: Callable[[Endpoint], Mapping[str, str]],
        spending: Spending | None = None,
        *,
        texts: int = 0,
    ) -> bytes:
        """Return the JSON that an endpoint answers to `body`; `path` is put behind its URL.

        Every try counts in `spending`: calls, host, bytes and `texts`. Tokens are the caller's.
        """
        return self.ask(path, body, headers_of, _json, spending, texts=texts)

    def ask(
        self,
        path: str,
        body: bytes,
        headers_of: Callable[[Endpoint], Mapping[str, str]],
        read: Callable[[bytes], T],
        spending: Spending | None = None,
        *,
        texts: int = 0,
    ) -> T:
        """Return what `read` makes of an answer; where it raises `Unusable`, the next is asked."""
        call = _Call(path, body, headers_of, read, spending, texts)
        if not self._slots.acquire(timeout=QUEUE_SECONDS_MAX):
            raise Unavailable(
                f"{CONCURRENCY_MAX} calls to the {_NAMES[self._what]} are under way, and none "
                f"ended within {QUEUE_SECONDS_MAX:g} s; try again later",
                code="overloaded",
                retry_after=1.0,
            )
        try:
            found: T = self._asked(call)
            return found
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close the connections; calls under way fail, and every later one."""
        self._exchange.close()

    def _asked(self, call: _Call) -> Any:
        begun = self._clock.monotonic()
        failures: dict[str, Failed] = {}
        for turn in range(_ROUNDS):
            if turn and not self._pause(begun):
                break
            for member in self._rotated():
                if member.breaker.admit():
                    try:
                        return self._tried(member, call)
                    except Failed as failed:
                        failures[member.endpoint.place] = failed
        raise self._away(failures)

    def _pause(self, begun: float) -> bool:
        """Wait for the second round; return whether there is to be one."""
        wait = self._wait()
        if wait > _PAUSE_SECONDS_MAX or self._clock.monotonic() - begun >= self._timeout:
            return False
        self._clock.sleep(max(wait, _PAUSE_SECONDS_MIN))
        return True

    def _wait(self) -> float:
        return min(member.breaker.wait for member in self._members)

    def _rotated(self) -> list[_Member]:
        with self._lock:
            start = self._turn
            self._turn = (start + 1) % len(self._members)
        return self._members[start:] + self._members[:start]

    def _tried(self, member: _Member, call: _Call) -> Any:
        endpoint, breaker = member
        sent, outcome, tell = True, "failed", breaker.left
        try:
            content = self._exchange.send(endpoint, call.path, call.body, call.headers_of(endpoint))
            found = call.read(content)
            outcome, tell = "answered", breaker.succeeded
        except Failed as failed:
            sent = failed.sent
            if failed.limited:
                outcome, tell = "limited", partial(breaker.limited, failed.rest)
            else:
                tell = partial(breaker.failed, rest=failed.rest)
                self._log(endpoint, failed.reason)
            raise
        except Unusable as unusable:
            reason = f"answered {unusable.reason}"
            tell = partial(breaker.failed, at_once=unusable.lasting)
            self._log(endpoint, reason, logging.WARNING if unusable.lasting else logging.INFO)
            raise Failed(reason) from unusable
        except Refused as refused:
            # It works. What is wrong is the request or the settings.
            outcome, tell = "refused", breaker.succeeded
            raise self._refused(endpoint, refused) from refused
        except Error:
            # There is no connection to be had, wherever to.
            sent = False
            raise
        finally:
            tell()
            self._metrics.add("model_requests", purpose=self._what, outcome=outcome)
            if sent and call.spending is not None:
                call.spending.add(endpoint.host, texts=call.texts, bytes=len(call.body))
        return found

    def _log(self, endpoint: Endpoint, reason: str, level: int = logging.INFO) -> None:
        _LOG.log(level, "the %s at %s %s", _NAMES[self._what], endpoint.place, reason)

    def _refused(self, endpoint: Endpoint, refused: Refused) -> Error:
        status, settings = refused.status, f"PALIMP_{self._what.upper()}"
        said = f"{status} ({refused.word})" if refused.word else str(status)
        kind: type[Error] = Unconfigured
        if status < 400:
            advice = f"a redirect is not followed: set {settings}_BASE_URL to where it leads"
        elif status in (401, 402, 403):
            advice = f"check {settings}_API_KEY"
        elif status in (404, 405):
            advice = f"check {settings}_BASE_URL and {settings}_MODEL"
        else:
            kind, advice = Invalid, "it does not take this request"
        return kind(
            f"the {_NAMES[self._what]} at {endpoint.place} answered {said}: {advice}",
            status=status,
            host=endpoint.host,
        )

    def _away(self, failures: Mapping[str, Failed]) -> Unavailable:
        wait = max(self._wait(), 1.0)
        reasons = {
            endpoint.place: f"rests for {breaker.wait:.0f} s" for endpoint, breaker in self._members
        }
        reasons |= {place: failed.reason for place, failed in failures.items()}
        statuses = {failed.status for failed in failures.values()}
        said = "; ".join(f"{place} {reason}" for place, reason in sorted(reasons.items()))
        return Unavailable(
            f"the {_NAMES[self._what]} does not answer: {said}; try again in {wait:.0f} s",
            retry_after=wait,
            # Of those that were asked; None where they differ, or gave none.
            status=statuses.pop() if len(statuses) == 1 else None,
        )


def _json(content: bytes) -> bytes:
    try:
        from_json(content, msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        try:
            # Python's own writes NaN, which JSON does not have; the reader can make sense of it.
            json.loads(content)
        except (ValueError, RecursionError):
            raise Unusable("what is no JSON") from None
    return content
