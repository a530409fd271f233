"""`palimp memtrace` and the same words of `palimp org` and `palimp key`: every line and exit code."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx
import pytest

from .. import forked

pytest.importorskip("alembic", reason="alembic is not installed (pip install 'palimp[server]')")

MASTER = base64.b64encode(b"m" * 32).decode()
NOWHERE = "http://127.0.0.1:9"
NO_ARC = {
    "error": "no arc instance configured for this org",
    "hint": "ask an admin to run `memtrace org add-arc <org_id>`",
}
SPEAKING = re.compile(r"speaking memtrace at http://[\d.]+:(\d+)")
KEY = re.compile(r"API Key: (mtk_\S+)")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("PALIMP_", "MEMTRACE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PALIMP_EMBED_PROVIDER", "none")
    monkeypatch.setenv("MEMTRACE_MASTER_KEY", MASTER)
    return tmp_path


def palimp(*words: str) -> subprocess.CompletedProcess[str]:
    return forked.palimp(*words, folder=Path.cwd(), environment=os.environ)


def memtrace(*words: str) -> str:
    """Return what it prints."""
    found = palimp("memtrace", *words)
    assert found.returncode == 0, found.stderr
    return found.stdout


def refused(*words: str) -> str:
    """Return the one line that it says, of a command that fails."""
    found = palimp("memtrace", *words)
    assert (found.returncode, found.stdout) == (1, ""), found
    [line] = found.stderr.splitlines()
    return line


def make_org(name: str = "Acme Corp") -> str:
    first, second, third = memtrace("org", "create", name).splitlines()
    assert first == "Organization created"
    org = second.removeprefix("  id:   ")
    assert re.fullmatch("org_[0-9a-f]{24}", org)
    assert third == f"  name: {name}"
    return org


@contextmanager
def serving(*words: str) -> Iterator[tuple[int, list[str], IO[str]]]:
    """Serve at a free port; yields it, what was logged until then, and the log."""
    command = [sys.executable, "-m", "palimp", "memtrace", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as node:
        assert node.stderr is not None
        logged: list[str] = []
        try:
            for line in node.stderr:
                logged.append(line)
                found = SPEAKING.search(line)
                if found is not None:
                    yield int(found[1]), logged, node.stderr
                    break
            else:
                raise AssertionError("".join(logged))
        finally:
            node.send_signal(signal.SIGTERM)
            logged += node.stderr.readlines()
            assert node.wait() == 0, "".join(logged)


def test_a_master_key_is_one_line_of_44_characters() -> None:
    for words in (("memtrace", "keygen", "master"), ("keygen", "master")):
        [line] = palimp(*words).stdout.splitlines()
        assert len(line) == 44
        assert len(base64.b64decode(line, validate=True)) == 32


def test_organisations() -> None:
    assert memtrace("org", "list") == f"{'ID':<32}  {'NAME':<30}  CREATED\n"
    first, second = make_org("Acme Corp"), make_org("Zebra")
    header, *rows = memtrace("org", "list").splitlines()
    assert header == f"{'ID':<32}  {'NAME':<30}  CREATED"
    for org, name, row in zip((first, second), ("Acme Corp", "Zebra"), rows, strict=True):
        assert re.fullmatch(
            re.escape(f"{org:<32}  {name:<30}  ") + r"\d{4}-\d\d-\d\d \d\d:\d\d", row
        )
    assert refused("org", "create", "  ") == "error: name must be non-empty"
    assert memtrace("org", "delete", first) == f"Organization {first} deleted\n"
    assert refused("org", "delete", first) == f"error: org '{first}' not found"
    # The same of our own command.
    listed = palimp("org", "list", "--data", "data/memtrace").stdout
    assert listed == memtrace("org", "list")
    asked = palimp("org", "delete", second, "--yes", "--data", "data/memtrace")
    assert asked.stdout == f"Organization {second} deleted\n"


def test_arcs() -> None:
    org = make_org()
    place = ("--url", NOWHERE, "--database", "memory")
    assert refused("org", "add-arc", org, "--database", "d") == "error: --url is required"
    assert refused("org", "add-arc", org, "--url", NOWHERE) == "error: --database is required"
    assert refused("org", "add-arc", "org_x", *place) == (
        "error: org 'org_x' not found; create it first with `memtrace org create`"
    )
    missing = f"error: no arc instance configured for {org}"
    assert refused("org", "show-arc", org) == missing
    assert refused("org", "remove-arc", org) == missing
    assert memtrace("org", "add-arc", org, *place, "--api-key", "arc-key-0123") == (
        f"Arc instance bound to {org}\n  url:      {NOWHERE}\n  database: memory\n"
    )
    assert refused("org", "add-arc", org, *place) == (
        f"error: org '{org}' already has an arc instance configured"
    )
    head, identity, *rest = memtrace("org", "show-arc", org).splitlines()
    assert head == f"Arc instance for {org}"
    assert re.fullmatch("  id:          arc_[0-9a-f]{24}", identity)
    assert rest == [
        f"  url:         {NOWHERE}",
        "  database:    memory",
        "  measurement: events",
        "  api_key:     arc-****0123",
    ]
    assert memtrace("org", "remove-arc", org) == f"Arc instance removed for {org}\n"
    assert refused("org", "remove-arc", org) == missing
    memtrace("org", "add-arc", org, *place, "--measurement", "seen")
    shown = memtrace("org", "show-arc", org).splitlines()
    assert shown[-2:] == ["  measurement: seen", "  api_key:     (empty)"]
    gone = palimp("memtrace", "org", "delete", org)
    assert gone.stdout == f"Organization {org} deleted\n"
    assert gone.stderr == (
        f"not deleted: rows of measurement seen of database memory at {NOWHERE}; delete them "
        "there\n"
    )


def test_keys() -> None:
    org = make_org()
    assert refused("key", "create", "--name", "a") == "error: --org is required"
    assert refused("key", "create", "--org", org) == "error: --name is required"
    assert refused("key", "list") == "error: --org is required"
    assert refused("key", "create", "--org", "org_x", "--name", "a") == (
        "error: org 'org_x' not found"
    )
    first, secret = memtrace("key", "create", "--org", org, "--name", "laptop").splitlines()
    assert first == "API key created (shown only once - save it now):"
    assert re.fullmatch(r"mtk_[A-Za-z0-9_-]{43}=", secret)
    assert refused("key", "create", "--org", org, "--name", "laptop") == (
        "error: key with name 'laptop' already exists"
    )
    memtrace("key", "create", "--org", org, "--name", "b", "--permissions", "read, admin")
    header, *rows = memtrace("key", "list", "--org", org).splitlines()
    assert header == f"{'ID':<6}  {'NAME':<30}  {'PERMS':<20}  {'ENABLED':<10}  CREATED"
    for row, name, permissions in zip(
        rows, ("laptop", "b"), ("read,write", "read,admin"), strict=True
    ):
        identity, _, rest = row.partition("  ")
        assert rest.startswith(f"{name:<30}  {permissions:<20}  {'true':<10}  20")
        assert re.search(r" \d{4}-\d\d-\d\d \d\d:\d\d$", row)
        assert memtrace("key", "revoke", identity) == f"Key {identity} revoked\n"
        assert refused("key", "revoke", identity) == "error: key not found"
    assert refused("key", "revoke", "x").startswith("error: invalid key id: 'x'")
    again = palimp(
        "key", "create", "--org", org, "--name", "laptop", "--json", "--data", "data/memtrace"
    )
    assert json.loads(again.stdout)["key"].startswith("mtk_")


@pytest.mark.parametrize(
    ("master", "said"),
    [
        ("", "error: MEMTRACE_MASTER_KEY is not set; generate one with `memtrace keygen master`"),
        ("!", "error: MEMTRACE_MASTER_KEY is not valid base64: "),
        ("a2tr", "error: master key must be 32 bytes, got 3"),
    ],
)
def test_what_needs_a_master_key_says_what_is_wrong_with_it(
    monkeypatch: pytest.MonkeyPatch, master: str, said: str
) -> None:
    monkeypatch.setenv("MEMTRACE_MASTER_KEY", master)
    for words in ((), ("serve",), ("org", "show-arc", "org_default")):
        lines = palimp("memtrace", *words)
        assert lines.returncode == 1
        assert lines.stderr.splitlines()[-1].startswith(said)
    at_a_port = palimp("serve", "--port", "0", "--dialect", "memtrace=0")
    assert at_a_port.returncode == 1
    ours = said.removeprefix("error: ").replace("MEMTRACE_", "PALIMP_")
    assert ours.replace("`memtrace ", "`palimp ") in at_a_port.stderr


def test_other_words_are_refused_as_there_and_help_is_help() -> None:
    assert palimp("memtrace", "--version").stdout.startswith("memtrace version ")
    assert refused("frobnicate").startswith("error: No such command 'frobnicate'")
    assert refused("org", "list", "--what").startswith("error: No such option")
    assert "add-arc" in memtrace("org")
    assert "keygen" in memtrace("--help")


def test_the_first_start_makes_a_key_and_commands_work_while_it_serves(folder: Path) -> None:
    (folder / "memtrace.toml").write_text('[server]\nhost = "127.0.0.1"\nport = 0\n')
    with serving() as (port, logged, _):
        key = KEY.search("".join(logged))
        assert key is not None
        api = f"http://127.0.0.1:{port}/api/v1/memories"
        # By whatever name it is asked for: keys are asked for here.
        named = {"host": "memtrace:9100", "x-api-key": key[1]}
        said = {"agent_id": "a", "content": "hello"}
        assert httpx.post(api, json=said).status_code == 401
        assert httpx.post(api, json=said, headers=named).status_code == 201
        assert httpx.get(api.replace("/api/v1/memories", "/ready")).status_code == 200
        org = make_org()
        secret = memtrace("key", "create", "--org", org, "--name", "app").splitlines()[1]
        theirs = {"x-api-key": secret}
        assert httpx.get(api, headers=theirs).json()["count"] == 0
        memtrace("org", "add-arc", org, "--url", NOWHERE, "--database", "memory")
        memtrace("org", "remove-arc", org)
        # Without a restart, and only since it was taken away.
        gone = httpx.get(api, headers=theirs)
        assert (gone.status_code, gone.json()) == (503, NO_ARC)
        assert httpx.get(api, headers=named).json()["count"] == 1
    with serving("serve") as (port, logged, _):
        assert not KEY.search("".join(logged))


def test_who_loses_the_database_of_the_catalog_loses_no_key(folder: Path) -> None:
    (folder / "memtrace.toml").write_text('[server]\nhost = "127.0.0.1"\nport = 0\n')
    org = make_org()
    place = ("--url", NOWHERE, "--database", "memory", "--api-key", "arc-key-0123")
    revoked, held = (
        memtrace("key", "create", "--org", org, "--name", name).splitlines()[1]
        for name in ("old", "app")
    )
    listed = memtrace("key", "list", "--org", org).splitlines()
    [old] = [line.split()[0] for line in listed if " old " in f"{line} "]
    memtrace("key", "revoke", old)
    memtrace("org", "add-arc", org, *place)
    before = memtrace("org", "list"), memtrace("org", "show-arc", org)
    gone = list((folder / "data" / "memtrace").glob("catalog.db*"))
    assert gone
    for one in gone:
        one.unlink()
    with serving("serve") as (port, logged, _):
        # Nobody is let in as the first, and no new key is made: those that were hold.
        assert "was new: it has" in "".join(logged)
        assert not KEY.search("".join(logged))
        api = f"http://127.0.0.1:{port}/api/v1/agents"
        for secret, status in ((None, 401), (revoked, 401), (held, 200)):
            headers = {} if secret is None else {"x-api-key": secret}
            assert httpx.get(api, headers=headers).status_code == status
    assert (memtrace("org", "list"), memtrace("org", "show-arc", org)) == before


def test_where_no_key_is_wanted_none_is_made_and_the_default_organisation_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEMTRACE_AUTH_ENABLED", "false")
    monkeypatch.setenv("MEMTRACE_SERVER_PORT", "0")
    with serving() as (port, logged, _):
        assert not KEY.search("".join(logged))
        assert "nobody is asked for a key" in "".join(logged)
        api = f"http://127.0.0.1:{port}/api/v1/memories"
        made = httpx.post(api, json={"agent_id": "a", "content": "hello"})
        assert (made.status_code, made.json()["org_id"]) == (201, "org_default")
        # A page of elsewhere must not get at it by a name that leads here.
        assert httpx.get(api, headers={"host": "evil.example.com"}).status_code == 421
