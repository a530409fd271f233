"""One operation over a network that may fail: what is sent, when it is waited, what is believed.

Nothing here sends or sleeps: `exchange` says what comes next, and is told what came of it.

Which operations a repeat is safe for stands in `api/repeats.py`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias

import msgspec

from ...api import (
    API_VERSION,
    NO_OPTIONS,
    OPERATIONS,
    GetNode,
    Operation,
    Options,
    Target,
)
from ...api.answers import Answer, decode_answer, decode_error
from ...api.base import Request, Result
from ...api.repeats import NO_REPEAT, WITHOUT_ID, done_before, doubtful
from ...api.wire import Call, encode_call
from ...decoding import from_json
from ...errors import Error, Internal, Invalid, Unavailable
from ...ids import jitter, random_id

__all__ = ["Asked", "Exchange", "Lost", "Outcome", "Pause", "Step", "exchange"]

_BASE_SECONDS = 0.1
_CAP_SECONDS = 2.0
# A server that asks for more is not waited for, and neither are several that ask for less.
_ASKED_SECONDS_MAX = 30.0
_WAITED_SECONDS_MAX = 60.0
_URL_CHARS_MAX = 60_000
# A node that lost a branch to another says so for a while; the caller has to go there. A model that
# gave nothing of use was asked again by the node already.
_FINAL = ("fenced", "malformed", "refused", "truncated")
_REDIRECT, _ERROR, _SERVER_ERROR = 300, 400, 500


class Lost(NamedTuple):
    """No answer came; `sent` where the request may have been carried out all the same."""

    cause: Exception
    said: str
    sent: bool


class Pause(NamedTuple):
    """Wait so long."""

    seconds: float


Step: TypeAlias = Call | Pause
# An error says that this client cannot send any more.
Outcome: TypeAlias = Answer | Lost | Unavailable | None
Exchange: TypeAlias = Generator[Step, Outcome, Result]


class Asked(NamedTuple):
    """What is asked of the node at `url`."""

    url: str
    operation: Operation
    target: Target
    request: Request
    options: Options

    def call(self) -> Call:
        """Return it as it is sent."""
        call = encode_call(self.operation, self.target, self.request, self.options)
        if len(call.path) > _URL_CHARS_MAX:
            raise Invalid(
                f"{self.operation.name}: its fields make a URL of {len(call.path):,} characters, "
                f"at most {_URL_CHARS_MAX:,} can be sent; give fewer or shorter ones",
                code="payload_too_large",
            )
        return call


def exchange(asked: Asked, retries: int) -> Exchange:
    """Yield calls to send and pauses to make, return the result or raise what the node said.

    A write carries a request id, the same in all attempts. Where its last attempt failed, and one
    of them may have been carried out, the error's details say `in_doubt`.
    """
    operation = asked.operation
    if operation.writes and asked.options.request_id is None:
        options = msgspec.structs.replace(asked.options, request_id=random_id("req"))
        asked = asked._replace(options=options)
    call = asked.call()
    waits = _Waits(retries)
    doubt = False
    while True:
        outcome = yield call
        assert outcome is not None
        if isinstance(outcome, Unavailable):
            raise doubtful(operation.name, outcome) if doubt else outcome
        if isinstance(outcome, Answer) and outcome.status < _REDIRECT:
            return (yield from _decoded(asked, outcome))
        if isinstance(outcome, Lost):
            error, cause = _lost(asked, outcome, waits.attempts), outcome.cause
        else:
            error, cause = _refused(asked, outcome), None
        if doubt:
            # A status of a proxy shows nothing of what the node did.
            if "status" not in error.details:
                done = done_before(operation.name, asked.target, asked.request, error)
                if done is not None:
                    return done
            error = doubtful(operation.name, error)
        if error.details.get("in_doubt") and operation.name not in WITHOUT_ID:
            # With this the caller can repeat it, as long as it takes.
            error.details["request_id"] = asked.options.request_id
        doubt = operation.writes and bool(error.details.get("in_doubt"))
        begun = doubt or (isinstance(outcome, Lost) and outcome.sent)
        pause = waits.next(error) if _may_repeat(operation, error, begun) else None
        if pause is None:
            raise error from cause
        yield Pause(pause)


class _Waits:
    """The pauses of one exchange: exponential with full jitter, after what the server asked for."""

    def __init__(self, retries: int) -> None:
        self._left = retries
        self._waited = 0.0
        self.attempts = 1

    def next(self, error: Error) -> float | None:
        """Return the next pause; None where there is to be none."""
        asked = max(0.0, error.retry_after or 0.0)
        backoff: float = min(_CAP_SECONDS, _BASE_SECONDS * 2.0 ** (self.attempts - 1))
        pause = asked + backoff * jitter()
        self._waited += pause
        if not self._left or asked > _ASKED_SECONDS_MAX or self._waited > _WAITED_SECONDS_MAX:
            return None
        self._left -= 1
        self.attempts += 1
        return pause


def _may_repeat(operation: Operation, error: Error, begun: bool) -> bool:
    if begun and operation.name in NO_REPEAT:
        return False
    if not isinstance(error, Unavailable):
        return False
    if error.details.get("reason") in _FINAL:
        return False
    # The node works on it still, and would have it twice in hand; or the line is too slow for it.
    return error.code != "request_timeout"


def _lost(asked: Asked, lost: Lost, attempts: int) -> Error:
    tried = f" ({attempts} attempts)" if attempts > 1 else ""
    hint = "is `palimp serve` running there?"
    if not lost.sent:
        return Unavailable(
            f"{asked.url} cannot be reached{tried}: {lost.said}; {hint}", reason="network"
        )
    name = asked.operation.name
    message = f"{asked.url} did not answer {name}{tried}: {lost.said}; {hint}"
    if not asked.operation.writes:
        return Unavailable(message, reason="network")
    request_id = asked.options.request_id
    again = f", or repeat it with request id {request_id}" if name not in WITHOUT_ID else ""
    return Unavailable(
        f"{message} It may have been carried out: look{again}", reason="network", in_doubt=True
    )


def _refused(asked: Asked, answer: Answer) -> Error:
    if answer.status < _ERROR:
        # Not followed: the credential would go wherever it says.
        return Invalid(
            f"{asked.url} answered {asked.operation.name} with a redirect (status "
            f"{answer.status}) to {answer.headers.get('location', 'nowhere')!r:.200}; redirects "
            "are not followed, give the URL of the node itself",
            status=answer.status,
        )
    error = decode_error(answer)
    if "status" in error.details and asked.operation.writes and answer.status >= _SERVER_ERROR:
        # Of a proxy, or of what it made of a node that broke off.
        return error.located("", in_doubt=True)
    return error


class _Versions(msgspec.Struct):
    """What every node says of itself, of whatever version it is."""

    api: int
    release: str


def _decoded(asked: Asked, answer: Answer) -> Exchange:
    """Return the result; where it cannot be read, ask whether the node is of another version."""
    try:
        return decode_answer(asked.operation, answer)
    except Internal as error:
        details: dict[str, Any] = {"in_doubt": True} if asked.operation.writes else {}
        row = OPERATIONS["node.info"]
        theirs = _versions((yield encode_call(row, Target(), GetNode(), NO_OPTIONS)))
        if theirs is None or theirs.api == API_VERSION:
            raise error.located(asked.url, **details) from error
        raise Internal(
            f"{asked.url} is a node of release {theirs.release} with version {theirs.api} of the "
            f"wire, this client has version {API_VERSION}, and cannot read its answer to "
            f"{asked.operation.name}; use one release on both sides",
            **details,
        ) from error


def _versions(outcome: Outcome) -> _Versions | None:
    if not isinstance(outcome, Answer) or outcome.status >= _REDIRECT:
        return None
    try:
        return from_json(outcome.body, _Versions)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
