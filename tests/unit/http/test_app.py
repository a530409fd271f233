"""The app of a node without a server: what stands beside the operations, lines, limits, metrics."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from palimp.api import MemoryPage
from palimp.errors import Error, Internal, Unavailable
from palimp.http import create_app
from palimp.http.api import Limits
from palimp.http.app import App
from palimp.http.lines import lines
from palimp.http.messages import send_lines
from palimp.http.openapi import description
from palimp.http.page import page, policy
from palimp.node import Node, load_settings

MEMORIES = "/v1/memory/default/alice/memories"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    settings = {"data_dir": tmp_path / "m", "embed_provider": "none", "control_rate": 2}
    node = Node(load_settings(settings))
    yield node
    node.close()


def ask(app: Any, *requests: tuple[Any, ...], host: str = "127.0.0.1") -> list[httpx.Response]:
    """Ask one after the other: method, path, body, headers."""

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:8080") as client:
            found = []
            for method, path, *rest in requests:
                body, headers = (*rest, None, None)[:2]
                found.append(await client.request(method, path, json=body, headers=headers))
            return found

    return asyncio.run(main())


def memories(count: int, text: str = "memory") -> dict[str, Any]:
    return {"memories": [{"text": f"{text} {i}"} for i in range(count)]}


def test_lines_go_on_over_all_pages(node: Node) -> None:
    wrote, page_, all_ = ask(
        create_app(node),
        ("POST", MEMORIES, memories(25)),
        ("GET", MEMORIES + "?limit=10"),
        ("GET", MEMORIES + "?limit=10", None, {"accept": "application/x-ndjson"}),
    )
    assert wrote.status_code == 201
    assert len(page_.json()["memories"]) == 10
    assert all_.headers["content-type"] == "application/x-ndjson"
    found = [json.loads(line) for line in all_.text.splitlines()]
    assert len({one["id"] for one in found}) == 25
    assert found[:10] == page_.json()["memories"]


def test_an_error_before_the_lines_has_its_status(node: Node) -> None:
    (refused,) = ask(
        create_app(node),
        ("GET", MEMORIES + "?limit=0", None, {"accept": "application/x-ndjson"}),
    )
    assert refused.status_code == 400
    assert refused.json()["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("raised", "code"),
    [(Unavailable("the store is away", retry_after=2), "unavailable"), (KeyError("x"), "internal")],
)
def test_an_error_in_the_middle_is_the_last_line(raised: Exception, code: str) -> None:
    first = MemoryPage(memories=(), next_cursor="c", txid=1)

    async def next_page(_cursor: str) -> Any:
        raise raised

    def known(error: Exception) -> Error:
        return error if isinstance(error, Error) else Internal("a defect")

    async def main() -> list[bytes]:
        return [piece async for piece in lines(first, next_page, known)]

    *_, last = asyncio.run(main())
    assert json.loads(last)["code"] == code


def test_no_page_is_read_for_a_client_that_is_gone() -> None:
    async def main() -> int:
        read = 0
        gone = asyncio.Event()

        async def pages() -> AsyncIterator[bytes]:
            nonlocal read
            while True:
                read += 1
                yield b"line\n"
                if read == 3:
                    gone.set()
                await asyncio.sleep(0)

        async def receive() -> dict[str, Any]:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(_message: Any) -> None:
            await asyncio.sleep(0)

        async with asyncio.timeout(20):
            await send_lines(receive, send, {}, pages())
        return read

    assert asyncio.run(main()) <= 6


def test_a_repeat_over_another_connection_gets_the_first_answer(node: Node) -> None:
    app = create_app(node)
    turns = "/v1/memory/default/alice/sessions/s1/turns"
    body = {"turns": [{"role": "user", "content": "hello"}]}
    given = {"palimp-request-id": "turn-1"}
    (first,) = ask(app, ("POST", turns, body, given))
    (second,) = ask(app, ("POST", turns, body, given))
    other, listed = ask(app, ("POST", turns, {"turns": []}, given), ("GET", turns))
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert other.status_code in (400, 409)
    assert len(listed.json()["turns"]) == 1


def test_the_node_as_a_whole_is_told_so_often_a_second(node: Node) -> None:
    answers = ask(create_app(node), *[("POST", "/v1/maintain")] * 6)
    shed = [one for one in answers if one.status_code == 429]
    assert shed
    assert all(one.json()["code"] == "overloaded" for one in shed)
    assert all(int(one.headers["retry-after"]) >= 1 for one in shed)


def test_more_than_so_many_requests_are_refused_and_health_is_not(node: Node) -> None:
    limits = msgspec.structs.replace(Limits.of(node.settings), in_flight=0)
    refused, health, ready = ask(
        create_app(node, limits=limits), ("GET", "/v1/node"), ("GET", "/health"), ("GET", "/ready")
    )
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert health.text == "ok"
    assert ready.status_code == 200


def test_bodies_of_all_together_are_bounded(node: Node) -> None:
    limits = msgspec.structs.replace(Limits.of(node.settings), body_bytes=2_000)
    app = create_app(node, limits=limits)
    app.api._room.taken = 15_500
    refused, small = ask(app, ("POST", MEMORIES, memories(30)), ("POST", MEMORIES, memories(1)))
    assert refused.status_code == 429
    assert small.status_code == 201
    assert app.api._room.taken == 15_500


def test_a_flooded_profile_sheds_and_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    settings = {"data_dir": tmp_path / "m", "embed_provider": "none", "write_queue_depth": 8}
    node = Node(load_settings(settings))
    app = create_app(node)

    async def flood() -> tuple[list[tuple[str, int]], list[int]]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:

            async def write(profile: str, text: str) -> tuple[str, int]:
                path = f"/v1/memory/default/{profile}/memories"
                answer = await client.post(path, json={"memories": [{"text": text}]})
                return text, answer.status_code

            flooded = [asyncio.ensure_future(write("alice", f"flood {i}")) for i in range(300)]
            others = [await write(f"other{i}", "calm") for i in range(10)]
            return list(await asyncio.gather(*flooded)), [status for _, status in others]

    written, others = asyncio.run(flood())
    assert others == [201] * 10
    assert {status for _, status in written} == {201, 429}
    (listed,) = ask(app, ("GET", MEMORIES + "?limit=1000"))
    there = {one["text"] for one in listed.json()["memories"]}
    assert there == {text for text, status in written if status == 201}
    node.close()


def test_health_answers_while_every_thread_is_busy(node: Node) -> None:
    going = threading.Event()

    async def main() -> list[str]:
        app = create_app(node)
        busy = [
            asyncio.ensure_future(app.api._workers.run(i, lambda: going.wait(20)))
            for i in range(200)
        ]
        await asyncio.sleep(0)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            health, ready = await client.get("/healthz"), await client.get("/ready")
        going.set()
        await asyncio.gather(*busy)
        return [health.text, str(ready.json()["waiting"])]

    assert asyncio.run(main()) == ["ok", "136"]


def test_metrics_are_in_the_format_of_prometheus(node: Node) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    *_, found = ask(
        create_app(node), ("POST", MEMORIES, memories(1)), ("GET", "/v1/nope"), ("GET", "/metrics")
    )
    assert found.headers["content-type"].startswith("text/plain; version=")
    families = {one.name: one for one in parser.text_string_to_metric_families(found.text)}
    assert all(name.startswith("palimp_") for name in families)
    requests = {
        (sample.labels["operation"], sample.labels["status"]): sample.value
        for sample in families["palimp_http_requests"].samples
    }
    assert requests == {("memories.ingest", "201"): 1, ("none", "404"): 1}
    durations = families["palimp_http_request_seconds"]
    assert durations.type == "histogram"
    (infinite,) = [
        sample.value
        for sample in durations.samples
        if sample.labels.get("le") == "+Inf" and sample.labels["operation"] == "memories.ingest"
    ]
    assert infinite == 1
    assert families["palimp_branches_open"].samples[0].value == 1
    assert families["palimp_backlog_bytes"].type == "gauge"


def test_without_the_library_metrics_say_what_to_install(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    (refused,) = ask(create_app(node), ("GET", "/metrics"))
    assert refused.status_code == 503
    assert refused.json()["code"] == "unconfigured"
    assert "palimp[server]" in refused.json()["error"]


def test_ready_warns_of_what_is_wrong(tmp_path: Path) -> None:
    settings = {"data_dir": tmp_path / "m", "embed_provider": "none", "durability": "durable"}
    node = Node(load_settings(settings))
    app = create_app(node)
    node.context.engine._pressure = Unavailable("the disk is full", reason="disk")
    (found,) = ask(app, ("GET", "/ready"))
    durable, pressure = found.json()["warnings"]
    assert "PALIMP_OBJECT_STORE" in durable
    assert pressure == "writes are refused: the disk is full"
    node.context.engine._pressure = None
    node.close()
    (closed,) = ask(app, ("GET", "/ready"))
    assert (closed.status_code, closed.json()["status"]) == (503, "closed")


def test_the_page_runs_itself_and_asks_only_its_node(node: Node) -> None:
    (answer,) = ask(create_app(node), ("GET", "/docs"))
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"] == policy()
    assert policy().count("sha256-") == 2
    text = page().decode()
    assert not re.findall(r"""https?://|src=|@import|url\(|innerHTML|style="| on\w+=""", text)
    assert text.count("<script>") == text.count("<style>") == 1


def test_the_description_names_nothing_that_is_not_there() -> None:
    found = json.loads(description())
    referred = set(re.findall(r'"#/components/(\w+)/([\w.-]+)"', description().decode()))
    for kind, name in referred:
        assert name in found["components"][kind], (kind, name)
    for kind in ("schemas", "parameters", "responses", "headers"):
        assert set(found["components"][kind]) == {name for k, name in referred if k == kind}
    ids = [one["operationId"] for path in found["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.9.9.9", 200),
        ("[::1]", 200),
        ("evil.example", 421),
        ("8.8.8.8", 421),
    ],
)
def test_only_names_of_this_machine_are_answered(node: Node, host: str, status: int) -> None:
    for path in ("/v1/node", "/health", "/openapi.json", "/nope/../v1/node"):
        (answer,) = ask(create_app(node), ("GET", path), host=host)
        assert (answer.status_code == 421) == (status == 421)


def test_what_is_mounted_answers_its_path_and_what_is_below(node: Node) -> None:
    class Mounted:
        entered = False

        def lifespan(self) -> Any:
            raise AssertionError("not served here")

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            body = scope["path"].encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})

    app = create_app(node, mounts={"/mcp": Mounted()})
    assert isinstance(app, App)
    found = ask(app, ("POST", "/mcp"), ("GET", "/mcp/a/b"), ("GET", "/mcpx"))
    assert [one.status_code for one in found] == [200, 200, 404]
    assert [one.text for one in found[:2]] == ["/mcp", "/mcp/a/b"]
