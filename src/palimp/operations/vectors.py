"""Embedding of rows that have no vector yet: off the write path."""

from __future__ import annotations

from ..engine import Database
from ..profile.indexing import CORPORA
from .context import Context

__all__ = ["FILL_IN_PASSING", "fill"]

# A recall embeds that many rows first, so that what was just written is found by meaning; with the
# bundled embedder 256 rows take some 10 ms. The rest is the background's.
FILL_IN_PASSING = 256
_BATCH = 256


def fill(context: Context, database: Database, limit: int | None = None) -> int:
    """Embed up to `limit` rows (None: all) of a database, oldest first; return how many.

    Stopping it anywhere loses nothing: a row without a vector is the job.
    """
    embedder = context.embedder
    if embedder is None:
        return 0
    from ..profile.vectors import missing_vectors, store_missing

    done = 0
    for corpus in CORPORA:
        while limit is None or done < limit:
            size = _BATCH if limit is None else min(_BATCH, limit - done)
            batch = database.read(
                lambda c, corpus=corpus, size=size: missing_vectors(  # type: ignore[misc]
                    c, corpus, embedder.name, context.sealer, size
                )
            ).value
            if not batch.rows:
                break
            vectors = embedder.embed([row.text for row in batch.rows])
            stored = database.write(
                lambda c, corpus=corpus, batch=batch, vectors=vectors: store_missing(  # type: ignore[misc]
                    c, corpus, embedder, batch, vectors, context.sealer
                )
            ).value
            done += stored
            context.metrics.add("vectors_written", stored)
            if not stored:
                # Everything changed under us: somebody else is at it, or will be called again.
                break
    return done
