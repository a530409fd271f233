"""A language model on another host: the call, the count, and what becomes of each answer.

What differs between the protocols is a `Convention`: `openai_chat` and `anthropic`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from ..api import estimate_tokens
from ..errors import Error
from ..spending import Spending
from .language import Fault, Malformed, Prompt
from .pool import Endpoint, Pool

__all__ = ["Convention", "Said", "Served", "with_schema"]

W = TypeVar("W")

# What servers answer to a part of a request that they do not know.
_NOT_TAKEN = (400, 422)
# No call reads or writes more; what says so would spoil every sum it is in.
_TOKENS_MAX = 100_000_000
_FAULTS: dict[Fault, str] = {
    "truncated": "the answer ended before it was whole",
    "refused": "the model refused to answer",
    "malformed": "the answer is empty",
}


class Said(NamedTuple):
    """What a server answered: the model's text, what is wrong with it, and the tokens it counts."""

    text: str
    fault: Fault | None
    tokens_in: int | None
    tokens_out: int | None


class Convention(Protocol[W]):
    """How a protocol asks for one JSON object and says what came of it."""

    @property
    def name(self) -> str:
        """What it is called before a model's name."""

    @property
    def path(self) -> str:
        """Where requests go, below the URL of an endpoint."""

    @property
    def ways(self) -> Sequence[W]:
        """The forms in which an object can be asked for: the best first, the last for everyone."""

    def headers(self, endpoint: Endpoint) -> Mapping[str, str]:
        """Return the headers of a request, the key among them."""

    def body(self, model: str, prompt: Prompt, way: W) -> dict[str, Any]:
        """Return the body of a request."""

    def read(self, answer: bytes) -> Said:
        """Return what a server answered; raises `msgspec.DecodeError` where it is of no use."""


class Served(Generic[W]):
    """A `LanguageModel` behind the one endpoint of a pool; `own`: on a host of one's own.

    Servers of the same protocol do not know all of it: what one answers with 400 is asked in the
    next form, and the form that was taken is kept. No temperature is sent, newer models refuse any.
    """

    def __init__(
        self,
        pool: Pool,
        model: str,
        convention: Convention[W],
        *,
        own: bool,
    ) -> None:
        self.name = f"{convention.name}:{model}"
        self.host = pool.endpoints[0].host
        self.egress: Literal["self_hosted", "outside"] = "self_hosted" if own else "outside"
        self._pool = pool
        self._model = model
        self._convention = convention
        self._way = 0

    def complete(self, prompt: Prompt, spending: Spending) -> str:
        """Return the answer of the model to a prompt."""
        answer = self._first_taken(lambda way: self._post(prompt, way, spending))
        shown = answer.decode("utf-8", "replace")
        try:
            # Not the bytes as they came: those need not be UTF-8.
            said = self._convention.read(shown.encode())
        except (msgspec.DecodeError, RecursionError) as error:
            fault = f"what came is no answer of a model: {error}"
            raise Malformed(fault, reason="malformed", answers=(shown,)) from error
        tokens_in = _tokens(said.tokens_in, prompt.instructions + prompt.text)
        tokens_out = _tokens(said.tokens_out, said.text)
        spending.add(self.host, calls=0, tokens_in=tokens_in, tokens_out=tokens_out)
        found = said.fault or (None if said.text.strip() else "malformed")
        if found is not None:
            raise Malformed(_FAULTS[found], reason=found, answers=(said.text or shown,))
        return said.text

    def close(self) -> None:
        """Close the connections; calls under way fail."""
        self._pool.close()

    def _post(self, prompt: Prompt, way: W, spending: Spending) -> bytes:
        # A text may hold half a character, which JSON cannot.
        whole = prompt.text.encode("utf-8", "replace").decode()
        prompt = msgspec.structs.replace(prompt, text=whole)
        body = msgspec.json.encode(self._convention.body(self._model, prompt, way))
        headers = self._convention.headers
        return self._pool.post(self._convention.path, body, headers, spending, texts=1)

    def _first_taken(self, post: Callable[[W], bytes]) -> bytes:
        ways = self._convention.ways
        for place in range(self._way, len(ways)):
            try:
                answer = post(ways[place])
            except Error as error:
                refused = error.details.get("status") in _NOT_TAKEN
                if not refused or place + 1 == len(ways):
                    raise
            else:
                self._way = place
                return answer
        raise AssertionError(f"{self._convention.name} has no ways")


def _tokens(counted: int | None, text: str) -> int:
    """Return what a server counted, if it can be meant; else an estimate."""
    return counted if counted is not None and 0 <= counted <= _TOKENS_MAX else estimate_tokens(text)


def with_schema(prompt: Prompt) -> str:
    """Return the instructions of a prompt for a server that takes the schema nowhere else."""
    return (
        f"{prompt.instructions}\n\nAnswer with one JSON object and nothing else. It has to fit "
        f"this JSON schema:\n{json.dumps(prompt.schema)}"
    )
