"""The names of keys, in a dialect in which no two keys have one: each is taken before its key is.

A name is a binding that says which key has it. Who dies between taking one and making its key
leaves a name without a key; the next who wants it takes it over a little later.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from ..decoding import from_json
from ..errors import Conflict
from . import organisations
from .context import Context

if TYPE_CHECKING:
    from ..catalog.key_rows import CredentialRow

__all__ = ["let_go", "pass_on", "take"]

_UNIQUE = (organisations.DIALECT,)
_EVERYBODY = ""
_PREFIX = "key-name/"
_HASH_BYTES = 32
# Within this time a key is made, once its name was taken.
_MAKING_MS = 10_000


class _Taken(msgspec.Struct, frozen=True):
    id: str
    at: int


def take(context: Context, row: CredentialRow) -> None:
    """Note that a key which is about to be made has its name; `Conflict` where another has it."""
    if row.dialect not in _UNIQUE:
        return
    bindings = organisations.bindings_of(context)
    held = bindings.get(row.dialect, _EVERYBODY, _key(row))
    if held is not None:
        taken = from_json(held.value, _Taken)
        making = row.created_at - taken.at < _MAKING_MS
        if making or context.credentials.table.get(taken.id) is not None:
            raise _conflict(row)
    expect = 0 if held is None else held.version
    if bindings.put(row.dialect, _EVERYBODY, _key(row), _value(row), expect) is None:
        raise _conflict(row)


def pass_on(context: Context, row: CredentialRow) -> None:
    """Note that a key is there instead of one of the same name."""
    if row.dialect in _UNIQUE:
        bindings = organisations.bindings_of(context)
        bindings.put(row.dialect, _EVERYBODY, _key(row), _value(row))


def let_go(context: Context, row: CredentialRow) -> None:
    """Let others have the name of a key that holds no more."""
    if row.dialect not in _UNIQUE:
        return
    bindings: Any = organisations.bindings_of(context)
    held = bindings.get(row.dialect, _EVERYBODY, _key(row))
    if held is not None and from_json(held.value, _Taken).id == row.id:
        bindings.delete(row.dialect, _EVERYBODY, _key(row), held.version)


def _key(row: CredentialRow) -> str:
    name = row.name.encode("utf-8", "surrogatepass")
    return _PREFIX + hashlib.blake2b(name, digest_size=_HASH_BYTES).hexdigest()


def _value(row: CredentialRow) -> str:
    return msgspec.json.encode(_Taken(row.id, row.created_at)).decode()


def _conflict(row: CredentialRow) -> Conflict:
    return Conflict(f"key with name '{row.name:.80}' already exists", code="already_exists")
