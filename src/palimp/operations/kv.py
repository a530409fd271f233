"""Keys and values: read, set, remove, list."""

from __future__ import annotations

from ..api import (
    DeletedKey,
    DeleteKey,
    GetValue,
    GotValue,
    KeyPage,
    ListKeys,
    PutValue,
    Target,
    ValuePut,
)
from ..errors import NotFound
from ..profile import kv
from .context import Context

__all__ = ["delete", "get", "list_page", "put"]


def list_page(context: Context, target: Target, request: ListKeys) -> KeyPage:
    """Read one page of the keys of a space."""
    kv.check_list(request)
    with context.reading(target) as database:
        if database is None:
            return KeyPage(keys=(), next_cursor=None, txid=0)
        now_ms = context.now_ms(database)
        if request.values:
            sealer = context.sealer_of(target)
            (entries, cursor), txid, _ = database.read(
                lambda c: kv.list_values(c, request, sealer, now_ms)
            )
            keys = tuple(one.key for one in entries)
            return KeyPage(keys=keys, next_cursor=cursor, txid=txid, entries=entries)
        (keys, cursor), txid, _ = database.read(lambda c: kv.list_keys(c, request, now_ms))
    return KeyPage(keys=keys, next_cursor=cursor, txid=txid)


def get(context: Context, target: Target, request: GetValue) -> GotValue:
    """Read the value of a key.

    Whoever accepts one that is up to 30 s old gets the present one too: one node holds no older.
    """
    ns, key = request.ns, request.key
    kv.check_key(ns, key)
    with context.reading(target) as database:
        if database is not None:
            now_ms, sealer = context.now_ms(database), context.sealer_of(target)
            found, txid, _ = database.read(lambda c: kv.get(c, ns, key, sealer, now_ms))
            if found is not None:
                return GotValue(data=found.data, content_type=found.content_type, txid=txid)
    raise NotFound(f"no key {key!r:.80} in {ns!r:.80}; it was deleted, has expired or never was")


def put(context: Context, target: Target, request: PutValue) -> ValuePut:
    """Set a key."""
    screen, note = context.screen(context.address(target)), None
    if screen is not None:
        request, _, note = screen.value(request)
        context = screen.settled("kv.put", request)
    kv.check_put(request)
    now_ms = context.clock.now_ms()
    with context.writing(target) as branch:
        assert branch is not None
        expires_at, txid, _ = context.commit(
            branch, lambda c: kv.put(c, request, context.sealer_of(target), now_ms), int | None
        )
    if screen is not None:
        screen.record()
    return ValuePut(ns=request.ns, key=request.key, expires_at=expires_at, txid=txid, note=note)


def delete(context: Context, target: Target, request: DeleteKey) -> DeletedKey:
    """Remove a key; removing what is not there says so and changes nothing."""
    kv.check_key(request.ns, request.key)
    now_ms = context.clock.now_ms()
    deleted, txid = False, 0
    with context.writing(target, create=False) as branch:
        if branch is not None:
            deleted, txid, _ = context.commit(
                branch, lambda c: kv.delete(c, request.ns, request.key, now_ms), bool
            )
    return DeletedKey(ns=request.ns, key=request.key, deleted=deleted, txid=txid)
