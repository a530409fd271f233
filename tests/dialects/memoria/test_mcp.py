"""The tools over JSON-RPC: the protocol, and what each of them says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from palimp.http.dialects.memoria.mcp_tools import TOOLS

NewUser = Callable[..., httpx.Client]


class Agent:
    """A user's agent."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def ask(self, method: str, params: Any = None) -> dict[str, Any]:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = self.client.post("/mcp", json=message)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        assert (found["jsonrpc"], found["id"]) == ("2.0", 1)
        return found

    def use(self, tool: str, **arguments: Any) -> str:
        found = self.ask("tools/call", {"name": tool, "arguments": arguments})
        assert "result" in found, found
        (piece,) = found["result"]["content"]
        assert piece["type"] == "text"
        text: str = piece["text"]
        return text

    def fail(self, tool: str, code: int = -32000, **arguments: Any) -> str:
        found = self.ask("tools/call", {"name": tool, "arguments": arguments})
        assert found["error"]["code"] == code, found
        message: str = found["error"]["message"]
        return message


@pytest.fixture
def agent(user: httpx.Client) -> Agent:
    return Agent(user)


def stored(text: str) -> str:
    found = re.fullmatch(r"Stored memory (\S+): .*", text, re.DOTALL)
    assert found, text
    return found[1]


# -- the protocol ---------------------------------------------------------------------------------


def test_it_says_what_it_is_and_lists_25_tools(agent: Agent) -> None:
    about = agent.ask("initialize", {"protocolVersion": "2024-11-05"})["result"]
    assert about == {
        "protocolVersion": "2024-11-05",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "memoria-mcp-rs", "version": "0.1.0"},
    }
    listed = agent.ask("tools/list")["result"]["tools"]
    assert len(listed) == 25
    assert all(one["description"] and one["inputSchema"]["type"] == "object" for one in listed)
    store = next(one for one in listed if one["name"] == "memory_store")
    assert store["inputSchema"]["required"] == ["content"]


def test_what_is_no_request_has_a_code(agent: Agent) -> None:
    def code(content: bytes) -> tuple[Any, int]:
        headers = {"content-type": "application/json"}
        answer = agent.client.post("/mcp", content=content, headers=headers)
        assert answer.status_code == 200
        found = answer.json()
        return found["id"], found["error"]["code"]

    assert code(b"{") == (None, -32700)
    assert code(b"\xff") == (None, -32700)
    assert code(b"[1]") == (None, -32600)
    assert code(b'{"id": 4, "method": "tools/list"}') == (4, -32600)
    assert code(b'{"jsonrpc": "2.0", "id": 4, "method": ""}') == (4, -32600)
    assert code(b'{"jsonrpc": "2.0", "id": 4, "method": "tools/none"}') == (4, -32601)
    assert agent.fail("memory_none") == "Unknown tool: memory_none"


def test_a_notification_gets_no_answer(agent: Agent) -> None:
    message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    answer = agent.client.post("/mcp", json=message)
    assert (answer.status_code, answer.content) == (204, b"")
    text = {"name": "memory_store", "arguments": {"content": "said to nobody"}}
    agent.client.post("/mcp", json={"jsonrpc": "2.0", "method": "tools/call", "params": text})
    assert agent.use("memory_list") == "No memories found."


def test_nobody_is_let_in_without_a_key(agent: Agent) -> None:
    url = str(agent.client.base_url).rstrip("/")
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    for headers in ({}, {"authorization": "Bearer sk-0"}):
        assert httpx.post(f"{url}/mcp", json=message, headers=headers).status_code == 401


# -- memories -------------------------------------------------------------------------------------


def test_memories_are_stored_found_corrected_and_purged(agent: Agent) -> None:
    first = stored(agent.use("memory_store", content="the espresso machine is in the kitchen"))
    line = f"[{first}] (semantic) the espresso machine is in the kitchen"
    for tool in ("memory_retrieve", "memory_search"):
        assert agent.use(tool, query="espresso machine") == line
    assert agent.use("memory_list", limit=5) == line
    assert agent.use("memory_retrieve", query="quasar").startswith("No relevant memories")
    explained = agent.use("memory_retrieve", query="espresso", explain=True)
    explain = json.loads(explained.partition("\n--- explain ---\n")[2])
    assert explain["result_count"] == 1
    text = agent.use("memory_correct", memory_id=first, new_content="it is in the hall")
    assert re.fullmatch(r"Corrected memory \S+: it is in the hall", text)
    by_query = agent.use("memory_correct", query="hall", new_content="it is in the cellar")
    assert by_query.endswith(": it is in the cellar")
    nothing = agent.use("memory_correct", query="quasar", new_content="x")
    assert nothing == "No matching memory found for query"
    assert agent.fail("memory_correct", new_content="x") == "Provide memory_id or query"
    purged = agent.use("memory_purge", topic="cellar")
    assert purged.startswith("Purged 1 memory(s) matching 'cellar'\nSafety snapshot: pre_purge_")
    name = re.search(r"pre_purge_\w+", purged)
    assert name
    assert agent.use("memory_rollback", name=name[0]) == f"Rolled back to snapshot '{name[0]}'"
    assert "it is in the cellar" in agent.use("memory_list")


def test_what_a_store_was_not_given_or_does_not_take(agent: Agent) -> None:
    assert agent.fail("memory_store") == "content is required"
    assert agent.fail("memory_store", content="") == "content is required"
    assert "Invalid trust tier: T9" in agent.fail("memory_store", content="x", trust_tier="T9")
    stored(agent.use("memory_store", content="of no type", memory_type="nonsense"))
    assert "(semantic) of no type" in agent.use("memory_list")
    assert "Blocked" in agent.fail("memory_store", content="key AKIAIOSFODNN7EXAMPLE here")
    assert "Branch not found: no" in agent.fail("memory_store", content="x", branch="no")
    agent.use("memory_store", content="with more", extra_metadata={"a": 1})
    assert '| metadata: {"a":1}' in agent.use("memory_list")


def test_purge_of_a_session_and_of_ids(agent: Agent) -> None:
    for number in range(2):
        agent.use("memory_store", content=f"step {number}", memory_type="working", session_id="s")
    text = agent.use("memory_purge", session_id="s", memory_types=["working"])
    assert text.startswith("Purged 2 memory(s) for session 's'")
    ids = [stored(agent.use("memory_store", content=one)) for one in ("a fact", "another thing")]
    assert agent.use("memory_purge", memory_id=", ".join(ids)).startswith("Purged 2 memory(s)\n")
    assert "Memory not found" in agent.fail("memory_purge", memory_id=ids[0])


def test_profile_feedback_observe_and_capabilities(agent: Agent) -> None:
    assert agent.use("memory_profile") == "No profile memories found."
    agent.use("memory_store", content="likes tea", memory_type="profile")
    assert agent.use("memory_profile") == "likes tea"
    identity = stored(agent.use("memory_store", content="the gate squeaks"))
    told = agent.use("memory_feedback", memory_id=identity, signal="useful")
    assert told.startswith(f"Recorded feedback: memory={identity}, signal=useful, feedback_id=")
    assert "signal" in agent.fail("memory_feedback", memory_id=identity, signal="nice")
    turns = [{"role": "user", "content": "my cat is called Tom"}]
    seen = json.loads(agent.use("memory_observe", messages=turns))
    assert seen["memories"][0]["content"] == "my cat is called Tom"
    overview = agent.use("memory_capabilities")
    assert all(name in overview for name, one in TOOLS.items()
               if not one.hidden and name != "memory_capabilities")  # fmt: skip


# -- git ------------------------------------------------------------------------------------------


def test_snapshots(agent: Agent) -> None:
    assert agent.use("memory_snapshots") == "No snapshots found."
    assert agent.use("memory_snapshot", name="a-b").startswith("Snapshot 'a_b' created at ")
    assert agent.use("memory_snapshot", name="a_b") == "Snapshot 'a_b' already exists."
    listed = agent.use("memory_snapshots").splitlines()
    assert listed[0] == "Snapshots (1 total):"
    assert re.fullmatch(r"a_b \(.+\)", listed[1])
    assert agent.use("memory_snapshot_delete", names="a_b") == "Deleted 1 snapshot(s): a_b"
    assert "Snapshot not found" in agent.fail("memory_rollback", name="a_b")


def test_branches(agent: Agent) -> None:
    assert agent.use("memory_branches") == "No branches. On main."
    agent.use("memory_store", content="in both")
    assert agent.use("memory_branch", name="b") == "Created branch 'b'"
    assert agent.use("memory_branch", name="b") == "Branch 'b' already exists."
    text = agent.use("memory_checkout", name="b")
    assert text == "Switched to branch 'b'. 1 memories on this branch."
    assert agent.use("memory_branches").splitlines() == ["Branches:", "main", "b ← active"]
    new = stored(agent.use("memory_store", content="on the branch"))
    assert agent.use("memory_checkout", name="main") == "Switched to branch 'main'."
    diff = agent.use("memory_diff", source="b")
    assert diff.splitlines()[0] == "Diff 'b' vs main:"
    assert "unknown argument" in agent.fail("memory_diff", source="b", against="main")
    selector = {"type": "key_list", "keys": [new]}
    tried = json.loads(agent.use("memory_pick", source="b", selector=selector, dry_run={}))
    assert tried["summary"]["would_apply"] == 1
    applied = agent.use("memory_apply", source="b", adds=[new])
    assert applied == "Applied from 'b': 1 added, 0 updated, 0 removed, 0 conflicts accepted"
    assert agent.use("memory_apply", source="b").startswith("Nothing to apply.")
    stored(agent.use("memory_store", content="another one", branch="b"))
    merged = agent.use("memory_merge", source="b", strategy="append")
    assert merged.startswith("Merged branch 'b' into main (1 new")
    picked = agent.use("memory_pick", source="b", selector=selector)
    assert picked.startswith("No pickable changes found")
    assert agent.use("memory_branch_delete", name="b") == "Deleted branch 'b'"
    assert agent.use("memory_branch_delete", name="b") == "Branch 'b' not found"
    assert agent.use("memory_branch_delete", name="main") == "Cannot delete main"
    assert "Branch not found" in agent.fail("memory_checkout", name="b")


# -- upkeep ---------------------------------------------------------------------------------------


def test_governance(agent: Agent) -> None:
    agent.use("memory_store", content="something to look at")
    agent.use("memory_snapshot", name="s")
    text = agent.use("memory_governance")
    assert re.fullmatch(
        r"Governance complete: quarantined=0, cleaned_stale=0\. snapshots: \d+ total, \d+% auto.*",
        text,
    )
    again = agent.use("memory_governance")
    assert re.match(r"Governance skipped \(cooldown: \d+s remaining\)", again)
    assert agent.use("memory_governance", force=True).startswith("Governance complete")
    text = agent.use("memory_consolidate")
    assert text == (
        "Consolidation complete: status=success, conflicts_detected=0, orphaned_scenes=0, "
        "promoted=0, demoted=0"
    )
    assert agent.use("memory_reflect").startswith("No memory clusters found for reflection.")


def test_the_hidden_tools(agent: Agent) -> None:
    identity = stored(agent.use("memory_store", content="quiet words about nothing"))
    assert json.loads(agent.use("memory_extract_entities"))["status"] == "candidates"
    link = [{"memory_id": identity, "entities": [{"name": "Tom", "type": "person"}]}]
    linked = json.loads(agent.use("memory_link_entities", entities=json.dumps(link)))
    assert linked["entities_created"] == 1
    assert "not JSON" in agent.fail("memory_link_entities", entities="{")
    assert json.loads(agent.use("memory_get_retrieval_params"))["feedback_weight"] == 0.1
    assert json.loads(agent.use("memory_tune_params"))["tuned"] is False
    assert agent.use("memory_rebuild_index", table="t").startswith("Nothing to rebuild")


def test_no_tool_reaches_what_is_another_user_s(agent: Agent, new_user: NewUser) -> None:
    other = Agent(new_user())
    theirs = stored(other.use("memory_store", content="the marker of somebody else"))
    other.use("memory_snapshot", name="their_snapshot")
    other.use("memory_branch", name="their_branch")
    stored(other.use("memory_store", content="the marker on a branch", branch="their_branch"))
    given: dict[str, Any] = {
        "memory_id": theirs, "query": "marker", "topic": None, "name": "their_branch",
        "source": "their_branch", "branch": None, "signal": "wrong", "content": "mine",
        "new_content": "stolen", "adds": [theirs], "removes": [theirs],
        "selector": {"type": "key_list", "keys": [theirs]}, "messages": [],
        "names": "their_snapshot", "entities": [{"memory_id": theirs, "entities": []}],
    }  # fmt: skip
    before = [other.use(name) for name in ("memory_list", "memory_snapshots", "memory_branches")]
    for name, tool in TOOLS.items():
        for arguments in (given, {**given, "name": "their_snapshot", "branch": "their_branch"}):
            fitting = {one: arguments[one] for one in tool.arguments if one in arguments}
            found = agent.ask("tools/call", {"name": name, "arguments": fitting})
            assert "the marker" not in json.dumps(found), name
    after = [other.use(name) for name in ("memory_list", "memory_snapshots", "memory_branches")]
    assert after == before
