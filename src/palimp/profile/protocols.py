"""What a profile needs from outside: something that seals text, something that embeds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from ..sealing import ESCAPE, SEALED, Undecipherable
from ..spending import Spending

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Embedder", "PlainSealer", "Sealer", "Undecipherable"]


class Sealer(Protocol):
    """Every text of a user passes here on its way into the tables and out of them, and every value.

    `unseal(seal(text, *place), *place) == text` for every text and place. A place is a table, what
    its row is known by before it is written, and a field; what was sealed for one place cannot be
    read at another. `seal` may give bytes that say nothing about the text; a text that was stored
    as it is stays readable.
    """

    @property
    def token_key(self) -> bytes | None:
        """Return the key of what stands in the index for words of sealed rows; None: none are."""

    def seal(self, text: str, table: str, identity: str, field: str) -> str | bytes:
        """Return what is stored."""

    def unseal(self, stored: str | bytes, table: str, identity: str, field: str) -> str:
        """Return the text; raises `Undecipherable`."""

    def seal_data(self, data: bytes, table: str, identity: str, field: str) -> bytes:
        """Return what is stored of bytes that are no text."""

    def unseal_data(self, stored: bytes, table: str, identity: str, field: str) -> bytes:
        """Return the bytes; raises `Undecipherable`."""


class PlainSealer:
    """Stores text and bytes as they are."""

    token_key: bytes | None = None

    def seal(self, text: str, table: str, identity: str, field: str) -> str | bytes:  # noqa: ARG002
        """Return the text itself."""
        return text

    def unseal(self, stored: str | bytes, table: str, identity: str, field: str) -> str:
        """Return the text itself; `Undecipherable` where it was sealed."""
        if isinstance(stored, str):
            return stored
        raise _without_key(table, identity, field)

    def seal_data(self, data: bytes, table: str, identity: str, field: str) -> bytes:  # noqa: ARG002
        """Return the bytes themselves, so that they cannot be taken for sealed ones."""
        return ESCAPE + data if data[:1] == SEALED else data

    def unseal_data(self, stored: bytes, table: str, identity: str, field: str) -> bytes:
        """Return the bytes themselves; `Undecipherable` where they were sealed."""
        if stored[:1] != SEALED:
            return stored
        if stored.startswith(ESCAPE):
            return stored[len(ESCAPE) :]
        raise _without_key(table, identity, field)


class Embedder(Protocol):
    """Turns texts into vectors of one model.

    `name` changes whenever the vectors would: rows of different names are never compared. Every
    member may raise `Unavailable` where the model is elsewhere and does not answer.
    """

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
    def egress(self) -> Literal["none", "self_hosted", "outside"]:
        """How far texts travel: they stay in this process, on hosts of one's own, or leave."""

    def embed(
        self, texts: Sequence[str], *, query: bool = False, spending: Spending | None = None
    ) -> NDArray[np.float32]:
        """Return one row of unit length per text, a zero row where a text has no known word.

        `query`: these are questions, which some models embed otherwise. What leaves the host is
        counted in `spending`.
        """

    def of(self, name: str) -> Embedder | None:
        """Return what embeds questions for vectors of that model; None where this one cannot."""


def _without_key(table: str, identity: str, field: str) -> Undecipherable:
    return Undecipherable(
        f"{field} of {identity!r:.80} in {table} is sealed, and this node has no key for it; set "
        "the master key it was written with"
    )
