"""The spool by itself: what it keeps, in which order, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from palimp.api.events import Event, EventInput
from palimp.arc.codec import row_of
from palimp.arc.rows import Import, Row
from palimp.arc.spool import Spool
from palimp.clock import ManualClock
from palimp.errors import Internal, Invalid, Unavailable

NOW_US = 1_767_225_600_000_000


def row(text: str = "b", key: str | None = None) -> Row:
    return row_of(EventInput(agent="a", text=text, dedup_key=key), 0)


def opened(path: Path, clock: ManualClock, bytes_max: int = 1 << 20) -> Spool:
    return Spool(path / "spool" / "arc.db", clock, bytes_max=bytes_max, recent_seconds=40.0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def spool(tmp_path: Path, clock: ManualClock) -> Iterator[Spool]:
    made = opened(tmp_path, clock)
    yield made
    made.close()


def texts(spool: Spool, org: str = "o", most: int = 1_000) -> list[str]:
    return [one.row.text for one in spool.take(org, most, 1 << 30)]


def test_rows_keep_their_order_and_have_times_of_their_own(
    tmp_path: Path, clock: ManualClock
) -> None:
    spool = opened(tmp_path, clock)
    first = spool.append("o", [row("1"), row("2")])
    assert [one.at_us for one in first if one] == [NOW_US, NOW_US + 1]
    spool.append("p", [row("x")])
    spool.close()
    # A clock that was set back, in another process.
    back = ManualClock(clock.now_ms() - 60_000)
    spool = opened(tmp_path, back)
    [third] = spool.append("o", [row("3")])
    assert third is not None
    assert third.at_us == NOW_US + 2
    assert texts(spool) == ["1", "2", "3"]
    assert texts(spool, "p") == ["x"]
    assert spool.pending() == {"o": 3, "p": 1}
    spool.close()


def test_batches_are_bounded_and_have_one_row_at_least(spool: Spool) -> None:
    spool.append("o", [row("x" * 1_000) for _ in range(5)])
    assert len(spool.take("o", 3, 1 << 20)) == 3
    assert len(spool.take("o", 9, 2_500)) == 2
    assert len(spool.take("o", 9, 1)) == 1
    assert spool.take("nobody", 9, 1) == []


def test_what_was_being_sent_is_in_doubt_after_a_restart(
    tmp_path: Path, clock: ManualClock
) -> None:
    spool = opened(tmp_path, clock)
    spool.append("o", [row("1"), row("2"), row("3")])
    two = spool.take("o", 2, 1 << 20)
    spool.mark(two)
    assert texts(spool) == ["3"]
    spool.close()
    clock.advance(100)
    spool = opened(tmp_path, clock)
    rows, since_ms = spool.doubtful("o")
    assert rows == two
    # From now on: whoever takes the request may still be at it.
    assert since_ms == clock.now_ms()
    spool.delivered("o", rows[:1])
    spool.put_back(rows[1:])
    assert texts(spool) == ["2", "3"]
    assert spool.doubtful("o") == ([], 0)
    spool.close()


def test_duplicates_are_seen_in_the_call_in_the_spool_and_shortly_after(
    spool: Spool, clock: ManualClock
) -> None:
    day = 86_400_000_000
    rows = [row("1", "k"), row("2", "k"), row("3"), row("4"), row("5", "known")]
    kept = spool.append("o", rows, window_us=day, known={"known"})
    assert [one is not None for one in kept] == [True, False, True, True, False]
    assert spool.append("o", [row("6", "k")], window_us=day) == [None]
    assert spool.append("p", [row("6", "k")], window_us=day) != [None]
    assert spool.append("o", [row("7", "k")]) != [None]
    spool.delivered("o", spool.take("o", 9, 1 << 20))
    assert spool.waiting("o") == 0
    # Arc has it, and may not show it yet.
    assert spool.seen("o", ["k", "x"], day) == {"k"}
    assert spool.append("o", [row("8", "k")], window_us=day) == [None]
    clock.advance(41)
    spool.append("o", [row("9")])
    spool.delivered("o", spool.take("o", 9, 1 << 20))
    assert spool.seen("o", ["k"], day) == set()


def test_a_key_counts_for_its_window_only(spool: Spool, clock: ManualClock) -> None:
    spool.append("o", [row("1", "k")])
    clock.advance(9.9)
    assert spool.append("o", [row("2", "k")], window_us=10_000_000) == [None]
    clock.advance(0.2)
    assert spool.append("o", [row("3", "k")], window_us=10_000_000) != [None]


def test_of_twenty_at_once_one_is_kept(spool: Spool) -> None:
    kept: list[Any] = []
    barrier = threading.Barrier(20)

    def add() -> None:
        barrier.wait()
        kept.append(spool.append("o", [row("1", "k")], window_us=10_000_000)[0])

    threads = [threading.Thread(target=add) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one is not None for one in kept) == 1
    assert spool.waiting("o", most=100) == 1


def test_above_its_size_nothing_is_accepted_and_nothing_dropped(
    tmp_path: Path, clock: ManualClock
) -> None:
    spool = opened(tmp_path, clock, bytes_max=10_000)
    while True:
        before = spool.gauges()
        try:
            spool.append("o", [row("x" * 500)])
        except Unavailable as caught:
            error = caught
            break
    assert error.code == "overloaded"
    assert error.retry_after
    assert f"{before.events:,} events ({before.bytes:,} bytes)" in str(error)
    assert "over 10,000" in str(error)
    # It is over all organisations, a batch is refused whole, and a restart knows it.
    with pytest.raises(Unavailable, match="nothing was accepted"):
        spool.append("p", [row("x" * 100) for _ in range(3)])
    assert spool.gauges() == before
    spool.close()
    spool = opened(tmp_path, clock, bytes_max=10_000)
    assert spool.gauges() == before
    spool.delivered("o", spool.take("o", 2, 1 << 20))
    spool.append("p", [row("x" * 500)])
    spool.delivered("o", spool.take("o", 99, 1 << 20))
    spool.delivered("p", spool.take("p", 99, 1 << 20))
    assert spool.gauges() == (0, 0, 0, 0.0)
    spool.close()


def test_one_that_is_refused_does_not_undo_what_shares_its_transaction(
    tmp_path: Path, clock: ManualClock
) -> None:
    spool = opened(tmp_path, clock, bytes_max=20_000)
    outcomes: list[str] = []

    def add(size: int) -> None:
        try:
            spool.append("o", [row("x" * size)])
            outcomes.append("kept")
        except Unavailable:
            outcomes.append("refused")

    sizes = [100, 30_000] * 10
    threads = [threading.Thread(target=add, args=(size,)) for size in sizes]
    with spool._lock:
        # All of them wait for one transaction.
        for thread in threads:
            thread.start()
        while len(spool._queue) < len(sizes):
            pass
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["kept"] * 10 + ["refused"] * 10
    assert texts(spool) == ["x" * 100] * 10
    assert spool.gauges()[:2] == (10, spool._measured()[1])
    spool.close()


def test_a_full_disk_refuses_and_keeps_what_was(spool: Spool) -> None:
    spool.append("o", [row("before")])
    pages = spool._db.execute("PRAGMA page_count").get
    spool._db.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    gauges = spool.gauges()
    with pytest.raises(Unavailable, match="disk is full; nothing of this was accepted") as caught:
        spool.append("o", [row("x" * 100_000)])
    assert caught.value.details["reason"] == "disk"
    assert isinstance(caught.value.__cause__, apsw.FullError)
    assert spool.gauges() == gauges
    assert texts(spool) == ["before"]
    # What is there can still be sent and let go of.
    rows = spool.take("o", 9, 1 << 20)
    spool.mark(rows)
    spool.delivered("o", rows)
    spool._db.execute("PRAGMA max_page_count = 100000").fetchall()
    spool.append("o", [row("after")])
    assert texts(spool) == ["after"]


def test_parked_rows_can_be_seen_retried_and_dropped(spool: Spool, clock: ManualClock) -> None:
    spool.append("o", [row(str(number)) for number in range(4)])
    taken = spool.take("o", 9, 1 << 20)
    for one in taken[:3]:
        spool.park(one, "refused: why")
    [first, second, third] = spool.parked("o", 10, 0)
    assert (first.org, first.event.text, first.error) == ("o", "0", "refused: why")
    assert first.parked_ms == clock.now_ms()
    assert spool.parked(None, 1, first.id) == [second]
    assert spool.parked("p", 10, 0) == []
    assert spool.gauges().parked == spool.count_parked("o") == 3
    assert spool.count_parked("p") == 0
    assert texts(spool) == ["3"]
    assert spool.retry("p", None) == 0
    assert spool.retry("o", [first.id, taken[3].id]) == 1
    assert texts(spool) == ["0", "3"]
    assert spool.drop("o", [taken[3].id]) == 0
    assert spool.drop("o", None) == 2
    assert spool.gauges()[:3] == (2, spool._measured()[1], 0)
    assert third.id not in {one.id for one in spool.parked("o", 10, 0)}


def test_imports_come_once_with_times_of_their_own(tmp_path: Path, clock: ManualClock) -> None:
    spool = opened(tmp_path, clock)
    imports = [
        Import(f"m{n}", Event(agent="a", text=str(n), at_us=NOW_US - 5_000)) for n in range(3)
    ]
    assert spool.add_imports("o", imports) == 3
    assert [one.row.at_us for one in spool.take("o", 9, 1 << 20)] == [
        NOW_US - 5_000,
        NOW_US - 4_999,
        NOW_US - 4_998,
    ]
    spool.delivered("o", spool.take("o", 2, 1 << 20))
    spool.close()
    spool = opened(tmp_path, clock)
    more = [*imports, Import("m3", Event(agent="a", text="3", at_us=NOW_US - 4_999))]
    assert spool.add_imports("o", more) == 1
    assert [(one.row.text, one.row.at_us) for one in spool.take("o", 9, 1 << 20)] == [
        ("2", NOW_US - 4_998),
        ("3", NOW_US - 4_997),
    ]
    [appended] = spool.append("o", [row()])
    assert appended is not None
    assert appended.at_us == NOW_US
    with pytest.raises(Invalid, match="no Arc holds"):
        spool.add_imports("o", [Import("old", Event(text="t", at_us=5))])
    spool.forget_imports("o")
    assert spool.add_imports("o", [imports[0]]) == 1
    spool.close()


def test_an_organisation_can_be_forgotten(spool: Spool) -> None:
    spool.append("o", [row("1", "k"), row("2")])
    spool.append("p", [row("3")])
    spool.delivered("o", spool.take("o", 1, 1 << 20))
    assert spool.forget("o") == 1
    assert spool.pending() == {"p": 1}
    assert spool.seen("o", ["k"], 10**12) == set()
    assert spool.gauges().bytes == spool._measured()[1]


def test_the_oldest_tells_how_long_it_waits(spool: Spool, clock: ManualClock) -> None:
    assert spool.gauges().seconds == 0.0
    spool.append("o", [row()])
    clock.advance(7)
    spool.append("p", [row()])
    assert spool.gauges().seconds == 7.0


def test_one_process_has_it_and_a_newer_one_is_not_touched(
    tmp_path: Path, clock: ManualClock, spool: Spool
) -> None:
    with pytest.raises(Unavailable, match="in use by another process"):
        opened(tmp_path, clock)
    spool.append("o", [row()])
    spool._db.execute("PRAGMA user_version = 9")
    spool.close()
    with pytest.raises(Unavailable, match="closed"):
        spool.append("o", [row()])
    with pytest.raises(Internal, match="version 9"):
        opened(tmp_path, clock)


def test_a_file_that_is_none_is_said_to_be_damaged(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "spool" / "arc.db"
    path.parent.mkdir()
    path.write_bytes(b"no database" * 1_000)
    with pytest.raises(Internal, match="damaged"):
        opened(tmp_path, clock)


def test_space_is_given_back(spool: Spool) -> None:
    for _ in range(5):
        spool.append("o", [row("x" * 100_000)])
    spool.delivered("o", spool.take("o", 99, 1 << 30))
    before = spool._db.execute("PRAGMA page_count").get
    spool.tidy()
    assert spool._db.execute("PRAGMA page_count").get < before / 4
