"""Embedding on the wire: which models rows have vectors of, and embedding them anew."""

from __future__ import annotations

from .base import Request, Result
from .operation import PROFILE, row

__all__ = [
    "ROWS",
    "EmbedGeneration",
    "EmbedStatus",
    "EmbedTexts",
    "EmbeddedTexts",
    "GetEmbedding",
    "Reembed",
    "Reembedded",
]


class GetEmbedding(Request, frozen=True, kw_only=True):
    """Ask which models the rows of a profile have vectors of."""


class EmbedGeneration(Result, frozen=True, kw_only=True):
    """How many rows have a vector of a model; `current` for the one that new rows get."""

    model: str
    dimensions: int
    memories: int
    turns: int
    current: bool


class EmbedStatus(Result, frozen=True, kw_only=True):
    """What is embedded, by model, the newest first, and what is still to be done.

    `model` is the embedder's, None where there is none or where it cannot say. `pending_memories`
    and `pending_turns` have no vector yet and get one by themselves; `remaining` rows have none of
    this model and get one when they are embedded anew (pending ones among them). `answers` is
    whether the last call to the embedder succeeded, None where this node has made none; `failure`
    is what the last that failed said, at `failed_at`, or why nothing may be embedded.
    """

    model: str | None
    answers: bool | None
    generations: tuple[EmbedGeneration, ...] = ()
    pending_memories: int = 0
    pending_turns: int = 0
    remaining: int = 0
    failure: str | None = None
    failed_at: int | None = None
    txid: int


class Reembed(Request, frozen=True, kw_only=True):
    """Embed at most `limit` rows (10,000, and for 5 seconds) that the embedder's model lacks.

    The oldest come first. Vectors of older models go with each row that has one of this model.
    """

    limit: int | None = None


class Reembedded(Result, frozen=True, kw_only=True):
    """How many rows got a vector of `model`, and how many older vectors went.

    `remaining` rows still have none of it: repeat the call. When nothing remains, nothing was
    embedded and nothing dropped, all is done.
    """

    model: str
    embedded: int
    dropped: int
    remaining: int
    txid: int


class EmbedTexts(Request, frozen=True, kw_only=True):
    """Ask for the vectors of 1 to 100 texts; nothing is kept.

    With `query` they are vectors to search with, which some models make in another way.
    """

    texts: tuple[str, ...]
    query: bool = False


class EmbeddedTexts(Result, frozen=True, kw_only=True):
    """One vector of `model` per text; those of two models are not to be compared."""

    model: str
    vectors: tuple[tuple[float, ...], ...]


ROWS = (
    row(
        "embed.status",
        f"GET {PROFILE}/embed",
        GetEmbedding,
        EmbedStatus,
        "read",
        "Say which models the rows have vectors of, and how many still wait for one.",
    ),
    row(
        "embed.texts",
        f"POST {PROFILE}/embed/texts",
        EmbedTexts,
        EmbeddedTexts,
        "read",
        "Give the vectors of texts that the node's embedder makes.",
    ),
    row(
        "embed.reembed",
        f"POST {PROFILE}/embed/reembed",
        Reembed,
        Reembedded,
        "write writes idempotent",
        "Embed rows anew with the model of now, and drop the vectors of older ones.",
    ),
)
