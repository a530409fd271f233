"""What the journal of the catalog costs: what a change takes more, and filling a lost catalog."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from harness import Row, in_turn
from machine import folder

from palimp.catalog import start_catalog
from palimp.catalog.binding_tables import SqlBindings, SqlNotes
from palimp.catalog.journal import Journal
from palimp.catalog.key_rows import CredentialRow
from palimp.catalog.key_tables import SqlCredentials
from palimp.clock import Clock
from palimp.store import open_store

_ENTRIES, _ENTRIES_QUICK = 10_000, 500
_AWAY_SECONDS = 0.02
_VALUE = '{"agent_id":"agent_0123456789abcdef","status":"active","metadata":{"team":"one"}}'


def measure(*, quick: bool) -> list[Row]:
    """Measure on a folder in memory, and filling also from a store that is 20 ms away."""
    count = _ENTRIES_QUICK if quick else _ENTRIES
    with folder() as path:
        return [_change(path, count // 20), *_filling(path, count)]


def _change(path: Path, count: int) -> Row:
    store = open_store((path / "objects").as_uri())
    journal = Journal(store)
    catalog = start_catalog(f"sqlite:///{path}/catalog.db", Clock(), "bench", journal)
    bindings, notes = SqlBindings(catalog, journal), SqlNotes(catalog)
    changed, alone = in_turn(
        [
            lambda i: bindings.put("bench", "one", f"k{i % 50}", _VALUE),
            lambda i: notes.put("bench", "one", f"k{i % 50}", _VALUE),
        ],
        count,
        20,
    )
    catalog.close()
    store.close()
    return Row(
        "change a binding, in the journal and the catalog",
        changed.median,
        "us",
        floor=alone.median,
        note="floor: in the catalog (SQLite) alone",
        detail={"journalled": changed.as_json(), "alone": alone.as_json()},
    )


def _filling(path: Path, count: int) -> list[Row]:
    store = open_store((path / "many").as_uri())
    journal = Journal(store)
    catalog = start_catalog(f"sqlite:///{path}/many.db", Clock(), "bench", journal)
    credentials, bindings = SqlCredentials(catalog, journal), SqlBindings(catalog, journal)
    for number in range(count // 2):
        row = CredentialRow(f"k{number}", "memtrace", "org", "app", "mtk_", f"h{number}", "{}", 1)
        credentials.add(row)
        bindings.put("memtrace", "org", f"session/{number}", _VALUE)
    catalog.close()
    rows = [
        _filled(path, count, store, "a folder in memory", "near"),
        _filled(path, count, _Away(store), "a store 20 ms away", "away"),
    ]
    store.close()
    return rows


def _filled(path: Path, count: int, store: Any, where: str, name: str) -> Row:
    journal = Journal(store)
    begun = time.perf_counter()
    catalog = start_catalog(f"sqlite:///{path}/{name}.db", Clock(), "bench", journal)
    took = time.perf_counter() - begun
    assert len(SqlBindings(catalog, journal).list("memtrace", "org", limit=count)) == count // 2
    catalog.close()
    what = f"fill an empty catalog from {count:,} entries in {where}"
    return Row(what, took, "s", note=f"{count / took:,.0f} entries a second")


class _Away:
    """A store that answers each request after 20 ms."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in ("get", "list", "create", "replace"):
            return found

        def call(*given: Any) -> Any:
            time.sleep(_AWAY_SECONDS)
            return found(*given)

        return call
