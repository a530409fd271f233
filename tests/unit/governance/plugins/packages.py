"""Packages of plugins, for tests: one that is as it should be, and what signs it."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

from palimp.governance.plugins.manifest import MANIFEST
from palimp.governance.plugins.package import signed_manifest
from palimp.security.keys import SigningKey

CALM = b"""
def hook(given):
    if given["phase"] == "plan":
        return {"actions": given["base_plan"]["actions"][:1]}
    return {"warnings": [f"calm saw {len(given['report']['decisions'])}"]}
"""


class Key(NamedTuple):
    """A key pair as people have it."""

    private: str
    public: str


def new_key() -> Key:
    made = SigningKey.generate()
    return Key(made.export(), base64.b64encode(made.public_bytes).decode())


def manifest(**fields: Any) -> dict[str, Any]:
    plain = {
        "name": "governance-calm",
        "version": "1.0.0",
        "api_version": "v1",
        "runtime": "python",
        "entry": {"python": {"module": "calm", "object": "hook"}},
        "capabilities": ["governance.plan", "governance.execute"],
        "compatibility": {"palimp": ">=0.1"},
    }
    return {name: value for name, value in {**plain, **fields}.items() if value is not None}


def files(source: bytes = CALM, **fields: Any) -> dict[str, bytes]:
    return {"calm.py": source, MANIFEST: json.dumps(manifest(**fields)).encode()}


def signed(key: Key, source: bytes = CALM, signer: str = "me", **fields: Any) -> dict[str, bytes]:
    made = files(source, **fields)
    return {**made, MANIFEST: signed_manifest(made, signer, key.private, "the key")}
