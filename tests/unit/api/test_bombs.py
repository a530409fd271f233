"""A body that is deeper than any program goes is refused as a request, wherever JSON comes in."""

from __future__ import annotations

import pytest

from palimp.api import OPERATIONS
from palimp.api.wire import decode_call
from palimp.errors import Invalid

WAYS = ("memories.ingest", "sessions.append", "documents.insert", "vectors.upsert", "extract")
BOMB = b"[" * 1_000_000


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("body", [BOMB, b'{"a":' * 500_000, b'{"memories":' + BOMB])
def test_a_bomb_is_not_json(name: str, body: bytes) -> None:
    values = {"namespace": "n", "profile": "p", "session": "s", "collection": "c"}
    with pytest.raises(Invalid, match="the body is not JSON"):
        decode_call(OPERATIONS[name], values, b"", {}, body)
