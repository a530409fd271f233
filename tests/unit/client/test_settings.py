"""What a client of a node is told, and what it keeps to itself."""

from __future__ import annotations

import logging
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.client.settings import URL_DEFAULT, connection

from .gate import Gate, answer, error

TOKEN = "tok_5up3rs3cr3t"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, "http://127.0.0.1:8080"),
        ("http://node", "http://node"),
        ("http://node/", "http://node"),
        ("HTTPS://node:8443//", "https://node:8443"),
        ("https://example.org/memory/", "https://example.org/memory"),
        ("https://example.org/a/b%20c", "https://example.org/a/b%20c"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://xn--bcher-kva.example", "http://xn--bcher-kva.example"),
    ],
)
def test_urls(given: str | None, kept: str) -> None:
    assert connection(given).url == kept


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "is empty"),
        ("localhost:8080", "does not begin with http"),
        ("//localhost", "does not begin with http"),
        ("127.0.0.1:8080", "does not begin with http"),
        ("http:localhost", "does not begin with http"),
        ("ftp://node", "does not begin with http"),
        ("http+unix://%2Ftmp%2Fsocket", "does not begin with http"),
        ("http://", "has no host"),
        ("http://:8080", "has no host"),
        ("http://node:0", "has no port"),
        ("http://node:65536", "cannot be read"),
        ("http://node:http", "cannot be read"),
        ("http://[::1", "cannot be read"),
        ("http://node/?token=hidden", "goes on with"),
        ("http://node/#x", "goes on with"),
        ("http://node /", "has a character"),
        ("http://node\n", "has a character"),
        ("http://bücher.example", "xn--"),
        ("http://user:hidden@node", "a user name or a password"),
        ("user:hidden@node", "a user name or a password"),
        ("http://hidden@node?x", "a user name or a password"),
        (5, "must be text"),
        (b"http://node", "must be text"),
    ],
)
def test_what_is_no_url_of_a_node(given: Any, said: str) -> None:
    with pytest.raises(palimp.Invalid, match=r"^url ") as caught:
        palimp.connect(given)
    assert said in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"retries": -1}, "retries is -1"),
        ({"retries": 101}, "0 to 100"),
        ({"retries": True}, "retries is True"),
        ({"retries": 1.0}, "retries"),
        ({"timeout": 0}, "timeout is 0 s"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": float("inf")}, "timeout is inf s"),
        ({"timeout": "30"}, "timeout is not a duration"),
        ({"timeout": None}, "timeout is not a duration"),
        ({"source": 5}, "source must be text"),
    ],
)
def test_what_fits_no_client(setting: dict[str, Any], said: str) -> None:
    for connect in (palimp.connect, palimp.connect_async):
        with pytest.raises(palimp.Invalid) as caught:
            connect(**setting)
        assert said in str(caught.value)


def test_a_timeout_may_be_a_timedelta() -> None:
    assert connection(timeout=timedelta(minutes=1)).timeout == 60  # type: ignore[arg-type]


def test_the_environment_says_what_the_call_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connection()[:4] == (URL_DEFAULT, True, None, None)
    for name, value in (("URL", "http://node/"), ("TOKEN", TOKEN), ("SOURCE", "agent-7")):
        monkeypatch.setenv(f"PALIMP_{name}", value)
    assert connection()[:4] == ("http://node", False, TOKEN, "agent-7")
    given = connection("http://other", token="t", source="s")
    assert given[:4] == ("http://other", False, "t", "s")
    # Empty is how one un-sets what the environment says, there and here.
    assert connection("http://other", token="", source="")[2:4] == (None, None)
    for name in ("URL", "TOKEN", "SOURCE"):
        monkeypatch.setenv(f"PALIMP_{name}", "")
    assert connection()[:4] == (URL_DEFAULT, True, None, None)
    monkeypatch.setenv("PALIMP_URL", "node")
    with pytest.raises(palimp.Invalid, match=r"^PALIMP_URL 'node' does not begin"):
        palimp.connect()


def test_nodes_and_clients_share_an_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in (("URL", "http://node"), ("TOKEN", TOKEN), ("SOURCE", "agent-7")):
        monkeypatch.setenv(f"PALIMP_{name}", value)
    monkeypatch.setenv("PALIMP_DATA_DIR", str(tmp_path / "m"))
    with palimp.open(embed_provider="none") as embedded, palimp.connect() as remote:
        assert embedded.source == remote.source == "agent-7"
    # What only a client has is no keyword of a folder.
    with pytest.raises(palimp.Invalid, match="unknown setting url"):
        palimp.open(tmp_path / "n", url="http://node")
    monkeypatch.setenv("PALIMP_TOCKEN", "x")
    for start in (palimp.open, palimp.connect, palimp.connect_async):
        with pytest.raises(palimp.Invalid, match=r"PALIMP_TOCKEN \(did you mean 'PALIMP_TOKEN'"):
            start()


@pytest.mark.parametrize("token", ["with space", "line\n", "käse", "\x00", 5])
def test_a_token_that_no_header_carries(token: Any) -> None:
    with pytest.raises(palimp.Invalid, match="the token has") as caught:
        palimp.connect(token=token)
    assert str(token) not in str(caught.value)


def test_the_token_is_sent_and_never_shown(
    gate: Gate, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("PALIMP_TOKEN", TOKEN)
    mem = palimp.connect(gate.url, retries=0)
    gate.script = [error(401, "unauthorized"), answer(502), answer(307, location="http://x")]
    shown = []
    for _ in range(3):
        with pytest.raises(palimp.Error) as caught:
            mem.profile("alice").remember("x")
        shown += [*traceback.format_exception(caught.value), str(caught.value.details)]
    mem.profile("alice").list()
    assert {seen.headers["authorization"] for seen in gate.seen} == {f"Bearer {TOKEN}"}
    transport = mem._transport
    shown += map(repr, (mem, mem.profile("a"), transport, transport._connection, vars(transport)))
    shown += [record.getMessage() for record in caplog.records]
    assert len(caplog.records) > 3
    assert TOKEN not in "".join(shown)
    mem.close()


def test_without_a_token_there_is_no_header(gate: Gate) -> None:
    with palimp.connect(gate.url) as mem:
        list(mem.profile("alice").list())
    assert "authorization" not in gate.seen[0].headers
    assert gate.seen[0].headers["user-agent"] == f"palimp/{palimp.__version__}"
