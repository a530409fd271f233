"""Spans: what they hold, what they never hold, whose trace they are a part of, where they go."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from palimp.api import Ingest, ListMemories, MemoryInput, Target
from palimp.errors import Invalid, Unconfigured
from palimp.http import create_app
from palimp.node import Node, load_settings

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from palimp.node import tracing as module
from palimp.node.tracing import Tracing, start_tracing
from palimp.store import VolatileStore

MARK = "markedsecrettext"
ALICE = Target(namespace="default", profile="alice")
MEMORIES = "/v1/memory/default/alice/memories"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Traced:
    """A node whose spans are kept."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, **given: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        monkeypatch.setattr(module, "start_tracing", lambda _url, _node: Tracing(self.provider))
        settings = {"data_dir": path / "m", "embed_provider": "none", **given}
        self.node = Node(load_settings({**settings, "otel_endpoint": "http://127.0.0.1:1"}))

    def spans(self, name: str | None = None) -> list[ReadableSpan]:
        found = self.exporter.get_finished_spans()
        return [one for one in found if name is None or one.name == name]

    def write(self, text: str) -> None:
        self.node.call("memories.ingest", ALICE, Ingest(memories=(MemoryInput(text=text),)))

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        async def main() -> httpx.Response:
            transport = httpx.ASGITransport(create_app(self.node))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as one:
                return await one.request(method, path, json=body, headers=headers)

        return asyncio.run(main())


@pytest.fixture
def traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Traced]:
    made = Traced(tmp_path, monkeypatch)
    yield made
    made.node.close()


def test_an_operation_is_a_span_with_the_requests_it_made_below_it(traced: Traced) -> None:
    traced.write("a")
    (span,) = traced.spans("memories.ingest")
    assert dict(span.attributes or {}) == {
        "palimp.operation": "memories.ingest",
        "palimp.database": "default--alice",
    }
    below = [
        one for one in traced.spans() if one.parent and one.parent.span_id == span.context.span_id
    ]
    assert {"store.get", "store.create"} <= {one.name for one in below}
    create = next(one for one in below if one.name == "store.create")
    assert isinstance((create.attributes or {})["palimp.store.bytes"], int)


def test_an_error_has_its_code_and_not_its_message(traced: Traced) -> None:
    with pytest.raises(Invalid, match=MARK):
        traced.node.call("memories.list", ALICE, ListMemories(since=MARK))
    (span,) = traced.spans("memories.list")
    assert span.status.status_code.name == "ERROR"
    assert span.status.description is None
    assert (span.attributes or {})["palimp.error_code"] == "invalid_request"
    assert not span.events
    assert MARK not in span.to_json()


def test_a_lost_race_is_no_error(traced: Traced) -> None:
    assert traced.node.tracing is not None
    store = traced.node.tracing.store(VolatileStore())
    store.create("v1/a", b"1")
    with pytest.raises(Exception, match="v1/a"):
        store.create("v1/a", b"2")
    span = traced.spans("store.create")[-1]
    assert span.status.status_code.name == "UNSET"
    assert (span.attributes or {})["palimp.store.lost_race"] is True


def test_nothing_a_caller_says_is_in_any_span(traced: Traced) -> None:
    profile = "/v1/memory/default/alice"
    traced.ask("POST", MEMORIES, {"memories": [{"text": MARK, "topic_key": MARK, "tags": [MARK]}]})
    traced.ask(
        "POST", f"{profile}/sessions/{MARK}/turns", {"turns": [{"role": "user", "content": MARK}]}
    )
    traced.ask("POST", f"{profile}/recall", {"query": MARK})
    traced.ask("POST", "/v1/db/default--alice/branches", {"name": MARK})
    traced.ask("POST", f"/v1/memory/default/alice@{MARK}/memories", {"memories": [{"text": MARK}]})
    traced.ask(
        "POST", f"/v1/memory/default/{MARK.upper()} x/memories", {"memories": [{"text": "a"}]}
    )
    traced.ask("GET", f"{MEMORIES}?{MARK}=1", tracestate=f"a={MARK}", traceparent=f"00-{MARK}")
    traced.ask("GET", MEMORIES, tracestate=f"a={MARK}", traceparent=f"00-{TRACE}-{PARENT}-01")
    said = [one.to_json() for one in traced.spans()]
    wanted = {"memories.ingest", "sessions.append", "recall", "branches.fork", "memories.list"}
    assert wanted <= {one.name for one in traced.spans()}
    assert not [one for one in said if MARK in one.lower()]


def test_a_request_goes_on_with_the_trace_it_names(traced: Traced) -> None:
    parent = f"00-{TRACE}-{PARENT}-01"
    body = {"memories": [{"text": "a"}]}
    assert traced.ask("POST", MEMORIES, body, traceparent=parent).status_code == 201
    (span,) = traced.spans("memories.ingest")
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.kind.name == "SERVER"
    lines = {"accept": "application/x-ndjson", "traceparent": parent}
    assert traced.ask("GET", MEMORIES, **lines).status_code == 200
    assert f"{traced.spans('memories.list')[0].context.trace_id:032x}" == TRACE


@pytest.mark.parametrize(
    "given", [None, "nonsense", f"00-{'0' * 32}-{PARENT}-01", "00-" + "x" * 9_000]
)
def test_without_a_trace_a_request_begins_one(traced: Traced, given: str | None) -> None:
    headers = {} if given is None else {"traceparent": given}
    assert traced.ask("GET", MEMORIES, **headers).status_code == 200
    (span,) = traced.spans("memories.list")
    assert span.parent is None
    assert f"{span.context.trace_id:032x}" != TRACE
    assert span.kind.name == "INTERNAL"


def test_who_asks_not_to_be_recorded_is_not(traced: Traced) -> None:
    traced.ask("GET", MEMORIES, traceparent=f"00-{TRACE}-{PARENT}-00")
    assert not traced.spans("memories.list")


def test_a_mounted_app_goes_on_with_the_trace_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = Traced(tmp_path, monkeypatch)

    class Mounted:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            call = (traced.node.call, "memories.list", ALICE, ListMemories())
            await asyncio.to_thread(*call)
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        def lifespan(self) -> Any:
            return nullcontext()

    async def main() -> int:
        app = create_app(traced.node, mounts={"/mcp": Mounted()})
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as one:
            answer = await one.post("/mcp", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
            return answer.status_code

    assert asyncio.run(main()) == 204
    (span,) = traced.spans("memories.list")
    assert f"{span.context.trace_id:032x}" == TRACE
    traced.node.close()


def test_who_may_not_is_a_span_with_that_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"auth": "on", "platform_key": "x" * 16, "single_node": True}
    traced = Traced(tmp_path, monkeypatch, **given)
    token = traced.node.tokens.mint(
        "other", None, "read", traced.node.context.clock.now_ms() // 1000
    )
    answer = traced.ask("GET", MEMORIES, authorization=f"Bearer {token}")
    assert answer.status_code == 403
    (span,) = traced.spans("memories.list")
    assert (span.attributes or {})["palimp.error_code"] == "forbidden"
    assert token not in span.to_json()
    traced.node.close()


class Collector:
    """An OTLP/HTTP receiver: keeps what it is sent, and answers with `status`."""

    def __init__(self, status: int = 200) -> None:
        self.got: list[tuple[str, ExportTraceServiceRequest]] = []
        house = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                house.got.append((self.path, ExportTraceServiceRequest.FromString(data)))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.mark.parametrize("path", ["", "/", "/custom/place"])
def test_a_collector_gets_them_by_the_end(tmp_path: Path, path: str) -> None:
    collector = Collector()
    settings = {"data_dir": tmp_path / "m", "embed_provider": "none", "node_id": "node-1"}
    node = Node(load_settings({**settings, "otel_endpoint": collector.url + path}))
    node.call("memories.ingest", ALICE, Ingest(memories=(MemoryInput(text=MARK),)))
    node.close()
    collector.close()
    assert {where for where, _ in collector.got} == {path if len(path) > 1 else "/v1/traces"}
    resources = [one for _, request in collector.got for one in request.resource_spans]
    told = {one.key: one.value.string_value for one in resources[0].resource.attributes}
    assert (told["service.name"], told["service.instance.id"]) == ("palimp", "node-1")
    spans = [span for one in resources for scope in one.scope_spans for span in scope.spans]
    assert {"memories.ingest", "store.get", "store.create"} <= {span.name for span in spans}
    assert MARK not in str(resources)


def test_the_environment_names_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "memory-of-acme")
    collector = Collector()
    tracing = start_tracing(collector.url, None)
    with tracing.operation("sync", ALICE):
        pass
    tracing.close()
    collector.close()
    assert "memory-of-acme" in str(collector.got)


@pytest.mark.parametrize("status", [400, 404])
def test_a_collector_that_refuses_holds_up_nothing(tmp_path: Path, status: int) -> None:
    collector = Collector(status)
    settings = {"data_dir": tmp_path / "m", "embed_provider": "none"}
    node = Node(load_settings({**settings, "otel_endpoint": collector.url}))
    node.call("memories.ingest", ALICE, Ingest(memories=(MemoryInput(text="a"),)))
    node.close()
    collector.close()
    assert collector.got


@pytest.mark.parametrize(
    "given",
    ["127.0.0.1:4318", "grpc://a:4317", "http://", "http://[", "http://u:secretword@a", "x"],
)
def test_what_is_no_url_of_a_collector_is_refused_unseen(tmp_path: Path, given: str) -> None:
    with pytest.raises(Invalid, match="PALIMP_OTEL_ENDPOINT is not the URL") as caught:
        Node(load_settings({"data_dir": tmp_path / "m", "otel_endpoint": given}))
    assert "secretword" not in str(caught.value)
    # The folder was let go of.
    Node(load_settings({"data_dir": tmp_path / "m"})).close()


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(Unconfigured, match=re.escape("pip install 'palimp[otel]'")):
        start_tracing("http://127.0.0.1:4318", None)


def test_nothing_of_it_is_there_when_it_is_off(tmp_path: Path) -> None:
    import subprocess

    code = (
        "import sys, palimp\n"
        "with palimp.open(sys.argv[1], embed_provider='none') as mem:\n"
        "    mem.profile('a').remember('b')\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
