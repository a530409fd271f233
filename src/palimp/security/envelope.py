"""Keys that wrap keys, and keys that are derived of one.

A master key comes from outside and is never stored. It wraps the keys of namespaces, each of those
the keys of its profiles: AES-256-GCM with a fresh 96-bit nonce, whose associated data say what the
wrapped key is for, so that one cannot be put in the place of another. What seals is derived from a
profile's key by HKDF-SHA256, one key for each purpose.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ..errors import Internal, Invalid
from ..ids import random_bytes

__all__ = [
    "KEY_BYTES",
    "MasterKey",
    "Purpose",
    "derive",
    "new_key",
    "parse_master_keys",
    "unwrap",
    "wrap",
]

KEY_BYTES = 32
_NONCE_BYTES = 12
_ID_CHARS = 16
_MASTERS_MAX = 16

Purpose = Literal["objects", "fields", "tokens", "ids"]


class MasterKey:
    """A key from outside, and the id it is known by: 16 hex digits of a hash of it."""

    __slots__ = ("id", "key")

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES, "a master key has 32 bytes"
        self.key = key
        self.id = hashlib.sha256(b"palimp master key 1\0" + key).hexdigest()[:_ID_CHARS]

    def __repr__(self) -> str:
        return f"<MasterKey {self.id}>"

    @classmethod
    def generate(cls) -> MasterKey:
        """Return a new key."""
        return cls(new_key())

    def export(self) -> str:
        """Return the key in base64: a secret."""
        return base64.b64encode(self.key).decode()

    def check(self, store_id: str) -> str:
        """Return what shows that one has this key, and says nothing of it; other in each store."""
        text = b"palimp master check 1\0" + store_id.encode()
        return hmac.new(self.key, text, hashlib.sha256).hexdigest()


def parse_master_keys(text: str, what: str) -> tuple[MasterKey, ...]:
    """Return keys in base64, by comma; `Invalid` naming `what`, never showing the text."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not 1 <= len(parts) <= _MASTERS_MAX:
        raise Invalid(
            f"{what} holds {len(parts)} keys; give 1 to {_MASTERS_MAX}, each 32 bytes in base64, "
            "by comma; `palimp keygen master` makes one"
        )
    keys = []
    for number, part in enumerate(parts, 1):
        try:
            found = base64.b64decode(part, validate=True)
        except (binascii.Error, ValueError):
            found = b""
        if len(found) != KEY_BYTES:
            place = f"key {number} of {len(parts)} in {what}" if len(parts) > 1 else what
            raise Invalid(
                f"{place} is not {KEY_BYTES} bytes in base64; `palimp keygen master` makes one"
            )
        keys.append(MasterKey(found))
    if len({key.id for key in keys}) < len(keys):
        raise Invalid(f"{what} holds one key twice; leave it out once")
    return tuple(keys)


def new_key() -> bytes:
    """Return a random key."""
    return random_bytes(KEY_BYTES)


def wrap(key: bytes, inner: bytes, about: str) -> str:
    """Return `inner` sealed with `key`, in base64; `about` is what it is for."""
    nonce = random_bytes(_NONCE_BYTES)
    sealed = nonce + AESGCM(key).encrypt(nonce, inner, about.encode())
    return base64.b64encode(sealed).decode()


def unwrap(key: bytes, wrapped: str, about: str) -> bytes:
    """Return what was wrapped; `Internal` where that is altered, or was wrapped for another use."""
    try:
        sealed = base64.b64decode(wrapped, validate=True)
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about.encode())
    except (InvalidTag, binascii.Error, ValueError) as error:
        shown = about.replace("\0", " ")
        raise Internal(
            f"a wrapped key was altered or put in the place of another: {shown}; bring its object "
            "under v1/keys/ back from a copy"
        ) from error


def derive(key: bytes, purpose: Purpose) -> bytes:
    """Return the key for one purpose; it says nothing of `key` nor of those of other purposes."""
    info = f"palimp {purpose} 1".encode()
    return HKDFExpand(algorithm=SHA256(), length=KEY_BYTES, info=info).derive(key)
