"""The table of tools against the table of operations, and the size of what every agent reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from palimp.api import OPERATIONS
from palimp.mcp import TOOLS, listing
from palimp.mcp.tools import INSTRUCTIONS, selected

DEFAULT = [
    "memory_remember", "memory_recall", "memory_get", "memory_supersede", "memory_forget",
    "memory_history", "memory_branch", "memory_rewind",
]  # fmt: skip


def size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":")).encode())


def schemas(value: Any) -> list[dict[str, Any]]:
    """Every schema inside a schema, itself among them."""
    found = [value]
    for one in (*value.get("properties", {}).values(), *value.get("anyOf", ())):
        found += schemas(one)
    if isinstance(value.get("items"), dict):
        found += schemas(value["items"])
    return found


def test_default_tools_are_eight_and_cost_little() -> None:
    listed = listing("default")
    assert [one["name"] for one in listed] == DEFAULT
    # What tools/list answers is this and some 150 bytes around it (tests/acceptance/test_mcp.py).
    assert size({"tools": listed}) < 5_850
    assert size({"tools": listing("default", pinned=True)}) < size({"tools": listed})
    assert size(INSTRUCTIONS) < 1_000


@pytest.mark.parametrize("row", TOOLS.values(), ids=TOOLS)
def test_every_tool_names_operations_that_exist(row: Any) -> None:
    assert row.operations
    assert set(row.operations) <= set(OPERATIONS)


@pytest.mark.parametrize("row", TOOLS.values(), ids=TOOLS)
def test_hints_follow_from_the_operations(row: Any) -> None:
    rows = [OPERATIONS[name] for name in row.operations]
    assert row.hints["readOnlyHint"] == all(one.scope == "read" for one in rows)
    assert row.hints["idempotentHint"] == all(one.idempotent for one in rows)
    assert not (row.hints["readOnlyHint"] and row.hints["destructiveHint"])


def test_what_takes_something_away_says_so() -> None:
    destructive = {row.name for row in TOOLS.values() if row.hints["destructiveHint"]}
    assert destructive == {
        "memory_forget",
        "memory_branch",
        "memory_rewind",
        "memory_session_end",
        "branch_delete",
        "branch_rewind",
        "branch_checkpoint_delete",
        "branch_merge",
        "branch_apply",
        "branch_pick",
        "branch_revert",
        "memory_unrelate",
        "memory_archive",
        "governance_run",
        "governance_consolidate",
        "governance_undo",
    }


def test_the_full_set_has_the_default_one_and_the_names_of_the_issue() -> None:
    names = list(selected("all", pinned=False, read_only=False))
    assert names == list(TOOLS)
    assert {
        "memory_ask", "memory_ingest", "memory_sessions_list", "memory_session_end", "memory_append",
        "memory_window", "memory_search", "memory_profiles_list", "branch_create",
        "branch_checkpoint", "branch_rewind", *DEFAULT,
    } <= set(names)  # fmt: skip


@pytest.mark.parametrize(("tools", "count"), [("default", 0), ("relations", 8), ("governance", 13)])
def test_a_set_has_the_default_one_and_its_own(tools: Any, count: int) -> None:
    names = list(selected(tools, pinned=False, read_only=False))
    assert names[:8] == DEFAULT
    own = names[8:]
    assert len(own) == count
    assert all(TOOLS[name].set == tools for name in own)
    assert list(selected(tools, pinned=True, read_only=False)) == names


def test_every_operation_on_relations_and_governance_has_a_tool() -> None:
    wanted = ("relations.", "entities.", "clusters.", "governance.")
    offered = {name for row in TOOLS.values() for name in row.operations}
    assert {name for name in OPERATIONS if name.startswith(wanted)} <= offered


@pytest.mark.parametrize("tools", ["default", "relations", "governance", "all"])
@pytest.mark.parametrize("pinned", [False, True])
def test_read_only_lists_what_reads(tools: Any, pinned: bool) -> None:
    listed = listing(tools, pinned=pinned, read_only=True)
    names = [one["name"] for one in listed]
    assert {"memory_recall", "memory_get", "memory_history"} <= set(names)
    assert all(one["annotations"]["readOnlyHint"] for one in listed)
    assert not {"memory_remember", "memory_forget", "memory_branch", "memory_ingest"} & set(names)


def test_a_pinned_address_has_no_argument_for_another_profile_and_no_tool_that_lists_them() -> None:
    for one in listing("all", pinned=True):
        assert not {"namespace", "profile"} & set(one["inputSchema"]["properties"])
        assert "branch" in one["inputSchema"]["properties"]
    assert "memory_profiles_list" not in [one["name"] for one in listing("all", pinned=True)]
    for one in listing("default"):
        assert {"namespace", "profile", "branch"} <= set(one["inputSchema"]["properties"])


@pytest.mark.parametrize("one", listing("all"), ids=lambda one: one["name"])
def test_schemas_are_objects_whole_in_themselves_and_without_noise(one: dict[str, Any]) -> None:
    for side in ("inputSchema", "outputSchema"):
        assert one[side]["type"] == "object"
        for schema in schemas(one[side]):
            assert not {"title", "$ref", "$defs"} & set(schema)
    assert set(one["annotations"]) == {"readOnlyHint", "destructiveHint", "idempotentHint"}
    assert one["description"]


def test_arguments_have_pythons_names_and_the_full_sets_those_of_the_wire() -> None:
    by_name = {one["name"]: one["inputSchema"]["properties"] for one in listing("all")}
    assert "topic" in by_name["memory_recall"]
    assert "topic_key" in by_name["memory_ingest"]["memories"]["items"]["properties"]
    assert "session_id" in by_name["memory_window"]
