"""An embedder that is made when the first text is embedded and not before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from ..forks import importing
from ..spending import Spending

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LazyEmbedder", "Model"]

Egress = Literal["none", "self_hosted", "outside"]


class Model(Protocol):
    """What every embedder of this room is; `profile.Embedder` says what it promises."""

    @property
    def name(self) -> str:
        """The model's name, stored beside every vector."""

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""

    @property
    def local(self) -> bool:
        """Whether embedding is so cheap that a read may do it in passing."""

    @property
    def egress(self) -> Egress:
        """How far texts travel."""

    def embed(
        self, texts: Sequence[str], *, query: bool = False, spending: Spending | None = None
    ) -> NDArray[np.float32]:
        """Return one row of unit length per text."""

    def of(self, name: str) -> Model | None:
        """Return what embeds questions for vectors of that model; None where this one cannot."""


class LazyEmbedder:
    """Is the embedder that `make` returns in every respect, but costs nothing until its first use.

    Importing numpy takes longer than opening a folder and acknowledging a first memory together.
    `close` is called once at the end where there is something to close. Safe between threads.
    """

    def __init__(
        self,
        make: Callable[[], Model],
        *,
        local: bool,
        egress: Egress,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.local = local
        self.egress = egress
        self._make = make
        self._loaded: Model | None = None
        self._close = close

    @property
    def _real(self) -> Model:
        if self._loaded is None:
            with importing():
                if self._loaded is None:
                    self._loaded = self._make()
        return self._loaded

    @property
    def name(self) -> str:
        """The model's name."""
        return self._real.name

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        return self._real.dimensions

    def embed(
        self, texts: Sequence[str], *, query: bool = False, spending: Spending | None = None
    ) -> NDArray[np.float32]:
        """Return one row of unit length per text."""
        return self._real.embed(texts, query=query, spending=spending)

    def of(self, name: str) -> Model | None:
        """Return what embeds questions for vectors of that model; itself for its own."""
        other = self._real.of(name)
        return self if other is self._real else other

    def close(self) -> None:
        """Close what it has open; calls under way fail."""
        if self._close is not None:
            self._close()
