"""A small stand-in for S3, Google and Azure: conditions by their headers, and a log of those.

It checks what obstore sends, not what the real services do.
"""

from __future__ import annotations

import re
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class CloudDouble(ThreadingHTTPServer):
    """`kind` is s3, gs or az. `ignores_conditions` makes it a store that must be refused."""

    daemon_threads = True

    def __init__(self, kind: str, *, ignores_conditions: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kind = kind
        self.ignores_conditions = ignores_conditions
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.generation = 1000
        self.log: list[tuple[str, str, dict[str, str]]] = []
        # Answered instead of anything else: (status, body); or seconds to wait before answering.
        self.answer: tuple[int, bytes] | None = None
        self.wait_seconds = 0.0
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def conditions(self) -> list[dict[str, str]]:
        """The conditional headers of the puts so far."""
        names = ("if-match", "if-none-match", "x-goog-if-generation-match")
        return [
            {name: value for name, value in headers.items() if name in names}
            for method, _, headers in self.log
            if method == "PUT"
        ]

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: CloudDouble

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        url = urlsplit(self.path)
        with self.server.lock:
            self.server.log.append((self.command, self.path, headers))
            if self.server.answer:
                status, answer, more = (*self.server.answer, {})
            else:
                call = getattr(self, f"_{self.command.lower()}")
                status, answer, more = call(unquote(url.path), parse_qs(url.query), headers, body)
        if self.server.wait_seconds:
            time.sleep(self.server.wait_seconds)
        self.send_response_only(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _any

    def _tags(self, generation: int) -> dict[str, str]:
        tags = {"ETag": f'"tag-{generation}"', "Last-Modified": formatdate(0, usegmt=True)}
        if self.server.kind == "gs":
            tags["x-goog-generation"] = str(generation)
        return tags

    def _put(self, path: str, query: Any, headers: dict[str, str], body: bytes) -> Any:
        server = self.server
        stored = server.objects.get(path)
        if not server.ignores_conditions:
            wanted = headers.get("x-goog-if-generation-match")
            if wanted is not None and wanted != (str(stored[1]) if stored else "0"):
                return 412, b"", {}
            if headers.get("if-none-match") == "*" and stored:
                return (
                    (409, b"<Code>BlobAlreadyExists</Code>", {})
                    if server.kind == "az"
                    else (412, b"", {})
                )
            match = headers.get("if-match")
            if match is not None and (not stored or match != f'"tag-{stored[1]}"'):
                return 412, b"", {}
        server.generation += 1
        server.objects[path] = (body, server.generation)
        return 201 if server.kind == "az" else 200, b"", self._tags(server.generation)

    def _get(self, path: str, query: Any, headers: dict[str, str], body: bytes) -> Any:
        if "list-type" in query or query.get("comp") == ["list"]:
            return 200, self._listing(path.rstrip("/"), query), {"Content-Type": "application/xml"}
        if path not in self.server.objects:
            return 404, b"<Code>NoSuchKey</Code>", {}
        data, generation = self.server.objects[path]
        tags = self._tags(generation)
        if "range" in headers:
            start, end = headers["range"].removeprefix("bytes=").split("-")
            if int(start) >= len(data):
                return 416, b"", {}
            last = min(int(end), len(data) - 1)
            tags["Content-Range"] = f"bytes {start}-{last}/{len(data)}"
            return 206, data[int(start) : last + 1], tags
        return 200, data, tags

    _head = _get

    def _delete(self, path: str, query: Any, headers: dict[str, str], body: bytes) -> Any:
        there = self.server.objects.pop(path, None) is not None
        return (202 if self.server.kind == "az" else 204) if there else 404, b"", {}

    def _post(self, path: str, query: Any, headers: dict[str, str], body: bytes) -> Any:
        """Delete in bulk: what obstore sends to S3 and Azure also for one object."""
        if self.server.kind == "az":
            for name in re.findall(rb"DELETE (\S+) HTTP", body):
                self.server.objects.pop(unquote(name.decode()), None)
            answer = (
                b"--b\r\nContent-Type: application/http\r\nContent-ID: 0\r\n\r\n"
                b"HTTP/1.1 202 Accepted\r\nx-ms-request-id: 1\r\n\r\n\r\n--b--\r\n"
            )
            return 202, answer, {"Content-Type": "multipart/mixed; boundary=b"}
        gone = re.findall(rb"<Key>(.*?)</Key>", body)
        for name in gone:
            self.server.objects.pop(f"{path}/{name.decode()}", None)
        rows = b"".join(b"<Deleted><Key>" + name + b"</Key></Deleted>" for name in gone)
        answer = b"<DeleteResult>" + rows + b"</DeleteResult>"
        return 200, answer, {"Content-Type": "application/xml"}

    def _listing(self, container: str, query: Any) -> bytes:
        prefix = query.get("prefix", [""])[0]
        after = query.get("start-after", [""])[0]
        names = sorted(path.removeprefix(f"{container}/") for path in self.server.objects)
        found = [name for name in names if name.startswith(prefix) and name > after]
        rows = []
        for name in found:
            data, generation = self.server.objects[f"{container}/{name}"]
            key, tag = escape(name), f"tag-{generation}"
            rows.append(
                f"<Blob><Name>{key}</Name><Properties><Last-Modified>{formatdate(0, usegmt=True)}"
                f"</Last-Modified><Etag>{tag}</Etag><Content-Type>a/b</Content-Type><Content-Length>{len(data)}</Content-Length>"
                "</Properties></Blob>"
                if self.server.kind == "az"
                else f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z"
                f"</LastModified><ETag>&quot;{tag}&quot;</ETag><Size>{len(data)}</Size></Contents>"
            )
        inner = "".join(rows)
        if self.server.kind == "az":
            return f"<EnumerationResults><Blobs>{inner}</Blobs><NextMarker/></EnumerationResults>".encode()
        return (
            f"<ListBucketResult><IsTruncated>false</IsTruncated>{inner}</ListBucketResult>".encode()
        )

    def log_message(self, format: str, *args: Any) -> None:
        pass
