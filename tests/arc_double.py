"""A double of an Arc time-series database: real HTTP over DuckDB, as spec/memtrace.md 5.7 lists it.

    with ArcDouble(tmp_path / "arc.duckdb", token="t") as arc:
        arc.url, arc.port
        arc.faults.append(Fault("write", status=500))        # the next write; times=-1: until removed
        arc.poison = "bad"                # a write with this in a content is refused whole, with 400
        arc.delay = 0.5                   # rows are shown so many seconds after the write
        arc.rows("db")                    # what is stored, shown or not

As a process, for tests that kill: `python tests/arc_double.py FILE --port 9000 --token t`; then the
faults come by `POST /double`, as JSON of the same names. No real Arc was asked for any of this.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import re
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import duckdb
import msgspec

SQL_CHARS_MAX = 10_000
_WRITE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
_QUERY_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}\Z")
_MEASUREMENT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,127}\Z")
_DANGEROUS = re.compile(
    r"\b(alter|attach|call|checkpoint|copy|create|delete|detach|drop|export|import|insert|install|"
    r"load|pragma|replace|set|truncate|update|use|vacuum)\b",
    re.IGNORECASE,
)
_FILES = re.compile(r"\b(read_\w+|glob|parquet_\w+|sniff_csv|getenv)\s*\(", re.IGNORECASE)
_DOTTED = re.compile(r'\b(?:from|join)\s+"?[\w-]+"?\s*\.', re.IGNORECASE)
_TYPES = {int: "BIGINT", float: "DOUBLE", str: "VARCHAR", bool: "BOOLEAN"}
_SHOWN_AT = "__shown_at"


@dataclass
class Fault:
    """What befalls the next requests of a kind: `write`, `query` or `health`."""

    on: str
    status: int = 0
    body: str | None = None
    times: int = 1
    # The connection is cut instead of an answer; `after` the write was carried out.
    cut: bool = False
    after: bool = False
    # How long the answer takes; `after`: the work is done first.
    slow: float = 0.0
    retry_after: str | None = None


class Refused(Exception):
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error


def mask(sql: str) -> str:
    """Return SQL without its literals, as a scanner sees it that takes \\' for an escaped quote."""
    out, at, inside = [], 0, False
    while at < len(sql):
        char = sql[at]
        if not inside:
            inside = char == "'"
            out.append(" " if inside else char)
        elif char == "'":
            if sql[at - 1] == "\\":
                pass
            elif sql[at + 1 : at + 2] == "'":
                at += 1
            else:
                inside = False
        at += 1
    return "".join(out)


def check_sql(sql: object) -> str:
    """Refuse what Arc refuses before it runs anything."""
    if not isinstance(sql, str) or not sql.strip():
        raise Refused(400, "SQL query is required")
    if len(sql) > SQL_CHARS_MAX:
        raise Refused(400, f"SQL query exceeds maximum length of {SQL_CHARS_MAX} characters")
    seen = mask(sql)
    if ";" in seen.rstrip().rstrip(";"):
        raise Refused(400, "Multiple statements are not allowed")
    if _DANGEROUS.search(seen) or _FILES.search(seen):
        raise Refused(400, "Dangerous SQL operation not allowed")
    return sql


def unit_to_us(times: list[Any]) -> list[int]:
    """Guess the unit from the first time, and return all of them as microseconds."""
    if any(isinstance(one, bool) or not isinstance(one, int) for one in times):
        raise Refused(400, "Invalid MessagePack payload: time must be an integer")
    first = times[0]
    if first < 10**10:
        return [one * 1_000_000 for one in times]
    if first < 10**13:
        return [one * 1_000 for one in times]
    if first < 10**16:
        return times
    return [one // 1_000 for one in times]


def typed(name: str, values: list[Any]) -> tuple[str, list[Any]]:
    """Return a column's type, that of its first value, and its values as that."""
    first = next((value for value in values if value is not None), "")
    kind = type(first)
    if kind not in _TYPES:
        raise Refused(400, f"Invalid MessagePack payload: column {name} has no type")
    out = []
    for value in values:
        if value is None or type(value) is kind:
            out.append(value)
        elif kind is float and type(value) is int:
            out.append(float(value))
        else:
            raise Refused(400, f"Invalid MessagePack payload: column {name} has mixed types")
    return _TYPES[kind], out


class Store:
    """The databases, each a schema of one DuckDB file; a row is shown from a time on."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self.db = duckdb.connect(str(path))
        self.db.execute("SET TimeZone = 'UTC'")

    def write(self, database: str, measurement: str, columns: dict[str, Any], delay: float) -> None:
        given = {name: values for name, values in columns.items() if name != "time"}
        times = columns.get("time")
        counts = {len(values) for values in columns.values()}
        if len(counts) != 1 or not counts.pop():
            raise Refused(400, "Invalid MessagePack payload: columns differ in length")
        if times is None:
            times = [time.time_ns()] * len(next(iter(given.values())))
        made = {name: typed(name, values) for name, values in given.items()}
        at = unit_to_us(times)
        schema, table, view = _q(database), _q(f"__{measurement}"), _q(measurement)
        with self.lock:
            self.db.execute("BEGIN")
            try:
                self.db.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
                self.db.execute(
                    f"CREATE TABLE IF NOT EXISTS {schema}.{table} "
                    f"(time TIMESTAMPTZ, {_SHOWN_AT} DOUBLE)"
                )
                for name, (kind, _) in made.items():
                    self.db.execute(
                        f"ALTER TABLE {schema}.{table} ADD COLUMN IF NOT EXISTS {_q(name)} {kind}"
                    )
                names = ", ".join(map(_q, made))
                unnested = ", ".join(
                    f"unnest(${n}::{kind}[]) AS c{n}"
                    for n, (kind, _) in enumerate(made.values(), 2)
                )
                picked = ", ".join(f"c{n}" for n in range(2, 2 + len(made)))
                self.db.execute(
                    f"INSERT INTO {schema}.{table} (time, {_SHOWN_AT}, {names}) "
                    f"SELECT make_timestamptz(t), {time.time() + delay!r}, {picked} FROM "
                    f"(SELECT unnest($1::BIGINT[]) AS t, {unnested})",
                    [at, *(values for _, values in made.values())],
                )
                self.db.execute(
                    f"CREATE OR REPLACE VIEW {schema}.{view} AS SELECT * EXCLUDE ({_SHOWN_AT}) "
                    f"FROM {schema}.{table} WHERE {_SHOWN_AT} <= epoch(now())"
                )
                self.db.execute("COMMIT")
            except duckdb.Error as error:
                self.db.execute("ROLLBACK")
                raise Refused(500, f"Failed to write records: {error}") from error

    def query(self, database: str, sql: str) -> tuple[list[str], list[list[Any]]]:
        with self.lock:
            cursor = self.db.cursor()
        try:
            cursor.execute("SET TimeZone = 'UTC'")
            with suppress(duckdb.CatalogException):
                # One that has no data yet is none: then no measurement is known either.
                cursor.execute(f"SET schema = '{database}'")
            # The dialect's SELECT only: a relation, whose types can be asked before its rows.
            found = cursor.sql(sql)
            shown = [
                f"epoch_us({_q(name)})::BIGINT"
                if str(kind) == "TIMESTAMP WITH TIME ZONE"
                else _q(name)
                for name, kind in zip(found.columns, found.types, strict=True)
            ]
            stamps = [one.startswith("epoch_us(") for one in shown]
            rows = found.project(", ".join(shown)).fetchall() if shown else []
            return list(found.columns), [
                [_stamp(v) if stamp else _plain(v) for v, stamp in zip(row, stamps, strict=True)]
                for row in rows
            ]
        except duckdb.CatalogException as error:
            if "does not exist" in str(error) and "Table" in str(error):
                return [], []
            raise Refused(500, str(error)) from error
        except duckdb.Error as error:
            raise Refused(500, str(error)) from error
        finally:
            cursor.close()

    def show_all(self) -> None:
        with self.lock:
            for schema, table in self._tables():
                self.db.execute(f"UPDATE {_q(schema)}.{_q(table)} SET {_SHOWN_AT} = 0")

    def rows(self, database: str, measurement: str = "events") -> list[dict[str, Any]]:
        with self.lock:
            if (database, f"__{measurement}") not in self._tables():
                return []
            cursor = self.db.execute(
                f"SELECT epoch_us(time) AS at_us, * EXCLUDE (time, {_SHOWN_AT}) "
                f"FROM {_q(database)}.{_q(f'__{measurement}')} ORDER BY rowid"
            )
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _tables(self) -> list[tuple[str, str]]:
        found = self.db.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE starts_with(table_name, '__')"
        )
        return [(str(schema), str(table)) for schema, table in found.fetchall()]

    def close(self) -> None:
        with self.lock:
            self.db.close()


class ArcDouble:
    """The server; `stop` refuses connections, `start` takes them again at the same port."""

    def __init__(
        self,
        path: Path,
        *,
        port: int = 0,
        token: str = "",
        permissions: tuple[str, ...] = ("read", "write"),
        delay: float = 0.0,
    ) -> None:
        self.store = Store(path)
        self.port = port
        self.token = token
        self.permissions = permissions
        self.delay = delay
        self.poison = ""
        self.faults: list[Fault] = []
        # What came: method, path, headers (small letters), body as it was sent.
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.writes: list[int] = []
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._begun = time.monotonic()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        self._server = _Server(self)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections, and cut those that are open."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.cut_all()
            self._thread.join()
            self._server = self._thread = None

    def close(self) -> None:
        self.stop()
        self.store.close()

    def rows(self, database: str = "db", measurement: str = "events") -> list[dict[str, Any]]:
        return self.store.rows(database, measurement)

    def fault(self, on: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.on == on and fault.times:
                    fault.times -= 1
                    if not fault.times:
                        self.faults.remove(fault)
                    return fault
        return None

    def set(self, given: dict[str, Any]) -> dict[str, Any]:
        """Change what a process does, by the names above."""
        if "faults" in given:
            self.faults = [Fault(**one) for one in given["faults"]]
        for name in ("delay", "poison"):
            if name in given:
                setattr(self, name, given[name])
        return {"faults": [asdict(one) for one in self.faults], "writes": len(self.writes)}

    def uptime(self) -> float:
        return time.monotonic() - self._begun


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, double: ArcDouble) -> None:
        self.double = double
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", double.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        for one in list(self._open):
            cut(one)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError | ValueError):
            super().handle_error(request, client_address)


def cut(connection: socket.socket) -> None:
    """End a connection without a word more, as a process that dies does."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def _handle(self) -> None:
        double = self.server.double
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = self.path.partition("?")[0]
        if path == "/double":
            self._answer(200, json.dumps(double.set(json.loads(body or b"{}"))).encode())
            return
        double.seen.append((self.command, path, headers, body))
        on = {"/api/v1/write/msgpack": "write", "/api/v1/query": "query", "/health": "health"}
        fault = double.fault(on.get(path, ""))
        if fault is not None and not fault.after and self._befallen(fault):
            return
        begun = time.monotonic()
        try:
            status, answer = self._route(path, headers, body)
        except Refused as refused:
            status, answer = refused.status, _error(path, refused, begun)
        if fault is not None and fault.after and self._befallen(fault):
            return
        self._answer(status, answer)

    def _befallen(self, fault: Fault) -> bool:
        """Let a fault have its way; whether that was the answer."""
        if fault.slow:
            time.sleep(fault.slow)
        if fault.cut:
            self.close_connection = True
            cut(self.connection)
            return True
        if not fault.status:
            return False
        body = fault.body
        if body is None:
            body = json.dumps({"error": f"made up {fault.status}"})
        self._answer(fault.status, body.encode(), fault.retry_after)
        return True

    def _route(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        double = self.server.double
        if path == "/health" and self.command == "GET":
            seconds = double.uptime()
            return 200, _json(
                {"status": "ok", "time": _now(), "uptime": f"{seconds:.3f}s", "uptime_sec": seconds}
            )
        if self.command != "POST":
            raise Refused(404, "Not Found")
        if path == "/api/v1/write/msgpack":
            self._permitted(headers, "write")
            return self._write(headers, body)
        if path == "/api/v1/query":
            self._permitted(headers, "read")
            return self._query(headers, body)
        if path == "/api/v1/write/line-protocol/flush":
            self._permitted(headers, "admin")
            double.store.show_all()
            return 200, _json({"status": "success", "message": "All buffers flushed"})
        raise Refused(404, "Not Found")

    def _permitted(self, headers: dict[str, str], permission: str) -> None:
        double = self.server.double
        if not double.token:
            return
        given = headers.get("authorization", "")
        for word in ("Bearer ", "Token "):
            given = given.removeprefix(word)
        given = given or headers.get("x-api-key", "")
        if not given:
            raise Refused(401, "Authentication required")
        if given != double.token:
            raise Refused(401, "Invalid or expired token")
        if permission not in double.permissions and "admin" not in double.permissions:
            raise Refused(403, f"Permission denied: {permission} required")

    def _write(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        double = self.server.double
        database = headers.get("x-arc-database", "default")
        if not _WRITE_NAME.match(database):
            raise Refused(400, f"invalid database name: {database}")
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        if not body:
            raise Refused(400, "Empty payload")
        try:
            found = msgspec.msgpack.decode(body)
        except msgspec.DecodeError as error:
            raise Refused(400, f"Invalid MessagePack payload: {error}") from error
        given = found if isinstance(found, list) else [found]
        for one in given:
            if not isinstance(one, dict) or not isinstance(one.get("columns"), dict):
                raise Refused(400, "Invalid MessagePack payload: no columns")
            if not _MEASUREMENT.match(str(one.get("m", ""))):
                raise Refused(400, f"invalid measurement name: {one.get('m')}")
            columns = one["columns"]
            if double.poison and any(double.poison in text for text in columns.get("content", ())):
                raise Refused(400, "Invalid MessagePack payload: content is not taken")
            double.store.write(database, one["m"], columns, double.delay)
            double.writes.append(len(next(iter(columns.values()))))
        return 204, b""

    def _query(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        begun = time.monotonic()
        try:
            sql = check_sql(json.loads(body).get("sql"))
        except (ValueError, AttributeError) as error:
            raise Refused(400, "Invalid request body") from error
        database = headers.get("x-arc-database", "default")
        if not _QUERY_NAME.match(database):
            raise Refused(400, f"invalid database name: {database}")
        if "x-arc-database" in headers and _DOTTED.search(mask(sql)):
            raise Refused(400, "db.table cannot be used together with x-arc-database")
        columns, data = self.server.double.store.query(database, sql)
        return 200, _json(
            {
                "success": True,
                "columns": columns,
                "data": data,
                "row_count": len(data),
                "execution_time_ms": round((time.monotonic() - begun) * 1000),
                "timestamp": _now(),
            }
        )

    def _answer(self, status: int, body: bytes, retry_after: str | None = None) -> None:
        with suppress(OSError):
            self.send_response(status)
            if retry_after is not None:
                self.send_header("Retry-After", retry_after)
            if body:
                self.send_header("Content-Type", "application/json")
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


def _error(path: str, refused: Refused, begun: float) -> bytes:
    if path == "/api/v1/query" and refused.status not in (401, 403):
        return _json(
            {
                "success": False,
                "columns": None,
                "data": None,
                "row_count": 0,
                "execution_time_ms": round((time.monotonic() - begun) * 1000),
                "timestamp": _now(),
                "error": refused.error,
            }
        )
    if refused.status in (401, 403):
        return _json({"success": False, "error": refused.error})
    return _json({"error": refused.error})


def _q(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _stamp(at_us: int | None) -> str | None:
    """Return a time as Arc writes it: in UTC, zeros at its end left out."""
    if at_us is None:
        return None
    seconds, fraction = divmod(at_us, 1_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return text + (f".{fraction:06d}".rstrip("0") if fraction else "") + "Z"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() else value
    return value


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default="")
    parser.add_argument("--delay", type=float, default=0.0)
    options = parser.parse_args()
    double = ArcDouble(options.file, port=options.port, token=options.token, delay=options.delay)
    print(double.port, flush=True)
    # Ends with whoever started it.
    sys.stdin.read()
    double.close()


if __name__ == "__main__":
    main()
