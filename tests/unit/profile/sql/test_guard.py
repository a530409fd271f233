"""What SQL of a caller's own may do, asked of real connections that hold a profile's tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from palimp.api.limits import SQL_CALLS_MAX, SQL_COLUMNS_MAX, SQL_VALUE_BYTES_MAX
from palimp.api.sql import Statement
from palimp.clock import Clock
from palimp.engine.local_database import create_file
from palimp.errors import Invalid
from palimp.profile import prepare
from palimp.profile.sql import Limits, check_statements, run, run_reading
from palimp.profile.sql.guard import guarded

LIMITS = Limits(Clock().monotonic)
Runner = Callable[..., list[Any]]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[apsw.Connection]:
    create_file(tmp_path / "main.db", prepare)
    connection = apsw.Connection(str(tmp_path / "main.db"))
    connection.execute(
        "INSERT INTO __palimp_memories (id, type, text, created_at, occurred_at, activated_at) "
        "VALUES ('m1', 'fact', 'secret', 1, 1, 1);"
        "INSERT INTO __palimp_memories_fts (rowid, text) VALUES (1, 'secret')"
    )
    yield connection
    connection.close()


def content(connection: apsw.Connection) -> Any:
    """Everything that is Palimpsest's."""
    schema = connection.execute(
        "SELECT * FROM sqlite_schema WHERE name LIKE '%!_!_palimp%' ESCAPE '!' "
        "OR tbl_name LIKE '%!_!_palimp%' ESCAPE '!'"
    ).fetchall()
    tables = [row[1] for row in schema if row[0] == "table" and not row[1].endswith("_fts")]
    rows = {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}
    numbers = connection.execute(
        "SELECT * FROM sqlite_sequence WHERE name LIKE '!_!_palimp%' ESCAPE '!'"
    )
    return schema, rows, numbers.fetchall()


@pytest.fixture
def sql(connection: apsw.Connection) -> Runner:
    def call(*queries: str, params: tuple[Any, ...] = (), limits: Limits = LIMITS) -> list[Any]:
        """Run statements in a transaction that is kept if they succeed; the rows of the last."""
        checked = check_statements([Statement(q=q, params=params) for q in queries])
        connection.execute("BEGIN IMMEDIATE")
        try:
            results = run(connection, checked, limits)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return list(results[-1].rows)

    return call


TABLES = (
    "CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT, b UNIQUE, c)",
    "INSERT INTO t (b, c) VALUES ('x', 1), ('y', 2)",
)

ALLOWED: dict[str, tuple[str, ...]] = {
    "expression": ("SELECT 1 + 1",),
    "cte": ("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 9) SELECT * FROM c",),
    "upsert": ("INSERT INTO t (b) VALUES ('x') ON CONFLICT (b) DO UPDATE SET c = 9 RETURNING a",),
    "replace": ("REPLACE INTO t (b, c) VALUES ('x', 3)",),
    "window": ("SELECT row_number() OVER (ORDER BY a), lag(b) OVER (ORDER BY a) FROM t",),
    "as select": ("CREATE TABLE u AS SELECT * FROM t", "SELECT * FROM u"),
    "index": ("CREATE INDEX i ON t (lower(b)) WHERE c > 0", "REINDEX i", "REINDEX t", "DROP INDEX i"),
    "view": ("CREATE VIEW v AS SELECT b FROM t", "SELECT * FROM v", "DROP VIEW v"),
    "trigger": (
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET c = 5 WHERE a = new.a; END",
        "INSERT INTO t (b) VALUES ('z') RETURNING c",
        "DROP TRIGGER g",
    ),
    "instead of": (
        "CREATE VIEW v AS SELECT b FROM t",
        "CREATE TRIGGER g INSTEAD OF INSERT ON v BEGIN INSERT INTO t (b) VALUES (new.b); END",
        "INSERT INTO v VALUES ('q')",
    ),
    "generated": ("CREATE TABLE u (a, b AS (a * 2) STORED, CHECK (b < 100))", "INSERT INTO u VALUES (4)"),
    "alter": (
        "ALTER TABLE t RENAME TO u",
        "ALTER TABLE u RENAME COLUMN c TO d",
        "ALTER TABLE u ADD COLUMN e DEFAULT 3",
        "ALTER TABLE u DROP COLUMN e",
        "INSERT INTO u (b) VALUES ('z') RETURNING a",
    ),
    "drop": ("DROP TABLE t", "CREATE TABLE t (a INTEGER PRIMARY KEY AUTOINCREMENT)", "DROP TABLE t"),
    "strict": ("CREATE TABLE u (a INTEGER PRIMARY KEY, b TEXT) STRICT, WITHOUT ROWID",),
    "fts5": (
        "CREATE VIRTUAL TABLE f USING fts5(x, tokenize = 'porter')",
        "INSERT INTO f VALUES ('the harbours of oslo')",
        "INSERT INTO f(f) VALUES ('optimize')",
        "SELECT highlight(f, 0, '<', '>'), bm25(f), snippet(f, 0, '', '', '', 4) FROM f('harbour')",
        "ALTER TABLE f RENAME TO g",
        "DROP TABLE g",
    ),
    "rtree": (
        "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1)",
        "INSERT INTO r VALUES (1, 0, 2)",
        "SELECT * FROM r WHERE x0 < 1",
    ),
    "json": ("SELECT e.value ->> 'a' FROM json_each('[{\"a\": 1}]') e, json_tree('{}') t",),
    "explain": ("EXPLAIN QUERY PLAN SELECT * FROM t",),
    "explain of a write": ("EXPLAIN DELETE FROM t",),
    "schema": ("SELECT name, sql FROM sqlite_schema",),
    "table info": ("PRAGMA table_info(t)",),
    "table list": ("PRAGMA table_list",),
    "index list": ("PRAGMA main.index_list('t')",),
    "user version": ("PRAGMA user_version",),
    "names like ours": ("CREATE TABLE _palimp_ (__palimp)", "INSERT INTO _palimp_ VALUES ('__palimp_memories')"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ALLOWED)
def test_what_sql_is_for_works(kind: str, sql: Runner, connection: apsw.Connection) -> None:
    before = content(connection)
    sql(*TABLES, *ALLOWED[kind])
    assert content(connection) == before


def test_a_check_of_the_whole_file_is_allowed_and_finds_it_sound(
    sql: Runner, connection: apsw.Connection
) -> None:
    sql("CREATE TABLE t (b CHECK (b > 0))", "INSERT INTO t VALUES (1)")
    # Larger than a value of SQL may be: it is ours.
    connection.execute(
        "INSERT INTO __palimp_meta VALUES ('big', zeroblob(?))", (2 * SQL_VALUE_BYTES_MAX,)
    )
    assert sql("PRAGMA integrity_check") == [("ok",)]
    assert sql("PRAGMA quick_check(t)") == [("ok",)]


OURS = "Palimpsest's own"
TRANSACTIONS = "one transaction"
REFUSED: dict[str, tuple[str, tuple[str, ...]]] = {
    "read": (OURS, ("SELECT * FROM __palimp_memories",)),
    "read no column": (OURS, ("SELECT count(*) FROM __palimp_memories",)),
    "read in a subquery": (OURS, ("SELECT (SELECT text FROM __palimp_memories)",)),
    "read in an order": (OURS, ("SELECT 1 ORDER BY (SELECT text FROM __palimp_memories)",)),
    "double quotes": (OURS, ('SELECT * FROM "__palimp_memories"',)),
    "single quotes": (OURS, ("SELECT * FROM '__palimp_memories'",)),
    "backticks": (OURS, ("SELECT * FROM `__palimp_memories`",)),
    "brackets": (OURS, ("SELECT * FROM [__palimp_memories]",)),
    "capitals": (OURS, ("SELECT * FROM __PALIMP_Memories",)),
    "comments": (OURS, ("SELECT/**/*/**/FROM/**/main/**/./**/__palimp_memories",)),
    "alias": (OURS, ("SELECT t.text FROM main.__palimp_memories AS t",)),
    "explain": (OURS, ("EXPLAIN SELECT * FROM __palimp_memories",)),
    "full text": (OURS, ("SELECT * FROM __palimp_memories_fts('secret')",)),
    "shadow": (OURS, ("SELECT * FROM __palimp_memories_fts_data",)),
    "engine": (OURS, ("UPDATE __palimp_engine SET value = 0",)),
    "requests": (OURS, ("DELETE FROM __palimp_requests",)),
    "write in a cte": (OURS, ("WITH x AS (SELECT 1) INSERT INTO __palimp_meta SELECT 1, 2 FROM x",)),
    "upsert": (OURS, ("INSERT INTO __palimp_meta VALUES (1, 2) ON CONFLICT DO UPDATE SET value = 1",)),
    "as select": (OURS, ("CREATE TABLE u AS SELECT * FROM __palimp_memories",)),
    "insert select": (OURS, ("INSERT INTO t (b) SELECT text FROM __palimp_memories",)),
    "view": (OURS, ("CREATE VIEW v AS SELECT * FROM __palimp_memories", "SELECT * FROM v")),
    "trigger body": (
        OURS,
        (
            "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM __palimp_memories; END",
            "INSERT INTO t (b) VALUES (1)",
        ),
    ),
    "trigger on ours": (OURS, ("CREATE TRIGGER g AFTER INSERT ON __palimp_turns BEGIN SELECT 1; END",)),
    "trigger of our name": (OURS, ("CREATE TRIGGER __palimp_g AFTER INSERT ON t BEGIN SELECT 1; END",)),
    "index on ours": (OURS, ("CREATE INDEX i ON __palimp_memories (text)",)),
    "index of our name": (OURS, ("CREATE INDEX __palimp_i ON t (b)",)),
    "view of our name": (OURS, ("CREATE VIEW __palimp_kv AS SELECT 1",)),
    "table of our name": (OURS, ('CREATE TABLE "__PALIMP_kv" (a)',)),
    "virtual table of our name": (OURS, ("CREATE VIRTUAL TABLE __palimp_f USING fts5(a)",)),
    "drop": (OURS, ("DROP TABLE __palimp_turns",)),
    "drop index": (OURS, ("DROP INDEX __palimp_topic",)),
    "reindex": (OURS, ("REINDEX __palimp_topic",)),
    "reindex all": (OURS, ("REINDEX",)),
    "reindex by a name SQLite made": (OURS, ('REINDEX "sqlite_autoindex___palimp_memories_1"',)),
    "alter": (OURS, ("ALTER TABLE __palimp_turns RENAME TO turns",)),
    "alter column": (OURS, ("ALTER TABLE __palimp_turns ADD COLUMN x",)),
    "rename into": (OURS, ("ALTER TABLE t RENAME TO __palimp_kv",)),
    "rename into, quoted": (OURS, ('ALTER TABLE t RENAME TO "__Palimp_KV"',)),
    "rename a virtual table into": (
        OURS,
        ("CREATE VIRTUAL TABLE f USING fts5(a)", "ALTER TABLE f RENAME TO __palimp_f"),
    ),
    "content of ours": (
        OURS,
        (
            "CREATE VIRTUAL TABLE f USING fts5(text, content='__palimp_memories', content_rowid='handle')",
            "INSERT INTO f(f) VALUES ('rebuild')",
        ),
    ),
    "content of ours after a check": (
        OURS,
        (
            "CREATE VIRTUAL TABLE f USING fts5(text, content='__palimp_memories', content_rowid='handle')",
            "PRAGMA integrity_check",
            "SELECT * FROM f",
        ),
    ),
    "schema": ("may not be modified", ("DELETE FROM sqlite_schema",)),
    "master": ("may not be modified", ("UPDATE sqlite_master SET sql = 'x'",)),
    "shadow of one's own": (
        "may not be modified",
        ("CREATE VIRTUAL TABLE f USING fts5(a)", "DELETE FROM f_data"),
    ),
    "sequence": ("numbers were given out", ("UPDATE sqlite_sequence SET seq = 0",)),
    "sequence by trigger": (
        "numbers were given out",
        (
            "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM sqlite_sequence; END",
            "INSERT INTO t (b) VALUES (1)",
        ),
    ),
    "analyze": ("would change how", ("ANALYZE",)),
    "analyze t": ("would change how", ("ANALYZE t",)),
    "attach": ("no other file", ("ATTACH ':memory:' AS x",)),
    "attach expression": ("no other file", ("ATTACH (SELECT 'a' || 'b') AS x",)),
    "detach": ("no other file", ("DETACH main",)),
    "vacuum": ("cannot VACUUM", ("VACUUM",)),
    "vacuum into": ("cannot VACUUM", ("VACUUM INTO 'x.db'",)),
    "begin": (TRANSACTIONS, ("BEGIN",)),
    "commit": (TRANSACTIONS, ("COMMIT",)),
    "end": (TRANSACTIONS, ("END TRANSACTION",)),
    "rollback": (TRANSACTIONS, ("ROLLBACK",)),
    "savepoint": (TRANSACTIONS, ("SAVEPOINT a",)),
    "release": (TRANSACTIONS, ("RELEASE __palimp_ticket",)),
    "rollback to": (TRANSACTIONS, ("ROLLBACK TO __palimp_ticket",)),
    "explain begin": (TRANSACTIONS, ("EXPLAIN BEGIN",)),
    "temporary table": ("not temp", ("CREATE TEMP TABLE x (a)",)),
    "temporary table, named": ("not temp", ("CREATE TABLE temp.x (a)",)),
    "temporary as select": ("not temp", ("CREATE TEMP TABLE x AS SELECT 1",)),
    "temporary view": ("not temp", ("CREATE TEMP VIEW x AS SELECT 1",)),
    "temporary trigger": (
        "no temporary|Palimpsest's own",
        ("CREATE TEMP TRIGGER g AFTER INSERT ON __palimp_turns BEGIN SELECT 1; END",),
    ),
    "temporary schema": ("only the database main", ("SELECT * FROM sqlite_temp_schema",)),
    "or rollback": ("ended the transaction|UNIQUE", ("INSERT OR ROLLBACK INTO t (b) VALUES ('x')",)),
    "raise rollback": (
        "gone|SQLite refuses",
        (
            "CREATE TRIGGER g BEFORE INSERT ON t BEGIN SELECT RAISE(ROLLBACK, 'gone'); END",
            "INSERT INTO t (b) VALUES (1)",
        ),
    ),
    "load extension": ("load_extension", ("SELECT load_extension('x')",)),
    "tokenizer": ("fts3_tokenizer", ("SELECT fts3_tokenizer('simple')",)),
    "log": ("sqlite_log", ("SELECT sqlite_log(1, 'x')",)),
    "unknown function": ("no such function", ("SELECT readfile('x')",)),
    "internal function": ("no such function|not for it", ("SELECT sqlite_rename_table(1,2,3,4,5,6,7)",)),
    "function in a default": (
        "load_extension",
        ("CREATE TABLE u (a, b DEFAULT (load_extension('x')))", "INSERT INTO u (a) VALUES (1)"),
    ),
    "dbstat": ("not of its own", ("SELECT * FROM dbstat",)),
    "dbstat by a view": ("unsafe use", ("CREATE VIEW v AS SELECT * FROM dbstat", "SELECT * FROM v")),
    "pragma function": ("write PRAGMA", ("SELECT * FROM pragma_table_info('t')",)),
    "pragma function, pages": ("write PRAGMA", ("SELECT * FROM PRAGMA_database_list",)),
    "vocabulary": ("virtual tables are", ("CREATE VIRTUAL TABLE v USING fts5vocab(__palimp_memories_fts, row)",)),
    "fts3": ("virtual tables are", ("CREATE VIRTUAL TABLE v USING fts3(a)",)),
    "unknown module": ("virtual tables are", ("CREATE VIRTUAL TABLE v USING csv(filename='/etc/passwd')",)),
    "vector function in an index": ("unsafe use", ("CREATE INDEX i ON t (vector32(b))",)),
    "vector function in a check": ("unsafe use", ("CREATE TABLE u (a CHECK (vector32(a)))",)),
    "two statements": ("several statements", ("SELECT 1; SELECT 2",)),
    "two statements, the second refused": ("several|nothing follows", ("PRAGMA table_info(t); DELETE FROM __palimp_turns",)),
    "a pragma behind one": ("nothing follows", ("PRAGMA integrity_check; PRAGMA writable_schema = 1",)),
    "nothing": ("no statement", ("",)),
    "a comment": ("no statement", ("-- SELECT 1",)),
    "semicolons": ("no statement", (" ;; ",)),
    "missing": ("no such table: nowhere", ("SELECT * FROM nowhere",)),
    "text in double quotes": ("no such column", ('SELECT "hello"',)),
    "parameters": ("Incorrect number of bindings", ("SELECT ?",)),
    "nul": ("NUL character", ("SELECT 1\0",)),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_it_is_not_for_is_refused(kind: str, sql: Runner, connection: apsw.Connection) -> None:
    words, queries = REFUSED[kind]
    sql(*TABLES)
    before = content(connection)
    with pytest.raises(Invalid, match=words) as caught:
        sql(*queries)
    assert caught.value.code == "invalid_request"
    assert content(connection) == before
    clean(connection)
    # Nothing of the list was kept, and the next one is carried out.
    assert sql("SELECT b FROM t") == [("x",), ("y",)]


def clean(connection: apsw.Connection) -> None:
    """The connection is as if no SQL but ours had run on it."""
    assert connection.authorizer is None
    assert not connection.in_transaction
    # SQLite opens one for temporary objects by itself.
    assert {row[1] for row in connection.execute("PRAGMA database_list")} <= {"main", "temp"}
    assert connection.execute("SELECT count(*) FROM sqlite_temp_schema").get == 0
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2
    for name in ("writable_schema", "foreign_keys", "recursive_triggers", "query_only"):
        assert connection.pragma(name) == 0, name
    assert connection.limit(apsw.SQLITE_LIMIT_LENGTH) > 1 << 29


SETTINGS = [
    "writable_schema = 1", "journal_mode = DELETE", "synchronous = 0", "foreign_keys = 1",
    "recursive_triggers = 1", "ignore_check_constraints = 1", "query_only = 1", "wal_checkpoint",
    "wal_autocheckpoint = 0", "locking_mode = EXCLUSIVE", "secure_delete = 0", "trusted_schema = 1",
    "cache_size = 0", "mmap_size = 9", "temp_store = 2", "user_version = 7", "application_id = 7",
    "schema_version = 7", "encoding = 'UTF-16'", "page_size = 512", "auto_vacuum = 1", "busy_timeout = 1",
    "case_sensitive_like = 1", "legacy_alter_table = 1", "defer_foreign_keys = 1", "optimize",
    "incremental_vacuum", "shrink_memory", "hard_heap_limit = 1", "soft_heap_limit = 1", "threads = 4",
    "database_list", "foreign_key_check", "temp_store_directory = '/tmp'", "max_page_count = 1", "nonsense",
]  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_is_changed(setting: str, sql: Runner, connection: apsw.Connection) -> None:
    sql("SELECT 1")
    names = [one.split(" ")[0] for one in SETTINGS if "=" in one]
    before = {name: connection.execute(f"PRAGMA {name}").fetchall() for name in names}
    for form in ("PRAGMA {}", "pragma main.{}", "EXPLAIN PRAGMA {}"):
        with pytest.raises(Invalid, match=r"PRAGMA .* is not for it"):
            sql(form.format(setting))
    assert before == {name: connection.execute(f"PRAGMA {name}").fetchall() for name in names}


def test_what_was_compiled_for_us_is_not_run_for_others(
    sql: Runner, connection: apsw.Connection
) -> None:
    query = "SELECT text FROM __palimp_memories"
    assert connection.execute(query).get == "secret"
    with pytest.raises(Invalid, match=OURS):
        sql(query)
    assert connection.execute(query).get == "secret"


def test_a_new_table_of_ours_is_kept_from_old_objects_of_theirs(
    sql: Runner, connection: apsw.Connection
) -> None:
    """A view over a table that is made later, when the first key is written for instance."""
    sql("CREATE VIEW v AS SELECT * FROM __palimp_later")
    connection.execute("CREATE TABLE __palimp_later (a)")
    with pytest.raises(Invalid, match=OURS):
        sql("SELECT * FROM v")


def test_foreign_keys_are_not_enforced_so_none_holds_back_what_we_do(
    sql: Runner, connection: apsw.Connection
) -> None:
    sql(
        "CREATE TABLE u (m REFERENCES __palimp_memories (handle) ON DELETE RESTRICT)",
        "INSERT INTO u VALUES (1)",
    )
    connection.execute("DELETE FROM __palimp_memories")


# Bounds


ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) "
SHORT = LIMITS._replace(seconds=0.05)


@pytest.mark.parametrize(
    "query",
    [
        ENDLESS + "SELECT count(*) FROM c",
        ENDLESS + "SELECT max(replace(printf('%.*c', 1000, 'x'), 'x', 'y')) FROM c",
        ENDLESS + "INSERT INTO t (c) SELECT n FROM c",
        ENDLESS + "UPDATE t SET c = (SELECT count(*) FROM c)",
        "SELECT count(*) FROM t " + ", t ".join(f"AS t{n}" for n in range(30)),
    ],
    ids=["read", "costly", "insert", "update", "join"],
)
def test_what_does_not_end_is_ended(query: str, sql: Runner, connection: apsw.Connection) -> None:
    sql(*TABLES)
    with pytest.raises(Invalid, match=r"longer than 0\.05 s"):
        sql(query, limits=SHORT)
    clean(connection)
    assert sql("SELECT count(*) FROM t") == [(2,)]


def test_views_that_multiply_end_while_they_are_compiled(sql: Runner) -> None:
    sql("CREATE VIEW v0 AS SELECT 1 AS a")
    sql(*(f"CREATE VIEW v{n} AS SELECT x.a FROM v{n - 1} x, v{n - 1} y" for n in range(1, 26)))
    with pytest.raises(Invalid, match=r"longer than|too many|at most|refuses"):
        sql("SELECT * FROM v25", limits=LIMITS._replace(seconds=0.5))


def test_the_time_is_that_of_the_whole_list(sql: Runner) -> None:
    moments = iter(range(1000))
    limits = Limits(lambda: next(moments), seconds=5)
    with pytest.raises(Invalid, match=r"stmts\[5\].*longer than 5 s"):
        sql(*["SELECT 1"] * 20, limits=limits)


def test_an_interrupt_that_is_not_of_the_clock_stays_one(
    sql: Runner, connection: apsw.Connection
) -> None:
    def interrupt() -> float:
        connection.interrupt()
        return 0.0

    with pytest.raises(apsw.InterruptError):
        sql(ENDLESS + "SELECT count(*) FROM c", limits=Limits(interrupt))


def test_rows_and_bytes_of_all_statements_are_counted_together(sql: Runner) -> None:
    rows = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {}) SELECT n FROM c"
    few = LIMITS._replace(rows=100)
    assert len(sql(rows.format(100), limits=few)) == 100
    for queries in ([rows.format(101)], [rows.format(60), rows.format(41)]):
        with pytest.raises(Invalid, match="more than 100 rows"):
            sql(*queries, limits=few)
    small = LIMITS._replace(result_bytes=1000)
    sql("SELECT zeroblob(900)", limits=small)
    for query in ("SELECT zeroblob(1000)", "SELECT zeroblob(500), printf('%.*c', 500, 'x')"):
        with pytest.raises(Invalid, match="1,000 bytes"):
            sql(query, limits=small)


COUNTING = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 1000000) "


@pytest.mark.parametrize(
    "query",
    [
        "SELECT zeroblob(1e9)",
        "SELECT randomblob(2000000)",
        "SELECT printf('%.*c', 2000000, 'x')",
        COUNTING + "SELECT group_concat(n) FROM c WHERE n < 1000000",
        "SELECT replace(hex(zeroblob(500000)), '00', 'abcdef')",
    ],
)
def test_a_value_that_is_too_large_is_never_made(query: str, sql: Runner) -> None:
    with pytest.raises(Invalid, match="too big") as caught:
        sql(query)
    assert caught.value.code == "payload_too_large"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT " + ", ".join("1" * (SQL_COLUMNS_MAX + 1)), "too many columns"),
        ("SELECT " + "- " * 2000 + "1", "Expression tree is too large"),
        ("SELECT 1" + " UNION SELECT 1" * 600, "too many terms"),
        ("SELECT " + " + ".join(["abs(1)"] * (SQL_CALLS_MAX // 2)) + "," + " + ".join(["abs(1)"] * 501),
         f"at most {SQL_CALLS_MAX:,} functions"),
        ("SELECT " + " + ".join(["instr('a', 'b')"] * 40), "count 32 times"),
        ("SELECT 'a' LIKE printf('%.*c', 2000, '%')", "LIKE or GLOB pattern too complex"),
        ("SELECT ?99999", "variable number must be between"),
    ],
    ids=["columns", "depth", "compound", "calls", "costly calls", "pattern", "variables"],
)  # fmt: skip
def test_what_is_too_complex_is_refused(query: str, words: str, sql: Runner) -> None:
    with pytest.raises(Invalid, match=words):
        sql(query)


def test_triggers_that_call_each_other_end(sql: Runner, connection: apsw.Connection) -> None:
    sql(
        "CREATE TABLE u (n)",
        "CREATE TABLE v (n)",
        "CREATE TRIGGER a AFTER INSERT ON u BEGIN INSERT INTO v VALUES (new.n + 1); END",
        "CREATE TRIGGER b AFTER INSERT ON v BEGIN INSERT INTO u VALUES (new.n + 1); END",
    )
    assert sql("INSERT INTO u VALUES (1)", "SELECT count(*) FROM v") == [(1,)]


# The guard itself


def test_the_guard_is_gone_however_its_block_ends(connection: apsw.Connection) -> None:
    def stop() -> None:
        with guarded(connection, 5, Clock().monotonic) as guard:
            assert connection.authorizer == guard.judge
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    clean(connection)
    assert connection.execute("SELECT text FROM __palimp_memories").get == "secret"


def test_what_does_not_only_read_is_not_run_where_only_reading_is_done(
    connection: apsw.Connection,
) -> None:
    run_all(connection, *TABLES)
    before = connection.execute("SELECT * FROM t").fetchall()
    for query in (
        "DELETE FROM t",
        "WITH x AS (SELECT 1) DELETE FROM t",
        "WITH x AS (SELECT 1) INSERT INTO t (b) SELECT 7 FROM x RETURNING a",
        "/* SELECT */ UPDATE t SET c = 0",
        ";; -- \n REPLACE INTO t (a) VALUES (1)",
        "CREATE TABLE u (a)",
        "DROP TABLE t",
        "ALTER TABLE t RENAME TO u",
        "VACUUM",
        "REINDEX t",
    ):
        assert run_reading(connection, check_statements([Statement(q=query)]), LIMITS) is None, (
            query
        )
        two = check_statements([Statement(q="SELECT 1"), Statement(q=query)])
        assert run_reading(connection, two, LIMITS) is None
    assert connection.execute("SELECT * FROM t").fetchall() == before
    for query in ("SELECT 1", "EXPLAIN DELETE FROM t", "VALUES (1)", "PRAGMA table_info(t)"):
        assert run_reading(connection, check_statements([Statement(q=query)]), LIMITS) is not None


def run_all(connection: apsw.Connection, *queries: str) -> None:
    with connection:
        run(connection, check_statements([Statement(q=q) for q in queries]), LIMITS)


def test_what_is_told_of_a_write(connection: apsw.Connection) -> None:
    with connection:
        checked = check_statements([
            Statement(q=q)
            for q in (*TABLES, "UPDATE t SET c = 0", "DELETE FROM t WHERE a = 9", "SELECT a FROM t",
                      "INSERT INTO t (b) VALUES ('z') RETURNING a, b", "CREATE TABLE u AS SELECT * FROM t")
        ])  # fmt: skip
        results = run(connection, checked, LIMITS)
    assert [one.changes for one in results] == [None, 2, 2, 0, None, 1, None]
    assert [one.columns for one in results[-3:]] == [("a",), ("a", "b"), ()]
    assert results[-2].rows == ((3, "z"),)
