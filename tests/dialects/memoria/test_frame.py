"""Who is let in, how often, and in whose place."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from palimp.clock import ManualClock
from palimp.http.dialects.windows import Windows

from .conftest import MASTER, Spoken
from .test_memories import listed, refused, stored


def test_who_shows_nothing_or_nonsense_is_kept_out(spoken: Spoken) -> None:
    for headers, said in (
        ({}, "Missing Bearer token"),
        ({"authorization": f"Basic {MASTER}"}, "Missing Bearer token"),
        ({"authorization": "Bearer sk-" + "0" * 32}, "Invalid token"),
        ({"authorization": f"Bearer {MASTER}x"}, "Invalid token"),
    ):
        with httpx.Client(base_url=spoken.url) as nobody:
            answer = nobody.get("/v1/memories", headers=headers)
        refused(answer, 401, said)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_master_takes_any_users_place(spoken: Spoken, name: str) -> None:
    stored(spoken.master(name), "of the user")
    master = spoken.client()
    by_header = {"x-impersonate-user": name}
    assert len(master.get("/v1/memories", headers=by_header).json()["items"]) == 1
    assert len(listed(master, user_id=name)) == 1
    both = {"x-user-id": name, "x-impersonate-user": "nobody"}
    params = {"user_id": "nobody"}
    assert len(master.get("/v1/memories", headers=both, params=params).json()["items"]) == 1
    assert master.get("/v1/profiles/me").json()["user_id"] == "default"


def test_a_key_is_one_user_whatever_a_request_says(spoken: Spoken, name: str) -> None:
    theirs = stored(spoken.master(name), "of another user")
    eve = spoken.user("eve")
    for headers in ({"x-user-id": name}, {"x-impersonate-user": name}):
        found = eve.get("/v1/memories", headers=headers, params={"user_id": name}).json()
        assert found["items"] == []
        path = f"/v1/memories/{theirs['memory_id']}"
        assert eve.get(path, headers=headers, params={"user_id": name}).json() is None
    assert eve.get("/v1/profiles/me", headers={"x-user-id": name}).json()["user_id"] == "eve"
    refused(eve.get("/admin/stats"), 403, "Master key required")


def test_a_key_reaches_nothing_of_our_own_api(speaks: Any) -> None:
    spoken: Spoken = speaks(auth="on")
    headers = {"authorization": f"Bearer {spoken.key('mallory')}"}
    stored(spoken.client(headers["authorization"].removeprefix("Bearer ")), "here it does")
    for path in ("/v1/memory/memoria", "/v1/memory/memoria/mallory/memories", "/metrics"):
        assert httpx.get(spoken.ours + path, headers=headers).status_code == 401, path
    # Nor does a token of ours reach this one.
    minted = httpx.post(
        f"{spoken.ours}/v1/namespaces/memoria/tokens",
        json={"scope": "admin"},
        headers={"authorization": f"Bearer {MASTER}"},
    )
    assert minted.is_success, minted.text
    refused(spoken.client(minted.json()["token"]).get("/v1/memories"), 401, "Invalid token")


def test_where_nobody_asks_everybody_is_the_master(speaks: Any) -> None:
    spoken: Spoken = speaks(platform_key=None)
    nobody = spoken.client(None)
    stored(nobody, "of nobody in particular")
    assert len(listed(nobody, user_id="default")) == 1
    refused(spoken.client("sk-" + "0" * 32).get("/v1/memories"), 401, "Invalid token")
    # Once there is a key, one is asked for; a page that is no user's is kept out before, too.
    made = nobody.post("/auth/keys", json={"user_id": "ann", "name": "n"})
    assert made.status_code == 201
    refused(spoken.client(None).get("/v1/memories"), 401, "Missing Bearer token")
    assert listed(spoken.client(made.json()["raw_key"])) == []
    away = httpx.get(f"{spoken.url}/v1/memories", headers={"host": "example.com"})
    assert away.status_code == 421


def test_a_key_over_its_rate_waits(speaks: Any) -> None:
    spoken: Spoken = speaks(key_rate_limit="3,3600")
    ann, bob = spoken.user("ann"), spoken.user("bob")
    answers = [ann.get("/v1/memories") for _ in range(4)]
    assert [one.status_code for one in answers] == [200, 200, 200, 429]
    refused(answers[-1], 429, "Rate limit exceeded: 3 requests in 3,600 s")
    assert 0 < int(answers[-1].headers["retry-after"]) <= 7200
    assert bob.get("/v1/memories").status_code == 200
    assert {spoken.master("ann").get("/v1/memories").status_code for _ in range(5)} == {200}


def test_a_window_slides(clock: ManualClock) -> None:
    windows = Windows(clock, 4, 60)
    clock.advance(-clock.monotonic() % 60)
    assert [windows.take("k") > 0 for _ in range(5)] == [False] * 4 + [True]
    assert windows.take("other") == 0
    wait = windows.take("k")
    clock.advance(wait + 0.01)
    assert windows.take("k") == 0
    assert windows.take("k") > 0
    clock.advance(120)
    assert [windows.take("k") > 0 for _ in range(5)] == [False] * 4 + [True]


def test_any_number_fits_no_limit(clock: ManualClock) -> None:
    windows = Windows(clock, 0, 60)
    assert not any(windows.take("k") for _ in range(100))


@pytest.mark.parametrize("wait_of", [1, 7, 1000])
def test_after_its_wait_a_request_fits(clock: ManualClock, wait_of: int) -> None:
    windows = Windows(clock, wait_of, 60)
    clock.advance(13)
    done = 0
    while done < 3 * wait_of:
        wait = windows.take("k")
        if wait:
            assert wait <= 120
            clock.advance(wait + 0.001)
            assert windows.take("k") == 0
        done += 1


def test_what_a_defect_says_stays_here(spoken: Spoken, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a secret of the inside")

    monkeypatch.setattr(spoken.node, "call", broken)
    answer = spoken.master("ann").get("/v1/memories")
    refused(answer, 500, "Internal error: request ")
    assert "secret" not in answer.text


def test_below_our_api_and_at_the_port_it_is_the_same(spoken: Spoken, name: str) -> None:
    made = stored(spoken.master(name), "seen from both")
    headers = {"authorization": f"Bearer {MASTER}", "x-user-id": name}
    path = f"/v1/memories/{made['memory_id']}"
    found = [httpx.get(url + path, headers=headers) for url in (spoken.url, spoken.mounted)]
    assert found[0].json() == found[1].json()
    assert found[0].json()["content"] == "seen from both"
    assert all("palimp-request-id" in one.headers for one in found)
    with httpx.Client() as raw:
        slash = raw.get(f"{spoken.url}/v1/memories/a%2Fb", headers=headers)
    assert (slash.status_code, slash.json()) == (200, None)


# -- what holds for every request of this node holds here -----------------------------------------


def test_requests_are_counted_by_their_route(spoken: Spoken, name: str) -> None:
    stored(spoken.master(name), "counted")
    headers = {"authorization": f"Bearer {MASTER}"}
    text = httpx.get(f"{spoken.ours}/metrics", headers=headers).text
    assert 'palimp_http_requests_total{operation="memoria POST /v1/memories",status="201"}' in text
    assert name not in text


def test_a_node_that_stops_or_is_full_says_so(speaks: Any) -> None:
    spoken: Spoken = speaks(max_concurrency=1)
    ann = spoken.master("ann")
    inside, going_on = threading.Event(), threading.Event()
    call = spoken.node.call

    def held(*given: Any, **more: Any) -> Any:
        inside.set()
        assert going_on.wait(20)
        return call(*given, **more)

    spoken.node.call = held  # type: ignore[method-assign]
    answers: list[httpx.Response] = []
    first = threading.Thread(target=lambda: answers.append(ann.get("/v1/memories")))
    first.start()
    assert inside.wait(20)
    full = spoken.client().get("/v1/memories")
    # Their client repeats a 503, and never a 429.
    refused(full, 503, "under way")
    assert int(full.headers["retry-after"]) >= 1
    assert httpx.get(f"{spoken.url}/health").text == "ok"
    going_on.set()
    first.join()
    assert [one.status_code for one in answers] == [200]
    spoken.app.api.drain()
    refused(ann.get("/v1/memories"), 503, "stopping")


def test_what_takes_too_long_is_not_repeated(speaks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken: Spoken = speaks(request_timeout=0.2)
    going_on = threading.Event()
    call = spoken.node.call

    def held(*given: Any, **more: Any) -> Any:
        assert going_on.wait(20)
        return call(*given, **more)

    monkeypatch.setattr(spoken.node, "call", held)
    answer = spoken.master("ann").post("/v1/memories", json={"content": "slow"})
    going_on.set()
    # In doubt: a client that repeats writes on 502, 503 and 504 must not repeat this one.
    refused(answer, 408, "took longer than 0.2 s")
