"""Embedding of rows that have no vector yet: off the write path."""

from __future__ import annotations

import threading

from ..engine import Branch
from ..profile import Embedder
from ..profile.indexing import CORPORA, Corpus
from .context import Context

__all__ = ["FILL_IN_PASSING", "fill"]

# A recall embeds that many rows first, so that what was just written is found by meaning; with the
# bundled embedder 256 rows take some 10 ms. The rest is the background's.
FILL_IN_PASSING = 256
_BATCH = 256


class _Turn:
    """Whose turn it is to embed rows of a branch: no row is embedded by two at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def fill(context: Context, database: Branch, limit: int | None = None) -> int:
    """Embed up to `limit` rows (None: all) of a database, oldest first; return how many.

    Stopping it anywhere loses nothing: a row without a vector is the job.
    """
    address = database.address
    embedder = context.embedder_of(address.namespace, address.profile)
    if embedder is None:
        return 0
    turn = database.attachment(_Turn, _Turn)
    done = 0
    for corpus in CORPORA:
        while limit is None or done < limit:
            size = _BATCH if limit is None else min(_BATCH, limit - done)
            with turn.lock:
                stored = _fill_batch(context, embedder, database, corpus, size)
            if not stored:
                break
            done += stored
            context.metrics.add("vectors_written", stored)
    return done


def _fill_batch(
    context: Context, embedder: Embedder, database: Branch, corpus: Corpus, size: int
) -> int:
    """Embed the oldest rows without a vector; return how many were stored.

    None where everything changed meanwhile: somebody else is at it, or will be called again.
    """
    from ..profile.vectors import missing_vectors, store_missing

    batch = database.read(
        lambda c: missing_vectors(c, corpus, embedder.name, context.sealer, size)
    ).value
    if not batch.rows:
        return 0
    vectors = embedder.embed([row.text for row in batch.rows])
    return database.write(
        lambda c: store_missing(c, corpus, embedder, batch, vectors, context.sealer)
    ).value
