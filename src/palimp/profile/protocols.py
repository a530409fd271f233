"""What a profile needs from outside: something that seals text, something that embeds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Embedder", "PlainSealer", "Sealer"]


class Sealer(Protocol):
    """Every text of a user passes here on its way into the tables and out of them, and every value.

    `unseal(seal(text)) == text` for every text; `seal` may give bytes that say nothing about it.
    """

    def seal(self, text: str) -> str | bytes:
        """Return what is stored."""

    def unseal(self, stored: str | bytes) -> str:
        """Return the text; raises `Internal` where the stored value was altered."""

    def seal_data(self, data: bytes) -> bytes:
        """Return what is stored of bytes that are no text."""

    def unseal_data(self, stored: bytes) -> bytes:
        """Return the bytes; raises `Internal` where the stored value was altered."""


class PlainSealer:
    """Stores text and bytes as they are."""

    def seal(self, text: str) -> str | bytes:
        """Return the text itself."""
        return text

    def unseal(self, stored: str | bytes) -> str:
        """Return the text itself."""
        return stored if isinstance(stored, str) else stored.decode("utf-8")

    def seal_data(self, data: bytes) -> bytes:
        """Return the bytes themselves."""
        return data

    def unseal_data(self, stored: bytes) -> bytes:
        """Return the bytes themselves."""
        return stored


class Embedder(Protocol):
    """Turns texts into vectors of one model.

    `name` changes whenever the vectors would: rows of different names are never compared. `local`
    says that embedding is cheap and needs no network, so that a read may do it in passing.
    """

    @property
    def name(self) -> str:
        """The model's name, stored beside every vector."""

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""

    @property
    def local(self) -> bool:
        """Whether a read may embed in passing."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one row of unit length per text, a zero row where a text has no known word."""
