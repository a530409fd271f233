"""Every operation on a profile, asked of a node that has it not: it is carried out where it is.

The calls are those of `tests/acceptance/test_hygiene.py`, each once at a node alone and once through
another node of a cluster; a new operation has to have a call there.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from palimp.api import OPERATIONS
from palimp.api.routes import placeholders
from palimp.security.keys import SigningKey

from .town import House, Town

sys.path.insert(0, str(Path(__file__).parents[2] / "acceptance"))

from test_hygiene import GOOD, PLATFORM, Call, Caller

DATABASES = ("acme--alice", "acme--copy")
# What is another in every run: ids, times, keys, nodes.
_VARIES = re.compile(
    r"(mem|req|ers|n|store|prop|rev|db|b)_[0-9a-zA-Z]{8,}|[0-9a-f]{16,}|\d{13}|[0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{26}"
    r"|pre_[a-z_]+_[0-9a-f]{8}|\"[a-z]+_secs\"|\d+\.\d+"
)


class Answer(NamedTuple):
    """What was asked and what came."""

    operation: str
    status: int
    shape: Any


def on_a_profile(name: str) -> bool:
    return bool({"db", "profile"} & set(placeholders(OPERATIONS[name].path)))


def walk(house: House) -> list[Answer]:
    """Ask for everything; each has to succeed."""
    found: list[Answer] = []
    caller = Caller(house.url)
    send = caller.send

    def noted(row: Any, *rest: Any) -> httpx.Response:
        answer = send(row, *rest)
        # What was shipped by now depends on the time, and who wrote it on the node.
        said = None if row.name == "manifest" else shape(answer)
        found.append(Answer(row.name, answer.status_code, said))
        return answer

    caller.send = noted  # type: ignore[method-assign]
    try:
        # Tasks and keys of dialects are in a catalog, which is of no node.
        beside = ("tasks.", "credentials.", "tenants.", "arc.", "catalog.")
        for call in (one for one in GOOD if not one.operation.startswith(beside)):
            if call.operation == "memories.feedback":
                for one in READS:
                    caller.call(one)
            caller.call(call)
    finally:
        caller.http.close()
    assert not caller.wrong, "\n".join(caller.wrong)
    return found


def shape(answer: httpx.Response) -> Any:
    """Return what of an answer is the same in every run."""
    if answer.headers.get("content-type") != "application/json":
        return answer.headers.get("content-type")
    return plain(json.loads(answer.content))


def plain(value: Any) -> Any:
    """Return the value without its numbers and ids: times, sizes and scores differ."""
    if isinstance(value, dict):
        return {_VARIES.sub("*", key): plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, str):
        return _VARIES.sub("*", value)[:40]
    return type(value).__name__


# What no call there asks for, in the middle of them.
MEMORY, DB = "/v1/memory/acme/alice", "/v1/db/acme--alice"
READS = [
    Call("sessions.list", f"{MEMORY}/sessions"),
    Call("proposals.list", f"{MEMORY}/proposals"),
    Call("memories.events", MEMORY + "/memories/{id}/events"),
    Call("memories.stats", f"{MEMORY}/stats"),
    Call("feedback.summary", f"{MEMORY}/feedback"),
    Call("memories.lineage", MEMORY + "/memories/{id}/lineage"),
    Call("documents.collections", f"{DB}/docs"),
    Call("vectors.collections", f"{DB}/vectors"),
    Call("branches.list", f"{DB}/branches"),
    Call("checkpoints.list", f"{DB}/branches/main/checkpoints"),
    Call("erasures.list", f"{MEMORY}/erasures"),
    Call("manifest", f"{DB}/manifest"),
    Call("embed.status", f"{MEMORY}/embed"),
    Call("policy.get_profile", f"{MEMORY}/policy"),
]


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return {
        "auth": "on",
        "platform_key": PLATFORM,
        "auth_key": SigningKey.generate().export(),
        "embed_provider": "bundled",
        "master_key": base64.b64encode(bytes(range(32))).decode(),
        "ship_interval": 0.05,
        "maintenance_secs": 0.0,
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any]) -> list[Answer]:
    town = Town(tmp_path_factory.mktemp("alone"), 1, **settings)
    found = walk(town.houses[0])
    town.close()
    return found


@pytest.fixture(scope="module")
def through(
    tmp_path_factory: pytest.TempPathFactory, settings: dict[str, Any]
) -> Iterator[tuple[Town, list[Answer]]]:
    """A cluster in which node b has everything, and node a is asked."""
    town = Town(tmp_path_factory.mktemp("through"), 2, **settings)
    for name in DATABASES:
        town.give(name, town.houses[1])
    yield town, walk(town.houses[0])
    town.close()


def test_each_answers_as_at_a_node_alone(
    alone: list[Answer], through: tuple[Town, list[Answer]]
) -> None:
    _, far = through
    wrong = [(near, one) for near, one in zip(alone, far, strict=True) if near != one]
    assert not wrong, "\n".join(map(str, wrong))


def test_each_was_carried_out_where_the_profile_is(through: tuple[Town, list[Answer]]) -> None:
    (a, b), found = through[0].houses, through[1]
    asked = {one.operation for one in found if on_a_profile(one.operation)}
    # The value of a key is read where it is asked for.
    for name in asked - {"kv.get"}:
        assert a.counted("requests_forwarded", operation=name) >= 1, name
        assert a.counted("operations_done", operation=name) == 0, name
        assert b.counted("operations_done", operation=name) >= 1, name
    assert b.counted("requests_forwarded") == 0
    assert {name for name, row in OPERATIONS.items() if row.writes and on_a_profile(name)} <= asked


def test_what_is_about_no_profile_was_carried_out_here(through: tuple[Town, list[Answer]]) -> None:
    (a, b), found = through[0].houses, through[1]
    for name in {one.operation for one in found if not on_a_profile(one.operation)}:
        if name != "databases.create":
            assert a.counted("operations_done", operation=name) >= 1, name
            assert b.counted("operations_done", operation=name) == 0, name
