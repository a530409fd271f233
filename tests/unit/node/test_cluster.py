"""Where operations are carried out when several nodes share a store: by real nodes on ports."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

import palimp
from palimp.errors import Error, Internal, NotFound, Unavailable
from palimp.http import workers
from palimp.lease import preferred

from .town import House, Town

sys.path.insert(0, str(Path(__file__).parents[1] / "client"))

import gate as gates

DB = "acme--alice"


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    town = Town(tmp_path)
    yield town
    town.close()


@pytest.fixture
def gate(town: Town) -> Iterator[gates.Gate]:
    """A server between the others and node b, of which they have its address."""
    port = int(town.houses[1].url.rpartition(":")[2])
    found = gates.Gate(port)
    move(town, "b", found.url)
    yield found
    found.close()


def move(town: Town, node: str, address: str) -> None:
    """Let the others reach a node at another address."""
    town.ledger.peers[node] = msgspec.structs.replace(town.ledger.peers[node], address=address)


def profile(house: House, name: str = DB) -> palimp.Profile:
    return house.profile(name)


def at(town: Town, node: str, count: int = 1) -> list[str]:
    """Return names of databases that should be at a node while nobody has them."""
    names = (f"acme--p{number}" for number in range(10_000))
    peers = tuple(town.ledger.peers.values())
    found = (name for name in names if getattr(preferred(peers, name), "node", None) == node)
    return [next(found) for _ in range(count)]


def fails(work: Callable[[], object]) -> Error:
    with pytest.raises(Error) as caught:
        work()
    return caught.value


def test_an_operation_is_carried_out_where_the_database_is(town: Town) -> None:
    a, b = town.houses
    town.give(DB, b)
    wrote = profile(a).remember("aisle", topic="seat")
    assert profile(b).get(wrote.id).text == profile(a).get(wrote.id).text == "aisle"
    assert b.counted("operations_done", operation="memories.ingest") == 1
    assert a.counted("operations_done") == 0
    assert a.counted("requests_forwarded", operation="memories.ingest") == 1
    assert b.counted("requests_forwarded") == 0


def test_what_nobody_has_goes_to_the_preferred_node(town: Town) -> None:
    a, b = town.houses
    (name,) = at(town, "b")
    profile(a, name).remember("aisle")
    assert town.ledger.owners[name] == "b"
    (name,) = at(town, "a")
    profile(b, name).remember("aisle")
    assert town.ledger.owners[name] == "a"


def test_a_primary_read_makes_it_this_nodes_too(town: Town) -> None:
    (name,) = at(town, "a")
    assert list(profile(town.houses[0], name).list()) == []
    assert town.ledger.owners[name] == "a"


def test_a_repeat_at_another_node_is_given_the_first_ones_answer(town: Town) -> None:
    a, b = town.houses
    first = profile(a).remember("aisle", request_id="r1")
    again = profile(b).remember("aisle", request_id="r1")
    assert (first.id, first.txid, first.status) == (again.id, again.txid, again.status)


def test_an_error_is_the_same_from_afar(town: Town) -> None:
    a, b = town.houses
    town.give(DB, b)
    wrong: list[Callable[[palimp.Profile], object]] = [
        lambda one: one.get("mem_" + "0" * 32),
        lambda one: one.branch("none").list().first if False else one.branch("none").remember("x"),
        lambda one: one.ingest([{"text": "a"}, {"text": ""}]),
        lambda one: one.at("nowhere").recall("x"),
    ]
    profile(b).remember("aisle")
    for work in wrong:
        near, far = (
            fails(lambda work=work: work(profile(b))),
            fails(lambda work=work: work(profile(a))),
        )
        assert type(near) is type(far)
        assert (near.code, near.message, near.details) == (far.code, far.message, far.details)
    assert a.counted("operations_failed") == 0


def test_durability_branch_and_point_go_along(town: Town) -> None:
    a, b = town.houses
    town.give(DB, b)
    one = profile(a)
    one.remember("aisle", topic="seat", durability="durable")
    before = one.checkpoint("before")
    trial = one.fork("trial")
    trial.remember("window", topic="seat")
    assert [found.text for found in one.list()] == ["aisle"]
    assert [found.text for found in trial.list()] == ["window"]
    one.remember("middle", topic="seat")
    assert [found.text for found in one.at(before).list()] == ["aisle"]
    assert not [branch for branch in b.node.context.engine.claims.names() if branch != DB]


def test_names_that_are_none_are_refused_without_asking_anybody(town: Town) -> None:
    a, _ = town.houses
    answer = httpx.post(f"{a.url}/v1/memory/acme/Alice_/memories", json={"memories": []})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert not town.ledger.owners


def test_databases_are_made_and_deleted_where_they_are(town: Town) -> None:
    a, b = town.houses
    mine, theirs = at(town, "a")[0], at(town, "b")[0]
    with httpx.Client(base_url=a.url) as http:
        for name in (mine, theirs):
            assert http.post("/v1/databases", json={"name": name}).status_code == 201
            profile(a, name).remember("aisle")
        assert b.counted("operations_done", operation="databases.create") == 1
        assert http.request("DELETE", "/v1/namespaces/acme").status_code == 204
        assert http.get("/v1/databases").json()["databases"] == []
    assert b.counted("operations_done", operation="databases.delete") == 1
    assert list(profile(b, theirs).list()) == []


# -- wrong guesses --------------------------------------------------------------------------------


def test_a_stale_belief_costs_one_hop(town: Town, tmp_path: Path) -> None:
    a, b = town.houses
    c = town.build("c")
    town.give(DB, c)
    a.leases.stale[DB] = "b"
    profile(a).remember("aisle")
    assert a.counted("requests_forwarded") == 2
    # The refusal said where it is.
    assert town.ledger.asked == 0
    assert a.counted("requests_forwarded_failed", reason="owned") == 1
    assert b.counted("requests_forwarded") == 0


def test_who_cannot_be_asked_is_not_believed_to_have_it(town: Town) -> None:
    a, b = town.houses
    c = town.build("c")
    town.give(DB, c)
    a.leases.stale[DB] = "b"
    b.vanish()
    profile(a).remember("aisle")
    assert town.ledger.asked == 1
    assert c.counted("operations_done", operation="memories.ingest") == 1


def test_two_nodes_that_believe_each_other_to_have_it_do_not_go_in_a_circle(town: Town) -> None:
    a, b = town.houses
    a.leases.stale[DB], b.leases.stale[DB] = "b", "a"
    profile(a).remember("aisle")
    assert town.ledger.owners[DB] == "b"
    assert a.counted("requests_forwarded") == 1
    assert b.counted("requests_forwarded") == 0


def test_nodes_that_send_it_to_each_other_for_ever_end_with_the_time(tmp_path: Path) -> None:
    town = Town(tmp_path, 3, request_timeout=1.0)
    try:
        a, b, c = town.houses
        peers = town.ledger.peers
        b.leases.claim = lambda name: peers["c"]  # type: ignore[method-assign]
        c.leases.claim = lambda name: peers["b"]  # type: ignore[method-assign]
        a.leases.stale[DB] = "b"
        a.leases.ask = lambda name: peers["b"]  # type: ignore[method-assign]
        found = fails(lambda: profile(a).remember("aisle"))
        assert isinstance(found, Unavailable)
        assert found.details["reason"] == "owned"
        assert "in_doubt" not in found.details
        assert not [one for one in town.houses if one.counted("operations_done")]
        # Each is asked again after a pause, not as fast as it goes.
        assert 3 <= a.counted("requests_forwarded") < 20
    finally:
        town.close()


def test_a_node_that_is_gone_is_left_out_where_nobody_has_the_database(town: Town) -> None:
    a, b = town.houses
    (name,) = at(town, "b")
    b.vanish()
    profile(a, name).remember("aisle")
    assert town.ledger.owners[name] == "a"
    assert a.counted("requests_forwarded_failed", reason="unreachable") == 1
    # The next one is not sent there at all.
    profile(a, at(town, "b", 2)[1]).remember("aisle")
    assert a.counted("requests_forwarded") == 1


def test_a_node_that_is_gone_is_waited_for_until_its_lease_is_over(town: Town) -> None:
    a, b = town.houses
    town.give(DB, b)
    b.vanish()
    with ThreadPoolExecutor() as pool:
        wrote = pool.submit(profile(a).remember, "aisle")
        while a.counted("requests_forwarded_failed") < 3:
            a.node.context.clock.sleep(0.01)
        assert not wrote.done()
        town.ledger.end("b")
        assert wrote.result().status == "created"
    assert town.ledger.owners[DB] == "a"


def test_who_has_a_node_without_an_address_anybody_can_reach_is_told(tmp_path: Path) -> None:
    town = Town(tmp_path, request_timeout=0.5)
    try:
        a, b = town.houses
        town.give(DB, b)
        move(town, "b", "http://127.0.0.1:1")
        found = fails(lambda: profile(a).remember("aisle"))
        assert found.code == "unavailable"
        assert found.details["reason"] == "unreachable"
        assert found.retry_after
        for word in ("node b", "http://127.0.0.1:1", "PALIMP_ADVERTISE", DB):
            assert word in found.message
    finally:
        town.close()


def test_a_lease_store_that_is_down_is_asked_again(town: Town) -> None:
    a, _ = town.houses
    (name,) = at(town, "a")
    town.ledger.down = True
    with ThreadPoolExecutor() as pool:
        wrote = pool.submit(profile(a, name).remember, "aisle")
        while a.counted("operations_failed") < 1:
            a.node.context.clock.sleep(0.01)
        town.ledger.down = False
        assert wrote.result().status == "created"


def test_a_node_without_a_lease_sends_on_what_it_may_not_do(town: Town) -> None:
    a, _b = town.houses
    (name,) = at(town, "a")
    a.leases.lose()
    assert httpx.get(f"{a.url}/ready").status_code == 503
    assert httpx.get(f"{a.url}/ready").json()["status"] == "no lease"
    profile(a, name).remember("aisle")
    assert town.ledger.owners[name] == "b"


# -- lines that break -----------------------------------------------------------------------------


def test_a_read_is_repeated_whatever_the_line_did(town: Town, gate: gates.Gate) -> None:
    a, b = town.houses
    town.give(DB, b)
    profile(b).remember("aisle")
    gate.script = [gates.reset_before, gates.reset_after, gates.half, gates.garbage]
    assert [one.text for one in profile(a).list()] == ["aisle"]
    assert len(gate.seen) == 5


@pytest.mark.parametrize("cut", [gates.reset_before, gates.reset_after, gates.half])
def test_a_write_whose_answer_is_lost_is_done_once(town: Town, gate: gates.Gate, cut: Any) -> None:
    a, b = town.houses
    town.give(DB, b)
    gate.script = [cut]
    # As a caller that gives no request id.
    url, body = f"{a.url}/v1/memory/acme/alice/memories", {"memories": [{"text": "aisle"}]}
    wrote = httpx.post(url, json=body).json()
    first, second = (one.headers["palimp-request-id"] for one in gate.seen)
    assert first == second
    assert (wrote["results"][0]["status"], wrote["txid"]) == ("created", 1)
    assert len(list(profile(b).list())) == 1


def test_an_import_whose_answer_is_lost_is_not_sent_again(town: Town, gate: gates.Gate) -> None:
    a, b = town.houses
    profile(b, "acme--other").remember("aisle")
    data = httpx.get(f"{b.url}/v1/db/acme--other/export").content
    town.give(DB, b)
    gate.script = [gates.reset_after]
    answer = httpx.post(
        f"{a.url}/v1/db/{DB}/import",
        content=data,
        headers={"content-type": "application/vnd.sqlite3"},
        timeout=30,
    )
    assert answer.status_code == 503
    assert answer.json()["details"]["in_doubt"] is True
    assert [one.path for one in gate.seen if "import" in one.path] == [f"/v1/db/{DB}/import"]


def test_what_a_delete_removed_before_its_answer_was_lost_is_removed(
    town: Town, gate: gates.Gate
) -> None:
    a, b = town.houses
    town.give(DB, b)
    profile(b).remember("aisle")
    profile(b).fork("trial")
    gate.script = [gates.reset_after]
    assert httpx.delete(f"{a.url}/v1/db/{DB}/branches/trial").status_code == 204
    assert len(gate.seen) == 2


def test_a_silent_node_is_not_waited_for_when_its_lease_is_over(
    town: Town, gate: gates.Gate
) -> None:
    a, b = town.houses
    town.give(DB, b)
    gate.script = [gates.silent_before]
    with ThreadPoolExecutor() as pool:
        wrote = pool.submit(profile(a).remember, "aisle", request_id="r1")
        while not gate.seen:
            a.node.context.clock.sleep(0.01)
        town.ledger.end("b")
        assert wrote.result().status == "created"
    assert town.ledger.owners[DB] == "a"


def test_something_else_at_the_address_is_named(town: Town, gate: gates.Gate) -> None:
    a, _b = town.houses
    (name,) = at(town, "b")
    gate.script = [gates.answer(404, b"<html>")]
    profile(a, name).remember("aisle")
    assert a.counted("requests_forwarded_failed", reason="unreachable") == 1
    assert town.ledger.owners[name] == "a"


def test_a_node_that_stops_is_not_the_end_of_it(town: Town, gate: gates.Gate) -> None:
    a, _b = town.houses
    (name,) = at(town, "b")
    gate.script = [gates.error(503, "unavailable", details={"reason": "closed"})]
    profile(a, name).remember("aisle")
    assert a.counted("requests_forwarded_failed", reason="closed") == 1
    assert town.ledger.owners[name] == "a"


def test_an_answer_nobody_can_read_names_both_releases(town: Town, gate: gates.Gate) -> None:
    a, b = town.houses
    town.give(DB, b)
    gate.script = [gates.answer(201, b'{"no": "results"}', content_type="application/json")]
    found = fails(lambda: profile(a).remember("aisle"))
    assert isinstance(found, Internal)
    assert "node b" in found.message
    assert found.details["in_doubt"] is True


# -- many at a time -------------------------------------------------------------------------------


def test_nodes_with_one_thread_each_do_not_wait_for_each_other_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_THREADS", 1)
    town = Town(tmp_path)
    try:
        a, b = town.houses
        theirs, mine = at(town, "b", 4), at(town, "a", 4)
        # Both are full of requests for the other.
        calls = [(a, name) for name in theirs for _ in range(4)]
        calls += [(b, name) for name in mine for _ in range(4)]
        gate = threading.Barrier(len(calls))

        def call(house: House, name: str) -> str:
            gate.wait()
            return profile(house, name).remember("aisle").status

        with ThreadPoolExecutor(len(calls)) as pool:
            found = list(pool.map(lambda one: call(*one), calls))
        assert sorted(set(found)) == ["created", "duplicate"]
        assert a.counted("requests_forwarded") == b.counted("requests_forwarded") == 16
    finally:
        town.close()


# -- cached reads ---------------------------------------------------------------------------------


def put(house: House, value: bytes, **headers: str) -> httpx.Response:
    return httpx.put(f"{house.url}/v1/db/{DB}/kv/s/k", content=value, headers=headers)


def get(house: House, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.get(f"{house.url}/v1/db/{DB}/kv/s/k", headers=named)


def test_a_key_is_read_where_it_is_asked_for_unless_it_is_to_be_primary(town: Town) -> None:
    a, b = town.houses
    town.give(DB, b)
    assert put(a, b"one").status_code == 200
    profile(a).sync()
    before = a.counted("requests_forwarded")
    assert get(a).content == b"one"
    assert a.counted("requests_forwarded") == before
    put(b, b"two")
    assert get(a).content == b"one"
    assert get(a, palimp_consistency="primary").content == b"two"
    assert a.counted("requests_forwarded") == before + 1
    assert town.ledger.owners == {DB: "b"}


def test_a_list_may_be_read_here_too(town: Town) -> None:
    a, b = town.houses
    town.give(DB, b)
    profile(b).remember("aisle")
    profile(b).sync()
    url, how = f"{a.url}/v1/memory/acme/alice/memories", {"palimp-consistency": "cached"}
    found = httpx.get(url, headers=how).json()
    assert [one["text"] for one in found["memories"]] == ["aisle"]
    assert a.counted("requests_forwarded") == 0
    assert httpx.get(url, headers={"palimp-consistency": "fresh"}).status_code == 400


def test_the_dialect_says_it_in_its_words(town: Town) -> None:
    a, b = town.houses
    town.give(DB, b)
    put(b, b"one")
    profile(b).sync()
    urls = [f"{a.url}/memoturn/v1/db/{DB}/kv/s/k", f"{a.url}/memoturn/v1/db/{DB}/kv/s"]
    cached, primary = ({"memoturn-consistency": word} for word in ("cached", "primary"))
    assert [httpx.get(url, headers=cached).status_code for url in urls] == [200, 200]
    assert a.counted("requests_forwarded") == 0
    assert [httpx.get(url, headers=primary).status_code for url in urls] == [200, 200]
    assert a.counted("requests_forwarded") == 2
    assert httpx.get(urls[0], headers={"memoturn-min-txid": "9"}).status_code == 503
    assert a.counted("requests_forwarded") == 3


def test_what_is_behind_what_the_caller_saw_is_looked_at_anew_then_read_at_its_node(
    town: Town,
) -> None:
    a, b = town.houses
    town.give(DB, b)
    put(b, b"one")
    profile(b).sync()
    assert get(a).content == b"one"
    put(b, b"two")
    profile(b).sync()
    # In the store, though this node would not look yet.
    assert get(a, palimp_min_txid="2").content == b"two"
    assert a.counted("requests_forwarded") == 0
    put(b, b"three")
    # At its node only.
    assert get(a, palimp_min_txid="3").content == b"three"
    assert a.counted("requests_forwarded") == 1
    behind = get(a, palimp_min_txid="4")
    assert (behind.status_code, behind.json()["details"]["reason"]) == (503, "behind")


def test_what_is_not_found_in_an_older_state_is_looked_for_at_its_node(town: Town) -> None:
    a, b = town.houses
    town.give(DB, b)
    profile(b).remember("aisle")
    profile(b).sync()
    assert get(a).status_code == 404
    put(b, b"one")
    assert get(a).status_code == 404
    assert get(a, palimp_min_txid="2").content == b"one"


# -- coming and going -----------------------------------------------------------------------------


def test_a_node_that_leaves_hands_over_and_sends_on(town: Town) -> None:
    a, _b = town.houses
    mine = at(town, "a", 3)
    for name in mine:
        profile(a, name).remember("aisle")
    a.node.leave(10)
    assert not town.ledger.owners
    assert httpx.get(f"{a.url}/ready").json()["status"] == "draining"
    for name in mine:
        assert [one.text for one in profile(a, name).list()] == ["aisle"]
        profile(a, name).remember("window")
    assert set(town.ledger.owners.values()) == {"b"}


def test_the_last_node_that_leaves_takes_nothing_more(town: Town) -> None:
    a, _b = town.houses
    town.ledger.end("b")
    a.node.leave(10)
    found = fails(lambda: profile(a).remember("aisle"))
    assert found.details["reason"] == "closed"
    assert found.retry_after
    assert not town.ledger.owners


def test_a_node_says_who_is_there(town: Town) -> None:
    a, b = town.houses
    found = httpx.get(f"{a.url}/v1/node").json()
    assert [(one["node"], one["address"]) for one in found["peers"]] == [("a", a.url), ("b", b.url)]
    ready = httpx.get(f"{a.url}/ready").json()
    assert (ready["status"], ready["peers"], ready["lease"]["grant"]) == ("ready", ["a", "b"], 1)


def test_the_lease_ends_last(town: Town) -> None:
    a, b = town.houses
    town.give(DB, a)
    profile(a).remember("aisle")
    shipped: list[bool] = []
    close = a.leases.close

    def closing() -> None:
        # By another node, which reads what is in the store.
        shipped.append(set(town.ledger.owners) == {DB})
        cached = {"palimp-consistency": "cached"}
        answer = httpx.get(f"{b.url}/v1/memory/acme/alice/memories", headers=cached)
        shipped.append([one["text"] for one in answer.json()["memories"]] == ["aisle"])
        close()

    a.leases.close = closing  # type: ignore[method-assign]
    a.close()
    town.houses.remove(a)
    assert shipped == [True, True]


def test_not_found_is_final_at_the_node_that_has_it(town: Town) -> None:
    a, b = town.houses
    town.give(DB, b)
    with pytest.raises(NotFound):
        profile(a).checkpoint("x") and profile(a).branch("none").sync()
