"""Ask on the wire: a question, and an answer that names the memories it stands on."""

from __future__ import annotations

from .base import Result
from .limits import ASK_TOKENS_DEFAULT, K_DEFAULT
from .memories import Filters
from .operation import PROFILE, row
from .recall import Hit

__all__ = ["ROWS", "Answered", "Ask"]


class Ask(Filters, frozen=True, kw_only=True):
    """Have a language model answer `query` from the memories that a recall finds for it.

    It is given at most `k` memories with a score of at least `min_score`, the best first, together
    at most `max_tokens` of text (UTF-8 bytes / 4), and nothing else of the profile.
    """

    query: str
    k: int = K_DEFAULT
    min_score: float = 0.0
    max_tokens: int = ASK_TOKENS_DEFAULT


class Answered(Result, frozen=True, kw_only=True):
    """An answer, and the ids of the memories it stands on; never one without any.

    `answer` is None where nothing was recalled (`model` was not called then), and where the model
    found no answer in `memories`, which are all that it was shown. `tokens` are those it read and
    wrote. `notes` says why an answer is missing that somebody might expect.
    """

    answer: str | None
    citations: tuple[str, ...]
    memories: tuple[Hit, ...]
    model: str
    tokens: int
    txid: int
    notes: tuple[str, ...] = ()


ROWS = (
    row(
        "ask",
        f"POST {PROFILE}/ask",
        Ask,
        Answered,
        "read",
        "Have a language model answer a question from the memories, and cite them.",
    ),
)
