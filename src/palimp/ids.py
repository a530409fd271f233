"""Names and ids: what they may look like, how they are made, and nothing else.

Names are parsed, never compared by prefix: `acme` must not reach what belongs to `acme-x`.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from typing import NamedTuple

from .errors import Invalid

__all__ = [
    "FOREIGN_BYTES_MAX",
    "MAIN",
    "NAMESPACE_CHARS_MAX",
    "PROFILE_CHARS_MAX",
    "PUBLIC_ID_KEY",
    "DatabaseName",
    "ProfileSpec",
    "check_name",
    "foreign_name",
    "foreign_text",
    "jitter",
    "memory_id",
    "parse_database_name",
    "parse_database_spec",
    "parse_profile_spec",
    "random_bytes",
    "random_id",
    "random_uuid",
    "ulid",
]

MAIN = "main"
NAMESPACE_CHARS_MAX = 64
PROFILE_CHARS_MAX = 128
FOREIGN_BYTES_MAX = 256
# Ids are keyed hashes; without encryption the key is this public constant (design section 5).
PUBLIC_ID_KEY = b"palimp memory id 1"
_ID_BYTES = 16
_FOREIGN_PREFIXES = ("x-", "xh-")
_FOREIGN_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
# Crockford's alphabet, two characters at a time.
_BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BASE32_PAIRS = [first + second for first in _BASE32 for second in _BASE32]
_ULID_SHIFTS = range(120, -1, -10)
_ulid_lock = threading.Lock()
_last_ulid = (-1, 0)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?\Z")


class DatabaseName(NamedTuple):
    """The two names of a profile's database."""

    namespace: str
    profile: str

    def __str__(self) -> str:
        return f"{self.namespace}--{self.profile}"


class ProfileSpec(NamedTuple):
    """What a caller writes for a profile: `name` or `name@branch`."""

    profile: str
    branch: str


def check_name(value: object, what: str, *, chars_max: int = PROFILE_CHARS_MAX) -> str:
    """Return `value` if it is a valid name, else raise `Invalid` saying which rule it breaks.

    A name is 1 to `chars_max` of a-z, 0-9, `_` and `-`, begins and ends with a letter or digit and
    has no `--` in it. Ending in a letter or digit and having no `--` is what makes
    `{namespace}--{profile}` split in exactly one way.
    """
    if not isinstance(value, str):
        raise Invalid(f"{what} must be text, not {type(value).__name__}")
    if not value:
        raise Invalid(f"{what} is empty; give 1 to {chars_max} of a-z, 0-9, _ and -")
    if len(value) > chars_max:
        raise Invalid(f"{what} has {len(value)} characters, at most {chars_max} are allowed")
    if "--" in value:
        raise Invalid(f"{what} {value!r} contains '--', which separates namespace and profile")
    if not _NAME.match(value):
        raise Invalid(
            f"{what} {value!r} is not a valid name: use a-z, 0-9, _ and -, "
            "beginning and ending with a letter or digit"
        )
    return value


def parse_profile_spec(value: object) -> ProfileSpec:
    """Split `name` or `name@branch`; `@main` is implicit. Raises `Invalid` for bad names."""
    if not isinstance(value, str):
        raise Invalid(f"profile must be text, not {type(value).__name__}")
    name, at, branch = value.partition("@")
    check_name(name, "profile")
    return ProfileSpec(name, check_name(branch, "branch") if at else MAIN)


def parse_database_name(value: str) -> DatabaseName:
    """Split `{namespace}--{profile}` at its only `--`; raises `Invalid` where it is not one."""
    namespace, separator, profile = value.partition("--")
    if not separator:
        raise Invalid(f"{value!r} is not a database name; it has the form namespace--profile")
    return DatabaseName(
        check_name(namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX),
        check_name(profile, "profile"),
    )


def parse_database_spec(value: str) -> tuple[str, str, str | None]:
    """Split `namespace--profile` or `namespace--profile@branch`; None where no branch is named."""
    database, at, branch = value.partition("@")
    name = parse_database_name(database)
    return (*name, check_name(branch, "branch") if at else None)


def foreign_name(text: str) -> str:
    """Return the name that stands for an id of another system: any text of 1 to 256 bytes.

    No two ids have one name. An id that is a name itself keeps it, unless it begins as others are
    written: `x-`, then its bytes, all but a-z and 0-9 as `_` and two hex digits; where that is too
    long, `xh-` and its hash. Raises `Invalid` for an empty or longer text.
    """
    data = text.encode("utf-8", "surrogatepass")
    if not 1 <= len(data) <= FOREIGN_BYTES_MAX:
        raise Invalid(f"the id {text!r:.80} has {len(data):,} bytes; 1 to {FOREIGN_BYTES_MAX} fit")
    plain = len(text) <= PROFILE_CHARS_MAX and "--" not in text and _NAME.match(text)
    if plain and not text.startswith(_FOREIGN_PREFIXES):
        return text
    name = "x-" + "".join(
        chr(byte) if chr(byte) in _FOREIGN_PLAIN else f"_{byte:02x}" for byte in data
    )
    if len(name) <= PROFILE_CHARS_MAX:
        return name
    return "xh-" + hashlib.blake2b(data, digest_size=32).hexdigest()


def foreign_text(name: str) -> str | None:
    """Return the id that `foreign_name` gave this name; None where only its hash is left."""
    if name.startswith("xh-"):
        return None
    if not name.startswith("x-"):
        return name
    first, *escaped = name.removeprefix("x-").split("_")
    data = first.encode() + b"".join(bytes([int(p[:2], 16)]) + p[2:].encode() for p in escaped)
    return data.decode("utf-8", "surrogatepass")


def memory_id(key: bytes, canonical: bytes) -> str:
    """Return `mem_` and 32 hex digits: a keyed BLAKE2b hash of 128 bits.

    The same key and canonical bytes give the same id on every machine and in every release, which
    is what makes ingest idempotent.
    """
    return "mem_" + hashlib.blake2b(canonical, digest_size=_ID_BYTES, key=key).hexdigest()


def random_id(prefix: str) -> str:
    """Return `prefix` and 32 random hex digits (128 bits): unique without asking anybody."""
    return f"{prefix}_{os.urandom(_ID_BYTES).hex()}"


def random_bytes(count: int) -> bytes:
    """Return bytes that nobody can guess: for keys and nonces."""
    return os.urandom(count)


def random_uuid() -> str:
    """Return a random UUID (RFC 9562, version 4) as text."""
    data = bytearray(random_bytes(16))
    data[6] = data[6] & 0x0F | 0x40
    data[8] = data[8] & 0x3F | 0x80
    text = data.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def jitter() -> float:
    """Return a number in [0, 1) that no other process gets at the same time: for back-off."""
    return int.from_bytes(os.urandom(4), "big") / 2**32


def ulid(now_ms: int) -> str:
    """Return a ULID of a time: 26 characters that sort by time.

    Those that this process makes for the same millisecond, one after the other, rise.
    """
    global _last_ulid
    with _ulid_lock:
        at, number = _last_ulid
        # One bit is left free at the top, so that counting up never overflows.
        number = number + 1 if at == now_ms else int.from_bytes(os.urandom(10), "big") >> 1
        _last_ulid = now_ms, number
    rest = (now_ms << 80) | number
    return "".join(_BASE32_PAIRS[(rest >> shift) & 1023] for shift in _ULID_SHIFTS)
