"""Who may run which SQL: reads with a scope to read, everything else with one to write."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from palimp.api import OPERATIONS, RunSql, SqlResults, Statement, Target
from palimp.errors import Denied, Invalid
from palimp.node import Node, load_settings
from palimp.operations.access import OWNER, Principal

HERE = Target("default", "alice")
READER = Principal("database", "read", "default", "alice", issued_ms=1 << 50)
WRITER = Principal("database", "write", "default", "alice", issued_ms=1 << 50)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(load_settings({"data_dir": tmp_path / "m", "embed_provider": "none"}))
    yield node
    node.close()


def sql(node: Node, principal: Principal, *queries: str, at: str | None = None) -> SqlResults:
    request = RunSql(stmts=tuple(Statement(q=q) for q in queries))
    target = Target("default", "alice", at=at)
    done = node.call("sql.run", target, request, principal=principal)
    assert isinstance(done, SqlResults)
    return done


def test_the_row_asks_for_the_scope_to_read_and_the_function_for_more() -> None:
    row = OPERATIONS["sql.run"]
    assert (row.scope, row.writes, row.past, row.idempotent) == ("read", True, True, False)


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM t",
        "WITH x AS (SELECT 1) DELETE FROM t",
        "WITH x AS (SELECT 1) INSERT INTO t SELECT 1 FROM x RETURNING a",
        "/* SELECT */ INSERT INTO t VALUES (1)",
        "-- SELECT\nREPLACE INTO t VALUES (1)",
        ";UPDATE t SET a = 1",
        "CREATE TABLE u (a)",
        "CREATE VIEW u AS SELECT 1",
        "DROP TABLE t",
        "ALTER TABLE t RENAME TO u",
        "REINDEX t",
        "VACUUM",
        "INSERT INTO v VALUES (1)",
    ],
)
def test_a_reader_writes_nothing(node: Node, query: str) -> None:
    sql(
        node,
        OWNER,
        "CREATE TABLE t (a)",
        "INSERT INTO t VALUES (5)",
        "CREATE VIEW v AS SELECT a FROM t",
        "CREATE TRIGGER g INSTEAD OF INSERT ON v BEGIN SELECT 1; END",
    )
    for queries in ((query,), ("SELECT 1", query)):
        with pytest.raises(Denied, match=r"sql\.run needs scope write, the token has read"):
            sql(node, READER, *queries)
    assert sql(node, READER, "SELECT a FROM t").results[0].rows == ((5,),)
    assert sql(node, READER, "SELECT a FROM t").txid == 1


def test_a_reader_reads_and_a_writer_writes(node: Node) -> None:
    assert sql(node, READER, "SELECT 1").txid == 0
    assert sql(node, WRITER, "CREATE TABLE t (a)").txid == 1
    assert sql(node, READER, "EXPLAIN DELETE FROM t", "PRAGMA table_info(t)").txid == 1
    with pytest.raises(Denied):
        sql(node, READER, "CREATE TABLE IF NOT EXISTS t (a)")


def test_a_past_that_is_written_is_refused_before_anything_else(node: Node) -> None:
    sql(node, OWNER, "CREATE TABLE t (a)")
    with pytest.raises(Invalid, match="would write to the past"):
        sql(node, OWNER, "DELETE FROM t", at="1")
