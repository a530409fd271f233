"""The published client, unmodified, against a running process: every method, sync and async.

Each scenario carries out some; `EMPTY` and `ELSEWHERE` say which have nothing to do here. A method
that none of them calls fails the test.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import memorysync
import pytest
from memorysync import BatchUpdateItem, BulkAddItem, ForgetFilters

TENANT = "org_conformance"
NAMESPACES = (
    *("connections", "connections.slack", "connections.gdrive", "connections.s3"),
    *("connections.granola", "connections.oauth", "objects", "providers", "sync_jobs"),
    *("integrations", "integrations.web_crawler"),
)
Call = Callable[..., Any]


class Driven:
    """A client whose calls are noted; those of the asynchronous one are run to their end."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.called: set[str] = set()
        self._runner = asyncio.Runner()

    def call(self, name: str, *given: Any, **fields: Any) -> Any:
        self.called.add(name)
        method = self.client
        for word in name.split("."):
            method = getattr(method, word)
        found = method(*given, **fields)
        return self._runner.run(_await(found)) if inspect.isawaitable(found) else found

    def close(self) -> None:
        if hasattr(self.client, "aclose"):
            self._runner.run(self.client.aclose())
        else:
            self.client.close()
        self._runner.close()


async def _await(given: Any) -> Any:
    return await given


def methods(client: Any, *namespaces: str) -> set[str]:
    """Return the names of all the methods of a client and of what hangs on it."""
    found = set()
    for place in ("", *namespaces):
        owner = client
        for word in filter(None, place.split(".")):
            owner = getattr(owner, word)
        for name, _ in inspect.getmembers(owner, inspect.isroutine):
            if not name.startswith("_") and name not in ("close", "aclose"):
                found.add(f"{place}.{name}" if place else name)
    return found


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A process that serves: where it speaks the dialect, and a key of a tenant."""
    folder = tmp_path_factory.mktemp("memorysync")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PALIMP_")}
    environment |= {"PALIMP_CATALOG_URL": f"sqlite:///{folder}/catalog.db"}
    environment |= {"PALIMP_EMBED_PROVIDER": "none", "PALIMP_DATA_DIR": str(folder / "m")}
    environment |= {"PALIMP_SINGLE_NODE": "1"}
    palimp = [sys.executable, "-m", "palimp"]
    words = [
        "key",
        "--dialect",
        "memorysync",
        "create",
        "--tenant",
        TENANT,
        "--scopes",
        "*",
        "--json",
    ]
    made = subprocess.run(
        [*palimp, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    serve = ["serve", "--port", "0", "--dialect", "memorysync=0"]
    # Into a file: of a pipe that nobody reads any more the process would come to a stand.
    log = folder / "log"
    with (
        log.open("wb") as said,
        subprocess.Popen([*palimp, *serve], stderr=said, env=environment) as process,
    ):
        try:
            yield {**_spoken(process, log), "key": json.loads(made.stdout)["key"]}
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            if process.poll() is None:
                process.kill()


def _spoken(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    for _ in range(3_000):
        told = log.read_text("utf-8")
        found = dict(re.findall(r"(serving|speaking memorysync at) (http://[^\s,]+)", told))
        if len(found) == 2 or process.poll() is not None:
            break
        threading.Event().wait(0.01)
    assert len(found) == 2, told
    mounted, port = found["serving"], found["speaking memorysync at"]
    return {"mounted": f"{mounted}/memorysync", "port": port}


@pytest.fixture(params=["mounted", "port"])
def url(urls: dict[str, str], request: pytest.FixtureRequest) -> str:
    return urls[request.param]


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def driven(url: str, urls: dict[str, str], kind: str) -> Iterator[Driven]:
    made = memorysync.MemorySyncClient if kind == "sync" else memorysync.AsyncMemorySyncClient
    user = f"user {secrets.token_hex(4)}"
    found = Driven(made(urls["key"], url, end_user_id=user))
    yield found
    found.close()


@pytest.fixture
def control(url: str, urls: dict[str, str], kind: str) -> Iterator[Driven]:
    made = memorysync.ControlPlaneClient if kind == "sync" else memorysync.AsyncControlPlaneClient
    found = Driven(made(url, access_token=urls["key"]))
    yield found
    found.close()


def test_every_method_of_the_client(driven: Driven) -> None:
    for scenario in (
        _memories,
        _batches,
        _forgetting,
        _relations,
        _words,
        _plane,
        _history,
        _state,
    ):
        scenario(driven.call)
    _deriving(driven.call)
    _files(driven.call)
    assert driven.called == methods(driven.client)


def _memories(call: Call) -> None:
    made = call(
        "add", "Ravi moved to Lisbon in spring", source="crm", tags=["Home", "home"],
        importance=0.9, session_id="s1", metadata={"a": [1, {"b": None}]}, client_ref="r1",
    )  # fmt: skip
    assert type(made) is memorysync.Memory
    assert type(made.id) is int
    assert (made.text, made.source, made.tags) == (
        "Ravi moved to Lisbon in spring",
        "crm",
        ["home"],
    )
    assert (made.importance, made.is_summary) == (0.9, False)
    assert made.metadata is not None
    assert made.metadata["a"] == [1, {"b": None}]
    assert made.created_at is not None
    assert made.created_at.endswith("+00:00")
    read = call("get", made.id)
    # The answer to an add tells the time of the answer, some milliseconds after the row's.
    assert replace(read, created_at=made.created_at, updated_at=made.updated_at) == made
    again = call("add", "Ravi moved to Lisbon in spring", client_ref="r1")
    assert (again.reason, again.memory_ids) == ("already_ingested", [made.id])
    assert call("add", "ok").status == "skipped"
    changed = call("update", made.id, tags=["x"], importance=0.4, metadata={"b": 2}, source="web",
                   event_type="move")  # fmt: skip
    assert (changed.tags, changed.importance, changed.source) == (["x"], 0.4, "web")
    assert (changed.metadata, changed.event_type) == ({"b": 2}, "move")
    for name in ("query", "retrieve"):
        found = call(name, "Where does Ravi live, Lisbon?", k=3, filters={"tags": ["x", "y"]},
                     session_id="s1", traversal_depth=9)  # fmt: skip
        assert [one.id for one in found.memories] == [made.id]
        assert isinstance(found.memories[0].score, float)
        assert found.latency_ms is not None
    revisions = call("history", made.id)
    assert [one.revision for one in revisions.revisions] == list(range(revisions.total))
    assert [one.event for one in revisions.revisions] == ["created", "updated"]
    assert revisions.revisions[1].diff["importance"] == {"old": 0.9, "new": 0.4}
    assert set(revisions.revisions[1].changed_fields) <= set(revisions.tracked_fields)
    for signal_, least, most in (("positive", 0.4, 1.0), ("negative", 0.05, 1.0)):
        told = call("feedback", made.id, signal_, comment="so")
        assert least <= told.importance_after <= most
        assert told.importance_after - told.importance_before == pytest.approx(told.adjustment)
    counts = {name: count for name, count in told.summary.signal_counts.items() if count}
    assert counts == {"positive": 1, "negative": 1}
    exported = call("export_all")
    assert [one["id"] for one in exported.memories] == [made.id]
    assert isinstance(exported.user_id, int)
    with pytest.raises(memorysync.ValidationError, match="whole account"):
        call("purge_user")


def _batches(call: Call) -> None:
    items = [
        BulkAddItem("Nadia plays the cello in an orchestra", tags=["music"], client_ref="b1"),
        BulkAddItem("hello"),
        BulkAddItem("Tom repairs old bicycles at home", metadata={"huge": "x" * 20_000}),
    ]
    done = call("bulk_add", items, deduplicate=True)
    assert (done.total, done.created, done.skipped, done.rejected) == (3, 1, 1, 1)
    assert [one.status for one in done.results] == ["created", "skipped", "rejected"]
    assert done.results[2].reason == "metadata_too_large"
    assert done.unreported == 0
    (identity,) = done.results[0].memory_ids
    edits = [BatchUpdateItem(identity, importance=0.8), BatchUpdateItem(987_654, tags=["a"])]
    changed = call("batch_update", edits)
    assert (changed.total, changed.updated, changed.not_found) == (2, 1, 1)
    assert [one.status for one in changed.results] == ["updated", "not_found"]
    assert changed.results[0].changed_fields == ["importance"]
    assert call("get", identity).importance == 0.8


def _forgetting(call: Call) -> None:
    texts = ("The red kettle is broken", "The blue kettle is at Mona's")
    first, second = (
        call("add", text, tags=["kettle", word]).id
        for text, word in zip(texts, ("red", "blue"), strict=True)
    )
    both = {"tags": ["kettle", "red"]}
    assert call("forget", filters=both, dry_run=True) == [first]
    assert call("get", first).id == first
    assert call("forget", filters=ForgetFilters(tags=["kettle", "red"]), reason="done") == [first]
    with pytest.raises(memorysync.NotFoundError):
        call("get", first)
    assert call("forget", [second]) == [second]
    with pytest.raises(memorysync.ValidationError):
        call("forget", filters={"source": None})


def _relations(call: Call) -> None:
    one, two = (call("add", text).id for text in ("Iris owns a boat", "Her boat lies in Porto"))
    made = call("create_relation", one, to_memory_id=two, relationship_type="supports",
                confidence=0.7, metadata={"by": "test"})  # fmt: skip
    assert (made.from_memory_id, made.to_memory_id, made.confidence) == (one, two, 0.7)
    assert type(made.id) is int
    assert made.created_at is not None
    with pytest.raises(memorysync.NotFoundError):
        call("create_relation", one, to_memory_id=987_654, relationship_type="similar")
    with pytest.raises(memorysync.ValidationError):
        call("create_relation", one, to_memory_id=two, relationship_type="owned_by_test")
    graph = call("graph", limit=10, memory_id=one, depth=2)
    assert {str(two)} <= {str(node["id"]) for node in graph["nodes"]}
    assert graph["edges"]


def _words(call: Call) -> None:
    known = call("get_ontology")
    assert "similar" in known.builtin_relation_types
    changed = call("update_ontology", relation_types=["owned_by"])
    assert changed.custom_relation_types == ["owned_by"]
    assert changed.custom_content_types == known.custom_content_types
    one, two = (call("add", text).id for text in ("The barn is painted green", "Otto has the barn"))
    assert call("create_relation", one, to_memory_id=two, relationship_type="owned_by").id
    call("update_ontology", relation_types=[])


def _plane(call: Call) -> None:
    user = f"plane-{secrets.token_hex(4)}"
    who = {"tenant_id": TENANT, "user_id": user}
    turn = {
        "text": "I always fly with a window seat.",
        "speaker": "user@1",
        "occurred_at": "2026-01-02",
    }
    first = call("add_turn", **who, **turn, metadata={"a": 1}, session_id="s1")
    assert (first["memory_id"], first["already_exists"]) == (None, False)
    again = call("add_turn", **who, **turn, metadata={"a": 1}, session_id="s1")
    assert (again["processing_status"], again["already_exists"]) == ("skipped_replay", True)
    other = call("add_turn", **who, text="Noted, a window seat.", role="assistant")
    assert other["processing_status"] == "skipped_non_user_turn"
    listed = call("list_memories", **who, limit=10, offset=0)
    assert listed["total"] == len(listed["memories"])
    recalled = call("recall", **who, prompt="Which seat?", k=3, types=["fact", "no such type"])
    assert isinstance(recalled["context"], str)
    made = call("add", "Ana sails to Faial every June", end_user_id=user)
    assert call("list_memories", **who)["total"] == listed["total"] + 1
    assert call("status", call("add", "Ana has a sailing licence").id)
    with pytest.raises(memorysync.NotFoundError):
        call("get", made.id + 10_000)
    with pytest.raises(memorysync.AuthError):
        call("recall", tenant_id="org_other", user_id=user, prompt="Which seat?")


def _history(call: Call) -> None:
    session = {"tenant_id": TENANT, "user_id": f"h-{secrets.token_hex(4)}", "session_id": "s1"}
    turns = [
        {"role": "AI", "content": "", "seq": 2, "payload": [{"x": 1}]},
        {"role": "human", "content": "I prefer tea.", "seq": 1, "idempotency_key": "k1"},
    ]
    done = call("append_history", **session, turns=turns, source="lang", extract=False)
    assert [one["created"] for one in done["items"]] == [True, True]
    again = call("append_history", **session, turns=turns, source="lang", extract=False)
    assert [one["created"] for one in again["items"]] == [False, False]
    assert [one["id"] for one in again["items"]] == [one["id"] for one in done["items"]]
    found = call("list_history", **session)
    assert [(one["role"], one["content"]) for one in found["items"]] == [
        ("user", "I prefer tea."), ("assistant", ""),
    ]  # fmt: skip
    assert found["items"][1]["payload"] == [{"x": 1}]
    assert call("list_history", **session, source="api")["total"] == 0
    gone = call("delete_history", **session | {"session_id": None}, ids=[found["items"][0]["id"]])
    assert gone["deleted_ids"] == [found["items"][0]["id"]]
    assert len(call("delete_history", **session)["deleted_ids"]) == 1


def _state(call: Call) -> None:
    who = {"tenant_id": TENANT, "user_id": f"state-{secrets.token_hex(4)}"}
    put = {**who, "namespace": ["a", "b"], "key": "k", "value": {"colour": "blue"}}
    first = call("put_state", **put)
    assert (first["created"], first["item"]["value"]) == (True, {"colour": "blue"})
    assert call("put_state", **put)["created"] is False
    call("put_state", **{**put, "namespace": ["ab"], "text": "a green bicycle"}, index=False)
    there = {**who, "namespace": ["a", "b"]}
    assert call("get_state", **there, key="k")["item"]["id"] == first["item"]["id"]
    assert call("get_state", **there, key="k", source="lang")["item"] is None
    assert call("list_state", **who, namespace_prefix=["a"])["total"] == 1
    found = call("search_state", **who, query="green bicycle", limit=1)
    assert found["items"][0]["namespace"] == ["ab"]
    assert found["items"][0]["score"] > 0
    names = call("list_state_namespaces", **who, max_depth=1)["namespaces"]
    assert sorted(names) == [["a"], ["ab"]]
    assert call("delete_state", **there, keys=[])["deleted_ids"] == []
    assert call("delete_state", **there)["deleted_ids"] == [first["item"]["id"]]
    assert call("list_memories", **who)["total"] == 0


def _deriving(call: Call) -> None:
    texts = ("The depot in Basel opens at seven", "The depot in Basel has nine docks")
    ids = [call("add", text).id for text in texts]
    made = call("summarize", ids, lossless=True)
    assert made.is_summary
    assert made.id not in ids
    composed = call("compose", "The depot in Basel: {memories}", recall_k=2, max_tokens=500)
    assert composed.composed_prompt.startswith("The depot in Basel: ")
    assert composed.memories_used >= 1
    assert call("search_routed", "Basel depot", k=2, include_reasoning=True)
    assert call("synthesize", query="When does the depot in Basel open?", memory_ids=ids)
    assert call("refresh")
    assert "clusters" in call("clusters", limit=5)
    assert "decisions" in call("decisions", limit=5)
    with pytest.raises(memorysync.MemorySyncError) as refused:
        call("resolve_decision", decision_id="dec_nothing", winning_memory_id=ids[0])
    assert refused.value.status_code in (404, 422)
    assert call("intelligence", limit=5)
    assert call("knowledge_stats")


def _files(call: Call) -> None:
    text = b"# Harbour\n\nThe harbour of Horta was built in 1876.\n"
    made = call("upload", text, filename="notes.md", source="upload", metadata={"a": 1})
    assert type(made) is memorysync.Memory
    assert made.source == "upload"
    assert call("upload", b"  ", filename="empty.txt").reason == "no_extractable_text"
    lines = [
        {"text": f"Imported fact number {n} about cranes", "client_ref": f"i{n}"} for n in (1, 2)
    ]
    data = "\n".join(map(json.dumps, lines)).encode()
    job = call("create_import", io.BytesIO(data), filename="all.jsonl", resume=True)
    for _ in range(500):
        found = call("get_import", job["id"])
        if found["progress_percentage"] == 100:
            break
    assert found["status"] == "completed"
    assert job["id"] in [one["id"] for one in call("list_imports", limit=5)["imports"]]
    assert call("cancel_import", job["id"])["status"] == "completed"


# Listings of what this node does not do: empty, so that who merely looks goes on.
EMPTY = {
    "connections.list", "connections.stats", "connections.audit_logs", "providers.list",
    "integrations.catalog", "integrations.connected", "integrations.stats",
    "integrations.web_crawler.jobs", "integrations.web_crawler.active",
}  # fmt: skip


@pytest.mark.parametrize("url", ["port"], indirect=True)
def test_what_belongs_to_the_service_is_refused_with_a_reason_or_empty(driven: Driven) -> None:
    for name in sorted(methods(driven.client, *NAMESPACES)):
        if "." not in name:
            continue
        arguments = _arguments(driven.client, name)
        if name in EMPTY:
            assert not _items(driven.call(name, *arguments)), name
            continue
        with pytest.raises(memorysync.ServerError, match="not") as refused:
            driven.call(name, *arguments)
        assert refused.value.status_code == 501, name
        assert refused.value.request_id, name
    assert driven.called == methods(driven.client, *NAMESPACES) - methods(driven.client)


def _arguments(client: Any, name: str) -> list[Any]:
    method = client
    for word in name.split("."):
        method = getattr(method, word)
    given = [one for one in inspect.signature(method).parameters.values()
             if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]  # fmt: skip
    values = {
        "channels": [{"id": "c1"}],
        "prefixes": ["p/"],
        "credentials": {"k": "v"},
        "url": "http://x.test",
    }
    return [values.get(one.name, "id1") for one in given]


def _items(found: Any) -> list[Any]:
    """Return all that a listing lists, whatever the key is."""
    if isinstance(found, dict):
        return [one for value in found.values() if isinstance(value, list) for one in value]
    return list(found or [])


def test_every_method_of_the_control_plane(control: Driven, urls: dict[str, str]) -> None:
    call = control.call
    before = {one["id"] for one in call("list_projects")}
    project = call("create_project", "Ships")
    assert re.fullmatch(r"proj_[0-9a-f]{16}", project["id"])
    assert (project["name"], project["tenant_id"], project["archived_at"]) == (
        "Ships",
        TENANT,
        None,
    )
    assert call("rename_project", project["id"], "Boats")["name"] == "Boats"
    assert call("archive_project", project["id"])["archived_at"] is not None
    assert call("unarchive_project", project["id"])["archived_at"] is None
    assert {one["id"] for one in call("list_projects")} == before | {project["id"]}
    assert call("delete_project", project["id"]) is None
    with pytest.raises(memorysync.NotFoundError):
        call("rename_project", project["id"], "Gone")
    export = call("create_export", format="jsonl", scope="all")["job"]
    assert call("get_export", export["id"])["id"] == export["id"]
    assert export["id"] in [one["id"] for one in _items(call("list_exports", limit=5))]
    assert call("get_export_download_url", export["id"])
    for name in ("cancel_export", "retry_export"):
        _answered(call, name, export["id"])
    revoked = call("bulk_revoke_api_keys", [987_654])
    assert (revoked["revoked"], revoked["not_found"]) == (0, 1)
    with pytest.raises(memorysync.NotFoundError):
        call("test_api_key", 987_654)
    for name, given in ELSEWHERE.items():
        _answered(call, name, *given)
    _answered(call, "update_webhook", 1, description="w")
    assert control.called == methods(control.client)


# What a node of one's own does not do, and with what each is asked: an empty listing, or 501.
ELSEWHERE: dict[str, tuple[Any, ...]] = {
    "signup": ("a@example.com", "long enough", "Acme"), "login": ("a@example.com", "p"),
    "refresh": ("token",), "logout": ("token",), "logout_all": (), "me": (),
    "get_current_plan": (), "list_sessions": (), "revoke_session": (1,), "list_integrations": (),
    "create_organization": ("Acme",), "list_organizations": (),
    "create_webhook": ("w", "https://example.com/w", ["memory.created"]), "list_webhooks": (),
    "get_webhook": (1,), "get_webhook_event_types": (), "get_webhook_health": (),
    "delete_webhook": (1,), "pause_webhook": (1,), "resume_webhook": (1,),
    "rotate_webhook_secret": (1,), "test_webhook": (1,), "replay_webhook_deliveries": (1,),
    "get_latest_webhook_delivery": (1,), "list_webhook_deliveries": (1,),
    "list_recent_webhook_deliveries": (), "get_webhook_delivery": (1,), "retry_webhook_delivery": (1,),
}  # fmt: skip


def _answered(call: Call, method: str, *given: Any, **fields: Any) -> None:
    """It is answered without items, or refused for a reason that is no crash."""
    refused = None
    try:
        call(method, *given, **fields)
    except memorysync.MemorySyncError as error:
        refused = error
    assert refused is None or refused.status_code in (404, 409, 501), (method, refused)
    assert refused is None or refused.request_id, method
