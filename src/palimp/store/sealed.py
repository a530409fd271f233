"""Sealed segments: a store that encrypts `*.ltx` objects of databases and leaves all others alone.

A sealed object is a header and chunks of 64 KiB, each sealed with AES-256-GCM:

| bytes | what |
| --- | --- |
| 7 | `PALSEAL` |
| 1 | format, 1 |
| 4 | version of the database's key, big endian |
| 8 | the start of the SHA-256 of the key that seals, to tell a wrong key from an altered object |
| 12 | base nonce, random |
| 64 KiB + 16 each | chunks; the last may be shorter, and is there also where it is empty |

The nonce of chunk n is the base nonce plus n. Its associated data are the header, n (8 bytes), 1
for the last chunk else 0, and the object's key: so no chunk can be altered, moved, swapped with one
of another object, or cut off at the end, unnoticed.

Names, heads, manifests and history objects stay readable: collecting, forking and retention need no
key. An object that does not begin as above is handed on as it is: it was written without a key.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import Internal, Unconfigured
from ..ids import random_bytes
from .keys import check_key, check_range, check_size
from .protocol import ObjectStore, Page, Stored, Version

__all__ = ["ObjectKey", "ObjectKeys", "SealedStore", "sealed_size", "version_of"]

_MAGIC = b"PALSEAL"
_FORMAT = 1
_HEADER = struct.Struct(">7sBI8s12s")
_PLACE = struct.Struct(">Q?")
_CHUNK_BYTES = 64 << 10
_TAG_BYTES = 16
_SEALED_CHUNK_BYTES = _CHUNK_BYTES + _TAG_BYTES
_NONCE_BYTES = 12
_NONCES = 1 << (8 * _NONCE_BYTES)


class ObjectKey(NamedTuple):
    """A version of a database's key for objects."""

    version: int
    key: bytes


class ObjectKeys(Protocol):
    """Knows the keys of databases."""

    def sealing(self, db_id: str) -> ObjectKey:
        """Return the key that seals now; `NotFound` where the database's keys were destroyed."""

    def opening(self, db_id: str, version: int) -> bytes | None:
        """Return an earlier or the present key; None where there is none (any more)."""


class _Header(NamedTuple):
    version: int
    key_id: bytes
    nonce: bytes
    data: bytes


class SealedStore:
    """`store`, with the segments of databases sealed under their keys.

    Versions and listings are those of `store`; sizes in listings are those of sealed objects.
    """

    def __init__(self, store: ObjectStore, keys: ObjectKeys) -> None:
        self.store = store
        self._keys = keys

    @property
    def name(self) -> str:
        """The name of the store below."""
        return self.store.name

    def database_of(self, key: str) -> str | None:
        """Return the database whose segment an object is; None where it is no segment of one."""
        if not (key.startswith("v1/db/") and key.endswith(".ltx")):
            return None
        db_id, slash, _ = key[len("v1/db/") :].partition("/")
        return db_id if slash else None

    def create(self, key: str, data: bytes) -> Version:
        """Seal it if it is a segment, and pass it on."""
        return self.store.create(key, self._sealed(key, data))

    def replace(self, key: str, data: bytes, version: Version) -> Version:
        """Seal it if it is a segment, and pass it on."""
        return self.store.replace(key, self._sealed(key, data), version)

    def get(self, key: str) -> Stored | None:
        """Return the object, opened; `Internal` where it was altered."""
        found = self.store.get(key)
        db_id = self.database_of(key)
        if found is None or db_id is None:
            return found
        header = self._header(key, found.data)
        if header is None:
            return found
        cipher = self._cipher(key, db_id, header)
        chunks = memoryview(found.data)[_HEADER.size :]
        plain = self._open(key, header, cipher, chunks, 0, whole=True)
        return Stored(b"".join(plain), found.version)

    def get_range(self, key: str, offset: int, length: int) -> bytes | None:
        """Return a part of the object; only the chunks it lies in are read."""
        check_key(key)
        check_range(key, offset, length)
        db_id = self.database_of(key)
        if db_id is None:
            return self.store.get_range(key, offset, length)
        start = self.store.get_range(key, 0, _HEADER.size)
        if start is None:
            return None
        header = self._header(key, start)
        if header is None:
            return self.store.get_range(key, offset, length)
        if not length:
            return b""
        first = offset // _CHUNK_BYTES
        count = (offset + length - 1) // _CHUNK_BYTES - first + 1
        # One byte more tells whether the last of them is the object's last.
        found = self.store.get_range(
            key, _HEADER.size + first * _SEALED_CHUNK_BYTES, count * _SEALED_CHUNK_BYTES + 1
        )
        if not found:
            # Behind the end, as far as it goes: only the whole object shows where that is.
            stored = self.get(key)
            return None if stored is None else stored.data[offset : offset + length]
        span = memoryview(found)[: count * _SEALED_CHUNK_BYTES]
        cipher = self._cipher(key, db_id, header)
        ends = len(span) == len(found)
        plain = b"".join(self._open(key, header, cipher, span, first, whole=ends))
        begin = offset - first * _CHUNK_BYTES
        return plain[begin : begin + length]

    def list(self, prefix: str = "", after: str | None = None, limit: int = 1000) -> Page:
        """Pass on."""
        return self.store.list(prefix, after, limit)

    def delete(self, key: str) -> None:
        """Pass on."""
        self.store.delete(key)

    def close(self) -> None:
        """Close the store below."""
        self.store.close()

    def _sealed(self, key: str, data: bytes) -> bytes:
        check_key(key)
        check_size(key, data)
        db_id = self.database_of(key)
        if db_id is None:
            return data
        version, secret = self._keys.sealing(db_id)
        nonce = random_bytes(_NONCE_BYTES)
        start = _HEADER.pack(_MAGIC, _FORMAT, version, _key_id(secret), nonce)
        header = _Header(version, _key_id(secret), nonce, start)
        cipher = AESGCM(secret)
        pieces, count = [start], max(1, -(-len(data) // _CHUNK_BYTES))
        view = memoryview(data)
        for number in range(count):
            chunk = view[number * _CHUNK_BYTES : (number + 1) * _CHUNK_BYTES]
            about = _about(header, key, number, last=number == count - 1)
            pieces.append(cipher.encrypt(_nonce(header, number), chunk, about))
        return b"".join(pieces)

    def _header(self, key: str, data: bytes) -> _Header | None:
        """Return the header of a sealed object; None where it is not sealed."""
        if not data.startswith(_MAGIC):
            return None
        if len(data) < _HEADER.size or data[len(_MAGIC)] != _FORMAT:
            raise self._damaged(key, "its header is of a newer release, altered or cut off")
        return _parsed(data)

    def _cipher(self, key: str, db_id: str, header: _Header) -> AESGCM:
        secret = self._keys.opening(db_id, header.version)
        if secret is None:
            raise Unconfigured(
                f"{self.name}: {key} is sealed with version {header.version} of the key of "
                f"database {db_id}, which is not there: it was retired or destroyed, or its object "
                f"v1/keys/db/{db_id}.json is missing; bring that back from a copy",
                reason="key",
                key=key,
            )
        if _key_id(secret) != header.key_id:
            raise self._damaged(key, f"it names version {header.version} of another key")
        return AESGCM(secret)

    def _open(
        self,
        key: str,
        header: _Header,
        cipher: AESGCM,
        chunks: memoryview,
        first: int,
        *,
        whole: bool,
    ) -> Iterator[bytes]:
        """Yield what is in chunks from number `first` on; `whole` where the object's end is one."""
        count = max(1, -(-len(chunks) // _SEALED_CHUNK_BYTES))
        for place in range(count):
            chunk = chunks[place * _SEALED_CHUNK_BYTES : (place + 1) * _SEALED_CHUNK_BYTES]
            number = first + place
            about = _about(header, key, number, last=whole and place == count - 1)
            try:
                yield cipher.decrypt(_nonce(header, number), chunk, about)
            except (InvalidTag, ValueError) as error:
                raise self._damaged(
                    key, f"chunk {number} does not open: altered, moved or cut off"
                ) from error

    def _damaged(self, key: str, what: str) -> Internal:
        return Internal(f"{self.name}: {key} is damaged: {what}", key=key)


def sealed_size(size: int) -> int:
    """Return how many bytes an object of `size` bytes has when it is sealed."""
    return _HEADER.size + size + _TAG_BYTES * max(1, -(-size // _CHUNK_BYTES))


def version_of(store: ObjectStore, key: str) -> int | None:
    """Return the version of the key an object is sealed with, None where it is not sealed or gone.

    `store` is the one below; its first bytes are all that is read.
    """
    start = store.get_range(key, 0, _HEADER.size)
    if start is None or len(start) < _HEADER.size or not start.startswith(_MAGIC):
        return None
    return _parsed(start).version


def _parsed(data: bytes) -> _Header:
    start = bytes(data[: _HEADER.size])
    _, _, version, key_id, nonce = _HEADER.unpack(start)
    return _Header(version, key_id, nonce, start)


def _key_id(secret: bytes) -> bytes:
    return hashlib.sha256(b"palimp object key\0" + secret).digest()[:8]


def _nonce(header: _Header, number: int) -> bytes:
    base = int.from_bytes(header.nonce, "big")
    return ((base + number) % _NONCES).to_bytes(_NONCE_BYTES, "big")


def _about(header: _Header, key: str, number: int, *, last: bool) -> bytes:
    return header.data + _PLACE.pack(number, last) + key.encode()
