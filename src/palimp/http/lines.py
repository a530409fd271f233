"""Large lists as lines: one JSON object a line, page after page, never held whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import msgspec

from ..api import Operation
from ..api.answers import encode_error
from ..api.wire import wire_types
from ..errors import Error, Kept

__all__ = ["LINES_TYPE", "lines", "wants_lines"]

LINES_TYPE = "application/x-ndjson"


def wants_lines(operation: Operation, headers: Mapping[str, str]) -> bool:
    """Whether a list is asked for as lines: by `Accept: application/x-ndjson`."""
    pages = "cursor" in wire_types(operation.request)
    return pages and LINES_TYPE in headers.get("accept", "")


async def lines(
    first: Any, page: Callable[[str], Awaitable[Any]], known: Callable[[Exception], Error]
) -> AsyncIterator[bytes]:
    """Yield the items of all pages as lines, a page at a time.

    What goes wrong after the first page is the last line, in the shape of errors: `error`, `code`.
    `known` makes such an error of whatever was raised.
    """
    found = first
    while True:
        items = next(iter(msgspec.structs.astuple(found)))
        yield b"".join(msgspec.json.encode(item) + b"\n" for item in items)
        if found.next_cursor is None:
            return
        kept = Kept()
        with kept:
            found = await page(found.next_cursor)
        if kept.error is not None:
            yield encode_error(known(kept.error)).body + b"\n"
            return
