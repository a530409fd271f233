"""Calls that are made at the same time go out together, without waiting for company."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from ..errors import Error
from ..spending import Spending
from .lazy import Model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Joining"]

TEXTS_JOINED_MAX = 128
"""So many texts go together at most; a call with more goes alone."""

_UNDER_WAY_MAX = 2


class _Call:
    """What a thread wants embedded, and what came of it."""

    def __init__(self, texts: Sequence[str], spending: Spending | None) -> None:
        self.texts = texts
        self.spending = spending
        self.turn = threading.Event()
        self.gone = False
        self.rows: NDArray[np.float32] | None = None
        self.error: Error | None = None

    @property
    def answered(self) -> bool:
        """Whether something came of it."""
        return self.rows is not None or self.error is not None


class _Line:
    """Calls of one kind that wait, and how many requests are under way."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: deque[_Call] = deque()
        self.under_way = 0


class Joining:
    """Is another embedder, but texts of several threads share its requests.

    A call that finds two requests under way waits until one is back; then the first that waits
    takes all others along. Who comes alone waits for nobody. What a request took out of this host
    is shared: bytes and tokens by the bytes of the texts, while each counts the calls it was in.
    """

    def __init__(self, inner: Model) -> None:
        self._inner = inner
        # A question does not wait for a thousand rows of the background.
        self._lines = {False: _Line(), True: _Line()}
        self.local = inner.local
        self.egress = inner.egress

    @property
    def name(self) -> str:
        """The model's name."""
        return self._inner.name

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        return self._inner.dimensions

    def embed(
        self, texts: Sequence[str], *, query: bool = False, spending: Spending | None = None
    ) -> NDArray[np.float32]:
        """Return one row of unit length per text."""
        if isinstance(texts, str) or not 0 < len(texts) <= TEXTS_JOINED_MAX:
            return self._inner.embed(texts, query=query, spending=spending)
        line, call = self._lines[query], _Call(texts, spending)
        self._wait(line, call)
        if not call.answered:
            self._lead(line, call, query)
        if call.error is not None:
            raise call.error
        assert call.rows is not None
        return call.rows

    def of(self, name: str) -> Joining | None:
        """Return what embeds questions for vectors of that model."""
        other = self._inner.of(name)
        if other is None:
            return None
        return self if other is self._inner else Joining(other)

    @staticmethod
    def _wait(line: _Line, call: _Call) -> None:
        """Return when it is the call's turn to go, or when it came along with another."""
        with line.lock:
            if line.under_way < _UNDER_WAY_MAX:
                line.under_way += 1
                return
            line.waiting.append(call)
        try:
            call.turn.wait()
        except BaseException:
            # An interrupt. Nobody may wait for who is gone.
            with line.lock:
                call.gone = True
                waits = call in line.waiting
                if waits:
                    line.waiting.remove(call)
            if not waits and call.turn.is_set() and not call.answered:
                # Its turn had come.
                _next(line)
            raise

    def _lead(self, line: _Line, call: _Call, query: bool) -> None:
        """Make a request for this call and all that wait; then the next may."""
        with line.lock:
            calls, size = [call], len(call.texts)
            while line.waiting and size + len(line.waiting[0].texts) <= TEXTS_JOINED_MAX:
                calls.append(line.waiting.popleft())
                size += len(calls[-1].texts)
        try:
            self._embed(calls, query)
        finally:
            with line.lock:
                for one in reversed(calls[1:]):
                    if one.answered:
                        one.turn.set()
                    elif not one.gone:
                        # What an interrupt, or a defect, ended for this thread, goes on for others.
                        line.waiting.appendleft(one)
            _next(line)

    def _embed(self, calls: list[_Call], query: bool) -> None:
        spending = Spending()
        try:
            rows = self._inner.embed(
                [text for call in calls for text in call.texts], query=query, spending=spending
            )
        except Error as error:
            for call in calls:
                # A copy each: threads that raise one would write into each other's traceback.
                call.error = error.located("") if len(calls) > 1 else error
        else:
            ends = [0, *accumulate(len(call.texts) for call in calls)]
            for call, (start, end) in zip(calls, pairwise(ends), strict=True):
                call.rows = rows[start:end]
        finally:
            _share(spending, calls)


def _next(line: _Line) -> None:
    """Let the first that waits go, in the place of a request that is over."""
    with line.lock:
        if line.waiting:
            line.waiting.popleft().turn.set()
        else:
            line.under_way -= 1


def _share(spent: Spending, calls: list[_Call]) -> None:
    if not spent.calls:
        return
    sizes = [sum(len(text.encode("utf-8", "replace")) + 1 for text in call.texts) for call in calls]
    ends = [0, *accumulate(sizes)]
    for call, (start, end) in zip(calls, pairwise(ends), strict=True):
        if call.spending is None:
            continue

        def part(whole: int, start: int = start, end: int = end) -> int:
            # Differences of rounded sums: the parts add up to the whole.
            return whole * end // ends[-1] - whole * start // ends[-1]

        call.spending.hosts |= spent.hosts
        call.spending.calls += spent.calls
        call.spending.texts += len(call.texts)
        call.spending.bytes += part(spent.bytes)
        call.spending.tokens_in += part(spent.tokens_in)
        call.spending.tokens_out += part(spent.tokens_out)
