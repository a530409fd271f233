"""A package: files under relative paths, their digest, and its signature.

The digest is SHA-256 over all files in the order of their paths: the path, a zero byte, and the
SHA-256 of what the file holds. `manifest.json` is hashed without `integrity`, as JSON with sorted
keys and no spaces. The signature is Ed25519 over the digest in hexadecimal; both it and the key are
base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ...errors import Denied, Invalid
from .manifest import MANIFEST, Integrity, Manifest, is_signer, parse_manifest, read_json

__all__ = [
    "BYTES_MAX",
    "FILES_MAX",
    "Package",
    "check_signature",
    "decode_files",
    "encode_files",
    "open_package",
    "public_key",
    "read_folder",
    "signed_manifest",
]

BYTES_MAX = 1_048_576
FILES_MAX = 64
_PATH_CHARS_MAX = 200
_DEPTH_MAX = 8
_SEGMENT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
# What an interpreter and an editor leave behind.
_LEFT_OVER = ("__pycache__",)


class Package(msgspec.Struct, frozen=True):
    """A package whose files, manifest and digest fit each other."""

    manifest: Manifest
    files: dict[str, bytes]
    sha256: str


def open_package(files: Mapping[str, bytes], *, stated: bool = True) -> Package:
    """Return the package that some files are; `Invalid` naming the file and what is wrong.

    `stated`: the manifest has to state the digest. Where it does, that has to be right anyway.
    """
    _check_files(files)
    if MANIFEST not in files:
        raise Invalid(f"the package has no {MANIFEST}; put one at its top")
    plain = read_json(files[MANIFEST])
    manifest = parse_manifest(plain)
    module = manifest.entry.python.module.replace(".", "/")
    if not {f"{module}.py", f"{module}/__init__.py"} & files.keys():
        raise Invalid(
            f"{MANIFEST}: entry.python.module is {manifest.entry.python.module!r:.120}, and the "
            f"package has neither {module}.py nor {module}/__init__.py"
        )
    found = _digest(files, plain)
    if manifest.integrity is None:
        if stated:
            raise Invalid(
                f"{MANIFEST}: integrity is missing; `palimp governance plugin sign` writes it"
            )
    elif manifest.integrity.sha256 != found:
        raise Invalid(
            f"the package of {manifest.name} {manifest.version} has the digest {found}, and its "
            f"{MANIFEST} states {manifest.integrity.sha256:.64}: a file was changed after it was "
            "signed; sign it again"
        )
    return Package(manifest, dict(files), found)


def check_signature(package: Package, keys: Mapping[str, str]) -> str:
    """Return who has signed a package; `keys` are the public keys of known signers.

    Raises `Denied` where nobody has, nobody knows them, or it is not their signature.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    stated = package.manifest.integrity
    named = f"{package.manifest.name} {package.manifest.version}"
    if stated is None or not stated.signer or not stated.signature:
        raise Denied(f"{named} is not signed; `palimp governance plugin sign` does it")
    if stated.signer not in keys:
        raise Denied(
            f"{named} is signed by {stated.signer!r:.130}, who is no signer here (any more); "
            "`palimp governance plugin signer-list` shows who is"
        )
    try:
        signature = base64.b64decode(stated.signature, validate=True)
        key = Ed25519PublicKey.from_public_bytes(public_key(keys[stated.signer]))
        key.verify(signature, package.sha256.encode())
    except (binascii.Error, ValueError, InvalidSignature) as error:
        raise Denied(
            f"the signature of {named} is not that of {stated.signer}: it was made with another "
            "key, or altered; sign it again"
        ) from error
    return stated.signer


def public_key(text: str) -> bytes:
    """Return the bytes of a public key in base64; raises `Invalid`."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != _KEY_BYTES:
        raise Invalid(
            f"public_key is not the {_KEY_BYTES} bytes of an Ed25519 key in base64; `palimp "
            "governance plugin keygen` prints one"
        )
    return found


def signed_manifest(files: Mapping[str, bytes], signer: str, secret: str, what: str) -> bytes:
    """Return the manifest of a package with its digest and the signature of `signer`.

    `secret` is a private key in base64 PKCS#8, which messages call `what`.
    """
    from ...security.keys import SigningKey

    if not is_signer(signer):
        raise Invalid(
            f"signer {signer!r:.130} is no name; give 1 to 128 of letters, digits and . _ @ -"
        )
    key = SigningKey.parse(secret, what)
    _check_files(files)
    if MANIFEST not in files:
        raise Invalid(f"the package has no {MANIFEST}; put one at its top")
    plain = read_json(files[MANIFEST])
    digest = _digest(files, plain)
    signature = base64.b64encode(key.private.sign(digest.encode())).decode()
    plain["integrity"] = msgspec.to_builtins(Integrity(digest, signature, signer))
    signed = (json.dumps(plain, ensure_ascii=False, indent=2) + "\n").encode()
    # What is signed is what is accepted.
    open_package({**files, MANIFEST: signed})
    return signed


def read_folder(folder: str | os.PathLike[str]) -> dict[str, bytes]:
    """Return the files of a folder by their paths; `Invalid` for links, too many and too large.

    What begins with a dot, and what an interpreter leaves behind, is no part of it.
    """
    root = Path(folder)
    found: dict[str, bytes] = {}
    try:
        if not root.is_dir():
            raise Invalid(f"{root} is no folder; give the folder that holds {MANIFEST}")
        _read(root, "", found, 0)
    except OSError as error:
        raise Invalid(f"{root} cannot be read: {error}") from error
    return found


def encode_files(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return files as they travel: base64."""
    return {path: base64.b64encode(data).decode() for path, data in files.items()}


def decode_files(files: Mapping[str, str]) -> dict[str, bytes]:
    """Return files that have travelled; raises `Invalid` naming the one that is no base64."""
    found = {}
    for path, text in files.items():
        try:
            found[path] = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Invalid(f"files[{path!r:.120}] is not base64: {error}") from error
    return found


def _read(folder: Path, prefix: str, found: dict[str, bytes], depth: int) -> None:
    for entry in sorted(os.scandir(folder), key=lambda one: one.name):
        if entry.name.startswith(".") or entry.name in _LEFT_OVER:
            continue
        path = f"{prefix}{entry.name}"
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode) and depth < _DEPTH_MAX:
            _read(folder / entry.name, f"{path}/", found, depth + 1)
            continue
        if not stat.S_ISREG(mode):
            what = "too deep" if stat.S_ISDIR(mode) else "a link or a device"
            raise Invalid(f"{path!r:.220} in {folder} is {what}; a package has plain files only")
        # Before anything is read: a limit that is met afterwards has cost its memory.
        left = BYTES_MAX - sum(map(len, found.values()))
        if len(found) >= FILES_MAX or entry.stat().st_size > left:
            raise _too_large(f"with {path!r:.220} the package")
        with (folder / entry.name).open("rb") as file:
            found[path] = file.read(left + 1)


def _check_files(files: Mapping[str, bytes]) -> None:
    for path in files:
        parts = path.split("/")
        if (
            len(path) > _PATH_CHARS_MAX
            or len(parts) > _DEPTH_MAX + 1
            or not all(map(_SEGMENT.fullmatch, parts))
        ):
            raise Invalid(
                f"path {path!r:.220} cannot be in a package: give relative paths of at most "
                f"{_PATH_CHARS_MAX} letters, digits, '.', '_' and '-', parted by '/', none of "
                "which begins with a dot"
            )
    if len(files) > FILES_MAX or sum(map(len, files.values())) > BYTES_MAX:
        size = sum(map(len, files.values()))
        raise _too_large(f"the package has {len(files):,} files of {size:,} bytes, and")


def _too_large(what: str) -> Invalid:
    return Invalid(
        f"{what} is too large: a package has at most {FILES_MAX} files of {BYTES_MAX:,} bytes "
        "together; take out what the hooks do not need",
        code="payload_too_large",
    )


def _digest(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> str:
    bare = {name: value for name, value in manifest.items() if name != "integrity"}
    text = json.dumps(bare, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    hashed = hashlib.sha256()
    for path in sorted(files):
        data = text.encode() if path == MANIFEST else files[path]
        hashed.update(path.encode() + b"\0" + hashlib.sha256(data).digest())
    return hashed.hexdigest()
