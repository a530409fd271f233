"""One request of the dialect made by another: its route is found and its handler asked."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from ..foreign import Reply
from .call import Call
from .groups import check_write
from .refusals import forbidden

__all__ = ["relay"]


def relay(
    call: Call,
    method: str,
    path: str,
    *words: str,
    body: dict[str, Any] | None = None,
    query: dict[str, Any] | None = None,
) -> Any:
    """Return what a route answers to the same caller; raises what it raises.

    `words` follow the path, whatever is in them. What the key of a group may not do is refused.
    """
    full = "/".join(("", path, *(quote(word, safe="") for word in words)))
    route, values = call.app.table.match(method, full.encode())
    texts = {name: str(value) for name, value in (query or {}).items()}
    if route.who == "master" and not call.master:
        raise forbidden("Master key required")
    inner = Call(call.app, call.caller, values, texts, body, call.headers)
    check_write(inner, route.method, route.path)
    assert route.handler is not None
    done = route.handler(inner)
    return done.body if isinstance(done, Reply) else done
