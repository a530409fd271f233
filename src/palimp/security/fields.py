"""Sealing single fields of rows with AES-256-GCM, each for its place and no other.

| bytes | what |
| --- | --- |
| 1 | `SEALED` |
| 4 | the version of the key, big-endian; 0: not sealed, only stored behind this header |
| 12 | a random nonce |
| rest | the text in UTF-8, and 16 bytes that show whether anything was altered |

Header, database, table, field and row are authenticated: a value that was moved cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..ids import random_bytes
from ..sealing import ESCAPE, SEALED, Undecipherable, header

__all__ = ["FieldRing", "FieldSealer", "version_of"]

_HEADER_BYTES = len(ESCAPE)
_NONCE_BYTES = 12
_LEAST_BYTES = _HEADER_BYTES + _NONCE_BYTES + 16


class FieldRing(Protocol):
    """The keys of one database, asked for when they are needed."""

    def database(self) -> str:
        """Return the id of the database."""

    def sealing(self) -> tuple[int, bytes] | None:
        """Return version and key that seal now; None where nothing is to be sealed."""

    def tokens(self) -> bytes | None:
        """Return the key of the tokens; None where there is none (any more)."""

    def opening(self, version: int) -> bytes | None:
        """Return a version of the key; None where it is not there (any more)."""


class FieldSealer:
    """Seals texts and values of one database, and opens them; what stands there plain stays so.

    `failed` is told of each value that cannot be read: table, row and version of the key.
    """

    def __init__(self, ring: FieldRing, failed: Callable[[str, str, int], None]) -> None:
        self._ring = ring
        self._failed = failed

    @property
    def token_key(self) -> bytes | None:
        """Return the key of what stands in the index for words of sealed rows."""
        return self._ring.tokens()

    def seal(self, text: str, table: str, identity: str, field: str) -> str | bytes:
        """Return the sealed text, or the text itself where nothing is to be sealed."""
        key = self._ring.sealing()
        if key is None:
            return text
        return self._sealed(key, text.encode("utf-8"), table, identity, field)

    def unseal(self, stored: str | bytes, table: str, identity: str, field: str) -> str:
        """Return the text; raises `Undecipherable`."""
        if isinstance(stored, str):
            return stored
        return self._opened(stored, table, identity, field).decode("utf-8")

    def seal_data(self, data: bytes, table: str, identity: str, field: str) -> bytes:
        """Return the sealed bytes, or what `PlainSealer` stores where nothing is to be sealed."""
        key = self._ring.sealing()
        if key is None:
            return ESCAPE + data if data[:1] == SEALED else data
        return self._sealed(key, data, table, identity, field)

    def unseal_data(self, stored: bytes, table: str, identity: str, field: str) -> bytes:
        """Return the bytes; raises `Undecipherable`."""
        if stored[:1] != SEALED:
            return stored
        if stored.startswith(ESCAPE):
            return stored[len(ESCAPE) :]
        return self._opened(stored, table, identity, field)

    def _sealed(
        self, key: tuple[int, bytes], data: bytes, table: str, identity: str, field: str
    ) -> bytes:
        version, secret = key
        begin, nonce = header(version), random_bytes(_NONCE_BYTES)
        about = self._about(begin, table, identity, field)
        return begin + nonce + _cipher(secret).encrypt(nonce, data, about)

    def _opened(self, stored: bytes, table: str, identity: str, field: str) -> bytes:
        version = version_of(stored)
        key = None if version is None else self._ring.opening(version)
        if version is not None and key is not None:
            nonce = stored[_HEADER_BYTES : _HEADER_BYTES + _NONCE_BYTES]
            about = self._about(stored[:_HEADER_BYTES], table, identity, field)
            try:
                inner = stored[_HEADER_BYTES + _NONCE_BYTES :]
                return _cipher(key).decrypt(nonce, inner, about)
            except InvalidTag:
                pass
        self._failed(table, identity, version or 0)
        why = f"version {version} of its key is missing" if key is None else "it was altered"
        raise Undecipherable(f"{field} of {identity!r:.80} in {table} cannot be read: {why}")

    def _about(self, begin: bytes, table: str, identity: str, field: str) -> bytes:
        # The identity comes last: it may hold any character.
        names = f"{self._ring.database()}\0{table}\0{field}\0{identity}"
        return begin + names.encode("utf-8", "surrogatepass")


def version_of(stored: object) -> int | None:
    """Return the version of the key a value is sealed with; None where it is not sealed."""
    if not isinstance(stored, bytes) or len(stored) < _LEAST_BYTES or stored[:1] != SEALED:
        return None
    return int.from_bytes(stored[1:_HEADER_BYTES], "big") or None


# Expanding a key costs as much as sealing a short text.
@lru_cache(maxsize=4_096)
def _cipher(key: bytes) -> AESGCM:
    return AESGCM(key)
