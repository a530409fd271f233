"""The bundled embedder, imported when the first text is embedded and not before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..forks import importing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .bundled import BundledEmbedder

__all__ = ["LazyEmbedder"]


class LazyEmbedder:
    """Is the bundled embedder in every respect, but costs nothing until its first use.

    Importing numpy takes longer than opening a folder and acknowledging a first memory together.
    """

    local = True

    def __init__(self) -> None:
        self._loaded: BundledEmbedder | None = None

    @property
    def _real(self) -> BundledEmbedder:
        if self._loaded is None:
            with importing():
                from .bundled import BundledEmbedder

                self._loaded = self._loaded or BundledEmbedder()
        return self._loaded

    @property
    def name(self) -> str:
        """The model's name."""
        return self._real.name

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        return self._real.dimensions

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one row of unit length per text."""
        return self._real.embed(texts)
