"""Databases as plain files, and plain files, mistrusted, as databases."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from palimp.engine import exchange
from palimp.engine.exchange import SchemaRow, check_import, import_image, plain_file, read_schema
from palimp.errors import Invalid, Unavailable
from palimp.profile import prepare

ORIGIN: dict[str, str | int] = {"namespace": "n", "profile": "p", "branch": "main", "txid": 7}
MEMORY = """INSERT INTO __palimp_memories
(id, type, text, created_at, occurred_at, activated_at) VALUES (?, 'event', ?, 1, 1, 1)"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A profile in WAL mode with some rows, folded and closed."""
    path = tmp_path / "main.db"
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    with connection:
        connection.execute(
            "CREATE TABLE __palimp_engine (key TEXT PRIMARY KEY, value) WITHOUT ROWID"
        )
        connection.execute("INSERT INTO __palimp_engine VALUES ('txid', 7)")
        connection.execute(
            "CREATE TABLE __palimp_requests "
            "(id TEXT PRIMARY KEY, txid, at, digest, result) WITHOUT ROWID"
        )
        connection.execute("INSERT INTO __palimp_requests VALUES ('r', 7, 1, x'00', x'01')")
        prepare(connection)
        for number in range(300):
            connection.execute(MEMORY, (f"m{number}", f"the harbour of oslo, note {number}"))
            connection.execute(
                "INSERT INTO __palimp_memories_fts (rowid, text) VALUES (?, 'harbour oslo')",
                (number + 1,),
            )
    connection.close()
    return path


@pytest.fixture
def template(database: Path) -> frozenset[SchemaRow]:
    return read_schema(database)


@pytest.fixture
def exported(database: Path, tmp_path: Path) -> Path:
    path = tmp_path / "export.sqlite"
    path.write_bytes(plain_file(database.read_bytes(), tmp_path, ORIGIN))
    return path


def texts(path: Path) -> list[Any]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute("SELECT id, text FROM __palimp_memories ORDER BY id").fetchall()
    finally:
        connection.close()


def alter(path: Path, *statements: str) -> None:
    """Change an exported file as anybody can, its schema too."""
    connection = apsw.Connection(str(path))
    try:
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
        for sql in statements:
            connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_an_export_opens_where_nothing_can_be_written(database: Path, exported: Path) -> None:
    folder = exported.parent / "elsewhere"
    folder.mkdir()
    copy = folder / "copy.sqlite"
    copy.write_bytes(exported.read_bytes())
    copy.chmod(0o400)
    folder.chmod(0o500)
    try:
        connection = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READONLY)
        assert connection.pragma("journal_mode") == "delete"
        assert connection.execute("PRAGMA integrity_check").get == "ok"
        found = connection.execute(
            "SELECT count(*) FROM __palimp_memories_fts WHERE __palimp_memories_fts MATCH 'oslo'"
        )
        assert found.get == 300
        connection.close()
        assert os.listdir(folder) == ["copy.sqlite"]
    finally:
        folder.chmod(0o700)
    assert texts(copy) == texts(database)


def test_an_export_leaves_nothing_behind_and_changes_no_image(
    database: Path, tmp_path: Path
) -> None:
    image = database.read_bytes()
    before = sorted(os.listdir(tmp_path))
    plain_file(image, tmp_path, ORIGIN)
    assert sorted(os.listdir(tmp_path)) == before
    assert database.read_bytes() == image


def test_an_export_where_nothing_can_be_written_says_so(database: Path, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"\.export-"):
        plain_file(database.read_bytes(), tmp_path / "missing", ORIGIN)


def test_an_export_comes_back_with_its_origin(
    exported: Path, template: frozenset[SchemaRow], tmp_path: Path
) -> None:
    before = exported.read_bytes(), sorted(os.listdir(tmp_path))
    assert check_import(exported, template) == ORIGIN
    assert (exported.read_bytes(), sorted(os.listdir(tmp_path))) == before


def test_an_import_is_a_database_of_ours(
    exported: Path, template: frozenset[SchemaRow], tmp_path: Path
) -> None:
    path = tmp_path / "imported.db"
    import_image(exported, path, 1)
    assert not path.with_name("imported.db-wal").exists()
    connection = apsw.Connection(str(path))
    try:
        assert connection.pragma("journal_mode") == "wal"
        state = connection.execute("SELECT key, value FROM __palimp_engine").fetchall()
        assert state == [("txid", 1)]
        assert connection.execute("SELECT count(*) FROM __palimp_requests").get == 0
        assert connection.execute("PRAGMA integrity_check").get == "ok"
    finally:
        connection.close()
    assert read_schema(path) == template
    assert texts(path) == texts(exported)
    # Neither the origin nor an answer stays in a page that is free now.
    assert b'"namespace"' in exported.read_bytes()
    assert b'"namespace"' not in path.read_bytes()


def test_a_database_file_itself_says_nothing_of_its_origin(
    database: Path, template: frozenset[SchemaRow]
) -> None:
    alter(database, "PRAGMA journal_mode = DELETE")
    assert check_import(database, template) is None


def refuse(path: Path, template: frozenset[SchemaRow], words: str) -> None:
    before = path.read_bytes()
    with pytest.raises(Invalid, match=words) as caught:
        check_import(path, template)
    assert path.name in caught.value.message
    assert path.read_bytes() == before


FOREIGN: dict[str, tuple[str, str]] = {
    "table": ("CREATE TABLE __palimp_mine (a)", "has table '__palimp_mine', which no Palimpsest"),
    "index": ("CREATE INDEX mine ON __palimp_meta (value)", "has index 'mine', which no"),
    "trigger": (
        "CREATE TRIGGER mine AFTER INSERT ON __palimp_meta BEGIN DELETE FROM __palimp_turns; END",
        "has trigger 'mine', which no",
    ),
    "view": ("CREATE VIEW __palimp_mine AS SELECT 1", "has view '__palimp_mine', which no"),
    "virtual table": ("CREATE VIRTUAL TABLE mine USING fts4(a)", "has table 'mine', which no"),
    "statistics": ("ANALYZE", "has table 'sqlite_stat1', which no"),
    "dropped index": ("DROP INDEX __palimp_session", "lacks index '__palimp_session'"),
    "dropped table": ("DROP TABLE __palimp_turns", "lacks table '__palimp_turns'"),
    "column": ("ALTER TABLE __palimp_meta ADD COLUMN x", "table '__palimp_meta' in another form"),
    "engine": ("DROP TABLE __palimp_engine", "not made by export: it has no table __palimp_engine"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_objects_of_somebody_else_are_refused_by_name(
    kind: str, exported: Path, template: frozenset[SchemaRow]
) -> None:
    statement, words = FOREIGN[kind]
    alter(exported, statement)
    refuse(exported, template, words)


# As SQLite writes them, and as only somebody who edits the schema does.
VIRTUAL = {
    "CREATE VIRTUAL TABLE mine USING fts5(a)": True,
    'CREATE VIRTUAL TABLE "my own" using rtree (a, b, c)': True,
    "CREATE TABLE mine (a) -- USING fts3tokenize(a)": True,
    "CREATE VIRTUAL TABLE mine USING dbstat": False,
    "CREATE VIRTUAL TABLE mine USING fts3tokenize(a)": False,
    'CREATE VIRTUAL TABLE "x USING fts5(" USING fts4(a)': False,
    "CREATE VIRTUAL TABLE [x] /* */ USING fts5(a)": False,
    "CREATE/**/VIRTUAL TABLE mine USING fts4(a)": False,
    "create\nvirtual table mine using fts4(a)": False,
    "/**/CREATE VIRTUAL TABLE mine USING fts4(a)": False,
}


@pytest.mark.parametrize("text", VIRTUAL)
def test_a_virtual_table_is_known_by_how_sqlite_writes_it(text: str) -> None:
    assert exchange._is_a_callers(SchemaRow("table", "mine", "mine", text)) == VIRTUAL[text]


def test_what_sql_of_a_caller_s_own_has_made_is_let_through(
    exported: Path, template: frozenset[SchemaRow]
) -> None:
    alter(
        exported,
        "CREATE TABLE trips (id INTEGER PRIMARY KEY AUTOINCREMENT, place UNIQUE)",
        "CREATE INDEX by_place ON trips (place)",
        "CREATE VIEW far AS SELECT * FROM trips",
        "CREATE TRIGGER log AFTER INSERT ON trips BEGIN DELETE FROM __palimp_turns; END",
        "CREATE VIRTUAL TABLE notes USING fts5(text)",
        "CREATE VIRTUAL TABLE boxes USING rtree(id, a, b)",
        "INSERT INTO notes VALUES ('a')",
    )
    assert check_import(exported, template) == ORIGIN


def test_a_table_that_became_a_view_is_refused(
    exported: Path, template: frozenset[SchemaRow]
) -> None:
    alter(
        exported,
        "DROP TABLE __palimp_meta",
        "CREATE VIEW __palimp_meta AS SELECT 'schema' AS key, 1 AS value",
    )
    refuse(exported, template, "has view '__palimp_meta', which no")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (apsw.SQLITE_INNOCUOUS, "has index 'mine'"),
        (0, r"is damaged: .*unsafe use of tell\(\)"),
    ],
)
def test_an_expression_in_the_schema_is_never_evaluated(
    flags: int,
    words: str,
    exported: Path,
    template: frozenset[SchemaRow],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A function this process registered for itself, called by an index of the file."""
    called: list[Any] = []

    def with_function(connection: apsw.Connection) -> None:
        connection.create_scalar_function("tell", called.append, 1, deterministic=True, flags=flags)

    monkeypatch.setattr(apsw, "connection_hooks", [*apsw.connection_hooks, with_function])
    alter(exported, "CREATE INDEX mine ON __palimp_meta (tell(key))")
    assert called
    called.clear()
    refuse(exported, template, words)
    assert not called


def test_a_strange_file_is_opened_with_every_guard_up(
    exported: Path, template: frozenset[SchemaRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    guards: list[tuple[int, ...]] = []

    def watch(connection: apsw.Connection) -> None:
        def before(cursor: apsw.Cursor, sql: str, _: Any) -> bool:
            if sql.startswith(("SELECT", "PRAGMA integrity")):
                opened = cursor.connection
                kinds = ("DEFENSIVE", "TRUSTED_SCHEMA", "ENABLE_TRIGGER", "ENABLE_VIEW")
                found = [opened.config(getattr(apsw, f"SQLITE_DBCONFIG_{k}"), -1) for k in kinds]
                guards.append((*found, opened.pragma("cell_size_check")))
            return True

        connection.exec_trace = before

    monkeypatch.setattr(apsw, "connection_hooks", [watch])
    assert check_import(exported, template) == ORIGIN
    assert set(guards) == {(1, 0, 0, 0, 1)}


def test_a_file_that_cannot_be_checked_in_full_is_not_let_through(
    exported: Path, template: frozenset[SchemaRow]
) -> None:
    """SQLite opens read-only what it may not write, without a word."""

    class ReadOnly(apsw.VFS):
        def __init__(self) -> None:
            super().__init__("readonly", "unix", makedefault=True)

        def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
            flags[0] = flags[0] & ~apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_READONLY
            return super().xOpen(name, flags)

    vfs = ReadOnly()
    try:
        with pytest.raises(Unavailable, match="cannot be written"):
            check_import(exported, template)
    finally:
        apsw.set_default_vfs("unix")
        vfs.unregister()


REWRITTEN: dict[str, tuple[tuple[str, ...], str]] = {
    "sql that is none": (
        ("UPDATE sqlite_schema SET sql = 'CREATE TABLE x(' WHERE name = '__palimp_turns'",),
        "is damaged: ",
    ),
    "one root page for two tables": (
        (
            (
                "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE "
                "name = '__palimp_memories') WHERE name = '__palimp_turns'"
            ),
        ),
        "is damaged: ",
    ),
    "an object twice": (
        (
            (
                "INSERT INTO sqlite_schema SELECT * FROM sqlite_schema WHERE name = "
                "'sqlite_autoindex___palimp_turns_1'"
            ),
        ),
        "is damaged: an object stands twice",
    ),
    "a check that does not hold": (
        ("PRAGMA ignore_check_constraints = 1", "UPDATE __palimp_memories SET type = 'x'"),
        "is damaged: CHECK constraint failed",
    ),
    "an index without its rows": (
        (
            (
                "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE "
                "name = '__palimp_topic') WHERE name = '__palimp_superseded_by'"
            ),
            (
                "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE "
                "name = '__palimp_expires') WHERE name = '__palimp_topic'"
            ),
        ),
        "is damaged: ",
    ),
    "words of an index": (
        ("UPDATE __palimp_memories_fts_data SET block = x'00' WHERE id > 100",),
        "is damaged: ",
    ),
    "an origin that is none": (
        ("UPDATE __palimp_engine SET value = '[1]' WHERE key = 'origin'",),
        "what it says of its origin",
    ),
    "an origin of bytes": (
        ("UPDATE __palimp_engine SET value = x'7b7d' WHERE key = 'origin'",),
        "what it says of its origin",
    ),
    "an origin without end": (
        (
            (
                "UPDATE __palimp_engine SET value = '{\"a\": \"' || hex(zeroblob(40000)) || '\"}' "
                "WHERE key = 'origin'"
            ),
        ),
        "what it says of its origin",
    ),
    "another journal mode": (("PRAGMA journal_mode = WAL",), "not in rollback-journal mode"),
}


@pytest.mark.parametrize("kind", REWRITTEN)
def test_what_was_rewritten_is_refused(
    kind: str, exported: Path, template: frozenset[SchemaRow]
) -> None:
    statements, words = REWRITTEN[kind]
    alter(exported, "PRAGMA writable_schema = 1", *statements)
    refuse(exported, template, words)


def flipped(data: bytes) -> bytes:
    # The number of cells of a page in the middle.
    at = len(data) // 4096 // 2 * 4096 + 3
    return data[:at] + b"\xff\xff" + data[at + 2 :]


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "not an SQLite database"),
    "text": (lambda _: b"hello" * 100, "not an SQLite database"),
    "the first bytes": (lambda data: data[:16], "not in rollback-journal mode"),
    "the header": (lambda data: data[:100], "is damaged|not an SQLite database|not made by export"),
    "half": (lambda data: data[: len(data) // 2], "is damaged"),
    "a page size": (lambda data: data[:16] + b"\0\3" + data[18:], "is damaged"),
    "a page": (flipped, "is damaged"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_sound_database_is_refused(
    kind: str, exported: Path, template: frozenset[SchemaRow]
) -> None:
    change, words = BROKEN[kind]
    exported.write_bytes(change(exported.read_bytes()))
    refuse(exported, template, words)


def test_a_foreign_database_is_refused(tmp_path: Path, template: frozenset[SchemaRow]) -> None:
    path = tmp_path / "other.sqlite"
    alter(path, "CREATE TABLE contacts (name)")
    refuse(path, template, "not made by export")


def test_a_file_over_the_limit_is_refused_unread(
    exported: Path, template: frozenset[SchemaRow], tmp_path: Path
) -> None:
    path = tmp_path / "big.sqlite"
    with path.open("wb") as stream:
        stream.write(exported.read_bytes())
        stream.truncate(exchange.IMPORT_BYTES_MAX + 1)  # a hole: takes no space
    with pytest.raises(Invalid, match="4,294,967,297 bytes, at most 4,294,967,296") as caught:
        check_import(path, template)
    assert caught.value.code == "payload_too_large"


def test_a_journal_beside_the_file_is_refused_not_played_back(
    exported: Path, template: frozenset[SchemaRow], tmp_path: Path
) -> None:
    journal = tmp_path / f"{exported.name}-journal"
    journal.write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(1000))
    refuse(exported, template, "a journal lies beside it")
    assert journal.exists()


def test_nothing_but_invalid_comes_of_a_flipped_byte(
    exported: Path, template: frozenset[SchemaRow], tmp_path: Path
) -> None:
    data = exported.read_bytes()
    path = tmp_path / "flipped.sqlite"
    refused = 0
    for step in range(250):
        # Headers of the file, of pages and of cells: that is where parsing happens.
        at = step % 40 * 4096 + step // 40 * 3
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << step % 8)]) + data[at + 1 :])
        try:
            check_import(path, template)
        except Invalid:
            refused += 1
    # What is not refused lies in the header's counters and in unused bytes.
    assert refused > 150
