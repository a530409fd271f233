"""The same by hand: what the store and SQLite take where nobody makes sure of anything.

Objects of the same fields, encoded from plain dicts; nothing is validated, and nobody looks whether
a request was answered.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import apsw
from msgspec import json

from palimp.store import ObjectStore

WORDS_QUERY = """SELECT rowid FROM __palimp_memories_fts
WHERE __palimp_memories_fts MATCH ? ORDER BY rank LIMIT 10"""


def name_key(profile: str) -> str:
    """Return the key of a profile's name."""
    return f"v1/names/bench/{profile}.json"


def manifest_key(db_id: str, branch_id: str) -> str:
    """Return the key of a branch's manifest."""
    return f"v1/db/{db_id}/{branch_id}/manifest.json"


def create(store: ObjectStore, profile: str) -> None:
    """Put the name of a profile: one conditional put."""
    name = {
        "format": 1,
        "writer": 1,
        "version": 1,
        "nonce": _id(),
        "gen": 1,
        "db_id": _id(),
        "revoked_before": 0,
    }
    store.create(name_key(profile), json.encode(name))


def fork(store: ObjectStore, db_id: str, name: str) -> None:
    """Read the parent, put head and child, read the parent again, let the child live."""
    stored = store.get(manifest_key(db_id, "main"))
    assert stored is not None
    parent: dict[str, Any] = json.decode(stored.data)
    branch_id, now_ms = _id(), time.time_ns() // 1_000_000
    head = {
        "format": 1,
        "writer": 1,
        "version": 1,
        "nonce": _id(),
        "gen": 1,
        "branch_id": branch_id,
        "formed_at": now_ms,
    }
    store.create(f"v1/db/{db_id}/heads/{name}.json", json.encode(head))
    child = {
        **parent,
        "version": 1,
        "nonce": _id(),
        "state": "forming",
        "epoch": 0,
        "owner": None,
        "limit": parent["txid"],
        "parent": {"branch_id": "main", "txid": parent["txid"]},
        "history": [],
        "checkpoints": {},
        "formed_at": now_ms,
    }
    key = manifest_key(db_id, branch_id)
    version = store.create(key, json.encode(child))
    again = store.get(manifest_key(db_id, "main"))
    assert again is not None
    assert json.decode(again.data)["nonce"] == parent["nonce"]
    lives = {**child, "version": 2, "nonce": _id(), "state": "live"}
    store.replace(key, json.encode(lives), version)


def fork_requests_only(store: ObjectStore, data: bytes, name: str) -> None:
    """Send five requests of the size a fork's have, without looking into an object."""
    store.get("v1/parent")
    store.create(f"v1/heads/{name}.json", data[:200])
    version = store.create(f"v1/children/{name}.json", data)
    store.get("v1/parent")
    store.replace(f"v1/children/{name}.json", data, version)


def open_and_query(path: Path, words: str) -> apsw.Connection:
    """Open a local file read-only and ask it; the caller closes the connection."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.execute(WORDS_QUERY, (words,)).fetchall()
    return connection


def _id() -> str:
    return f"n_{os.urandom(16).hex()}"
