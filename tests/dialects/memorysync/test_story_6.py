"""Story 6, metadata: too much is refused at its byte, by 413, before anything is written."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import memorysync
import pytest

from palimp.clock import ManualClock

from .speaking import House

LIMIT = 16 << 10
TEXT = "The hangar door is painted red"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    found = House(tmp_path_factory.mktemp("metadata"), ManualClock())
    yield found
    found.close()


def _metadata(size: int, letter: str = "x") -> dict[str, str]:
    """Return metadata that is so many bytes of compact JSON."""
    room = size - len(json.dumps({"k": ""}, separators=(",", ":")))
    letters = letter * (room // len(letter.encode()))
    return {"k": letters + "x" * (room - len(letters.encode()))}


def _refused(call: Any) -> None:
    with pytest.raises(memorysync.MemorySyncError) as found:
        call()
    assert type(found.value) is memorysync.MemorySyncError
    assert found.value.status_code == 413
    error = found.value.response["error"]
    assert error["code"] == "PAYLOAD_TOO_LARGE"
    (detail,) = error["details"]
    assert (detail["limit"], detail["size"]) == (LIMIT, LIMIT + 1)
    assert found.value.request_id


@pytest.mark.parametrize("letter", ["x", "é", "海"])
def test_the_limit_is_counted_in_bytes(house: House, letter: str) -> None:
    client = house.client(f"bytes {len(letter.encode())}")
    fits = client.add(TEXT, metadata=_metadata(LIMIT, letter))
    assert type(fits) is memorysync.Memory
    assert client.get(fits.id).metadata == _metadata(LIMIT, letter)
    _refused(lambda: client.add("The mast is of spruce", metadata=_metadata(LIMIT + 1, letter)))
    assert [one["id"] for one in client.export_all().memories] == [fits.id]


def test_every_way_to_write_metadata_is_covered(house: House) -> None:
    client = house.client("ways")
    first, second = (client.add(text) for text in (TEXT, "The mast is made of spruce"))
    assert type(first) is type(second) is memorysync.Memory
    much = _metadata(LIMIT + 1)
    _refused(lambda: client.update(first.id, metadata=much, tags=["t"]))
    edits: list[Any] = [{"memory_id": second.id, "importance": 0.9}]
    _refused(lambda: client.batch_update([*edits, {"memory_id": first.id, "metadata": much}]))
    _refused(lambda: client.upload(b"Some notes of the day", filename="n.txt", metadata=much))
    _refused(
        lambda: client.create_relation(
            first.id, to_memory_id=second.id, relationship_type="similar", metadata=much
        )
    )
    items = [memorysync.BulkAddItem("The winch needs new oil"),
             memorysync.BulkAddItem("The rope is forty metres long", metadata=much)]  # fmt: skip
    done = client.bulk_add(items)
    assert [one.status for one in done.results] == ["created", "rejected"]
    assert done.results[1].reason == "metadata_too_large"
    rows = client.export_all().memories
    assert len(rows) == 3
    assert [client.get(one.id) for one in (first, second)] == [first, second]


def test_megabytes_are_refused_without_being_read(house: House) -> None:
    """Of 100 MiB that are announced some are sent; the answer comes before the rest."""
    parts = urlsplit(house.url)
    head = (
        f"POST /memory/add HTTP/1.1\r\nHost: {parts.netloc}\r\nX-API-Key: {house.key}\r\n"
        "X-End-User-ID: big\r\nContent-Type: application/json\r\n"
        f"Content-Length: {100 << 20}\r\n\r\n"
    )
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as sock:
        sock.sendall(head.encode() + b'{"text": "' + b"x" * 1_000)
        answer = sock.recv(1 << 16)
    assert b" 413 " in answer.splitlines()[0]
    assert house.client("big").export_all().memories == []


def test_a_few_megabytes_of_metadata_and_deep_ones(house: House) -> None:
    client = house.client("deep")
    with pytest.raises(memorysync.MemorySyncError) as much:
        client.add(TEXT, metadata=_metadata(3 << 20))
    assert much.value.status_code == 413
    bomb = '{"text": "' + TEXT + '", "metadata": {"a": ' + "[" * 5_000 + "]" * 5_000 + "}}"
    found = house.raw("deep").post(
        "/memory/add", content=bomb, headers={"content-type": "application/json"}
    )
    assert found.status_code in (400, 413, 422), found.text
    assert client.export_all().memories == []
