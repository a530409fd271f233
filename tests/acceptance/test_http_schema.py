"""What /openapi.json says against a node: nothing undocumented is answered, nothing crashes.

SCHEMATHESIS_EXAMPLES sets how many requests of each operation are tried.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks, openapi

from palimp import Client
from palimp.api import OPERATIONS
from palimp.api.wire import FILE_TYPE
from palimp.client.transports.embedded import Embedded
from palimp.http import create_app
from palimp.http.openapi import description
from palimp.node import Node, load_settings
from palimp.node.serving import Served

try:
    import sqlalchemy  # noqa: F401
except ImportError:
    WITH_CATALOG = False
else:
    WITH_CATALOG = True

# What asks a language model, of which there is none here.
ASKING = {"ask", "extract", "governance.reflect", "clusters.summarize"}
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "12"))
# Not: that whatever fits the schema is taken. Limits of length and number are said in messages.
CHECKED = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


schema = openapi.from_dict(json.loads(description()))
schemathesis.serializer.alias(FILE_TYPE, "application/octet-stream")
# Names of things that exist, as which every other request asks for them.
KNOWN = {"namespace": "default", "profile": "alice", "db": "default--alice", "branch": "main"}
KNOWN |= {"session_id": "s1", "name": "before-run"}


@schema.hook
def map_path_parameters(_context: Any, path_parameters: dict[str, Any] | None) -> Any:
    given = path_parameters or {}
    drawn = sum(len(str(value)) for value in given.values())
    return {**given, **{k: v for k, v in KNOWN.items() if k in given}} if drawn % 2 else given


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("schema") / "m"
    chosen = {"data_dir": folder, "embed_provider": "bundled", "control_rate": 1_000}
    chosen["master_key"] = base64.b64encode(bytes(range(32))).decode()
    if WITH_CATALOG:
        chosen["catalog_url"] = f"sqlite:///{folder.parent}/catalog.db"
    node = Node(load_settings(chosen))
    with Client(Embedded(node)) as client:
        alice = client.profile("alice")
        alice.ingest([{"text": f"memory {i}", "topic": f"t{i % 3}"} for i in range(20)])
        alice.session("s1").append("user", "hello")
        alice.checkpoint("before-run")
    node = Node(load_settings(chosen))
    listener = socket.create_server(("127.0.0.1", 0))
    served = Served(create_app(node), [listener], read_seconds=30)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        assert served.stop(5)
        node.close()


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_one_that_is_documented(name: str, url: str) -> None:
    row = OPERATIONS[name]
    # Not `schema.parametrize`: its tests have one id, of which several processes run one alone.
    cases = schema[row.path][row.method].as_strategy()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def holds(case: schemathesis.Case) -> None:
        response = case.call_and_validate(base_url=url, checks=CHECKED)
        # 503 is an answer: of a node that has not seen the txid it is asked for, for instance.
        away = ("unavailable", "unconfigured") if lacks(name) else ("unavailable",)
        assert response.status_code < 500 or response.json()["code"] in away, response.text

    holds()


def lacks(name: str) -> bool:
    """Whether an operation may need what the node has not: a language model, or a catalog."""
    return not WITH_CATALOG or name in ASKING


def test_every_operation_is_described() -> None:
    paths = schema.raw_schema["paths"]
    for row in OPERATIONS.values():
        assert paths[row.path][row.method.lower()]["operationId"] == row.name
    beside = {"/health", "/ready", "/metrics"}
    assert set(paths) - {row.path for row in OPERATIONS.values()} == beside


def test_the_description_is_served_as_it_is(url: str) -> None:
    with urllib.request.urlopen(url + "/openapi.json") as answer:
        assert json.loads(answer.read()) == json.loads(description())
