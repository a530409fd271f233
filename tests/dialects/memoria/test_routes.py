"""Every route: that it is exercised somewhere, and what it gives to somebody else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from palimp.http.dialects.foreign import Table
from palimp.http.dialects.memoria import ROUTES, Route

from .conftest import Spoken
from .test_memories import stored

ROOT = Path(__file__).parents[3]
MARK = "marker of ann"
MAY_REFUSE = {400, 401, 403, 404, 409, 422, 501, 503}


class Ann(NamedTuple):
    """What another user has: the values of paths, bodies that name them, and all that she sees."""

    memory: str
    key: str
    snapshot: str
    branch: str
    group: str
    client: httpx.Client

    def values(self, route: Route) -> dict[str, str]:
        named = self.snapshot if "/snapshots" in route.path else self.branch
        identity = self.memory
        if route.path.startswith("/auth"):
            identity = self.key
        elif route.path.startswith("/v1/groups"):
            identity = self.group
        return {
            "id": identity, "name": named, "session_id": "ann-session", "task_id": "0" * 32,
            "user": "ann", "key": "k", "version": "1", "domain": "governance",
        }  # fmt: skip

    def body(self, route: Route) -> dict[str, Any]:
        """Return a body that the route takes, with her ids wherever there is room for one."""
        memory, common = self.memory, {"user_id": "ann", "subject_id": None}
        bodies: dict[str, dict[str, Any]] = {
            "/v1/memories": {"content": "of eve"},
            "/v1/memories/batch": {"memories": [{"content": "of eve"}]},
            "/v1/memories/query": {"session_id": "ann-session"},
            "/v1/memories/correct": {"query": MARK, "new_content": "of eve"},
            "/v1/memories/{id}/correct": {"new_content": "of eve"},
            "/v1/memories/purge": {"memory_ids": [memory]},
            "/v1/memories/retrieve": {"query": MARK, "explain": "analyze"},
            "/v1/memories/search": {"query": MARK},
            "/v1/memories/fulltext-search": {"query": MARK},
            "/v1/memories/{id}/feedback": {"signal": "wrong"},
            "/v1/observe": {"messages": [], "session_id": "ann-session"},
            "/v1/pipeline/run": {"candidates": []},
            "/v1/extract-entities/link": {
                "entities": [{"memory_id": memory, "entities": [{"name": "x"}]}]
            },
            "/v1/snapshots": {"name": "of_eve"},
            "/v1/snapshots/delete": {"names": self.snapshot},
            "/v1/branches": {"name": "of_eve", "from_snapshot": self.snapshot},
            "/v1/branches/{name}/apply": {"adds": [memory], "removes": [memory]},
            "/v1/branches/{name}/pick": {"selector": {"type": "key_list", "keys": [memory]}},
            "/auth/keys": {"user_id": "ann", "name": "stolen"},
            "/mcp": {
                "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": {"name": "memory_retrieve", "arguments": {"query": MARK}},
            },
        }  # fmt: skip
        strict = ("/v1/memories/query", "/v1/memories/fulltext-search")
        found = bodies.get(route.path, {})
        return found if route.path in strict else {**common, **found}

    def sees(self) -> list[Any]:
        """Return all that she sees, to compare."""
        paths = ("/v1/memories", "/v1/snapshots", "/v1/branches", "/auth/keys", "/v1/groups",
                 "/v1/feedback/stats", "/v1/retrieval-params", "/v1/entities")  # fmt: skip
        found: list[Any] = []
        for path in paths:
            answer = self.client.get(path)
            assert answer.status_code == 200, answer.text
            text = re.sub(r'"last_used_at":[^,}]+', "", answer.text)
            found.append(text)
        return found


@pytest.fixture(scope="module")
def ann(spoken: Spoken) -> Ann:
    client = spoken.user("ann")
    made = stored(client, f"{MARK}: lives in Lisbon", session_id="ann-session")
    stored(client, f"{MARK}: likes tea", memory_type="profile")
    for path, name in (("/v1/snapshots", "ann_snapshot"), ("/v1/branches", "ann_branch")):
        assert client.post(path, json={"name": name}).is_success
    stored(client, f"{MARK}: on her branch", branch="ann_branch")
    key = client.get("/auth/keys").json()[0]["key_id"]
    group = client.post("/v1/groups", json={"group_name": "anns"}).json()["group_id"]
    return Ann(made["memory_id"], key, "ann_snapshot", "ann_branch", group, client)


@pytest.fixture(scope="module")
def eve(spoken: Spoken) -> httpx.Client:
    client = spoken.user("eve")
    stored(client, "something of her own")
    return client


def test_another_users_ids_give_nothing(ann: Ann, eve: httpx.Client) -> None:
    before = ann.sees()
    headers = {"x-user-id": "ann", "x-impersonate-user": "ann"}
    for route in ROUTES:
        path = route.path.format(**ann.values(route))
        body = None if route.method in ("GET", "DELETE") else ann.body(route)
        for query in ({"user_id": "ann"}, {"user_id": "ann", "branch": ann.branch}):
            answer = eve.request(route.method, path, headers=headers, params=query, json=body)
            where = f"{route.method} {route.path}: {answer.status_code} {answer.text}"
            assert MARK not in answer.text, where
            assert ann.memory not in answer.text or answer.status_code in (404, 422), where
            if route.who == "master":
                assert answer.status_code == 403, where
            elif not answer.is_success:
                assert answer.status_code in MAY_REFUSE, where
                assert set(answer.json()) == {"detail"}, where
            elif "{" in route.path:
                # Of what one asks for by name only that it is not there.
                assert answer.json() is None, where
    assert ann.sees() == before


def test_without_a_key_every_route_is_shut(spoken: Spoken, ann: Ann) -> None:
    with httpx.Client(base_url=spoken.url) as nobody:
        for route in ROUTES:
            path = route.path.format(**ann.values(route))
            answer = nobody.request(route.method, path, headers={"x-user-id": "ann"})
            if route.who == "nobody":
                assert answer.status_code == 200, route
            else:
                said = (answer.status_code, answer.json())
                assert said == (401, {"detail": "Missing Bearer token"}), route


def test_every_route_says_how_it_is_exercised() -> None:
    for route in ROUTES:
        text = (ROOT / route.exercised).read_text()
        words = [word for word in route.path.split("/") if word and not word.startswith("{")]
        assert [word for word in words if word not in text] == [], route
        assert f".{route.method.lower()}(" in text or f'"{route.method}"' in text, route


def test_no_route_hides_another() -> None:
    table = Table(ROUTES)
    assert len({(one.method, one.path) for one in ROUTES}) == len(ROUTES)
    for one in ROUTES:
        assert table.match(one.method, re.sub(r"\{\w+\}", "x", one.path).encode())[0] is one
