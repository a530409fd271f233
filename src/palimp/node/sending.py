"""One operation sent to another node, and what its answer means."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from ..api import Operation, Options, Target
from ..api.answers import Answer, decode_answer, decode_error
from ..api.base import Request, Result
from ..api.repeats import WITHOUT_ID
from ..api.wire import encode_call
from ..clock import Clock
from ..errors import Error, Internal, Unavailable
from ..ids import random_id
from ..lease import Peer
from ..observe import Metrics
from ..operations import Principal
from ..version import __version__
from .forwarding import Lines, Lost
from .peering import Peering
from .settings import PREFIX

__all__ = ["Sender", "Task"]

_ERROR, _SERVER_ERROR = 400, 500
_RETRY_SECONDS = 1.0
# What a node says of another's request before it looks at what is asked.
_OF_THE_CLUSTER = ("cluster_key", "misrouted")


class Task(NamedTuple):
    """One operation, in whose name, and on which database."""

    operation: Operation
    target: Target
    request: Request
    options: Options
    principal: Principal
    name: str

    def with_id(self) -> Task:
        """Return the same with a request id, so that a repeat is recognised."""
        options = msgspec.structs.replace(self.options, request_id=random_id("req"))
        return self._replace(options=options)


class Sender:
    """Sends tasks to other nodes. Thread-safe.

    `expected` is asked whether a silent node may still answer about a database.
    """

    def __init__(
        self,
        peering: Peering,
        lines: Lines,
        expected: Callable[[Peer, str], bool],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._peering = peering
        self._lines = lines
        self._expected = expected
        self._clock = clock
        self._metrics = metrics
        # What a request carries of the trace it is part of; set where there are traces.
        self.traced: Callable[[], dict[str, str]] = dict

    def send(self, peer: Peer, task: Task, seconds: float) -> Result:
        """Return what a task gives at another node.

        Raises what it raises there. `Unavailable` with reason `unreachable` where it was not sent,
        `silent` (and `in_doubt` for a write) where no answer came.
        """
        begun = self._clock.monotonic()
        try:
            return self._send(peer, task, seconds)
        except Error as error:
            reason = str(error.details.get("reason", error.code))
            self._metrics.add("requests_forwarded_failed", reason=reason)
            raise
        finally:
            name, taken = task.operation.name, self._clock.monotonic() - begun
            self._metrics.add("requests_forwarded", operation=name)
            self._metrics.observe("request_forwarded_seconds", taken, operation=name)

    def _send(self, peer: Peer, task: Task, seconds: float) -> Result:
        operation = task.operation
        call = encode_call(operation, task.target, task.request, task.options)
        call = call._replace(headers={**call.headers, **self.traced()})
        call = self._peering.sign(
            call, peer.node, operation=operation.name, principal=task.principal, seconds=seconds
        )
        outcome = self._lines.send(
            peer.address, call, seconds, lambda: self._expected(peer, task.name)
        )
        if isinstance(outcome, Lost):
            raise _lost(peer, task, outcome)
        if outcome.status >= _ERROR:
            raise _refused(peer, task, outcome)
        try:
            return decode_answer(operation, outcome)
        except Internal as error:
            raise Internal(
                f"node {peer.node} ({peer.address}) of release {peer.release} answered "
                f"{operation.name} in a way that this node of release {__version__} cannot read: "
                f"{error}",
                in_doubt=operation.writes,
            ) from error


def _lost(peer: Peer, task: Task, lost: Lost) -> Unavailable:
    place = f"node {peer.node} at {peer.address}"
    if not lost.sent:
        return Unavailable(
            f"{place}, where {task.name} is, cannot be reached: {lost.said}. Is it running, and is "
            f"its {PREFIX}ADVERTISE an address that other nodes can reach? Repeat it later",
            reason="unreachable",
            node=peer.node,
            address=peer.address,
            retry_after=_RETRY_SECONDS,
        )
    message = f"{place} did not answer {task.operation.name} of {task.name}: {lost.said}"
    if not task.operation.writes:
        return Unavailable(message, reason="silent", node=peer.node, retry_after=_RETRY_SECONDS)
    again = ""
    if task.operation.name not in WITHOUT_ID:
        again = f", or repeat it with request id {task.options.request_id}"
    return Unavailable(
        f"{message}. It may have been carried out: look{again}",
        reason="silent",
        node=peer.node,
        in_doubt=True,
        retry_after=_RETRY_SECONDS,
    )


def _refused(peer: Peer, task: Task, answer: Answer) -> Error:
    error = decode_error(answer)
    reason = error.details.get("reason")
    if "status" in error.details and answer.status >= _SERVER_ERROR:
        # Of a proxy, or of what it made of a node that broke off.
        return _lost(peer, task, Lost(str(error), sent=True))
    if "status" in error.details:
        # No node wrote it: something between the two did.
        return Unavailable(
            f"node {peer.node} is said to be at {peer.address}, where something else answered: "
            f"{error}; correct {PREFIX}ADVERTISE of {peer.node}",
            reason="unreachable",
            node=peer.node,
            address=peer.address,
            retry_after=_RETRY_SECONDS,
        )
    if reason not in _OF_THE_CLUSTER:
        return error
    message = {
        "cluster_key": f"node {peer.node} ({peer.address}) refused this node's cluster key: "
        f"{PREFIX}CLUSTER_KEY differs; set it to one value on all nodes",
        "misrouted": f"{error}, {peer.address}; correct it there",
    }.get(str(reason), f"{error} ({peer.address})")
    return Unavailable(
        message,
        reason=reason,
        node=peer.node,
        address=peer.address,
        retry_after=_RETRY_SECONDS,
    )
