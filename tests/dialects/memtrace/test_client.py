"""The published client, unmodified, against a running node: every method, sync and async.

A method that no scenario calls fails the test.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import memtrace
import pytest
from memtrace import (
    AddMemoryRequest,
    ContextOptions,
    CreateSessionRequest,
    ListOptions,
    RegisterAgentRequest,
    SearchQuery,
)

from .conftest import Org
from .speaking import DAY, HOUR, House

Call = Callable[..., Any]
FULL: dict[str, Any] = {
    "session_id": "sess_1", "metadata": {"a": [1, {"b": None}], "ü": "☃"}, "tags": ["x", "y.z-1"],
    "dedup_key": "a key with spaces", "importance": 0.75, "parent_id": "whatever / it is",
}  # fmt: skip


class Driven:
    """A client whose calls are noted; those of the asynchronous one are run to their end."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.called: set[str] = set()
        self._runner = asyncio.Runner()

    def __call__(self, name: str, *given: Any, **fields: Any) -> Any:
        self.called.add(name)
        found = getattr(self.client, name)(*given, **fields)
        return self._runner.run(_await(found)) if inspect.isawaitable(found) else found

    def close(self) -> None:
        found = self.client.close()
        if inspect.isawaitable(found):
            self._runner.run(_await(found))
        self._runner.close()


async def _await(given: Any) -> Any:
    return await given


def methods(client: Any) -> set[str]:
    """Return the names of all the methods of a client."""
    found = inspect.getmembers(client, inspect.isroutine)
    return {name for name, _ in found if not name.startswith("_")} - {"close"}


@pytest.fixture(params=["mounted", "port"])
def url(house: House, request: pytest.FixtureRequest) -> str:
    return house.mounted if request.param == "mounted" else house.url


@pytest.fixture(params=[memtrace.Memtrace, memtrace.AsyncMemtrace])
def made(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def call(made: Any, url: str, org: Org) -> Iterator[Driven]:
    found = Driven(made(url, org.key))
    yield found
    found.close()


def test_every_method_of_the_client(call: Driven, org: Org) -> None:
    agent = _agents(call, org)
    _words(call)
    _memories(call, org)
    _session(call, org, agent)
    call("delete_agent", agent)
    assert call.called == methods(call.client)


def _agents(call: Driven, org: Org) -> str:
    assert call("list_agents") == memtrace.AgentList(agents=[], count=0)
    request = RegisterAgentRequest(name="planner", description="Plans", config={"model": "m"})
    agent = call("register_agent", request)
    assert type(agent) is memtrace.Agent
    assert agent.id.startswith("agent_")
    assert (agent.org_id, agent.name) == (org.id, "planner")
    assert (agent.description, agent.config) == ("Plans", {"model": "m"})
    assert agent.last_active_at is None
    for word in (agent.id, "planner"):
        assert call("get_agent", word) == agent
    org.house.clock.sleep(1)
    second = call("register_agent", RegisterAgentRequest(name="a/b c"))
    assert (second.description, second.config) == (None, None)
    assert call("get_agent", "a/b c") == second
    listed = call("list_agents")
    assert ([one.id for one in listed.agents], listed.count) == ([second.id, agent.id], 2)
    assert call("delete_agent", second.id) is None
    stats = call("get_agent_stats", agent.id)
    assert (stats.agent_id, stats.memory_count, stats.memory_types) == (agent.id, 0, {})
    found: str = agent.id
    return found


def _words(call: Driven) -> None:
    made = call("remember", "agent_1", "User prefers dark mode")
    assert type(made) is memtrace.Memory
    assert (made.content, made.agent_id) == ("User prefers dark mode", "agent_1")
    assert (made.memory_type, made.event_type) == ("episodic", "general")
    assert (made.session_id, made.tags, made.importance, made.parent_id) == (None,) * 4
    decided = call("decide", "agent_1", "Use SQLite", "One file")
    assert (decided.memory_type, decided.event_type) == ("decision", "decision")
    assert decided.metadata == {"reasoning": "One file"}
    recalled = call("recall", "agent_1")
    assert type(recalled) is memtrace.MemoryList
    assert {one.content for one in recalled.memories} == {made.content, decided.content}
    assert (recalled.count, recalled.has_more) == (2, False)
    assert call("recall", "nobody", since="2h").memories == []


def _memories(call: Driven, org: Org) -> None:
    common: dict[str, Any] = {"agent_id": "agent_2", "event_type": "note"}
    full = AddMemoryRequest(**common, memory_type="entity", content="Full ☃", **FULL)
    made = call("add_memory", full)
    assert (made.org_id, made.memory_type) == (org.id, "entity")
    for name, value in FULL.items():
        assert getattr(made, name) == value, name
    # In an Arc no two have the same time: of one millisecond some are microseconds later.
    assert int(made.time.timestamp() * 1_000) == org.house.clock.now_ms()
    two = [
        AddMemoryRequest(**common, memory_type="session", content=f"note {number}")
        for number in range(2)
    ]
    written = call("add_memories", two)
    assert [type(one) for one in written] == [memtrace.Memory] * 2
    assert [one.content for one in written] == ["note 0", "note 1"]
    assert call("add_memories", two) == []
    found = call("list_memories", ListOptions(agent_id="agent_2", since="24h", limit=2))
    assert (found.count, found.has_more) == (2, True)
    assert call("list_memories", ListOptions(session_id="sess_1")).memories == [made]
    everything = ListOptions(
        agent_id="agent_2", session_id="sess_1", memory_type="entity", event_type="note",
        tags="x,y.z-1", since="2h", until="now", limit=10, offset=0, order="asc",
    )  # fmt: skip
    assert call("list_memories", everything).memories == [made]
    empty = call("list_memories", ListOptions(agent_id="nobody"))
    assert (empty.memories, empty.count, empty.has_more) == ([], 0, False)
    query = SearchQuery(
        agent_id="agent_2", session_id="sess_1", memory_types=["entity", "decision"],
        event_types=["note"], tags=["x"], content_contains="☃", since="1d", until="now",
        min_importance=0.75, limit=5, order="desc",
    )  # fmt: skip
    results = call("search_memories", query)
    assert (results.results, results.count) == ([made], 1)
    assert type(results.query_time_ms) is int
    assert call("search_memories", SearchQuery()).count == 5
    stats = call("get_agent_stats", "agent_2")
    assert (stats.memory_count, stats.memories_24h, stats.errors_24h) == (3, 3, 0)
    assert stats.memory_types == {"entity": 1, "session": 2}
    # The agent of the options is not that of the path, and is left out by the client.
    options = ListOptions(agent_id="agent_1", since="24h", order="asc")
    assert len(call("get_agent_memories", "agent_2", options).memories) == 3
    assert len(call("get_agent_memories", "agent_2").memories) == 3


def _session(call: Driven, org: Org, agent: str) -> None:
    request = CreateSessionRequest(agent_id=agent, metadata={"task": "booking"})
    session = call("create_session", request)
    assert type(session) is memtrace.Session
    assert (session.org_id, session.agent_id, session.status) == (org.id, agent, "active")
    assert (session.metadata, session.closed_at) == ({"task": "booking"}, None)
    assert call("get_session", session.id) == session
    org.house.clock.sleep(1)
    by_name = call("create_session", CreateSessionRequest(agent_id="planner"))
    assert by_name.agent_id == agent
    for given in ((), (agent,)):
        listed = call("list_sessions", *given)
        assert [one.id for one in listed.sessions] == [by_name.id, session.id]
        assert listed.count == 2
    assert call("list_sessions", "nobody").sessions == []
    memory = AddMemoryRequest(
        agent_id=agent, session_id=session.id, memory_type="decision", event_type="decide",
        content="Take the train",
    )  # fmt: skip
    made = call("add_memory", memory)
    for options in ((), (ListOptions(session_id="other", memory_type="decision", limit=3),)):
        assert call("get_session_memories", session.id, *options).memories == [made]
    context = call("get_session_context", session.id)
    assert (context.session_id, context.memory_count) == (session.id, 1)
    assert "- [2026-" in context.context
    assert context.context.endswith("Z] decide: Take the train\n\n")
    options = ContextOptions(max_tokens=1_000, include_types=["decision"], since="2h")
    assert call("get_session_context", session.id, options) == context
    org.house.clock.sleep(HOUR)
    closed = call("close_session", session.id)
    assert (closed.status, closed.metadata) == ("closed", {"task": "booking"})
    assert (
        closed.closed_at
        == closed.updated_at
        == datetime.fromtimestamp(org.house.clock.now_ms() / 1_000, UTC)
    )
    stats = call("get_agent_stats", agent)
    assert (stats.session_count, stats.active_sessions) == (2, 1)
    assert stats.last_active_at is not None


# -- errors --------------------------------------------------------------------------------------


def raised(kind: type[memtrace.MemtraceError], status: int, call: Callable[[], Any]) -> str:
    """Check the class of an error and its status; return what it says."""
    with pytest.raises(memtrace.MemtraceError) as found:
        call()
    assert (type(found.value), found.value.status_code) == (kind, status), found.value
    return found.value.message


def test_classes_of_errors(call: Driven, made: Any, url: str) -> None:
    wrong = Driven(made(url, "mtk_" + "A" * 43 + "="))
    nobody = Driven(made(url, ""))
    try:
        error = memtrace.AuthenticationError
        assert raised(error, 401, lambda: wrong("list_agents")) == "invalid API key"
        assert raised(error, 401, lambda: nobody("recall", "a")) == "missing API key"
    finally:
        wrong.close()
        nobody.close()
    error, missing = memtrace.NotFoundError, memtrace.NotFoundError
    assert raised(error, 404, lambda: call("get_agent", "nobody")) == "agent not found"
    assert raised(error, 404, lambda: call("delete_agent", "nobody")) == "agent not found"
    assert raised(missing, 404, lambda: call("get_session", "none")) == "session not found"
    assert raised(missing, 404, lambda: call("close_session", "none")) == "session not found"
    request = RegisterAgentRequest(name="planner")
    call("register_agent", request)
    taken = raised(memtrace.ConflictError, 409, lambda: call("register_agent", request))
    assert taken == "agent 'planner' already exists in this organization"
    call("remember", "a", "once")
    twice = raised(memtrace.ConflictError, 409, lambda: call("remember", "a", "once"))
    assert twice == "duplicate memory"
    bad = raised(memtrace.MemtraceError, 400, lambda: call("remember", "1a", "x"))
    assert bad.startswith("invalid agent_id: invalid ID format")
    two = [
        AddMemoryRequest(agent_id=agent, memory_type="episodic", event_type="e", content="x")
        for agent in ("a", "no agent")
    ]
    batch = raised(memtrace.MemtraceError, 500, lambda: call("add_memories", two))
    assert batch.startswith("failed to create memory 1: invalid agent_id: invalid ID")


def test_ids_with_anything_in_them_stay_one_segment(call: Driven) -> None:
    for word in ("a/b/c", "sess with space", "../admin", "%2F", "ü☃", "a?b#c"):
        assert raised(memtrace.NotFoundError, 404, lambda w=word: call("get_agent", w)) == (
            "agent not found"
        )
        missing = raised(memtrace.NotFoundError, 404, lambda w=word: call("get_session", w))
        assert missing == "session not found"
        for name in ("get_agent_stats", "get_agent_memories"):
            said = raised(memtrace.MemtraceError, 400, lambda n=name, w=word: call(n, w))
            assert said.startswith("invalid agent_id: invalid ID format"), word
        for name in ("get_session_context", "get_session_memories"):
            said = raised(memtrace.MemtraceError, 400, lambda n=name, w=word: call(n, w))
            assert said.startswith("invalid session_id: invalid ID format"), word


def test_a_context_manager_ends_it(org: Org) -> None:
    with memtrace.Memtrace(org.house.url, org.key) as client:
        client.remember("agent_1", "within")

    async def within() -> list[str]:
        async with memtrace.AsyncMemtrace(org.house.url, org.key) as found:
            return [one.content for one in (await found.recall("agent_1")).memories]

    assert asyncio.run(within()) == ["within"]


def test_importance_of_nothing_is_taken(org: Org) -> None:
    request = AddMemoryRequest(
        agent_id="a", memory_type="episodic", event_type="e", content="x", importance=0.0
    )
    assert not org.client.add_memory(request).importance
    (found,) = org.client.list_memories(ListOptions()).memories
    assert not found.importance


def test_more_than_a_day_ago_is_not_recalled(org: Org) -> None:
    org.client.remember("agent_1", "long ago")
    org.house.clock.sleep(DAY)
    assert org.client.recall("agent_1").memories == []
    assert org.client.get_agent_memories("agent_1").memories == []
    assert [one.content for one in org.client.recall("agent_1", since="25h").memories] == [
        "long ago"
    ]


# -- what a proxy may answer ---------------------------------------------------------------------


@contextmanager
def _answering(answer: bytes) -> Iterator[str]:
    """Answer one request with these bytes: what stands between a client and a node may."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        serving.join()


def test_what_is_no_json_is_the_message() -> None:
    body = b"Bad Gateway"
    head = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(
        body
    )
    with _answering(head + body) as url, memtrace.Memtrace(url, "k") as client:
        assert raised(memtrace.MemtraceError, 502, client.list_agents) == "Bad Gateway"


def test_models_take_every_answer_as_it_is() -> None:
    common: dict[str, Any] = {
        "time": "2026-01-01T00:00:00Z", "org_id": "o", "agent_id": "a", "memory_type": "episodic",
        "event_type": "e", "content": "c",
    }  # fmt: skip
    absent = memtrace.Memory.model_validate(common)
    null = dict.fromkeys(("session_id", "metadata", "tags", "dedup_key", "importance", "parent_id"))
    assert memtrace.Memory.model_validate({**common, **null}) == absent
    with pytest.raises(ValueError, match="memory_type"):
        memtrace.Memory.model_validate({**common, "memory_type": "other"})
