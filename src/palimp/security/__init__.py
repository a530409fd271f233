"""Credentials: signing keys, and tokens that are checked without asking anybody."""

from __future__ import annotations

from .keys import KeyRing, SigningKey
from .tokens import Claims, Tokens

__all__ = ["Claims", "KeyRing", "SigningKey", "Tokens"]
