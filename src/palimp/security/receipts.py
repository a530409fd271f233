"""Receipts of erasures: what was erased from where, by which means, signed with Ed25519.

A receipt is JSON with sorted names, indented by one, as `encode_receipt` writes it and no other
way, so that no byte of it can be changed unnoticed. The signature is over `palimp erasure receipt
1`, a zero byte and that JSON without the signature. Nothing but the receipt is needed to check it;
whose key it is, is for the reader to compare.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ..errors import Invalid
from .keys import SigningKey

__all__ = ["RECEIPT", "encode_receipt", "sign_receipt", "verify_receipt"]

RECEIPT = "palimp-erasure-receipt"
_DOMAIN = b"palimp erasure receipt 1\0"
_SIGNATURE = "signature"


def sign_receipt(fields: dict[str, Any], key: SigningKey) -> dict[str, Any]:
    """Return a receipt of these fields with the key's id, its public half and the signature."""
    public = base64.b64encode(key.public_bytes).decode()
    whole = {"type": RECEIPT, **fields, "alg": "Ed25519", "key_id": key.id, "public_key": public}
    data = encode_receipt(whole)
    signature = key.private.sign(_DOMAIN + data)
    # As it will be read: a tuple comes back as a list.
    return {**json.loads(data), _SIGNATURE: base64.b64encode(signature).decode()}


def verify_receipt(data: bytes, public_key: str | None = None) -> dict[str, Any]:
    """Return the fields of a receipt that is as it was signed; asks nobody.

    `public_key` (base64) is the one it has to be signed with; without it the one it names. Raises
    `Invalid` where it was altered, is signed by another key, or is no receipt.
    """
    try:
        receipt = json.loads(data)
    except (UnicodeDecodeError, ValueError) as error:
        raise Invalid(f"this is no receipt of an erasure: {error}") from error
    if not isinstance(receipt, dict) or receipt.get("type") != RECEIPT:
        raise Invalid("this is no receipt of an erasure; `palimp erasure receipt` writes one")
    if encode_receipt(receipt) != data.strip():
        raise _altered()
    if public_key is not None and receipt.get("public_key") != public_key.strip():
        raise Invalid(
            f"the receipt is signed with key {receipt.get('key_id')!r:.40}, not with the one given"
        )
    fields = {name: value for name, value in receipt.items() if name != _SIGNATURE}
    try:
        public = Ed25519PublicKey.from_public_bytes(_bytes(receipt.get("public_key")))
        public.verify(_bytes(receipt.get(_SIGNATURE)), _DOMAIN + encode_receipt(fields))
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise _altered() from error
    return fields


def encode_receipt(receipt: dict[str, Any]) -> bytes:
    """Return the one form in which a receipt is written."""
    text = json.dumps(receipt, sort_keys=True, indent=1, ensure_ascii=True)
    return text.encode("ascii")


def _altered() -> Invalid:
    return Invalid(
        "the receipt is not as it was signed: a part of it was changed, or its signature is of "
        "another one"
    )


def _bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.20} is no base64")
    found = base64.b64decode(value, validate=True)
    if base64.b64encode(found).decode() != value:
        # The last letter may differ in bits that mean nothing.
        raise ValueError("not the base64 that was signed")
    return found
