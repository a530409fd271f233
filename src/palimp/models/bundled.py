"""The embedder that comes in the package: no network, no model library, no download.

Each token of the vocabulary has one fixed vector; the vector of a text is the direction of the
sum of its tokens' vectors. `docs/internals/embedder.md` says where the vectors come from.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from palimp.forks import importing
from palimp.models.wordpiece import Characters, WordPiece
from palimp.spending import Spending

NAME = "palimp-minilm-static-256.1"
DIMENSIONS = 256

CHARACTERS_EMBEDDED_MAX = 32_768
"""Of a longer text, the rest is not embedded: its vector would be a blur, and take long."""

TOKENS_EMBEDDED_MAX = 4_096
"""Of a text with more tokens, only the first so many are embedded."""

_DATA = Path(__file__).parent / "data"

# Rows widened to float64 at a time, so that a long text does not need megabytes of scratch space.
_TOKENS_SUMMED_AT_ONCE = 512


class _Model(NamedTuple):
    tokens: WordPiece
    vectors: NDArray[np.int8]
    scales: NDArray[np.float64]


_model: _Model | None = None


def _mapped(name: str) -> NDArray[Any]:
    # Mapped, not read: only the rows that texts touch become resident, and all processes of a
    # machine share them. `asarray` drops the memmap subclass, whose indexing is slow.
    return np.asarray(np.load(_DATA / name, mmap_mode="r", allow_pickle=False))


def _load() -> _Model:
    """The one copy of the model in this process, loaded by whoever comes first."""
    global _model
    if _model is None:
        with importing():
            if _model is None:
                vocabulary = (_DATA / "vocabulary.txt").read_text(encoding="utf-8").split("\n")[:-1]
                characters = Characters((_DATA / "characters.txt").read_text(encoding="ascii"))
                _model = _Model(
                    WordPiece(vocabulary, characters),
                    _mapped("vectors.npy"),
                    _mapped("scales.npy").astype(np.float64),
                )
    return _model


class BundledEmbedder:
    """Embeds texts with the model in the package: the same text gives the same vector, always.

    A vector does not depend on the other texts of the batch, on threads or on the Python version.
    Nothing is read from the network, ever. Construction is free; the model is loaded once per
    process, at the first `embed`. Safe to share between threads.
    """

    name: str = NAME
    dimensions: int = DIMENSIONS
    local: bool = True
    egress: Literal["none"] = "none"

    def __init__(self) -> None:
        pass

    def embed(
        self,
        texts: Sequence[str],
        *,
        query: bool = False,  # noqa: ARG002 - questions are embedded as statements are
        spending: Spending | None = None,  # noqa: ARG002 - nothing leaves
    ) -> NDArray[np.float32]:
        """One row of unit length per text, in order; shape `(len(texts), 256)`.

        A text without any known token (empty, only controls, only unknown words) gives a row of
        zeros. Every `str` is accepted, lone surrogates included. Of a very long text only the
        beginning counts: `CHARACTERS_EMBEDDED_MAX`, then `TOKENS_EMBEDDED_MAX`.
        """
        if isinstance(texts, str):
            raise TypeError("embed takes a sequence of texts; put a single text into a list")
        model = _load()
        rows = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for row, text in enumerate(texts):
            numbers = model.tokens.numbers(text[:CHARACTERS_EMBEDDED_MAX])
            total = _total(model, numbers[:TOKENS_EMBEDDED_MAX])
            length = math.sqrt(total @ total)
            if length > 0:
                rows[row] = total / length
        return rows

    def of(self, name: str) -> Self | None:
        """Return itself for its own name: there is no other model in the package."""
        return self if name == NAME else None


def _total(model: _Model, numbers: Sequence[int]) -> NDArray[np.float64]:
    # Scales and vectors are integers, and a sum of TOKENS_EMBEDDED_MAX products stays far below
    # 2**53: float64 adds them without rounding, so that no order of summation changes a vector.
    total = np.zeros(DIMENSIONS)
    for start in range(0, len(numbers), _TOKENS_SUMMED_AT_ONCE):
        at = np.array(numbers[start : start + _TOKENS_SUMMED_AT_ONCE])
        total += model.scales.take(at) @ model.vectors.take(at, axis=0).astype(np.float64)
    return total
