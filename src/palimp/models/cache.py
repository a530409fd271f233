"""Vectors of texts that were embedded lately, so that the same text is not asked for twice."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from ..observe import Metrics
from ..spending import Spending
from .lazy import Model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Cached", "Vectors"]

_DIGEST_BYTES = 16
# What an entry takes beside its vector: two objects, and its place in the dict.
_ENTRY_BYTES = 300


class Vectors:
    """Vectors by model and text, in memory only: what was used longest ago goes first.

    Erasure finds nothing here. No text is kept, only its digest, and nothing outlives the process.
    Safe to share between threads.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._lock = threading.Lock()
        self._rows: OrderedDict[bytes, bytes] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return self._size

    def get(self, key: bytes) -> bytes | None:
        """Return a vector as it was put, or None."""
        with self._lock:
            row = self._rows.get(key)
            if row is not None:
                self._rows.move_to_end(key)
            return row

    def put(self, key: bytes, row: bytes) -> None:
        """Keep a vector for as long as there is room."""
        with self._lock:
            before = self._rows.pop(key, None)
            if before is not None:
                self._size -= len(before) + _ENTRY_BYTES
            self._rows[key] = row
            self._size += len(row) + _ENTRY_BYTES
            while self._size > self._bytes_max:
                _, oldest = self._rows.popitem(last=False)
                self._size -= len(oldest) + _ENTRY_BYTES


class Cached:
    """Is another embedder, but a text it embedded lately costs nothing and leaves nothing.

    Of equal texts in one call, one is embedded.
    """

    def __init__(self, inner: Model, vectors: Vectors, metrics: Metrics) -> None:
        self._inner = inner
        self._vectors = vectors
        self._metrics = metrics
        self.local = inner.local
        self.egress = inner.egress

    @property
    def name(self) -> str:
        """The model's name."""
        return self._inner.name

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        return self._inner.dimensions

    def embed(
        self, texts: Sequence[str], *, query: bool = False, spending: Spending | None = None
    ) -> NDArray[np.float32]:
        """Return one row of unit length per text."""
        import numpy as np

        if isinstance(texts, str):
            raise TypeError("embed takes a sequence of texts; put a single text into a list")
        model = f"{self._inner.name}\0{query}\0".encode()
        keys = [_key(model, text) for text in texts]
        found = {key: self._vectors.get(key) for key in keys}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if found[key] is None}
        if missing:
            rows = self._inner.embed(list(missing.values()), query=query, spending=spending)
            for key, row in zip(missing, rows, strict=True):
                found[key] = row.tobytes()
                self._vectors.put(key, row.tobytes())
        if len(missing) < len(keys):
            self._metrics.add("embeddings_reused", len(keys) - len(missing))
        whole = b"".join(found[key] or b"" for key in keys)
        # A copy, as nobody can write to the bytes.
        return np.frombuffer(whole, np.float32).reshape(len(keys), self.dimensions).copy()

    def of(self, name: str) -> Cached | None:
        """Return what embeds questions for vectors of that model."""
        other = self._inner.of(name)
        if other is None:
            return None
        return self if other is self._inner else Cached(other, self._vectors, self._metrics)


def _key(model: bytes, text: str) -> bytes:
    digest = blake2b(model, digest_size=_DIGEST_BYTES)
    digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.digest()
