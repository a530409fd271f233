"""The bundled embedder, imported when the first text is embedded and not before."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

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

    @cached_property
    def _real(self) -> BundledEmbedder:
        from .bundled import BundledEmbedder

        return BundledEmbedder()

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
