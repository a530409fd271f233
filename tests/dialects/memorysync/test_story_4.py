"""Story 4, the grace: seven days from the first request, whoever is killed, retries or starts twice.

Between the steps of a deletion the worker is killed as by `kill -9`; see `deleting.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import memorysync
import pytest

from palimp.clock import ManualClock

from .speaking import DAY, House

# At so many places beside the ends of the steps; CRASH_DELETING=500 kills at more.
KILLS = int(os.environ.get("CRASH_DELETING", "2"))
MAIN = Path(__file__).parent / "deleting.py"
STEPS = ["soft_deleted", "hard_delete_pending", "purged"]
Made = tuple[memorysync.MemorySyncClient, list[int]]


@pytest.fixture
def house(tmp_path: Path, clock: ManualClock) -> Iterator[House]:
    found = House(tmp_path, clock)
    yield found
    found.close()


@pytest.fixture
def add(house: House) -> Callable[..., Made]:
    def make(*texts: str) -> Made:
        client = house.client()
        made = [client.add(text) for text in texts]
        assert all(type(one) is memorysync.Memory for one in made)
        return client, [one.id for one in made]  # type: ignore[union-attr]

    return make


def _lifecycle(house: House, identity: int, step: str, **body: Any) -> Any:
    return house.raw(None).post(
        f"/api/v1/lifecycle/memories/{identity}/{step}", json=body,
        headers={"x-end-user-id": "eve"},
    )  # fmt: skip


def _events(house: House, identity: str) -> list[str]:
    return [one.event for one in house.profile().lifecycle.events(identity)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_killed_worker_goes_on_where_it_was_once_and_not_too_early(
    tmp_path: Path, clock: ManualClock
) -> None:
    house = House(tmp_path, clock)
    client = house.client()
    made = [client.add(f"The depot number {n} is in Basel") for n in range(3)]
    ours = {one.text: one.id for one in house.profile().list()}
    gone = [one for one in made if type(one) is memorysync.Memory][:2]
    assert client.forget([one.id for one in gone]) == [one.id for one in gone]
    target = house.profile().target
    # The time of the request is what counts, not that of the process that ends here.
    due = clock.now_ms() + 7 * DAY * 1_000
    house.close()
    ids = {"gone": [ours[one.text] for one in gone], "kept": ours[made[2].text]}
    (tmp_path / "ids.json").write_text(json.dumps(ids), "utf-8")
    done = subprocess.run(
        [sys.executable, str(MAIN), str(house.folder), f"{target.namespace}/{target.profile}",
         str(due), str(KILLS)],
        capture_output=True, text=True, check=False, timeout=60 + 3 * KILLS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lives = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lives) == 3 + KILLS
    for life in lives:
        assert life["status"] == -9, life
        _went_on(life, ids["kept"])


def _went_on(life: dict[str, Any], kept: str) -> None:
    """Nothing is done twice or too early; a step that was done before the kill is not undone."""
    asked = life["killed"] == "request"
    for when, state in (("early", "soft_deleted"), ("after", "purged"), ("again", "purged")):
        assert life[when]["memories"].pop(kept)[0] == (state if asked else "active"), life
        assert life[when]["active"] == (not asked), life
    for identity, (_, events) in life["early"]["memories"].items():
        done = [one for one in events if one in STEPS]
        # A millisecond too early nothing begins; what had begun is ended, which nothing stops.
        assert done in (STEPS[:1], STEPS), life
        state, events = life["after"]["memories"][identity]
        assert state == "purged", life
        assert [one for one in events if one in STEPS] == STEPS, life
    if asked:
        assert life["early"]["purged"] == 0, life
    assert life["again"]["memories"] == life["after"]["memories"], life
    assert life["again"]["purged"] == 0, life


def test_two_workers_at_once_do_each_step_once(
    house: House, clock: ManualClock, add: Callable[..., Made]
) -> None:
    client, ids = add(*(f"The tram of line {n} is late" for n in range(12)))
    ours = [one.id for one in house.profile().list()]
    assert client.forget(ids) == ids
    clock.advance(7 * DAY)
    together = threading.Barrier(2)

    def work() -> None:
        together.wait()
        house.mem.maintain()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    for identity in ours:
        events = _events(house, identity)
        assert [one for one in events if one != "created"] == STEPS


def test_restored_on_day_six_and_refused_on_day_eight(
    house: House, clock: ManualClock, add: Callable[..., Made]
) -> None:
    client, (identity,) = add("The keel was laid in Vigo")
    client.forget([identity])
    with pytest.raises(memorysync.NotFoundError):
        client.get(identity)
    clock.advance(6 * DAY)
    assert _lifecycle(house, identity, "restore").status_code == 200
    assert [one.id for one in client.query("Where was the keel laid?").memories] == [identity]
    client.forget([identity])
    clock.advance(8 * DAY)
    # Although no pass has come by; and after one as well.
    for _ in range(2):
        assert _lifecycle(house, identity, "restore").status_code == 409
        house.mem.maintain()
    with pytest.raises(memorysync.NotFoundError):
        client.get(identity)


def test_a_hold_outlasts_the_grace_and_its_release_goes_on(
    house: House, clock: ManualClock, add: Callable[..., Made]
) -> None:
    client, (identity,) = add("The claim number seven is open")
    (ours,) = [one.id for one in house.profile().list()]
    assert _lifecycle(house, identity, "legal-hold", reason="claim 7").status_code == 200
    assert client.forget([identity]) == [identity]
    clock.advance(30 * DAY)
    house.mem.maintain()
    assert house.profile().lifecycle.status(ours).state == "soft_deleted"
    assert _lifecycle(house, identity, "legal-hold/release").status_code == 200
    house.mem.maintain()
    status = house.profile().lifecycle.status(ours)
    assert (status.state, status.method) == ("purged", "legal_hold_release")


def test_asked_again_later_the_window_is_that_of_the_first_request(
    house: House, clock: ManualClock, add: Callable[..., Made]
) -> None:
    client, (identity,) = add("The invoice is in the blue folder")
    (ours,) = [one.id for one in house.profile().list()]
    client.forget([identity])
    first = house.profile().lifecycle.status(ours).hard_delete_at
    for shift in (3 * DAY, -2 * DAY, 4 * DAY):
        clock.advance(shift)
        # Gone already: the list of what this request deleted is empty, or says that it is none.
        with contextlib.suppress(memorysync.NotFoundError):
            assert client.forget([identity]) == []
        house.mem.maintain()
        status = house.profile().lifecycle.status(ours)
        assert (status.state, status.hard_delete_at) == ("soft_deleted", first)
    clock.advance(2 * DAY)
    house.mem.maintain()
    assert house.profile().lifecycle.status(ours).state == "purged"
    told = house.raw().get(f"/api/v1/lifecycle/deletions/{identity}")
    assert told.status_code == 200, told.text
