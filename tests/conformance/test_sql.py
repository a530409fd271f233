"""SQL of a caller's own over every client."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.api import Options, RunSql, Statement, Target
from palimp.api.limits import SQL_ROWS_MAX, SQL_STATEMENTS_MAX
from palimp.api.sql import Encoded

TABLE = "CREATE TABLE t (a INTEGER PRIMARY KEY, b)"
VALUES: list[Any] = [
    None,
    0,
    -(2**63),
    2**63 - 1,
    1.5,
    -0.0,
    5e-324,
    math.inf,
    -math.inf,
    "",
    "héllo\nworld \U0001f600",
    "a\x00b",
    '{"$base64": "AA=="}',
    b"",
    b"\x00\xff" * 40,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_a_value_comes_back_as_what_it_was(do: Any, alice: Any, value: Any) -> None:
    do(alice.sql(TABLE))
    done = do(alice.sql("INSERT INTO t (b) VALUES (?) RETURNING b, typeof(b)", [value]))
    assert isinstance(done, palimp.Rows)
    kind = {type(None): "null", int: "integer", float: "real", str: "text", bytes: "blob"}
    assert done.rows == ((value, kind[type(value)]),)
    assert type(done[0][0]) is type(value)
    found = do(alice.sql("SELECT b FROM t WHERE b IS :x", {"x": value}))
    assert [tuple(row) for row in found] == [(value,)]


def test_other_values_that_are_taken(do: Any, alice: Any) -> None:
    given = [True, False, bytearray(b"x"), memoryview(b"y")]
    assert do(alice.sql("SELECT ?, ?, ?, ?", given))[0] == (1, 0, b"x", b"y")


@pytest.mark.parametrize(
    ("query", "params", "words"),
    [
        ("SELECT ?", [math.nan], "nan"),
        ("SELECT ?", [2**63], "out of range|int too|overflow|too big|do not fit"),
        ("SELECT ?", [object()], "made one of them"),
        ("SELECT ?", [[1]], "made one of them"),
        ("SELECT ?", ["\ud800"], "Unicode|surrogate"),
        ("SELECT '\ud800'", [], "Unicode|surrogate"),
        ("SELECT ?", "x", "list too"),
        ("SELECT ?", b"x", "list too"),
        ("SELECT ?", 5, "list too"),
        ("SELECT ?", [], "number of bindings"),
        ("SELECT 1", [1], "number of bindings"),
        ("SELECT :a", {"b": 1}, "do not fit"),
        ("SELECT :a", {1: 1}, "names of params are text"),
        (5, [], "a statement is text"),
        (b"SELECT 1", [], "a statement is text"),
        ("SELECT CAST(x'ff' AS TEXT)", [], "not UTF-8"),
        ("SELECT " * 200_000, [], "1,048,576"),
        ("SELEC", [], 'near "SELEC"'),
    ],
)
def test_what_cannot_be_asked(do: Any, alice: Any, query: Any, params: Any, words: str) -> None:
    with pytest.raises(palimp.Invalid, match=words):
        do(alice.sql(query, params))
    assert do(alice.sql("SELECT 1")).rows == ((1,),)


def test_a_list_is_one_transaction(do: Any, alice: Any) -> None:
    done = do(
        alice.sql_batch([
            TABLE,
            ("INSERT INTO t (b) VALUES (?), (?)", ["x", "y"]),
            Statement(q="UPDATE t SET b = :b", params={"b": "z"}),
            "SELECT a, b FROM t",
        ])
    )  # fmt: skip
    assert [one.changes for one in done] == [None, 2, 2, None]
    assert [one.columns for one in done] == [(), (), (), ("a", "b")]
    assert (list(done[3]), {one.txid for one in done}) == ([(1, "z"), (2, "z")], {1})
    with pytest.raises(palimp.Invalid, match=r"stmts\[1\] \(nothing of the batch") as caught:
        do(alice.sql_batch(["DELETE FROM t", "INSERT INTO t VALUES (5, 6, 7)"]))
    assert caught.value.details["index"] == 1
    assert do(alice.sql("SELECT count(*) FROM t"))[0] == (2,)


@pytest.mark.parametrize("statements", ["SELECT 1", [], {"q": 1}, 5, ["SELECT 1"] * 1001, [("a",)]])
def test_lists_that_cannot_be(do: Any, alice: Any, statements: Any) -> None:
    with pytest.raises(palimp.Invalid, match=r"sql_batch takes|give 1 to 1,000|as a pair"):
        do(alice.sql_batch(statements))
    assert SQL_STATEMENTS_MAX == 1000


def test_what_only_reads_takes_no_txid_and_makes_no_profile(do: Any, client: Any) -> None:
    nobody = client.profile("nobody")
    plain = do(nobody.sql("SELECT 1 + 1 AS two, x'ff'")).to_dict()
    assert json.loads(json.dumps(plain)) == {
        "columns": ["two", "x'ff'"],
        "rows": [[2, {"$base64": "/w=="}]],
        "changes": None,
        "txid": 0,
    }
    with pytest.raises(palimp.Invalid, match="no such table: t"):
        do(nobody.sql("SELECT * FROM t"))
    assert do.all(client.profiles()) == []
    do(nobody.sql(TABLE))
    for query in ("SELECT * FROM t", "EXPLAIN DELETE FROM t", "PRAGMA table_info(t)"):
        assert do(nobody.sql(query)).txid == 1
    assert do(nobody.sql("INSERT INTO t (b) VALUES (1)")).txid == 2


def test_columns_are_those_of_the_present(do: Any, alice: Any) -> None:
    do(alice.sql_batch([TABLE, "INSERT INTO t VALUES (1, 2)"]))
    assert do(alice.sql("SELECT * FROM t")).columns == ("a", "b")
    # The reader learns of it from the file.
    do(alice.sql("ALTER TABLE t ADD COLUMN c DEFAULT 3"))
    done = do(alice.sql("SELECT * FROM t"))
    assert (done.columns, done.rows) == (("a", "b", "c"), ((1, 2, 3),))


def test_the_memories_are_out_of_reach_and_go_on(do: Any, alice: Any) -> None:
    do(alice.remember("Prefers aisle seats"))
    for query in (
        "SELECT * FROM __palimp_memories",
        "DELETE FROM __palimp_memories",
        "DROP TABLE __palimp_memories",
        "INSERT OR ROLLBACK INTO __palimp_meta VALUES ('schema', 1)",
        "BEGIN",
        "ATTACH 'x' AS x",
        "VACUUM INTO 'x'",
        "PRAGMA writable_schema = 1",
        "CREATE TEMP TABLE x (a)",
    ):
        with pytest.raises(palimp.Invalid) as caught:
            do(alice.sql(query))
        assert caught.value.code == "invalid_request"
    do(alice.remember("Likes tea"))
    assert [hit.text for hit in do(alice.recall("seats"))] == ["Prefers aisle seats"]


def test_a_conflict_that_ends_the_transaction_keeps_nothing(do: Any, alice: Any) -> None:
    do(alice.sql_batch([TABLE, "INSERT INTO t VALUES (1, 1)"]))
    for last in ("INSERT OR ROLLBACK INTO t VALUES (1, 2)", "INSERT INTO t VALUES (1, 2)"):
        with pytest.raises(palimp.Invalid, match="UNIQUE constraint failed"):
            do(alice.sql_batch(["INSERT INTO t VALUES (2, 2)", last]))
    assert list(do(alice.sql("SELECT * FROM t"))) == [(1, 1)]


def test_results_are_refused_not_cut(do: Any, alice: Any) -> None:
    query = (
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT {}) SELECT n FROM c"
    )
    assert len(do(alice.sql(query.format(SQL_ROWS_MAX)))) == SQL_ROWS_MAX
    with pytest.raises(palimp.Invalid, match="more than 10,000 rows"):
        do(alice.sql(query.format(SQL_ROWS_MAX + 1)))


def test_a_repeat_is_answered_and_not_done_again(do: Any, alice: Any) -> None:
    do(alice.sql(TABLE))
    query = "INSERT INTO t (b) VALUES (?) RETURNING a, b"
    first = do(alice.sql(query, [b"x"], request_id="one"))
    assert do(alice.sql(query, [b"x"], request_id="one")) == first
    with pytest.raises(palimp.Conflict):
        do(alice.sql(query, [b"y"], request_id="one"))
    assert do(alice.sql("SELECT a, b FROM t")).rows == ((1, b"x"),)
    assert do(alice.sql("DELETE FROM t", durability="durable")).changes == 1


def test_tables_share_the_history_with_the_memories(do: Any, alice: Any) -> None:
    do(alice.sql_batch([TABLE, "INSERT INTO t (b) VALUES ('before')"]))
    do(alice.remember("before"))
    do(alice.checkpoint("then"))
    do(alice.sql_batch(["UPDATE t SET b = 'after'", "ALTER TABLE t RENAME TO u"]))
    past = alice.at("then")
    assert do(past.sql("SELECT b FROM t")).rows == (("before",),)
    assert do(past.sql_batch(["SELECT 1", "SELECT vector32('[1]')"]))[1][0] == (b"\0\0\x80?",)
    for query in ("DELETE FROM t", "WITH x AS (SELECT 1) DELETE FROM t"):
        with pytest.raises(palimp.Invalid, match="would write to the past"):
            do(past.sql(query))
    trial = do(alice.fork("trial"))
    do(trial.sql("INSERT INTO u (b) VALUES ('trial')"))
    assert do(alice.sql("SELECT b FROM u")).rows == (("after",),)
    undone = do(alice.rewind("then"))
    assert do(alice.sql("SELECT b FROM t")).rows == (("before",),)
    do(alice.sql("INSERT INTO t (b) VALUES ('more')"))
    do(alice.rewind(undone.undo))
    assert do(alice.sql("SELECT b FROM u")).rows == (("after",),)
    assert do(trial.sql("SELECT b FROM u")).rows == (("after",), ("trial",))
    assert do(alice.verify()).findings == ()


def test_tables_go_with_an_exported_file(do: Any, client: Any, tmp_path: Path) -> None:
    alice, bob = client.profile("alice"), client.profile("bob")
    do(alice.remember("Likes tea"))
    do(alice.sql_batch([
        TABLE,
        "CREATE VIEW v AS SELECT b FROM t",
        "CREATE INDEX i ON t (b)",
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET b = upper(b); END",
        "CREATE VIRTUAL TABLE f USING fts5(words)",
        "INSERT INTO f VALUES ('harbours of oslo')",
        "INSERT INTO t (b) VALUES ('x')",
    ]))  # fmt: skip
    do(alice.export(tmp_path / "alice.sqlite"))
    do(bob.import_(tmp_path / "alice.sqlite"))
    do(bob.sql("INSERT INTO t (b) VALUES ('y')"))
    assert do(bob.sql("SELECT b FROM v")).rows == (("X",), ("Y",))
    assert do(bob.sql("SELECT words FROM f('oslo')")).rows == (("harbours of oslo",),)
    assert [hit.text for hit in do(bob.recall("tea"))] == ["Likes tea"]


def test_writers_at_once_lose_nothing(do: Any, client: Any) -> None:
    alice = client.profile("alice")
    do(alice.sql_batch([TABLE, "INSERT INTO t VALUES (1, 0)"]))
    if do.kind != "sync":
        pytest.skip("threads are for the plain client")

    def work(number: int) -> None:
        for _ in range(10):
            if number % 2:
                alice.sql("UPDATE t SET b = b + 1 WHERE a = 1")
            else:
                alice.remember(f"{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert alice.sql("SELECT b FROM t").rows == ((40,),)


def test_the_request_of_the_wire(do: Any, client: Any) -> None:
    target = Target("default", "alice")
    statement = Statement(q="SELECT ? AS a", params=(Encoded(base64=b"\xff"),))
    request = RunSql(stmts=(statement,), txn=True)
    done = do(client.call("sql.run", target, request, Options(request_id="r")))
    assert json.loads(json.dumps(done.to_dict())) == {
        "results": [{"columns": ["a"], "rows": [[{"$base64": "/w=="}]], "changes": None}],
        "txid": 0,
    }
    assert len(done) == 1
