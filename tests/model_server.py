"""A server of models for tests: real HTTP, real vectors of the bundled model, scripted chat.

    with ModelServer() as server:
        server.url                      # http://127.0.0.1:PORT/v1 (Anthropic: server.root)
        server.fail(limited("1"), cut())  # the next two requests; then all is well again
        server.standing = broken(500)   # every request, until it is None
        server.say({"answer": "blue", "citations": [1]}, "no JSON at all")  # the next two chats
        server.seen[-1].json["input"]   # what was asked, with its path and headers

`POST {url}/embeddings` is what OpenAI and Voyage share, `{url}/chat/completions` is OpenAI's and
`{root}/v1/messages` Anthropic's. Vectors are not of unit length, not in order, and another model's
are others. From tests: `from ..model_server import ModelServer` (as many dots as folders up).
"""

from __future__ import annotations

import json
import threading
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import numpy as np

from palimp.models.bundled import BundledEmbedder

_BUNDLED = BundledEmbedder()


@dataclass(frozen=True)
class Fault:
    """What happens to one request instead of its answer, or to its vectors."""

    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    # Nothing is sent for so long, or until the server is closed.
    silent: float = 0.0
    # "at_once" or, within the body, "midway".
    cut: str | None = None
    # Every byte of the answer after such a pause.
    drip: float = 0.0
    vectors: Callable[[list[list[float]]], list[Any]] | None = None


def limited(retry_after: str | None = "1", **headers: str) -> Fault:
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return Fault(429, b'{"error": {"type": "rate_limit_error"}}', headers)


def broken(status: int = 500, retry_after: str | None = None) -> Fault:
    return Fault(status, b"", {} if retry_after is None else {"Retry-After": retry_after})


def refused(status: int, code: str = "invalid_request_error", message: str = "no") -> Fault:
    return Fault(
        status, json.dumps({"error": {"message": message, "type": code, "code": code}}).encode()
    )


def unauthorized() -> Fault:
    return refused(401, "invalid_api_key", "Incorrect API key provided")


def redirected(url: str) -> Fault:
    return Fault(307, b"", {"Location": url})


def slow(seconds: float = 60.0) -> Fault:
    return Fault(silent=seconds)


def dripping(seconds: float = 0.05) -> Fault:
    return Fault(drip=seconds)


def cut(where: str = "at_once") -> Fault:
    return Fault(cut=where)


def html(status: int = 200) -> Fault:
    return Fault(status, b"<html><body>Sign in</body></html>", {"Content-Type": "text/html"})


def invalid_json() -> Fault:
    return Fault(body=b'{"data": [{"embedding": [0.1, ')


def answered(said: Any) -> Fault:
    """Any other JSON."""
    return Fault(body=json.dumps(said).encode())


def wrong_dimension(dimensions: int) -> Fault:
    return Fault(vectors=lambda rows: [[0.5] * dimensions for _ in rows])


def numbers(value: Any, *places: int) -> Fault:
    """`value` (NaN, None, a text) as the first number of the vectors at `places`; else of all."""

    def spoil(rows: list[list[float]]) -> list[Any]:
        return [
            [value, *row[1:]] if not places or place in places else row
            for place, row in enumerate(rows)
        ]

    return Fault(vectors=spoil)


def too_few() -> Fault:
    return Fault(vectors=lambda rows: rows[:-1])


@dataclass(frozen=True)
class Answer:
    """What a chat says: `content` a text, or a dict, which is JSON or the input of the tool."""

    content: str | dict[str, Any] | None
    finish: str | None = None
    refusal: str | None = None
    tokens: tuple[int, int] | None = (40, 10)


@dataclass(frozen=True)
class Seen:
    """A request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ModelServer:
    """Serves until `close`. `key`: what has to be shown, in whichever way; None: nothing.

    `dimensions` of its vectors where a request does not say. A text of more than `text_chars_max`
    is refused with 400, as is a batch that holds one, and a chat whose `response_format` is of a
    type in `formats_refused`.
    """

    def __init__(self, *, dimensions: int = 256, key: str | None = None) -> None:
        self.dimensions = dimensions
        self.key = key
        self.text_chars_max: int | None = None
        self.formats_refused: set[str] = set()
        self.standing: Fault | None = None
        # Whether an embedding says how many tokens it read.
        self.usage = True
        self.seen: list[Seen] = []
        self.closing = threading.Event()
        # Set by a test to hold every request before its answer, until it sets it again.
        self.open = threading.Event()
        self.open.set()
        self._lock = threading.Lock()
        self._faults: deque[Fault | None] = deque()
        self._answers: deque[Answer] = deque()
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        server.models = self  # type: ignore[attr-defined]
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    def fail(self, *faults: Fault | None) -> None:
        """Let the next requests meet these, one each; None is a request that meets none."""
        self._faults.extend(faults)

    def say(self, *answers: Answer | str | dict[str, Any]) -> None:
        """Let the next chats be answered so, one each."""
        self._answers.extend(a if isinstance(a, Answer) else Answer(a) for a in answers)

    def close(self) -> None:
        self.closing.set()
        self.open.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reply(self, seen: Seen) -> Fault:
        """Return what is sent: a fault with its body filled in."""
        with self._lock:
            self.seen.append(seen)
            fault = self._faults.popleft() if self._faults else None
        fault = fault or self.standing or Fault()
        self.open.wait(30)
        if fault.status != 200 or fault.body is not None:
            return fault
        if self.key is not None and self.key not in _shown(seen):
            return unauthorized()
        path = urlsplit(seen.path).path
        for end, answer in (
            ("/embeddings", self._embeddings),
            ("/chat/completions", self._chat),
            ("/messages", self._messages),
        ):
            if path.endswith(end):
                said = answer(seen.json, fault)
                break
        else:
            return refused(404, "not_found_error")
        if isinstance(said, Fault):
            return said
        return replace(fault, body=json.dumps(said).encode())

    def _embeddings(self, asked: Any, fault: Fault) -> Any:
        texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        most = self.text_chars_max
        if most is not None and any(len(text) > most for text in texts):
            return refused(400, "context_length_exceeded", f"too long: {texts[0][:50]}")
        rows = vectors(texts, asked["model"], asked.get("dimensions") or self.dimensions)
        if fault.vectors is not None:
            rows = fault.vectors(rows)
        data = [
            {"object": "embedding", "index": index, "embedding": row}
            for index, row in enumerate(rows)
        ]
        tokens = sum(map(len, texts)) // 4
        said: dict[str, Any] = {"object": "list", "data": data[::-1], "model": asked["model"]}
        if self.usage:
            said["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return said

    def _next(self) -> Answer | None:
        with self._lock:
            return self._answers.popleft() if self._answers else None

    def _chat(self, asked: Any, _: Fault) -> Any:
        format = (asked.get("response_format") or {}).get("type")
        if format in self.formats_refused:
            return refused(400, "invalid_request_error", "response_format is not supported")
        answer = self._next()
        if answer is None:
            return broken(500)
        content = answer.content
        message = {
            "role": "assistant",
            "content": json.dumps(content) if isinstance(content, dict) else content,
            "refusal": answer.refusal,
        }
        said: dict[str, Any] = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": asked["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": answer.finish or "stop"}],
        }
        if answer.tokens is not None:
            read, wrote = answer.tokens
            said["usage"] = {
                "prompt_tokens": read,
                "completion_tokens": wrote,
                "total_tokens": read + wrote,
            }
        return said

    def _messages(self, asked: Any, _: Fault) -> Any:
        answer = self._next()
        if answer is None:
            return broken(529)
        if isinstance(answer.content, dict):
            name = (asked.get("tool_choice") or {}).get("name", "answer")
            block = {"type": "tool_use", "id": "toolu_1", "name": name, "input": answer.content}
            finish = "tool_use"
        else:
            block, finish = {"type": "text", "text": answer.content}, "end_turn"
        said: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": asked["model"],
            "content": [] if answer.content is None else [block],
            "stop_reason": answer.finish or finish,
        }
        if answer.tokens is not None:
            said["usage"] = dict(zip(("input_tokens", "output_tokens"), answer.tokens, strict=True))
        return said


def vectors(texts: Sequence[str], model: str, dimensions: int) -> list[list[float]]:
    """Return what the server embeds texts to: rows of length 3, other ones for each model."""
    rows = _BUNDLED.embed(texts)
    if dimensions > rows.shape[1]:
        rows = np.tile(rows, (1, -(-dimensions // rows.shape[1])))
    rows = np.roll(rows, zlib.crc32(model.encode()) % 97, axis=1)[:, :dimensions]
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (3 * rows / np.where(lengths > 0, lengths, 1)).tolist()


def _shown(seen: Seen) -> set[str]:
    kind, _, value = seen.headers.get("authorization", "").partition(" ")
    found = {seen.headers.get("x-api-key", ""), *parse_qs(urlsplit(seen.path).query).get("key", [])}
    return found | {value if kind in ("Bearer", "Basic") else ""}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        models: ModelServer = self.server.models  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = models.reply(Seen(self.path, headers, body))
        if fault.silent:
            models.closing.wait(fault.silent)
        if fault.silent or fault.cut == "at_once":
            self.close_connection = True
            return
        content = fault.body or b""
        self.send_response_only(fault.status)
        if "Date" not in fault.headers:
            self.send_header("Date", self.date_time_string())
        for name, value in {"Content-Type": "application/json", **fault.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault.cut == "midway":
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        if fault.drip:
            for place in range(len(content)):
                self.wfile.write(content[place : place + 1])
                self.wfile.flush()
                if models.closing.wait(fault.drip):
                    break
            self.close_connection = True
            return
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            # The client gave up.
            self.close_connection = True
