"""Language models: what one is asked, what it gives, and when that is worth nothing.

`served` are those on other hosts; `structured` makes values of what they answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from ..errors import Unavailable
from ..spending import Spending

__all__ = ["Fault", "LanguageModel", "Malformed", "Prompt", "one_line", "quoted"]

Fault = Literal["truncated", "refused", "malformed"]
TOKENS_DEFAULT = 4_096


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is asked: `instructions` are ours alone, `text` holds data, `quoted`.

    The answer is to be one JSON object that fits `schema`, which is called `name`, of at most
    `tokens_max` tokens.
    """

    instructions: str
    text: str
    schema: Mapping[str, Any] = {}
    name: str = "answer"
    tokens_max: int = TOKENS_DEFAULT


class LanguageModel(Protocol):
    """A model that answers prompts. Thread-safe."""

    @property
    def name(self) -> str:
        """Who serves it and what it is called there, as `openai:gpt-4o-mini`."""

    @property
    def host(self) -> str:
        """The name of the host it is asked at: no URL, which could hold a key."""

    @property
    def egress(self) -> Literal["self_hosted", "outside"]:
        """Whether that is a host of one's own."""

    def complete(self, prompt: Prompt, spending: Spending) -> str:
        """Return what the model answers, which should be the JSON text of one object.

        Raises `Malformed` where it broke off, refused, or gave nothing; `Unavailable` where it
        cannot be reached, `Unconfigured` where it does not take the key.
        """

    def close(self) -> None:
        """Let go of its connections."""


class Malformed(Unavailable):
    """A model answered, and the answer cannot be used: ask again, or configure another model.

    `answers` are what it gave, as it gave it; they are in no message, log or wire format.
    `details["reason"]` is a `Fault`.
    """

    def __init__(
        self, message: str, *, reason: Fault, answers: Sequence[str] = (), **more: Any
    ) -> None:
        super().__init__(message, reason=reason, **more)
        self.answers = tuple(answers)


def quoted(text: str) -> str:
    """Return a text as lines that all begin with `> `, so that it cannot end its own quotation."""
    return "\n".join(f"> {line}" for line in text.splitlines() or [""])


def one_line(text: str, chars_max: int) -> str:
    """Return a text as one line of bounded length: with a line break it could pose as another."""
    return " ".join(text.split())[:chars_max]
