"""SQL made up at random tries to get past the guard; nothing of Palimpsest's ever changes.

Statements are grown from a grammar that knows the reserved names and every way to spell them, and
spliced from a list of known tricks. After each list: reserved tables and their schema are as they
were, nothing is attached, nothing is temporary, no setting is another, no transaction is left. Every
row that is read is looked through for a word that only a memory holds.

`SQL_FUZZ` says how many lists are tried, `SQL_FUZZ_SEED` where to begin; a failure prints its seed.
"""

from __future__ import annotations

import os
import random
import re
from pathlib import Path
from typing import Any

import apsw
import pytest

import palimp
from palimp.api import Statement
from palimp.clock import Clock
from palimp.engine.local_database import create_file
from palimp.errors import Invalid
from palimp.profile import prepare
from palimp.profile.sql import Limits, check_statements, run, run_reading

LISTS = int(os.environ.get("SQL_FUZZ", "900"))
SEED = int(os.environ.get("SQL_FUZZ_SEED", "1"))
LISTS_A_WORLD = 25
SECRET = "xyzzy"
LIMITS = Limits(Clock().monotonic, seconds=0.5, rows=200)

RESERVED = [
    "__palimp_memories", "__palimp_turns", "__palimp_meta", "__palimp_engine", "__palimp_requests",
    "__palimp_memories_fts", "__palimp_memories_fts_data", "__palimp_memories_fts_config",
    "__palimp_sessions", "__palimp_topic", "__palimp_new", "sqlite_autoindex___palimp_memories_1",
]  # fmt: skip
SPECIAL = [
    "sqlite_schema", "sqlite_master", "sqlite_temp_schema", "sqlite_sequence", "sqlite_stat1", "dbstat",
    "pragma_database_list", "pragma_table_info", "temp.t", "json_each", "sqlite_dbpage", "fts5vocab",
]  # fmt: skip
USERS = ["t", "u", "v", "f", "r", "main.t", "g", "i"]
COLUMNS = [
    "a",
    "b",
    "c",
    "text",
    "id",
    "handle",
    "rowid",
    "value",
    "key",
    "sql",
    "name",
    "*",
    "f",
    "rank",
]
# As it is, and characters that only look like those of the name or do not belong to it.
LOOKALIKES = [
    ("_", "＿"),
    ("p", "р"),
    ("l", "ⅼ"),
    ("i", "ı"),
    ("m", "m\u0301"),
    ("a", "\u200ba"),
    ("e", "E"),
]

TRICKS = [
    "CREATE TABLE x AS SELECT * FROM __palimp_memories",
    "CREATE VIEW v AS SELECT text FROM __palimp_memories",
    "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE __palimp_memories SET text = 'hacked'; END",
    "CREATE TRIGGER g INSTEAD OF INSERT ON v BEGIN DELETE FROM __palimp_turns; END",
    "CREATE TRIGGER g AFTER DELETE ON __palimp_memories BEGIN SELECT RAISE(ROLLBACK, 'x'); END",
    "CREATE TEMP TRIGGER g AFTER INSERT ON __palimp_memories BEGIN SELECT 1; END",
    "CREATE TRIGGER g BEFORE INSERT ON t BEGIN SELECT RAISE(ROLLBACK, 'x'); END",
    "INSERT OR ROLLBACK INTO t (a) VALUES (1), (1)",
    "INSERT INTO t (a, b) SELECT handle, text FROM __palimp_memories",
    "INSERT INTO t (b) VALUES ((SELECT text FROM __palimp_memories)) RETURNING b",
    "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = (SELECT text FROM __palimp_memories)",
    "WITH x AS (SELECT * FROM __palimp_memories) SELECT * FROM x",
    "WITH __palimp_memories AS (SELECT 1 AS text) SELECT text FROM __palimp_memories",
    "ALTER TABLE t RENAME TO __palimp_new",
    'ALTER TABLE t RENAME TO "__PALIMP_requests2"',
    "ALTER TABLE t RENAME COLUMN b TO __palimp_b",
    "ALTER TABLE __palimp_memories RENAME COLUMN text TO t",
    "ALTER TABLE t ADD COLUMN d REFERENCES __palimp_memories (handle) ON DELETE CASCADE",
    "UPDATE sqlite_schema SET sql = replace(sql, 'memories', 'x')",
    "DELETE FROM sqlite_schema WHERE name LIKE '!_!_palimp%' ESCAPE '!'",
    "INSERT INTO sqlite_schema VALUES ('trigger', 'g', '__palimp_memories', 0, 'CREATE TRIGGER g')",
    "UPDATE sqlite_sequence SET seq = 0",
    "PRAGMA writable_schema = ON",
    "EXPLAIN PRAGMA writable_schema = ON",
    "PRAGMA table_info(t); PRAGMA writable_schema = ON",
    "PRAGMA table_info(t); PRAGMA recursive_triggers = ON",
    "PRAGMA table_list; PRAGMA ignore_check_constraints = ON",
    "PRAGMA integrity_check; SELECT text FROM __palimp_memories",
    "PRAGMA integrity_check",
    "PRAGMA quick_check",
    "PRAGMA table_list",
    "PRAGMA table_xinfo(__palimp_memories_fts)",
    "SELECT * FROM pragma_integrity_check, __palimp_memories",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA synchronous = OFF",
    "PRAGMA foreign_keys = ON",
    "PRAGMA query_only = 1",
    "PRAGMA temp_store_directory = '/tmp'",
    "ATTACH DATABASE ':memory:' AS aux1",
    "ATTACH 'file:/tmp/sql-fuzz-never.db?mode=rwc' AS x",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO '/tmp/sql-fuzz-never.db'",
    "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "RELEASE __palimp_ticket", "END",
    "ROLLBACK TO __palimp_ticket",
    "ANALYZE", "ANALYZE t", "REINDEX", "REINDEX t", "REINDEX NOCASE",
    "CREATE TEMP TABLE x (a)", "CREATE TABLE temp.x (a)", "CREATE TEMP VIEW x AS SELECT 1",
    "CREATE VIRTUAL TABLE f USING fts5(text, content = '__palimp_memories', content_rowid = 'handle')",
    "CREATE VIRTUAL TABLE f USING fts5(text, content = '')",
    "CREATE VIRTUAL TABLE f USING fts5(b, content = 't', content_rowid = 'a')",
    "CREATE VIRTUAL TABLE f USING fts5vocab('__palimp_memories_fts', 'row')",
    "CREATE VIRTUAL TABLE __palimp_memories_fts_x USING fts5(a)",
    "CREATE VIRTUAL TABLE r USING rtree(id, a, b, +c)",
    "INSERT INTO f(f) VALUES ('rebuild')",
    "INSERT INTO f(f, rank) VALUES ('integrity-check', 1)",
    "INSERT INTO f(f) VALUES ('optimize')",
    "INSERT INTO f(f, rank) VALUES ('rank', 'bm25((SELECT text FROM __palimp_memories))')",
    "INSERT INTO __palimp_memories_fts(__palimp_memories_fts) VALUES ('delete-all')",
    "SELECT * FROM f('xyzzy')",
    "SELECT snippet(f, 0, '', '', '', 9) FROM f('xyzzy')",
    "UPDATE f_data SET block = x'00'",
    "DROP TABLE f_data",
    "CREATE TABLE u (a, b AS ((SELECT text FROM __palimp_memories)))",
    "CREATE TABLE u (a, b AS (a || 'x') STORED UNIQUE)",
    "CREATE TABLE u (a DEFAULT (load_extension('x')), b CHECK (b <> 'q'))",
    "CREATE INDEX i ON __palimp_memories (text)",
    "CREATE INDEX i ON t ((SELECT text FROM __palimp_memories))",
    "CREATE UNIQUE INDEX __palimp_i ON t (b)",
    "DROP INDEX __palimp_topic", "DROP TABLE __palimp_memories", "DROP VIEW __palimp_v",
    "EXPLAIN QUERY PLAN SELECT * FROM __palimp_memories",
    "SELECT load_extension('x')", "SELECT fts3_tokenizer('simple', x'00')", "SELECT sqlite_log(1, 'x')",
    "SELECT sqlite_rename_table('main', 'table', 't', (SELECT sql FROM sqlite_schema), 't', 'x', 0)",
    "SELECT zeroblob(1e9)", "SELECT printf('%.*c', 1e9, 'x')", "SELECT randomblob(1e9)",
    "SELECT vector_distance_cos((SELECT text FROM __palimp_memories), '[1]')",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c",
    "SELECT * FROM sqlite_schema", "SELECT sql FROM sqlite_master", "SELECT * FROM dbstat",
    "SELECT * FROM json_each((SELECT text FROM __palimp_memories))",
    "SELECT count(*) FILTER (WHERE text LIKE 'x%') FROM __palimp_memories",
    "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM __palimp_memories WHERE text GLOB 'x*')",
    "SELECT * FROM t NATURAL JOIN __palimp_memories", "SELECT (SELECT 1 FROM __palimp_memories)",
    "VALUES ((SELECT text FROM __palimp_memories))",
    "SELECT * FROM (SELECT 1) WINDOW w AS (ORDER BY (SELECT text FROM __palimp_memories))",
    "DELETE FROM t RETURNING (SELECT text FROM __palimp_memories)",
    "UPDATE t SET b = m.text FROM __palimp_memories AS m", "DELETE FROM t WHERE b IN __palimp_memories",
    "REPLACE INTO __palimp_meta VALUES ('schema', 99)", "UPDATE __palimp_engine SET value = 99",
    "INSERT INTO __palimp_requests VALUES ('x', 1, 1, x'', x'')",
]  # fmt: skip
TABLES = [
    "CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY AUTOINCREMENT, b, c)",
    "CREATE TABLE IF NOT EXISTS u (a UNIQUE, b REFERENCES t (a))",
    "CREATE VIEW IF NOT EXISTS v AS SELECT a, b FROM t",
    "CREATE VIRTUAL TABLE IF NOT EXISTS f USING fts5(text)",
    "INSERT INTO t (b) VALUES ('one'), ('two')",
]
# What a caller means, to be carried out as it is, or after something was put into it.
HARMLESS = [
    "INSERT INTO t (b, c) VALUES ('one', 1), (x'00', NULL) RETURNING *",
    "INSERT INTO t (a, b) VALUES (1, 'x') ON CONFLICT (a) DO UPDATE SET b = excluded.b",
    "UPDATE t SET c = a * 2 WHERE a IN (SELECT a FROM t LIMIT 2)", "DELETE FROM t WHERE a % 3 = 0",
    "SELECT * FROM t LEFT JOIN u ON u.b = t.a ORDER BY t.a LIMIT 9", "SELECT count(*), max(b) FROM t",
    "INSERT INTO f VALUES ('harbours of oslo')", "SELECT text FROM f('oslo')",
    "CREATE TABLE IF NOT EXISTS w (a, b AS (a || 'x') STORED UNIQUE)", "INSERT OR IGNORE INTO w VALUES (1)",
    "CREATE TRIGGER IF NOT EXISTS g AFTER INSERT ON t BEGIN UPDATE t SET c = 1 WHERE a = new.a; END",
    "CREATE TRIGGER IF NOT EXISTS h INSTEAD OF INSERT ON v BEGIN INSERT INTO t (b) VALUES (new.b); END",
    "INSERT INTO v (b) VALUES ('by the view')", "CREATE INDEX IF NOT EXISTS i ON t (lower(b))", "REINDEX t",
    "ALTER TABLE u RENAME TO u2", "ALTER TABLE u2 RENAME TO u", "DROP TRIGGER IF EXISTS g", "DROP TABLE IF EXISTS w",
    "DROP TABLE IF EXISTS f", "PRAGMA table_info(t)", "PRAGMA integrity_check", "EXPLAIN SELECT * FROM t",
    "SELECT e.value FROM json_each('[1, 2]') e", "SELECT vector_distance_l2('[1]', '[2]')",
    "SELECT name, sql FROM sqlite_schema WHERE instr(name, 'palimp') = 0",
]  # fmt: skip
_TOKEN = re.compile(r"'[^']*'|\"[^\"]*\"|\w+|\s+|[^\w\s]")


class Grammar:
    """Grows SQL from a seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def statements(self) -> list[str]:
        dice = self.dice
        before = dice.choices(HARMLESS, k=dice.choice((0, 0, 1, 3)))
        return [*dice.sample(TABLES, dice.randrange(3)), *before, self.statement()]

    def statement(self) -> str:
        dice = self.dice
        kind = dice.random()
        if kind < 0.3:
            return dice.choice(TRICKS) if kind < 0.05 else self.mutated(dice.choice(HARMLESS))
        text = dice.choice(TRICKS) if kind < 0.6 else self.grown()
        for _ in range(dice.choice((0, 0, 1, 2, 4))):
            text = self.mutated(text)
        return text

    def name(self) -> str:
        dice = self.dice
        name = dice.choice(dice.choice((RESERVED, USERS, USERS, SPECIAL)))
        if dice.random() < 0.1:
            name = name.replace(*dice.choice(LOOKALIKES))
        if dice.random() < 0.2:
            name = "".join(one.upper() if dice.random() < 0.5 else one for one in name)
        quotes = dice.choice(
            ("{}", "{}", '"{}"', "[{}]", "`{}`", "'{}'", "main.{}", 'main."{}"', "/**/{}")
        )
        return quotes.format(name)

    def expression(self, depth: int = 0) -> str:
        dice = self.dice
        if depth > 2:
            return dice.choice((*COLUMNS[:9], "1", "'x'", "NULL", "x'00'"))
        inner = self.expression(depth + 1)
        return dice.choice((
            inner, f"({inner} || {self.expression(depth + 1)})", f"(SELECT {inner} FROM {self.name()})",
            f"EXISTS (SELECT 1 FROM {self.name()})", f"{dice.choice(('lower', 'hex', 'count', 'quote'))}({inner})",
            f"CASE WHEN {inner} THEN 1 END", f"{inner} IN {self.name()}", f"CAST({inner} AS TEXT)",
            f"{inner} COLLATE NOCASE",
        ))  # fmt: skip

    def select(self) -> str:
        dice = self.dice
        text = f"SELECT {self.dice.choice(('*', self.expression()))} FROM {self.name()}"
        if dice.random() < 0.3:
            text += f" JOIN {self.name()} ON {self.expression()}"
        if dice.random() < 0.3:
            text += f" WHERE {self.expression()}"
        if dice.random() < 0.2:
            text += (
                f" UNION {dice.choice(('', 'ALL '))}SELECT {self.expression()} FROM {self.name()}"
            )
        return text

    def grown(self) -> str:
        dice, name = self.dice, self.name()
        clause = dice.choice(("", "OR ROLLBACK ", "OR REPLACE ", "OR IGNORE "))
        write = dice.choice((
            f"INSERT {clause}INTO {name} VALUES ({self.expression()})",
            f"INSERT {clause}INTO {name} {self.select()}",
            f"UPDATE {clause}{name} SET {dice.choice(COLUMNS[:8])} = {self.expression()}",
            f"DELETE FROM {name} WHERE {self.expression()}",
        ))  # fmt: skip
        return dice.choice((
            self.select(), self.select(), write, write + f" RETURNING {self.expression()}",
            f"WITH {self.name()} AS ({self.select()}) {dice.choice((self.select(), write))}",
            f"CREATE {dice.choice(('', 'TEMP '))}TABLE {name} AS {self.select()}",
            f"CREATE TABLE IF NOT EXISTS {name} (a, b CHECK ({self.expression()}), c DEFAULT ({self.expression()}))",
            f"CREATE VIEW {name} AS {self.select()}",
            f"CREATE INDEX {name} ON {self.name()} ({self.expression()}) WHERE {self.expression()}",
            self.trigger(name, write),
            f"ALTER TABLE {name} RENAME TO {self.name()}", f"ALTER TABLE {name} DROP COLUMN a",
            f"ALTER TABLE {name} RENAME COLUMN a TO {self.name()}", f"ALTER TABLE {name} ADD COLUMN {self.name()}",
            f"DROP {dice.choice(('TABLE', 'VIEW', 'INDEX', 'TRIGGER'))} IF EXISTS {name}", f"REINDEX {name}",
            f"CREATE VIRTUAL TABLE {name} USING {dice.choice(('fts5', 'rtree', 'fts4', 'dbstat'))}(a, b, c, content={self.name()})",
            f"PRAGMA {dice.choice(('table_info', 'writable_schema', 'main.index_list', 'integrity_check'))}({self.name()})",
            f"EXPLAIN {write}",
        ))  # fmt: skip

    def trigger(self, name: str, write: str) -> str:
        kind, when, what = (
            self.dice.choice(words)
            for words in (
                ("", "TEMP "),
                ("AFTER", "BEFORE", "INSTEAD OF"),
                ("INSERT", "UPDATE", "DELETE"),
            )
        )
        body = f"BEGIN {write}; {self.select()}; END"
        return f"CREATE {kind}TRIGGER {name} {when} {what} ON {self.name()} {body}"

    def mutated(self, text: str) -> str:
        dice = self.dice
        tokens = _TOKEN.findall(text)
        if not tokens:
            return text
        place = dice.randrange(len(tokens))
        change = dice.randrange(7)
        if change == 0:
            del tokens[place]
        elif change == 1:
            tokens[place] = self.name()
        elif change == 2:
            tokens.insert(
                place,
                dice.choice(("/**/", "--\n", ";", "(", ")", "\0", "EXPLAIN ", " OR ROLLBACK ")),
            )
        elif change == 3:
            tokens[place] = tokens[place].swapcase()
        elif change == 4:
            other = _TOKEN.findall(dice.choice(TRICKS))
            cut = dice.randrange(len(other))
            tokens[place:] = other[cut:]
        elif change == 5:
            tokens[place:place] = _TOKEN.findall(f" {self.expression()} ")
        else:
            tokens += ["; ", *_TOKEN.findall(dice.choice(TRICKS))]
        return "".join(tokens)


def ours(connection: apsw.Connection) -> Any:
    """Everything reserved: schema, rows, and the numbers that were given out."""
    schema = connection.execute(
        "SELECT * FROM sqlite_schema WHERE instr(lower(name), '__palimp') OR instr(lower(tbl_name), '__palimp')"
    ).fetchall()
    names = [row[1] for row in schema if row[0] == "table" and not row[1].endswith("_fts")]
    rows = [connection.execute(f"SELECT * FROM {name}").fetchall() for name in names]
    numbers = connection.execute("SELECT * FROM sqlite_sequence WHERE instr(name, '__palimp')")
    return schema, rows, sorted(numbers.fetchall())


SETTINGS = (
    "journal_mode", "synchronous", "foreign_keys", "writable_schema", "query_only", "recursive_triggers",
    "ignore_check_constraints", "secure_delete", "temp_store", "locking_mode", "case_sensitive_like",
    "user_version", "application_id", "legacy_alter_table", "read_uncommitted", "trusted_schema",
)  # fmt: skip


def settings(connection: apsw.Connection) -> Any:
    return [connection.execute(f"PRAGMA {name}").get for name in SETTINGS]


def check_values(results: Any, seed: int) -> None:
    for result in results or ():
        for row in result.rows:
            for value in row:
                text = value.base64 if getattr(value, "base64", None) is not None else value
                found = text.decode("latin-1") if isinstance(text, bytes) else str(text)
                assert SECRET not in found, f"seed {seed} read a memory: {row}"
                assert SECRET.encode().hex() not in found.lower(), (
                    f"seed {seed} read a memory: {row}"
                )


class World:
    """A profile's file with a memory in it and tables of a caller's, opened to write and to read."""

    def __init__(self, path: Path) -> None:
        create_file(path, prepare)
        self.writer = apsw.Connection(str(path))
        self.writer.execute(
            "INSERT INTO __palimp_memories (id, type, text, created_at, occurred_at, activated_at) "
            f"VALUES ('m1', 'fact', '{SECRET}', 1, 1, 1);"
            f"INSERT INTO __palimp_memories_fts (rowid, text) VALUES (1, '{SECRET}')"
        )
        with self.writer:
            run(self.writer, check_statements([Statement(q=q) for q in TABLES]), LIMITS)
        self.reader = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        run_reading(self.reader, check_statements([Statement(q="SELECT 1")]), LIMITS)
        self._before = self._now()

    def write(self, statements: Any, seed: int, *, keep: bool) -> bool:
        self.writer.execute("BEGIN IMMEDIATE")
        try:
            check_values(run(self.writer, statements, LIMITS), seed)
            assert ours(self.writer) == self._before[0], f"seed {seed}: {statements}"
            self.writer.execute("COMMIT" if keep else "ROLLBACK")
        except Invalid:
            if self.writer.in_transaction:
                self.writer.execute("ROLLBACK")
            return False
        return True

    def read(self, statements: Any, seed: int) -> bool:
        self.reader.execute("BEGIN")
        # As the engine does, to say what the txid is.
        self.reader.execute("SELECT value FROM __palimp_engine").fetchall()
        try:
            found = run_reading(self.reader, statements, LIMITS)
        except Invalid:
            return False
        finally:
            self.reader.execute("COMMIT")
        check_values(found, seed)
        return found is not None

    def is_untouched(self) -> bool:
        for connection in (self.writer, self.reader):
            attached = {row[1] for row in connection.execute("PRAGMA database_list")}
            if connection.authorizer is not None or connection.in_transaction:
                return False
            if connection.execute("SELECT count(*) FROM sqlite_temp_schema").get:
                return False
            if not attached <= {"main", "temp"}:
                return False
        return bool(self._now() == self._before)

    def close(self) -> None:
        assert self.writer.execute("PRAGMA integrity_check").get == "ok"
        self.reader.close()
        self.writer.close()

    def _now(self) -> Any:
        return ours(self.writer), settings(self.writer), settings(self.reader)


def test_nothing_gets_past_the_guard(tmp_path: Path) -> None:
    written = read = 0
    world: World | None = None
    for seed in range(SEED, SEED + LISTS):
        # What one list leaves behind the next ones meet, for a while.
        if world is None or seed % LISTS_A_WORLD == 0:
            if world is not None:
                world.close()
            world = World(tmp_path / f"{seed}.db")
        grammar = Grammar(seed)
        queries = [q for q in grammar.statements() if "\0" not in q]
        statements = check_statements([Statement(q=q) for q in queries or ["SELECT 1"]])
        written += world.write(statements, seed, keep=grammar.dice.random() < 0.3)
        read += world.read(statements[-1:], seed)
        assert world.is_untouched(), f"seed {seed}: {queries}"
    assert world is not None
    world.close()
    # A grammar that is refused throughout would prove nothing.
    assert written > LISTS / 15
    assert read > LISTS / 50
    assert not Path("/tmp/sql-fuzz-never.db").exists()


def test_a_profile_goes_on_whatever_is_tried_on_it(tmp_path: Path) -> None:
    with palimp.open(tmp_path / "memory", embed_provider="none") as mem:
        alice = mem.profile("alice")
        txid = alice.remember(f"the {SECRET} stone").txid
        for seed in range(SEED, SEED + LISTS // 10):
            grammar = Grammar(seed)
            try:
                done = alice.sql_batch(grammar.statements())
            except palimp.Invalid:
                pass
            else:
                assert done[0].txid in (txid, txid + 1), seed
                txid = done[0].txid
            if seed % 10 == 0:
                written = alice.remember(f"note {seed}", type="event")
                assert written.txid == txid + 1, seed
                txid = written.txid
                assert [hit.text for hit in alice.recall(SECRET, k=1)] == [f"the {SECRET} stone"]
        assert alice.verify().findings == ()


@pytest.mark.parametrize("trick", TRICKS)
def test_every_trick_is_sql(trick: str) -> None:
    """What SQLite cannot parse tests nothing."""
    connection = apsw.Connection(":memory:")
    prepare(connection)
    for statement in TABLES:
        connection.execute(statement)
    cursor = connection.cursor()
    cursor.exec_trace = lambda *_: False
    # Compiled and not run, or refused for what it means.
    with pytest.raises(apsw.Error) as caught:
        cursor.execute(trick)
    assert "syntax error" not in str(caught.value)
    connection.close()
