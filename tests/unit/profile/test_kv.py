"""Keys that end by themselves, and what of a value is in the file."""

from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import palimp
from palimp.api import ListKeys, PutValue
from palimp.clock import ManualClock
from palimp.points import Point
from palimp.profile import kv
from palimp.profile.protocols import PlainSealer

HOUR = 3_600


@pytest.fixture
def profile(timed: palimp.Client) -> palimp.Profile:
    return timed.profile("alice")


def test_a_key_ends_with_its_time(profile: palimp.Profile, clock: ManualClock) -> None:
    done = profile.kv.put("k", "v", ttl=HOUR)
    assert done.expires_at == clock.now_ms() + HOUR * 1000
    clock.advance(HOUR - 0.001)
    assert profile.kv.get("k") == "v"
    clock.advance(0.001)
    assert profile.kv.get("k") is None
    assert list(profile.kv.keys()) == []
    assert profile.kv.delete("k") is False
    # Nobody read it meanwhile, and it is gone all the same: set anew it is a new one.
    profile.kv.put("k", "v", ttl=1)
    clock.advance(2)
    profile.kv.put("k", "w")
    clock.advance(HOUR)
    assert profile.kv.get("k") == "w"


def test_a_time_shorter_than_the_clock_counts_is_one_millisecond(
    profile: palimp.Profile, clock: ManualClock
) -> None:
    assert profile.kv.put("k", "v", ttl=1e-9).expires_at == clock.now_ms() + 1
    assert profile.kv.get("k") == "v"


def test_an_earlier_state_has_the_keys_that_held_then(
    profile: palimp.Profile, clock: ManualClock
) -> None:
    profile.kv.put("k", "v", ttl=HOUR, durability="durable")
    txid = profile.kv.entry("k").txid
    clock.advance(2 * HOUR)
    profile.remember("later")
    assert profile.kv.get("k") is None
    assert profile.at(Point.txid(txid)).kv.get("k") == "v"


def test_maintain_removes_what_expired_and_nothing_else(
    timed: palimp.Client, profile: palimp.Profile, clock: ManualClock
) -> None:
    count = kv.EXPIRE_BATCH + 5
    for n in range(count):
        profile.kv.put(f"k{n}", n, ttl=HOUR + n)
    profile.kv.put("stays", 1)
    profile.kv.put("later", 1, ttl=10 * HOUR)
    profile.remember("a task", type="task", ttl=HOUR)
    assert timed.maintain().expired == 0
    clock.advance(HOUR + count)
    assert timed.maintain().expired == count + 1
    before = profile.kv.entry("stays").txid
    assert timed.maintain().expired == 0
    # What has nothing to do writes nothing.
    assert profile.kv.entry("stays").txid == before
    assert list(profile.kv.keys()) == ["later", "stays"]


@pytest.fixture
def connection() -> apsw.Connection:
    return apsw.Connection(":memory:")


class Backwards(PlainSealer):
    def seal_data(self, data: bytes, *_place: str) -> bytes:
        return data[::-1]

    def unseal_data(self, stored: bytes, *_place: str) -> bytes:
        return stored[::-1]


def put(connection: apsw.Connection, key: str, data: bytes = b"") -> None:
    kv.put(connection, PutValue(ns="n", key=key, data=data), PlainSealer(), 0)


def test_values_are_sealed_and_keys_are_not(connection: apsw.Connection) -> None:
    request = PutValue(ns="n", key="k", data=b"secret", content_type="a/b")
    assert kv.put(connection, request, Backwards(), 0) is None
    row: Any = connection.execute("SELECT ns, k, v, meta FROM __palimp_kv").fetchone()
    assert row == ("n", "k", b"terces", "a/b")
    assert kv.get(connection, "n", "k", Backwards(), 0) == (b"secret", "a/b")


def test_an_error_that_is_not_a_missing_table_is_raised(connection: apsw.Connection) -> None:
    connection.execute("CREATE TABLE __palimp_kv (other)")
    with pytest.raises(apsw.SQLError, match="ns"):
        put(connection, "k")
    with pytest.raises(apsw.SQLError):
        kv.get(connection, "n", "k", PlainSealer(), 0)


def test_lookups_and_listings_read_a_range_of_the_table(connection: apsw.Connection) -> None:
    put(connection, "k")
    plans: list[str] = []

    def trace(_: Any, sql: str, bindings: Any) -> bool:
        if sql.startswith("SELECT") and "sqlite_schema" not in sql:
            plain = apsw.Connection("")
            plain.execute(kv._TABLE)
            plans.extend(row[3] for row in plain.execute(f"EXPLAIN QUERY PLAN {sql}", bindings))
        return True

    connection.exec_trace = trace
    kv.get(connection, "n", "k", PlainSealer(), 0)
    kv.list_keys(connection, ListKeys(ns="n", prefix="k"), 0)
    assert len(plans) == 2
    assert all(
        plan.startswith("SEARCH __palimp_kv USING PRIMARY KEY (ns=? AND k") for plan in plans
    )


@settings(max_examples=200, deadline=None)
@given(st.sets(st.text(min_size=1, max_size=4)), st.text(max_size=3), st.integers(1, 5))
def test_a_listing_is_what_begins_with_its_prefix(keys: set[str], prefix: str, limit: int) -> None:
    connection = apsw.Connection(":memory:")
    for key in keys:
        put(connection, key)
    listed: list[str] = []
    cursor = None
    while True:
        request = ListKeys(ns="n", prefix=prefix, limit=limit, cursor=cursor)
        page, cursor = kv.list_keys(connection, request, 0)
        listed += page
        if cursor is None:
            break
    wanted = [key for key in keys if key.startswith(prefix)]
    assert listed == sorted(wanted, key=lambda key: key.encode())


def test_a_value_is_one_row_of_the_exported_file(profile: palimp.Profile, tmp_path: Path) -> None:
    profile.kv.put("k", {"a": 1})
    profile.export(tmp_path / "file.db")
    row: Any = (
        apsw.Connection(str(tmp_path / "file.db"))
        .execute("SELECT ns, k, v, meta, expires_at FROM __palimp_kv")
        .fetchone()
    )
    assert row == ("default", "k", b'{"a":1}', "application/json", None)
