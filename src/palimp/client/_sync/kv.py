# Made from client/_async by scripts/unasync.py; change it there.
"""Keys and values of a profile."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack

import msgspec

from ...api import (
    NO_OPTIONS,
    Consistency,
    DeletedKey,
    DeleteKey,
    Durability,
    GotValue,
    KeyPage,
    KeyValue,
    ListKeys,
    Options,
    ValuePut,
    to_request,
)
from ...api.limits import PAGE_MAX
from ...errors import Invalid, NotFound
from ..fields import ReadFields
from ..inputs import options, reading
from ..values import decode_value, get_request, put_request

if TYPE_CHECKING:
    from .past import Reading

__all__ = ["KeySpace", "KeySpaceReading"]


class KeySpaceReading:
    """What can be read of one space of keys, as it is or as it was; a value, nothing is open."""

    __slots__ = ("name", "profile")

    def __init__(self, profile: Reading, name: str) -> None:
        if not isinstance(name, str):
            raise Invalid(f"the name of a space of keys is text, not {type(name).__name__}")
        self.profile = profile
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {self.profile!r}>"

    def get(
        self,
        key: str,
        default: Any = None,
        *,
        consistency: Consistency = "cached",
        min_txid: int | None = None,
    ) -> Any:
        """Return what the key was set to; `default` where it is not set, or its time is over.

        Bytes, a text, or the value of a JSON text: what it was put as. With `primary` the answer
        holds every write acknowledged before; `cached` may be some seconds older where another node
        has the profile, and holds every write up to `min_txid`.
        """
        try:
            found = self.entry(key, consistency=consistency, min_txid=min_txid)
            return decode_value(found)
        except NotFound as error:
            if error.code != "not_found":
                raise
            return default

    def entry(
        self, key: str, *, consistency: Consistency = "cached", min_txid: int | None = None
    ) -> GotValue:
        """Return the bytes of a key, their content type and the txid this was read at.

        Raises `NotFound` where the key is not set, or its time is over.
        """
        request = get_request(self.name, key, consistency)
        how = NO_OPTIONS if min_txid is None else Options(min_txid=min_txid)
        client, target = self.profile.client, self.profile.target
        found: GotValue = client.call("kv.get", target, request, how)
        return found

    def keys(self, prefix: str = "", **how: Unpack[ReadFields]) -> Iterator[str]:
        """Iterate over the keys that begin with `prefix`, in the order of their UTF-8 bytes."""
        fields = {"ns": self.name, "prefix": prefix, "limit": PAGE_MAX}
        request = to_request(ListKeys, fields, "keys")
        client, target = self.profile.client, self.profile.target
        while True:
            page: KeyPage = client.call("kv.list", target, request, reading(how))
            for key in page:
                yield key
            if page.next_cursor is None:
                return
            request = msgspec.structs.replace(request, cursor=page.next_cursor)

    def entries(self, prefix: str = "", **how: Unpack[ReadFields]) -> Iterator[KeyValue]:
        """Iterate over the keys that begin with `prefix` and what they hold, in that order too."""
        fields = {"ns": self.name, "prefix": prefix, "limit": PAGE_MAX, "values": True}
        request = to_request(ListKeys, fields, "entries")
        client, target = self.profile.client, self.profile.target
        while True:
            page: KeyPage = client.call("kv.list", target, request, reading(how))
            for entry in page.entries or ():
                yield entry
            if page.next_cursor is None:
                return
            request = msgspec.structs.replace(request, cursor=page.next_cursor)

    def space(self, name: str) -> KeySpaceReading:
        """Return another space of keys by name; costs nothing."""
        return KeySpaceReading(self.profile, name)


class KeySpace(KeySpaceReading):
    """One space of keys: a value that holds nothing open.

    Writes take `durability=` and `request_id=` as those of the profile do.
    """

    __slots__ = ()

    def put(
        self,
        key: str,
        value: Any,
        *,
        ttl: timedelta | float | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> ValuePut:
        """Set a key: to bytes, a text, or anything JSON can say. With `ttl` for so many seconds.

        When this returns it survives the process and a power cut. A value has up to 16 MiB.
        """
        request = put_request(self.name, key, value, ttl)
        how = options(durability, request_id)
        client, target = self.profile.client, self.profile.target
        done: ValuePut = client.call("kv.put", target, request, how)
        return done

    def delete(
        self, key: str, *, durability: Durability | None = None, request_id: str | None = None
    ) -> bool:
        """Remove a key; False where it was not set, or its time was over."""
        request = to_request(DeleteKey, {"ns": self.name, "key": key}, "delete")
        how = options(durability, request_id)
        client, target = self.profile.client, self.profile.target
        done: DeletedKey = client.call("kv.delete", target, request, how)
        return done.deleted

    def space(self, name: str) -> KeySpace:
        """Return another space of keys by name; costs nothing and creates nothing."""
        return KeySpace(self.profile, name)
