"""The Memoturn dialect over HTTP: below our API and at the root of a port of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from palimp.api import OPERATIONS
from palimp.api.routes import placeholders
from palimp.http import create_app
from palimp.http.api import Api, Limits
from palimp.http.dialects.memoturn import ROUTES, Memoturn, Route
from palimp.http.dialects.memoturn.routes import Routes
from palimp.node import Node, load_settings
from palimp.node.serving import Served

PLATFORM = "platform-key-of-the-tests"
MEMORY = ("id", "type", "topic_key", "summary", "content", "keywords", "session_id", "source")
EAST, NORTH, NEAR_EAST = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.9, 0.1, 0.0]


class Spoken:
    """A node that asks for credentials, with one port for our API and one for the dialect."""

    def __init__(self, path: Path) -> None:
        given: dict[str, Any] = {"auth": "on", "platform_key": PLATFORM, "single_node": True}
        given |= {"control_rate": 1_000, "auth_failure_rate": 1_000_000, "embed_provider": "none"}
        given["catalog_url"] = f"sqlite:///{path.parent}/catalog.db"
        settings = load_settings({"data_dir": path, **given})
        self.node = Node(settings)
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        ports = [one.getsockname()[1] for one in listeners]
        self.ours = f"http://127.0.0.1:{ports[0]}"
        self.urls = {"mounted": f"{self.ours}/memoturn", "port": f"http://127.0.0.1:{ports[1]}"}
        app = create_app(self.node, ports={ports[1]: "memoturn"})
        self.served = Served(app, listeners, read_seconds=10)

    def close(self) -> None:
        assert self.served.stop(5)
        self.node.close()


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spoken]:
    made = Spoken(tmp_path_factory.mktemp("memoturn") / "m")
    yield made
    made.close()


@pytest.fixture(params=["mounted", "port"])
def url(spoken: Spoken, request: pytest.FixtureRequest) -> str:
    return spoken.urls[request.param]


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {PLATFORM}"}
    with httpx.Client(base_url=url, headers=headers) as client:
        yield client


class Profile:
    """One profile of a namespace, as a client of that system has it."""

    def __init__(self, http: httpx.Client, namespace: str, profile: str = "alice") -> None:
        self.http = http
        self.at = f"/v1/memory/{namespace}/{profile}"
        self.db = f"/v1/db/{namespace}--{profile}"

    def ingest(self, *memories: dict[str, Any], **params: str) -> dict[str, Any]:
        given = {"memories": list(memories)}
        answer = self.http.post(f"{self.at}/memories", json=given, params=params)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        assert answer.headers["memoturn-txid"] == str(found["txid"])
        return found

    def recall(self, **asked: Any) -> dict[str, Any]:
        branch = {"branch": asked.pop("branch")} if "branch" in asked else None
        answer = self.http.post(f"{self.at}/recall", json=asked, params=branch)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def get(self, identity: str) -> dict[str, Any]:
        answer = self.http.get(f"{self.at}/memories/{identity}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def post(self, path: str, body: Any = None) -> dict[str, Any]:
        answer = self.http.post(self.db + path, json=body)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def profile(http: httpx.Client, url: str, request: pytest.FixtureRequest) -> Profile:
    way = "m" if url.endswith("/memoturn") else "p"
    name = request.node.originalname.removeprefix("test_").replace("_", "-")[:40].strip("-")
    return Profile(http, f"{way}-{name}")


def fact(summary: str, topic: str | None = None, **more: Any) -> dict[str, Any]:
    content = {"about": summary}
    return {"type": "fact", "summary": summary, "content": content, "topic_key": topic, **more}


# -- the eight checks of that system's acceptance ------------------------------------------------


def test_check_1_ingest_says_what_became_of_each(profile: Profile) -> None:
    diet = fact("Food preference: vegetarian", "user.diet")
    event = {"type": "event", "summary": "Booked a table", "content": {"at": "noon"}}
    task = {"type": "task", "summary": "Call back", "content": {}, "session_id": "s1"}
    first = profile.ingest(diet, event, {**task, "ttl": 600})
    assert [one["status"] for one in first["results"]] == ["created"] * 3
    assert all(set(one) == {"id", "status", "superseded"} for one in first["results"])
    again = profile.ingest(diet)["results"][0]
    assert (again["status"], again["superseded"]) == ("duplicate", [])
    assert again["id"] == first["results"][0]["id"]
    vegan = profile.ingest({**diet, "summary": "Food preference: vegan", "content": "vegan"})
    assert vegan["results"][0]["superseded"] == [first["results"][0]["id"]]
    back = profile.ingest(diet)["results"][0]
    assert (back["status"], back["superseded"]) == ("revived", [vegan["results"][0]["id"]])


def test_check_2_recall_hides_what_was_superseded(profile: Profile) -> None:
    old = profile.ingest(fact("Eats fish", "user.diet", keywords="food preference"))["results"][0]
    new = profile.ingest(fact("Eats plants", "user.diet", keywords="food preference"))["results"][0]
    found = profile.recall(query="what food preference?")
    assert [one["id"] for one in found["memories"]] == [new["id"]]
    hit = found["memories"][0]
    assert "keyword" in hit["channels"]
    assert set(MEMORY) <= set(hit)
    assert isinstance(hit["score"], float)
    assert hit["created_at"] > 1_600_000_000_000
    assert "text" not in hit
    assert "turns" not in found
    was = profile.get(old["id"])
    assert (was["superseded_by"], was["supersedes"]) == (new["id"], [])
    assert was["superseded_at"] is not None
    assert profile.get(new["id"])["supersedes"] == [old["id"]]
    both = profile.recall(topic_key="user.diet", include_superseded=True)["memories"]
    assert {one["id"] for one in both} == {old["id"], new["id"]}


def test_check_3_recall_by_vector_and_turns(profile: Profile) -> None:
    profile.ingest(fact("east", embedding=EAST), fact("north", embedding=NORTH))
    said = {"role": "user", "content": "towards the sunrise", "embedding": EAST}
    profile.post("/memory/s1/turns", said)
    found = profile.recall(embedding=NEAR_EAST, k=1, include_turns=True)
    assert [one["summary"] for one in found["memories"]] == ["east"]
    assert found["memories"][0]["channels"] == ["vector"]
    (turn,) = found["turns"]
    assert set(turn) == {"session_id", "seq", "role", "content", "distance"}
    assert (turn["session_id"], turn["seq"], turn["content"]) == ("s1", 1, "towards the sunrise")
    assert turn["distance"] == pytest.approx(0.006, abs=0.001)


def test_check_4_sessions(profile: Profile) -> None:
    task = {"type": "task", "summary": "Call", "content": {}, "session_id": "s1"}
    made = profile.ingest(task)["results"][0]["id"]
    profile.post("/memory/s1/turns", {"role": "user", "content": {"said": "hello"}})
    listed = profile.http.get(f"{profile.at}/sessions").json()["sessions"]
    assert [one["id"] for one in listed] == ["s1"]
    assert {"created_at", "last_active_at"} <= set(listed[0])
    ended = profile.http.delete(f"{profile.at}/sessions/s1", params={"turns": "true"})
    assert (ended.status_code, ended.content) == (204, b"")
    assert int(ended.headers["memoturn-txid"]) > 0
    assert profile.http.get(f"{profile.at}/sessions").json()["sessions"] == []
    assert profile.http.get(f"{profile.at}/memories/{made}").status_code == 404


@pytest.mark.parametrize("number", [False, True], ids=["name", "txid"])
def test_check_5_rewind(profile: Profile, number: bool) -> None:
    profile = Profile(profile.http, profile.at.split("/")[3], "number" if number else "name")
    right = profile.ingest(fact("Lives in Lisbon", "user.home"))["results"][0]["id"]
    point = profile.post("/branches/main/checkpoint", {"name": "before"})
    profile.ingest(fact("Lives on the moon", "user.home"))
    to = str(point["txid"]) if number else "before"
    profile.post("/branches/main/rewind", {"to": to})
    (hit,) = profile.recall(topic_key="user.home")["memories"]
    assert (hit["id"], hit["superseded_by"]) == (right, None)
    profile.post("/branches/main/rewind", {"to": point["txid"]})
    missing = profile.http.post(f"{profile.db}/branches/main/rewind", json={"to": "nowhere"})
    assert missing.status_code == 404


def test_check_6_a_fork_stays_apart(profile: Profile) -> None:
    profile.ingest(fact("main"))
    made = profile.http.post(f"{profile.db}/branches", json={"name": "trial", "ttl": 600})
    assert made.status_code == 201
    profile.ingest(fact("only tried"), branch="trial")
    assert profile.recall(query="tried")["memories"] == []
    assert len(profile.recall(query="tried", branch="trial")["memories"]) == 1
    on = profile.http.post(
        f"{profile.at}/recall", json={"query": "tried"}, headers={"memoturn-branch": "trial"}
    )
    assert len(on.json()["memories"]) == 1
    names = [one["name"] for one in profile.http.get(f"{profile.db}/branches").json()["branches"]]
    assert sorted(names) == ["main", "trial"]
    again = profile.http.post(f"{profile.db}/branches", json={"name": "trial"})
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")


def test_check_7_forget_and_source(profile: Profile) -> None:
    mine = fact("Seen by the planner", source="planner")
    other = fact("Seen by the critic", source="critic")
    first, _ = profile.ingest(mine, other)["results"]
    (hit,) = profile.recall(query="seen", source="planner")["memories"]
    assert hit["source"] == "planner"
    profile.ingest({**mine, "source": "late"})
    assert profile.get(first["id"])["source"] == "planner"
    forgotten = [
        profile.http.delete(f"{profile.at}/memories/{first['id']}").status_code for _ in range(2)
    ]
    assert forgotten == [204, 404]


@pytest.mark.parametrize(
    ("what", "body"),
    [("ask", {"question": "who?"}), ("extract", {"turns": [{"role": "user", "content": "Hi"}]})],
)
def test_check_8_without_a_model(profile: Profile, what: str, body: dict[str, Any]) -> None:
    answer = profile.http.post(f"{profile.at}/{what}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (503, "unconfigured")
    assert set(answer.json()) == {"error", "code"}


# -- every route ---------------------------------------------------------------------------------


class Call(NamedTuple):
    """How a row is exercised: with what, and what comes back."""

    path: str
    body: Any = None
    status: int = 200
    keys: tuple[str, ...] = ()
    raw: bytes | None = None

    def ask(self, http: httpx.Client, method: str, path: str) -> httpx.Response:
        if self.raw is None:
            return http.request(method, path, json=self.body)
        return http.request(method, path, content=self.raw, headers={"content-type": "image/png"})


P, D = "/v1/memory/walk/alice", "/v1/db/walk--alice"
ITEM = {"type": "event", "summary": "seen", "content": {"n": 1}}
# In this order, each for the rows after it.
CALLS: dict[tuple[str, str], Call] = {
    ("GET", "/health"): Call("/health"),
    ("GET", "/healthz"): Call("/healthz"),
    ("POST", "/v1/databases"): Call(
        "/v1/databases", {"name": "walk--alice"}, 201, ("name", "uuid", "created_at")
    ),
    ("GET", "/v1/databases"): Call("/v1/databases", None, 200, ("databases",)),
    ("POST", "/v1/databases/{db}/tokens"): Call(
        "/v1/databases/walk--alice/tokens", {"scope": "read", "expires_in": 60}, 200, ("token",)
    ),
    ("POST", "/v1/namespaces/{namespace}/tokens"): Call(
        "/v1/namespaces/walk/tokens", {"scope": "admin"}, 200, ("token",)
    ),
    ("PUT", "/v1/namespaces/{namespace}/policy"): Call(
        "/v1/namespaces/walk/policy", {"policy": {"audit": {"enabled": True}}}, 200, ("policy",)
    ),
    ("GET", "/v1/namespaces/{namespace}/policy"): Call(
        "/v1/namespaces/walk/policy", None, 200, ("policy",)
    ),
    ("PUT", "/v1/memory/{namespace}/{profile}/policy"): Call(
        f"{P}/policy", {"policy": {"memory": {"task_ttl_max_secs": 600}}}
    ),
    ("GET", "/v1/memory/{namespace}/{profile}/policy"): Call(
        f"{P}/policy", None, 200, ("override", "effective")
    ),
    ("POST", "/v1/memory/{namespace}/{profile}/memories"): Call(
        f"{P}/memories", {"memories": [ITEM]}, 201, ("results", "txid")
    ),
    ("GET", "/v1/memory/{namespace}"): Call("/v1/memory/walk", None, 200, ("profiles",)),
    ("POST", "/v1/memory/{namespace}/{profile}/recall"): Call(
        f"{P}/recall", {"query": "seen"}, 200, ("memories", "txid")
    ),
    ("GET", "/v1/memory/{namespace}/{profile}/memories/{id}"): Call(
        f"{P}/memories/{{id}}", None, 200, (*MEMORY, "supersedes", "txid")
    ),
    ("DELETE", "/v1/memory/{namespace}/{profile}/memories/{id}"): Call(
        f"{P}/memories/{{id}}", None, 204
    ),
    ("POST", "/v1/memory/{namespace}/{profile}/ask"): Call(f"{P}/ask", {"question": "?"}, 503),
    ("POST", "/v1/memory/{namespace}/{profile}/extract"): Call(
        f"{P}/extract", {"turns": [{"role": "user", "content": "Hi"}]}, 503
    ),
    ("POST", "/v1/memory/{namespace}/{profile}/erasures"): Call(
        f"{P}/erasures",
        {"topic_key": "user.old", "type": "fact"},
        202,
        ("erasure_id", "status", "txid", "grace_until"),
    ),
    ("GET", "/v1/memory/{namespace}/{profile}/erasures"): Call(
        f"{P}/erasures", None, 200, ("erasures",)
    ),
    ("GET", "/v1/memory/{namespace}/{profile}/erasures/{id}"): Call(
        f"{P}/erasures/{{erasure}}",
        None,
        200,
        ("id", "status", "target", "requested_at", "completed_at", "blocked_by", "receipt"),
    ),
    ("POST", "/v1/db/{db}/sql"): Call(
        f"{D}/sql",
        {"stmts": [{"q": "select ? as a, 'b' as b", "params": [7]}], "txn": True},
        200,
        ("results", "txid"),
    ),
    ("POST", "/v1/db/{db}/sync"): Call(f"{D}/sync", None, 200, ("txid",)),
    ("PUT", "/v1/db/{db}/kv/{ns}/{key}"): Call(
        f"{D}/kv/cache/a%2Fb?ttl=60", None, 200, ("txid",), b"\x00raw"
    ),
    ("GET", "/v1/db/{db}/kv/{ns}"): Call(f"{D}/kv/cache?prefix=a&limit=5", None, 200, ("keys",)),
    ("GET", "/v1/db/{db}/kv/{ns}/{key}"): Call(f"{D}/kv/cache/a%2Fb?consistency=primary"),
    ("DELETE", "/v1/db/{db}/kv/{ns}/{key}"): Call(f"{D}/kv/cache/a%2Fb", None, 204),
    ("POST", "/v1/db/{db}/docs/{collection}/insert"): Call(
        f"{D}/docs/trips/insert", {"docs": [{"to": "Oslo", "n": 1}]}, 200, ("ids", "txid")
    ),
    ("POST", "/v1/db/{db}/docs/{collection}/indexes"): Call(
        f"{D}/docs/trips/indexes", {"path": "to"}
    ),
    ("POST", "/v1/db/{db}/docs/{collection}/find"): Call(
        f"{D}/docs/trips/find", {"filter": {"n": {"$gt": 0}}, "sort": {"n": -1}}, 200, ("docs",)
    ),
    ("POST", "/v1/db/{db}/docs/{collection}/update"): Call(
        f"{D}/docs/trips/update",
        {"filter": {"to": "Oslo"}, "update": {"$inc": {"n": 1}}, "multi": False},
        200,
        ("modified", "txid"),
    ),
    ("POST", "/v1/db/{db}/docs/{collection}/delete"): Call(
        f"{D}/docs/trips/delete", {"filter": {"n": 2}}, 200, ("deleted", "txid")
    ),
    ("POST", "/v1/db/{db}/vectors/{collection}"): Call(
        f"{D}/vectors/faces", {"id": "v1", "embedding": EAST}, 200, ("txid",)
    ),
    ("POST", "/v1/db/{db}/vectors/{collection}/search"): Call(
        f"{D}/vectors/faces/search", {"vector": NEAR_EAST}, 200, ("hits",)
    ),
    ("POST", "/v1/db/{db}/memory/{session_id}/turns"): Call(
        f"{D}/memory/s1/turns",
        {"role": "user", "content": "hi", "embedding": EAST},
        200,
        ("seq", "txid"),
    ),
    ("GET", "/v1/db/{db}/memory/{session_id}/turns"): Call(
        f"{D}/memory/s1/turns?last=20", None, 200, ("turns",)
    ),
    ("POST", "/v1/db/{db}/memory/{session_id}/search"): Call(
        f"{D}/memory/s1/search", {"vector": EAST}, 200, ("turns",)
    ),
    ("GET", "/v1/memory/{namespace}/{profile}/sessions"): Call(
        f"{P}/sessions?limit=5", None, 200, ("sessions",)
    ),
    ("DELETE", "/v1/memory/{namespace}/{profile}/sessions/{session_id}"): Call(
        f"{P}/sessions/s1?turns=true", None, 204
    ),
    **{
        (method, f"/v1/{word}/{{db}}/branches{rest}"): Call(
            f"/v1/{word}/walk--alice/branches{rest.replace('{branch}', f't-{word}')}",
            body,
            status,
            keys,
        )
        for word in ("db", "databases")
        for method, rest, body, status, keys in (
            ("POST", "", {"name": f"t-{word}", "from": "main", "ttl": 600}, 201, ("name",)),
            ("GET", "", None, 200, ("branches",)),
            ("POST", "/{branch}/checkpoint", {"name": "here"}, 200, ("name", "txid")),
            ("POST", "/{branch}/rewind", {"to": "here"}, 200, ("txid",)),
            ("DELETE", "/{branch}", None, 204, ()),
        )
    },
    ("GET", "/v1/namespaces/{namespace}/audit"): Call(
        "/v1/namespaces/walk/audit?action=memory.&outcome=ok&limit=10",
        None,
        200,
        ("events", "next_cursor", "complete"),
    ),
    ("GET", "/v1/databases/{db}/usage"): Call("/v1/databases/walk--alice/usage"),
    ("DELETE", "/v1/databases/{db}"): Call("/v1/databases/walk--alice", None, 204),
}


def test_every_route_is_exercised(http: httpx.Client) -> None:
    assert set(CALLS) == {(row.method, row.path) for row in ROUTES}
    found: dict[tuple[str, str], httpx.Response] = {}
    identity = erasure = ""
    for (method, path), call in CALLS.items():
        filled = call.path.replace("{id}", identity).replace("{erasure}", erasure)
        answer = call.ask(http, method, filled)
        assert answer.status_code == call.status, (method, path, answer.text)
        if call.keys:
            assert set(call.keys) <= set(answer.json()), (method, path, answer.text)
        if path.endswith("/memories"):
            identity = answer.json()["results"][0]["id"]
        if method == "POST" and path.endswith("/erasures"):
            erasure = answer.json()["erasure_id"]
        assert not any(name.startswith("palimp-") for name in answer.headers)
        found[method, path] = answer
    assert found["GET", "/health"].text == "ok"
    raw = found["GET", "/v1/db/{db}/kv/{ns}/{key}"]
    assert (raw.content, raw.headers["content-type"]) == (b"\x00raw", "image/png")
    assert found["GET", "/v1/db/{db}/kv/{ns}"].json()["keys"] == ["a/b"]
    (result,) = found["POST", "/v1/db/{db}/sql"].json()["results"]
    assert (result["columns"], result["rows"]) == (["a", "b"], [[7, "b"]])
    (near,) = found["POST", "/v1/db/{db}/vectors/{collection}/search"].json()["hits"]
    assert near["id"] == "v1"
    assert found["POST", "/v1/db/{db}/docs/{collection}/update"].json()["modified"] == 1
    assert found["POST", "/v1/db/{db}/docs/{collection}/delete"].json()["deleted"] == 1
    turns = found["GET", "/v1/db/{db}/memory/{session_id}/turns"].json()["turns"]
    assert turns == [{"session_id": "s1", "seq": 1, "role": "user", "content": "hi"}]
    assert found["GET", "/v1/memory/{namespace}"].json()["profiles"] == [{"profile": "alice"}]
    databases = found["GET", "/v1/databases"].json()["databases"]
    assert "walk--alice" in {one["name"] for one in databases}


IDS = [f"{row.method} {row.path}" for row in ROUTES]


@pytest.mark.parametrize("route", ROUTES, ids=IDS)
def test_a_row_says_what_holds(route: Route) -> None:
    if route.operation is None:
        assert (route.scope == "nobody") == (route.refusal is None)
        return
    operation = OPERATIONS[route.operation]
    assert route.refusal is None
    assert route.method == operation.method
    assert route.scope == ("platform" if operation.platform else operation.scope)
    given = set(placeholders(route.path))
    # A database's name has both names of a profile in it.
    given |= {"namespace", "profile"} if "db" in given else set()
    assert set(placeholders(operation.path)) <= given


@pytest.mark.parametrize("route", ROUTES, ids=IDS)
def test_a_row_asks_for_its_scope(spoken: Spoken, url: str, route: Route) -> None:
    call = CALLS[route.method, route.path]
    path = call.path.replace("walk", "guarded").replace("{id}", "mem_0")
    now = spoken.node.context.clock.now_ms() // 1000

    def status(token: str | None) -> int:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=headers) as http:
            return call.ask(http, route.method, path).status_code

    if route.scope == "nobody":
        assert status(None) == 200
        return
    assert status(None) == 401
    assert status("nonsense") == 401
    if route.refusal is not None:
        assert status(spoken.node.tokens.mint("guarded", "alice", "read", now)) == 503
        return
    # The operation says the rest, whichever way it is reached; here, that it is asked.
    assert status(spoken.node.tokens.mint("guarded-x", None, "admin", now)) == 403
    if route.scope in ("write", "admin"):
        assert status(spoken.node.tokens.mint("guarded", None, "read", now)) == 403


# -- what is called otherwise there --------------------------------------------------------------


def test_headers(profile: Profile) -> None:
    made = profile.ingest(fact("one"))
    url, asked = f"{profile.at}/recall", {"query": "one"}

    def ask(**headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return profile.http.post(url, json=asked, headers=named)

    assert ask(memoturn_min_txid=str(made["txid"])).status_code == 200
    behind = ask(memoturn_min_txid=str(made["txid"] + 10))
    assert (behind.status_code, behind.json()["code"]) == (503, "unavailable")
    assert ask(palimp_min_txid=str(made["txid"] + 10)).status_code == 200
    assert ask(memoturn_consistency="cached").status_code == 200
    for name, value in (("consistency", "eventual"), ("durability", "none"), ("min_txid", "x")):
        assert ask(**{f"memoturn_{name}": value}).status_code == 400, name
    lines = ask(accept="application/x-ndjson")
    assert lines.headers["content-type"] == "application/json"
    for durability, stored in (("durable", True), ("standard", False)):
        headers = {"memoturn-durability": durability}
        body = {"memories": [fact(durability)]}
        wrote = profile.http.post(f"{profile.at}/memories", json=body, headers=headers)
        (main,) = profile.http.get(f"{profile.db}/branches").json()["branches"]
        assert (main["txid"] == wrote.json()["txid"]) == stored
    repeat = {"memoturn-request-id": "turn-1"}
    said = {"role": "user", "content": "hello"}
    seqs = {
        profile.http.post(f"{profile.db}/memory/s/turns", json=said, headers=repeat).json()["seq"]
        for _ in range(2)
    }
    assert seqs == {1}
    gone = profile.http.delete(
        f"{profile.at}/memories/{made['results'][0]['id']}",
        headers={"prefer": "return=representation"},
    )
    assert (gone.status_code, gone.content) == (204, b"")


def test_cached_reads_of_a_key(profile: Profile) -> None:
    key = f"{profile.db}/kv/n/k"
    profile.http.put(key, content=b"one")
    for headers in ({}, {"memoturn-consistency": "cached"}, {"memoturn-consistency": "primary"}):
        answer = profile.http.get(key, headers=headers)
        assert answer.content == b"one"
        assert answer.headers["memoturn-txid"] == "1"
    profile.http.put(key, content=b"two")
    fresh = profile.http.get(key, headers={"memoturn-consistency": "primary"})
    assert fresh.content == b"two"
    assert profile.http.head(key).status_code == 200
    wrong = profile.http.get(f"{key}?consistency=primary", headers={"memoturn-consistency": "no"})
    assert wrong.status_code == 400


def test_counts_are_cut_to_what_there_is(profile: Profile) -> None:
    profile.ingest(fact("one", embedding=EAST))
    profile.post("/memory/s/turns", {"role": "user", "content": "hi", "embedding": EAST})
    profile.post("/docs/c/insert", {"docs": [{"a": 1}]})
    profile.post("/vectors/v", {"id": "a", "embedding": EAST})
    assert len(profile.recall(query="one", k=5_000)["memories"]) == 1
    assert len(profile.post("/docs/c/find", {"limit": 5_000})["docs"]) == 1
    assert len(profile.post("/vectors/v/search", {"vector": EAST, "k": 10**9})["hits"]) == 1
    assert len(profile.post("/memory/s/search", {"vector": EAST, "k": 5_000})["turns"]) == 1
    for path in (f"{profile.at}/sessions?limit=", f"{profile.db}/memory/s/turns?last="):
        assert profile.http.get(f"{path}99999").status_code == 200
        assert profile.http.get(f"{path}0").status_code == 400
    assert profile.http.get(f"{profile.db}/kv/n?limit={10**30}&prefix=%C3%A4").status_code == 200
    assert profile.http.get("/v1/databases?limit=99999").status_code == 200
    assert profile.http.post(f"{profile.at}/recall", json={"query": "one", "k": 0}).is_error


def test_defaults_of_what_is_given_back(profile: Profile) -> None:
    profile.ingest(*(fact(f"word {n}", embedding=[1.0, n / 100]) for n in range(12)))
    items = [{"id": str(n), "embedding": [1.0, n / 100]} for n in range(12)]
    for item in items:
        profile.post("/vectors/v", item)
        said = {"role": "user", "content": "x", "embedding": item["embedding"]}
        profile.post("/memory/s/turns", said)
    assert len(profile.recall(query="word")["memories"]) == 8
    assert len(profile.post("/vectors/v/search", {"vector": [1.0, 0.0]})["hits"]) == 10
    assert len(profile.post("/memory/s/search", {"vector": [1.0, 0.0]})["turns"]) == 5


def test_a_database_is_named_with_its_branch(profile: Profile) -> None:
    profile.ingest(fact("main"))
    profile.post("/branches", {"name": "side"})
    said = {"role": "user", "content": "aside"}
    profile.post("@side/memory/s/turns", said)
    assert len(profile.http.get(f"{profile.db}@side/memory/s/turns").json()["turns"]) == 1
    assert profile.http.get(f"{profile.db}/memory/s/turns").json()["turns"] == []
    profile.http.put(f"{profile.db}@side/kv/n/k", content=b"v")
    assert profile.http.get(f"{profile.db}/kv/n/k").status_code == 404
    missing = profile.http.get(f"{profile.db}@nowhere/memory/s/turns")
    assert (missing.status_code, missing.json()["code"]) == (404, "branch_not_found")
    two = {"memoturn-branch": "main"}
    assert profile.http.get(f"{profile.db}@side/memory/s/turns", headers=two).status_code == 400


def test_a_read_of_what_is_not_there_makes_nothing(profile: Profile, spoken: Spoken) -> None:
    assert profile.recall(query="x") == {"memories": [], "txid": 0}
    assert profile.http.get(f"{profile.at}/memories/mem_0").status_code == 404
    namespace = profile.at.split("/")[3]
    assert spoken.node.context.engine.names(namespace)[0] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/memories", {"memories": [{"type": "fact", "summary": "no content"}]}),
        ("/memories", {"memories": [{"type": "fact", "content": 1}]}),
        ("/memories", {"memories": [{"summary": "no type", "content": 1}]}),
        ("/memories", {"memories": [{**ITEM, "text": "ours"}]}),
        ("/memories", {"memories": [{**ITEM, "topic_key": "an.event.has.none"}]}),
        ("/memories", {"memories": [{**ITEM, "type": "task", "topic_key": "a.task.too"}]}),
        ("/memories", {"memories": []}),
        ("/memories", {"memories": [1]}),
        ("/memories", [ITEM]),
        ("/recall", {}),
        ("/recall", {"query": "x", "tpyes": ["fact"]}),
        ("/recall", {"query": "x", "types": ["opinion"]}),
        ("/recall", {"query": "x", "k": "8"}),
    ],
)
def test_what_cannot_be_meant(profile: Profile, path: str, body: Any) -> None:
    answer = profile.http.post(profile.at + path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.text
    assert set(answer.json()) == {"error", "code"}


def test_a_bad_item_of_a_batch_is_named_and_nothing_is_written(profile: Profile) -> None:
    body = {"memories": [fact("good"), {"type": "fact", "summary": "no content"}]}
    answer = profile.http.post(f"{profile.at}/memories", json=body)
    assert "memories[1]" in answer.json()["error"]
    assert profile.recall(query="good")["memories"] == []


def big(http: httpx.Client) -> httpx.Response:
    return http.post("/v1/memory/e/a/recall", json={"query": "x" * (1 << 20)})


def deep(http: httpx.Client) -> httpx.Response:
    body = b'{"query": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    kind = {"content-type": "application/json"}
    return http.post("/v1/memory/e/a/recall", content=body, headers=kind)


def half_a_pair(http: httpx.Client) -> httpx.Response:
    body = b'{"memories": [{"type": "fact", "summary": "\\udc00x", "content": 1}]}'
    kind = {"content-type": "application/json"}
    return http.post("/v1/memory/e/a/memories", content=body, headers=kind)


def many(http: httpx.Client) -> httpx.Response:
    return http.post("/v1/memory/e/a/memories", json={"memories": [ITEM] * 1_001})


def chunked(http: httpx.Client) -> httpx.Response:
    pieces = (b" " * (1 << 18) for _ in range(5))
    kind = {"content-type": "application/json"}
    return http.post("/v1/memory/e/a/recall", content=pieces, headers=kind)


def no_json(http: httpx.Client) -> httpx.Response:
    kind = {"content-type": "application/json"}
    return http.post("/v1/memory/e/a/recall", content=b"{", headers=kind)


REFUSED: dict[str, tuple[Callable[[httpx.Client], httpx.Response], int, str]] = {
    "route": (lambda h: h.get("/v1/nothing"), 404, "not_found"),
    "ours": (lambda h: h.get("/v1/node"), 404, "not_found"),
    "method": (lambda h: h.put("/v1/memory/e/a/recall"), 405, "invalid_request"),
    "path": (lambda h: h.get("/v1/memory/%ff"), 400, "invalid_request"),
    "name": (lambda h: h.get("/v1/memory/Not-A-Name"), 400, "invalid_request"),
    "database": (lambda h: h.post("/v1/db/nodashes/memory/s/turns"), 400, "invalid_request"),
    "query": (lambda h: h.get("/v1/memory/e?limit=1&nope=1"), 400, "invalid_request"),
    "many": (many, 413, "payload_too_large"),
    "no query": (lambda h: h.get("/v1/memory/e?limit=1&junk"), 400, "invalid_request"),
    "large": (big, 413, "payload_too_large"),
    "larger than it said": (chunked, 413, "payload_too_large"),
    "deep": (deep, 400, "invalid_request"),
    "half a pair": (half_a_pair, 400, "invalid_request"),
    "json": (no_json, 400, "invalid_request"),
    "type": (lambda h: h.post("/v1/memory/e/a/recall", content=b"{}"), 415, "invalid_request"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_every_error_has_the_shape_of_that_system(http: httpx.Client, what: str) -> None:
    ask, status, code = REFUSED[what]
    answer = ask(http)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert set(answer.json()) == {"error", "code"}
    assert answer.headers["content-type"] == "application/json"
    if status == 405:
        assert answer.headers["allow"] == "POST"


def in_process(dialect: Memoturn, *, later: bool = False) -> httpx.Response:
    """Ask a dialect that no server serves; with `later` the body never comes."""

    async def body() -> Any:
        if later:
            await asyncio.Event().wait()
        yield b"{}"

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(dialect)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            headers = {"authorization": f"Bearer {PLATFORM}", "content-type": "application/json"}
            return await http.post("/v1/memory/e/a/recall", content=body(), headers=headers)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("limit", "status", "code"),
    [("read_seconds", 408, "request_timeout"), ("in_flight", 429, "overloaded")],
)
def test_limits_are_those_of_the_node(spoken: Spoken, limit: str, status: int, code: str) -> None:
    limits = Limits.of(spoken.node.settings)
    limits = msgspec.structs.replace(limits, **{limit: 0.05 if limit == "read_seconds" else 0})
    answer = in_process(Memoturn(Api(spoken.node, limits), limits), later=True)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert set(answer.json()) == {"error", "code"}
    assert ("retry-after" in answer.headers) == (status == 429)


def test_a_defect_of_the_translation_has_that_shape_too(
    spoken: Spoken, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_given: Any, _sent: Any) -> Any:
        raise KeyError("MarkedText")

    def question(_given: Any) -> Any:
        return {"query": "x"}

    limits = Limits.of(spoken.node.settings)
    dialect = Memoturn(Api(spoken.node, limits), limits)
    path = "/v1/memory/{namespace}/{profile}/recall"
    dialect._routes = Routes([Route("POST", path, "read", "recall", question, broken)])
    answer = in_process(dialect)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "MarkedText" not in answer.text
    assert "could not be translated" in caplog.text


def test_a_large_answer_and_a_large_body_arrive_whole(profile: Profile) -> None:
    content = {"words": ["ä" * 1_000] * 300}
    made = profile.ingest(fact("large") | {"content": content})["results"][0]["id"]
    assert profile.get(made)["content"] == content


def test_the_other_port_has_nothing_of_ours_and_ours_all(spoken: Spoken) -> None:
    headers = {"authorization": f"Bearer {PLATFORM}"}
    for path in ("/docs", "/metrics", "/memoturn/v1/memory/acme"):
        assert httpx.get(spoken.urls["port"] + path, headers=headers).status_code == 404
    for path in ("/memoturn", "/memoturn/", "/%6demoturn/health", "/memotur/v1/memory/acme"):
        assert httpx.get(spoken.ours + path, headers=headers).status_code == 404, path
    assert httpx.get(f"{spoken.ours}/v1/node", headers=headers).status_code == 200
