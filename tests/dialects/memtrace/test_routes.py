"""Every route: that it is exercised somewhere, and what it gives to another organisation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx

from palimp.http.dialects.foreign import Table
from palimp.http.dialects.memtrace import ROUTES, Route
from palimp.http.dialects.memtrace.routes import PREFLIGHTS

from .conftest import Org
from .test_agents import register

ROOT = Path(__file__).parents[3]
MARK = "marker of ann"
MAY_REFUSE = {400, 404, 409}


class Ann:
    """What another organisation has, and all that it sees."""

    def __init__(self, org: Org) -> None:
        self.org = org
        self.agent: str = register(org, "ann", description=MARK)["id"]
        session = org.post("sessions", {"agent_id": self.agent, "metadata": {"m": MARK}})
        self.session: str = session.json()["id"]
        fields = {"session_id": self.session, "tags": ["ann"], "dedup_key": "key_of_ann"}
        org.add(MARK, agent=self.agent, **fields)

    def paths(self, route: Route) -> list[str]:
        """Return the route's paths with everything of ann's that might be meant."""
        words = {
            "memories": ["key_of_ann", "marker"],
            "agents": [self.agent, "ann"],
            "sessions": [self.session],
        }
        kind = route.path.removeprefix("/api/v1/").partition("/")[0]
        given = words.get(kind, ["x"]) if "{" in route.path else [""]
        return [re.sub(r"\{\w+\}", one, route.path) for one in given]

    def bodies(self) -> list[dict[str, Any]]:
        """Return bodies that name what is ann's wherever there is room for it."""
        named = {"agent_id": self.agent, "session_id": self.session, "org_id": self.org.id}
        return [
            {**named, "name": "of eve", "content": "of eve", "tags": ["ann"], "status": "closed"},
            {**named, "dedup_key": "key_of_ann", "content": "of eve", "metadata": {"m": "eve"}},
            {"org_id": self.org.id, "content_contains": "marker", "limit": 1_000},
        ]

    def sees(self) -> list[str]:
        """Return all that ann sees, to compare."""
        paths = (
            "memories", "agents", "sessions", f"agents/{self.agent}", f"sessions/{self.session}",
            f"agents/{self.agent}/stats", f"agents/{self.agent}/memories",
            f"sessions/{self.session}/memories", "memories/key_of_ann",
        )  # fmt: skip
        found = [self.org.get(path) for path in paths]
        found.append(self.org.post(f"sessions/{self.session}/context"))
        assert all(one.status_code == 200 for one in found)
        assert all(MARK in one.text for one in found[:5])
        return [one.text for one in found]


def test_another_organisations_ids_give_nothing(org: Org, other: Org) -> None:
    ann, eve = Ann(org), other
    before = ann.sees()
    query = {"agent_id": ann.agent, "session_id": ann.session, "org_id": org.id, "tags": "ann"}
    for route in ROUTES:
        for path in ann.paths(route):
            for body in [None] if route.method in ("GET", "DELETE") else ann.bodies():
                for params in ({}, query, {"org_id": org.id, "tags": "ann"}):
                    answer = eve.raw.request(route.method, path, params=params, json=body)
                    where = f"{route.method} {path}: {answer.status_code} {answer.text}"
                    assert MARK not in answer.text, where
                    # That there is an organisation which has an Arc anybody is told, as there.
                    assert org.id not in answer.text or route.who == "nobody", where
                    if route.who == "user" and not answer.is_success:
                        assert answer.status_code in MAY_REFUSE, where
                        assert set(answer.json()) == {"error"}, where
    assert ann.sees() == before


def test_without_a_key_every_route_is_shut(org: Org) -> None:
    with httpx.Client(base_url=org.house.url) as nobody:
        for route in ROUTES:
            answer = nobody.request(route.method, re.sub(r"\{\w+\}", "x", route.path))
            if route.who == "nobody":
                assert answer.json()["status"] in ("ok", "ready", "not ready"), route
            else:
                assert (answer.status_code, answer.json()) == (401, {"error": "missing API key"})


def test_every_route_says_what_a_key_needs() -> None:
    for route in ROUTES:
        asks = route.method == "GET" or route.path.endswith(("/search", "/context"))
        expected = "" if route.who == "nobody" else "read" if asks else "write"
        assert route.needs == expected, route


def test_every_route_says_how_it_is_exercised() -> None:
    calls = {"get": (".get(", ".contents("), "post": (".post(", ".add("), "put": (".put(",)}
    for route in ROUTES:
        text = (ROOT / route.exercised).read_text()
        words = route.path.removeprefix("/api/v1/").split("/")
        named = [word for word in words if word and not word.startswith("{")]
        assert [word for word in named if word not in text] == [], route
        said = calls.get(route.method.lower(), (f".{route.method.lower()}(",))
        assert any(one in text for one in said), route


def test_no_route_hides_another() -> None:
    table = Table((*ROUTES, *PREFLIGHTS))
    assert len({(one.method, one.path) for one in ROUTES}) == len(ROUTES)
    assert {one.path for one in PREFLIGHTS} == {one.path for one in ROUTES}
    for one in (*ROUTES, *PREFLIGHTS):
        assert table.match(one.method, re.sub(r"\{\w+\}", "x", one.path).encode())[0] is one


def test_the_routes_are_those_of_that_system() -> None:
    assert sorted(f"{one.method} {one.path}" for one in ROUTES) == [
        "DELETE /api/v1/agents/{id}",
        "GET /api/v1/agents",
        "GET /api/v1/agents/{id}",
        "GET /api/v1/agents/{id}/memories",
        "GET /api/v1/agents/{id}/stats",
        "GET /api/v1/memories",
        "GET /api/v1/memories/{id}",
        "GET /api/v1/sessions",
        "GET /api/v1/sessions/{id}",
        "GET /api/v1/sessions/{id}/memories",
        "GET /health",
        "GET /ready",
        "POST /api/v1/agents",
        "POST /api/v1/memories",
        "POST /api/v1/search",
        "POST /api/v1/sessions",
        "POST /api/v1/sessions/{id}/context",
        "PUT /api/v1/sessions/{id}",
    ]
