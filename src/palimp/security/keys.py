"""Ed25519 signing keys: one signs, all verify, so that a new one can come in while old tokens hold.

A key travels as PKCS#8 (RFC 5958) in base64, as `openssl genpkey -algorithm ed25519 -outform DER |
base64` writes it. Its id is the first 16 hex digits of the SHA-256 of the public key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from ..errors import Invalid

__all__ = ["KeyRing", "SigningKey"]

_ID_CHARS = 16


class SigningKey:
    """One key pair."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self.private = private
        self.public = private.public_key()
        self.public_bytes = self.public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.id = hashlib.sha256(self.public_bytes).hexdigest()[:_ID_CHARS]

    def __repr__(self) -> str:
        return f"<SigningKey {self.id}>"

    @classmethod
    def generate(cls) -> SigningKey:
        """Return a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str, what: str) -> SigningKey:
        """Return the key in base64 PKCS#8; `Invalid` naming `what`, never showing the text."""
        try:
            found = load_der_private_key(base64.b64decode(text.strip(), validate=True), None)
        except (binascii.Error, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Invalid(
                f"{what} is not a private key in base64 PKCS#8; `palimp keygen` makes one"
            ) from error
        if not isinstance(found, Ed25519PrivateKey):
            raise Invalid(f"{what} is not an Ed25519 key; `palimp keygen` makes one")
        return cls(found)

    def export(self) -> str:
        """Return the private key in base64 PKCS#8: a secret."""
        der = self.private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return base64.b64encode(der).decode()


class KeyRing:
    """Keys by id: the first signs, all of them verify."""

    def __init__(self, keys: Iterable[SigningKey]) -> None:
        listed = list(keys)
        if not listed:
            raise Invalid("a key ring needs a signing key")
        self.signing = listed[0]
        self._keys = {key.id: key for key in listed}

    def find(self, key_id: str) -> SigningKey | None:
        """Return a key by its id."""
        return self._keys.get(key_id)

    def __iter__(self) -> Iterator[SigningKey]:
        return iter(self._keys.values())
