"""Which memory here an added one says almost the same as: for merges that let it take the place."""

from __future__ import annotations

from typing import Any

import apsw
import numpy as np

from ..engine import Address
from ..profile.compare import Luggage
from ..profile.indexing import MEMORIES
from ..profile.vectors import CodeIndex, QueryVector, nearest
from .comparing import Source
from .context import Context

__all__ = ["COSINE_LEAST", "alike"]

COSINE_LEAST = 0.9
_NEIGHBOURS = 8
# What two have to share to be about the same thing at all.
_SAME = ("type", "kind", "project", "environment")
_TYPES = ("fact", "instruction")


def alike(context: Context, address: Address, source: Source) -> dict[str, str]:
    """Return, by the id of an added memory, the nearest that holds here with a cosine of 0.9.

    Of several added ones that are near to the same the nearest has it. Facts and instructions are
    compared, working memory is not; what has no vector yet is like nothing.
    """
    added = [
        (one, source.luggage[one])
        for one, pair in source.changes.items()
        if pair.base is None and pair.now is not None and pair.now.holds
    ]
    with context.engine.use(address, create=False) as branch:
        if branch is None:
            return {}
        index = branch.attachment(CodeIndex, CodeIndex)

        def look(connection: apsw.Connection) -> dict[str, tuple[float, str]]:
            best: dict[str, tuple[float, str]] = {}
            for identity, luggage in added:
                found = _nearest(connection, index, identity, luggage)
                if found is not None and best.get(found[1], (0.0, ""))[0] < found[0]:
                    best[found[1]] = (found[0], identity)
            return best

        return {theirs: ours for ours, (_, theirs) in branch.read(look).value.items()}


def _nearest(
    connection: apsw.Connection, index: CodeIndex, identity: str, luggage: Luggage
) -> tuple[float, str] | None:
    fields = dict(zip(luggage.columns, luggage.row, strict=True))
    if fields["type"] not in _TYPES or fields["kind"] == "working":
        return None
    for model, _, _, vector in luggage.vectors:
        query = QueryVector(model, np.frombuffer(vector, np.float32))
        found = nearest(connection, MEMORIES, index, query, _NEIGHBOURS)
        for handle, cosine in found.items() if isinstance(found, dict) else ():
            row: Any = connection.execute(
                f"""SELECT id, {", ".join(_SAME)} FROM __palimp_memories
                WHERE handle = ? AND superseded_at IS NULL AND state = 'active'""",
                (handle,),
            ).fetchone()
            if cosine < COSINE_LEAST or row is None or row[0] == identity:
                continue
            if all(value == fields[name] for name, value in zip(_SAME, row[1:], strict=True)):
                return cosine, row[0]
    return None
