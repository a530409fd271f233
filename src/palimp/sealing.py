"""What is sealed begins with, and the error of whoever cannot read it."""

from __future__ import annotations

from .errors import Internal

__all__ = ["ESCAPE", "PLACEHOLDER", "SEALED", "Undecipherable", "header"]

# What is shown in the place of a text that cannot be read.
PLACEHOLDER = "[REDACTED \N{EM DASH} DECRYPTION FAILED]"

# With this byte and the version of a key everything begins that is sealed. Data that begins so by
# itself is stored behind version 0.
SEALED = b"\x9a"
ESCAPE = SEALED + bytes(4)


class Undecipherable(Internal):
    """What was sealed cannot be read: its key is missing, or it was altered or moved."""


def header(version: int) -> bytes:
    """Return what everything begins with that is sealed with a version of a key."""
    return SEALED + version.to_bytes(4, "big")
