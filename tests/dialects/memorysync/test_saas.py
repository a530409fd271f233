"""What a hosted service has and a node does not: 501 with a reason, and empty listings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from palimp.clock import ManualClock
from palimp.http.dialects.foreign import Route
from palimp.http.dialects.memorysync.routes import ROUTES
from palimp.http.dialects.memorysync.saas import ROUTES as ELSEWHERE

from .speaking import House

REFUSED = [one for one in ELSEWHERE if one.refusal is not None]
EMPTY = [one for one in ELSEWHERE if one.method == "GET" and one.handler is not None]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    found = House(tmp_path_factory.mktemp("saas"), ManualClock())
    yield found
    found.close()


def _asked(http: httpx.Client, route: Route) -> httpx.Response:
    path = "/".join("7" if word.startswith("{") else word for word in route.path.split("/"))
    return http.request(route.method, path)


def test_each_is_refused_with_its_reason(house: House) -> None:
    http = house.raw(None)
    for route in REFUSED:
        answer = _asked(http, route)
        said = answer.json()
        assert (answer.status_code, said["error"]["code"]) == (501, "NOT_IMPLEMENTED"), route
        assert said["detail"] == said["error"]["message"] == route.refusal
        assert said["request_id"] == answer.headers["x-request-id"]


def test_listings_are_empty(house: House) -> None:
    http = house.raw(None)
    for route in EMPTY:
        answer = _asked(http, route)
        assert answer.status_code == 200, route
        found = answer.json()
        values = found.values() if isinstance(found, dict) else [found]
        assert all(not value for value in values if isinstance(value, list | dict)), route


def test_only_signing_in_is_answered_without_a_key(house: House) -> None:
    with httpx.Client(base_url=house.url) as stranger:
        opened = [one for one in ELSEWHERE if one.who == "nobody"]
        assert len(opened) == 4
        assert {_asked(stranger, one).status_code for one in opened} == {501}
        assert _asked(stranger, EMPTY[0]).status_code == 401


def test_no_key_erases_an_account(house: House) -> None:
    answer = house.raw().delete("/memory/user/purge")
    assert answer.status_code == 403
    assert "cannot erase an account" in answer.json()["detail"]


def test_every_route_stands_once_and_names_the_file_that_tests_it() -> None:
    places = [(route.method, route.path) for route in ROUTES]
    assert len(places) == len(set(places))
    root = Path(__file__).parents[3]
    named = {route.exercised for route in ROUTES}
    assert all((root / one).exists() for one in named if one), named
