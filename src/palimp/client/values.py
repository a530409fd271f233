"""Keys and values: requests, and what a key can hold as bytes and a content type, and back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args

import msgspec

from ..api import Consistency, GetValue, GotValue, PutValue, to_request
from ..api.kv import OCTETS
from ..api.plain import check_json
from ..api.wire import JSON_TYPE
from ..clock import parse_seconds
from ..errors import Invalid

__all__ = ["decode_value", "encode_value", "get_request", "put_request"]

TEXT_TYPE = "text/plain; charset=utf-8"
_CONSISTENCIES = get_args(Consistency)
_TEXTS = ("text/plain", TEXT_TYPE, "text/plain;charset=utf-8")


def get_request(ns: str, key: str, consistency: Consistency) -> GetValue:
    """Return the request that reads a key."""
    # Whoever gives what is to be given is spared the check: it costs as much as the read itself.
    if type(key) is str and consistency in _CONSISTENCIES:
        return GetValue(ns=ns, key=key, consistency=consistency)
    return to_request(GetValue, {"ns": ns, "key": key, "consistency": consistency}, "get")


def put_request(ns: str, key: str, value: Any, ttl: timedelta | float | None) -> PutValue:
    """Return the request that sets a key."""
    data, kind = encode_value(value)
    seconds = None if ttl is None else parse_seconds(ttl, "ttl")
    if type(key) is str:
        return PutValue(ns=ns, key=key, data=data, content_type=kind, ttl=seconds)
    fields = {"ns": ns, "key": key, "data": data, "content_type": kind, "ttl": seconds}
    return to_request(PutValue, fields, "put")


def encode_value(value: Any) -> tuple[bytes, str]:
    """Return the bytes of a value and what they are; raises `Invalid` for what has none.

    Bytes stay what they are, a text becomes UTF-8, everything else JSON.
    """
    if isinstance(value, bytes):
        return value, OCTETS
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value), OCTETS
    try:
        if isinstance(value, str):
            return value.encode(), TEXT_TYPE
        check_json(value, "value")
        return msgspec.json.encode(value), JSON_TYPE
    except UnicodeEncodeError as error:
        raise Invalid(
            f"the value has half a surrogate pair at position {error.start}, which no UTF-8 text "
            "can hold; put its bytes instead"
        ) from error
    except RecursionError as error:
        raise Invalid(f"the value cannot be said as JSON: {error}; put bytes instead") from error


def decode_value(found: GotValue) -> Any:
    """Return a value as it was put; bytes where the type is none that `encode_value` gives."""
    kind = found.content_type.lower()
    try:
        if kind == JSON_TYPE:
            return msgspec.json.decode(found.data)
        if kind in _TEXTS:
            return found.data.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(
            f"the value was put as {kind} and is not: {error}; entry() returns its bytes"
        ) from error
    return found.data
