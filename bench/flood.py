"""One profile is flooded with writes: what the others notice, and what becomes of the writes.

The calls come from two processes of their own, which this file is when it is run:

    python bench/flood.py others PORT CREDENTIAL      until its input ends
    python bench/flood.py flood PORT CREDENTIAL COUNT
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from harness import Row, Times, environment
from machine import filesystem, folder
from serving import NAMESPACE, At, node

_WRITES = 10_000
_CONNECTIONS = 400
_OTHERS = 8
_RATE = 20
_SEEDED = 200
# One call of another profile that takes long is not to keep its next ones from being sent.
_CONNECTIONS_EACH = 8
_WARMUP_SECONDS = 1.5
_CLIENT_SECONDS = 120
_FLOODED = f"/v1/memory/{NAMESPACE}/flooded/memories"
_WORDS = "seat flight hotel coffee window aisle train ticket music garden".split()


def measure(*, quick: bool) -> list[Row]:
    """Call as the others do, first alone and then while one is flooded, and look what is there."""
    with folder() as base, node(base / "memory") as at:
        _seed(at)
        with _begun("others", at, base / "others") as others:
            time.sleep(_WARMUP_SECONDS)
            alone = time.monotonic(), time.monotonic() + (2 if quick else 10)
            time.sleep(alone[1] - alone[0])
            with _begun("flood", at, base / "flood", str(1_000 if quick else _WRITES)) as flood:
                _ended(flood)
            assert others.stdin is not None
            others.stdin.close()
            _ended(others)
        calls = json.loads((base / "others").read_text("utf-8"))
        flooded = json.loads((base / "flood").read_text("utf-8"))
        there = _there(at)
        place = filesystem(base)
    between = (flooded["begun"], flooded["over"])
    return [
        *(_felt(what, calls, alone, between) for what in ("recall", "ingest")),
        *_became(flooded["status"], there, between[1] - between[0], place),
    ]


def _felt(
    what: str, calls: list[Any], quiet: tuple[float, float], flooded: tuple[float, float]
) -> Row:
    """Compare what calls took that were due in one time and in the other."""

    def due(between: tuple[float, float]) -> Times:
        begin, end = between
        return Times([took for kind, at, took, _ in calls if kind == what and begin <= at < end])

    during, before = due(flooded), due(quiet)
    failed = sum(status >= 300 for kind, _, _, status in calls if kind == what)
    return Row(
        f"another profile's {what} while one is flooded, p95",
        during.p95 / 1_000,
        "ms",
        before.p95 / 1_000,
        "the same without the flood",
        note=f"{len(during.us)} calls, timed from when they were due ({_OTHERS} profiles make "
        f"{_RATE} calls a second each); p50 {during.median / 1_000:,.1f} ms, without "
        f"{before.median / 1_000:,.1f} ms; {failed} failed",
        detail={"flooded": during.as_json(), "without": before.as_json(), "failed": failed},
    )


def _became(status: dict[str, int], there: set[str], seconds: float, place: str) -> list[Row]:
    counts = Counter(status.values())
    acknowledged = {text for text, code in status.items() if code == 201}
    shed = {text for text, code in status.items() if code == 429}
    rest = {str(code): many for code, many in counts.items() if code not in (201, 429)}
    return [
        Row(
            f"flood: shed of {len(status):,} writes over {_CONNECTIONS} connections",
            len(shed),
            "",
            note=f"{len(acknowledged):,} acknowledged in {seconds:,.1f} s ({place}), by status "
            f"otherwise: {rest or 'none'}",
            detail={str(code): many for code, many in counts.items()},
        ),
        Row("flood: acknowledged and not there", len(acknowledged - there), "", budget=0),
        Row("flood: shed (429) and there all the same", len(shed & there), "", budget=0),
    ]


def _seed(at: At) -> None:
    with at.client() as client:
        for number in range(_OTHERS):
            memories = [{"text": _text(one)} for one in range(_SEEDED)]
            path = f"/v1/memory/{NAMESPACE}/other{number}/memories"
            client.post(path, json={"memories": memories}).raise_for_status()


def _there(at: At) -> set[str]:
    """Return the texts that the flooded profile has."""
    accept = {"accept": "application/x-ndjson"}
    with at.client() as client:
        answer = client.get(_FLOODED, headers=accept).raise_for_status()
    memories = [json.loads(line) for line in answer.text.splitlines()]
    if any("error" in memory for memory in memories):
        raise RuntimeError(f"the list of the flooded profile ends with {memories[-1]}")
    return {memory["text"] for memory in memories}


def _text(number: int) -> str:
    words = [_WORDS[number // 10**place % 10] for place in range(4)]
    return " ".join((*words, str(number)))


@contextmanager
def _begun(what: str, at: At, printed: Path, *rest: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of the clients, whose result goes to a file."""
    command = (sys.executable, __file__, what, str(at.port), at.credential, *rest)
    with (
        printed.open("wb") as out,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, env=environment()) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def _ended(process: subprocess.Popen[bytes]) -> None:
    if process.wait(_CLIENT_SECONDS):
        raise RuntimeError("a client of the measurement failed; what it said is above")


# -- the clients ----------------------------------------------------------------------------------


class _Connection:
    """A connection for one request after the other."""

    def __init__(self, port: int, credential: str) -> None:
        self._port = port
        self._more = f"authorization: {credential}\r\n" if credential else ""
        self._free = asyncio.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def post(self, path: str, body: dict[str, Any]) -> int:
        """Return the status; 0 where the connection ended without one."""
        data = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"{self._more}content-length: {len(data)}\r\n\r\n"
        )
        async with self._free:
            try:
                return await self._exchange(head.encode() + data)
            except (OSError, asyncio.IncompleteReadError):
                await self.open()
                return 0

    async def _exchange(self, request: bytes) -> int:
        assert self._reader is not None
        assert self._writer is not None
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length))
        return int(head[9:12])


async def _opened(count: int, port: int, credential: str) -> list[_Connection]:
    made = [_Connection(port, credential) for _ in range(count)]
    for connection in made:
        await connection.open()
    return made


async def _flood(port: int, credential: str, count: int, out: IO[str]) -> None:
    """Write from all connections at once, each text once, whatever the answer is."""
    numbers = iter(range(count))
    status: dict[str, int] = {}

    async def write(connection: _Connection) -> None:
        for number in numbers:
            text = f"flood {_text(number)}"
            status[text] = await connection.post(_FLOODED, {"memories": [{"text": text}]})

    connections = await _opened(_CONNECTIONS, port, credential)
    begun = time.monotonic()
    await asyncio.gather(*(write(connection) for connection in connections))
    json.dump({"begun": begun, "over": time.monotonic(), "status": status}, out)


async def _others(port: int, credential: str, out: IO[str]) -> None:
    """Let each profile recall and write in turn, at a steady rate whatever the answers take."""
    pools = [await _opened(_CONNECTIONS_EACH, port, credential) for _ in range(_OTHERS)]
    found: list[tuple[str, float, float, int]] = []

    async def call(profile: int, number: int, due: float) -> None:
        connection = pools[profile][number % _CONNECTIONS_EACH]
        path = f"/v1/memory/{NAMESPACE}/other{profile}"
        if number % 2:
            kind, path, body = "recall", f"{path}/recall", {"query": _text(number), "k": 5}
        else:
            text = _text(_SEEDED + number)
            kind, path, body = "ingest", f"{path}/memories", {"memories": [{"text": text}]}
        status = await connection.post(path, body)
        found.append((kind, due, (time.monotonic() - due) * 1e6, status))

    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    begun = time.monotonic()
    async with asyncio.TaskGroup() as running:
        for tick in itertools.count():
            due = begun + tick / (_OTHERS * _RATE)
            await asyncio.sleep(due - time.monotonic())
            if ended.done():
                break
            running.create_task(call(tick % _OTHERS, tick // _OTHERS, due))
    json.dump(found, out)


if __name__ == "__main__":
    _, what, port, credential, *rest = sys.argv
    if what == "flood":
        asyncio.run(_flood(int(port), credential, int(rest[0]), sys.stdout))
    else:
        asyncio.run(_others(int(port), credential, sys.stdout))
