"""Bodies in a file without a name, and the forms in them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from palimp.errors import Invalid, Unavailable
from palimp.http import spool as spools
from palimp.http.messages import Disconnected
from palimp.http.spool import FormFile, Spool, parts, spool_body


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path) as made:
        yield made
        assert list(tmp_path.iterdir()) == []


def filled(spool: Spool, body: bytes) -> Spool:
    spool.append(body)
    spool.finish()
    return spool


def form(
    spool: Spool, files: object, data: dict[str, str]
) -> tuple[dict[str, str], dict[str, FormFile]]:
    """What a real client sends, and what is read of it."""
    sent = httpx.Request("POST", "http://x/", files=files, data=data)  # type: ignore[arg-type]
    filled(spool, sent.read())
    return parts(spool, sent.headers["content-type"])


@pytest.mark.parametrize(
    "body", [b"", b"\r\n", b"one\r\n--two\r\n", b"\r\n--" * 1_000, bytes(range(256)) * 20]
)
@pytest.mark.parametrize("piece", [7, 64, 1 << 20])
def test_a_form_of_a_real_client(
    spool: Spool, body: bytes, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a boundary, a piece of what is searched may hold a part only.
    monkeypatch.setattr(spools, "_PIECE_BYTES", max(piece, 64))
    values, files = form(
        spool, {"file": ("a b.txt", body, "text/plain")}, {"source": "Grüße", "e": ""}
    )
    assert values == {"source": "Grüße", "e": ""}
    found = files["file"]
    assert (found.name, found.kind, found.size) == ("a b.txt", "text/plain", len(body))
    with found.open() as reader:
        assert reader.read() == body


def test_a_reader_reads_on_after_the_request(tmp_path: Path) -> None:
    with Spool(tmp_path) as spool:
        filled(spool, b"0123456789")
        reader = spool.open(2, 7)
    with reader:
        assert reader.read(3) == b"234"
        assert reader.read() == b"56"


def test_names_of_files_in_other_letters(spool: Spool) -> None:
    _, files = form(spool, {"file": ("für Müller.md", b"x")}, {})
    assert files["file"].name == "für Müller.md"


_HEAD = b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\n'


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("multipart/form-data", b"", "needs a boundary"),
        ("multipart/form-data; boundary=" + "x" * 71, b"", "needs a boundary"),
        ("multipart/form-data; boundary=b", b"", "last boundary"),
        ("multipart/form-data; boundary=b", _HEAD + b"no end", "last boundary"),
        ("multipart/form-data; boundary=b", _HEAD + b"\xff\r\n--b--", "not UTF-8"),
        ("multipart/form-data; boundary=b", b"--b\r\nx: y\r\n\r\n\r\n--b--", "no name"),
        ("multipart/form-data; boundary=b", (_HEAD + b"\r\n") * 21 + b"--b--", "20 parts"),
        (
            "multipart/form-data; boundary=b",
            b"--b\r\nx: " + b"y" * 9_000 + b"\r\n\r\n\r\n--b--",
            "bytes of headers",
        ),
        ("multipart/form-data; boundary=b", _HEAD + b"x" * (1 << 21) + b"\r\n--b--", "more than"),
    ],
)
def test_what_is_no_form(spool: Spool, kind: str, body: bytes, said: str) -> None:
    filled(spool, body)
    with pytest.raises(Invalid, match=said):
        parts(spool, kind)


# -- bodies ----------------------------------------------------------------------------------------


def came(
    spool: Spool, *messages: dict[str, object], bytes_max: int = 1 << 30, **headers: str
) -> None:
    """Let a body come in such pieces; behind them nothing comes any more."""
    waiting = list(messages)

    async def receive() -> dict[str, object]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    async def run(work: Callable[[], object]) -> object:
        return work()

    asyncio.run(spool_body(spool, headers, receive, bytes_max, 0.05, run))


def piece(body: bytes, *, more: bool) -> dict[str, object]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_comes_in_pieces(spool: Spool) -> None:
    parts = [bytes([number]) * 300_000 for number in range(10)]
    came(spool, *(piece(one, more=True) for one in parts), piece(b"", more=False))
    assert spool.size == 3_000_000
    with spool.open(0, spool.size) as reader:
        assert reader.read() == b"".join(parts)


def test_a_body_that_is_too_large_is_refused_as_it_comes(spool: Spool) -> None:
    endless = [piece(b"x" * 1_000_000, more=True)] * 100
    with pytest.raises(Invalid, match="at most 2,500,000"):
        came(spool, *endless, bytes_max=2_500_000)
    assert spool.size <= 2_500_000
    with pytest.raises(Invalid, match="5,000,000 bytes"):
        came(spool, bytes_max=2_500_000, **{"content-length": "5000000"})


def test_a_body_that_stops(spool: Spool) -> None:
    with pytest.raises(Unavailable, match="did not arrive"):
        came(spool, piece(b"x", more=True))
    with pytest.raises(Disconnected):
        came(spool, piece(b"x", more=True), {"type": "http.disconnect"})


def test_a_disk_that_has_no_room(tmp_path: Path) -> None:
    with Spool(tmp_path, 1 << 62) as full, pytest.raises(Unavailable) as told:
        came(full, piece(b"x", more=False))
    assert told.value.details["reason"] == "disk"
