"""History on the command line, and the how-to pages run as they are written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ..forked import Shell, python

ROOT = Path(__file__).resolve().parents[2]
HOW_TO = ROOT / "docs" / "how-to"


class Commands(Shell):
    """With shorter words for what is done often here."""

    def remember(self, profile: str, text: str) -> int:
        txid: int = self.json("memory", "remember", profile, text)["txid"]
        return txid

    def texts(self, *arguments: str) -> list[str]:
        return sorted(memory["text"] for memory in self.json("memory", "list", *arguments))


@pytest.fixture
def shell(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def test_checkpoint_read_the_past_rewind_undo(shell: Commands) -> None:
    shell.remember("alice", "one")
    out, err = shell.run("branch", "checkpoint", "alice", "before")
    assert out == "checkpoint before\n"
    txid = int(re.fullmatch(r"txid: (\d+)\n", err)[1])  # type: ignore[index]
    shell.remember("alice", "two")
    assert shell.texts("alice", "--at", "before") == shell.texts("alice", "--at", str(txid))
    assert shell.texts("alice", "--at", "before") == ["one"]
    out, _ = shell.run("branch", "checkpoints", "alice")
    assert re.fullmatch(rf"before  txid {txid}, \d{{4}}-\d\d-\d\d \d\d:\d\d\n", out)
    out, _ = shell.run("branch", "rewind", "alice", "before")
    assert f"holds again what it held at txid {txid}\n" in out
    assert shell.texts("alice") == ["one"]
    # The command it prints takes it back.
    undo = re.search(r"to undo: palimp (.*)\n", out)
    assert undo is not None
    shell.run(*shlex.split(undo[1]))
    assert shell.texts("alice") == ["one", "two"]
    out, _ = shell.run("branch", "drop", "alice", "before")
    assert out == "dropped before\n"
    _, err = shell.run("memory", "list", "alice", "--at", "before", code=1)
    assert err.startswith("palimp: not_found: ")
    assert "hint: " in err


def test_every_reading_command_takes_a_point(shell: Commands) -> None:
    first = shell.json("memory", "remember", "alice", "aisle", "--topic", "seat")["id"]
    shell.run("session", "append", "alice", "s", "user", "an aisle seat")
    shell.run("branch", "checkpoint", "alice", "before")
    shell.run("memory", "supersede", "alice", first, "window")
    shell.run("session", "append", "alice", "s", "user", "a window seat")
    shell.run("session", "append", "alice", "t", "user", "hello")
    at = ("--at", "before")
    assert "superseded_by" not in {
        name for name, value in shell.json("memory", "get", "alice", first, *at).items() if value
    }
    found = shell.json("memory", "recall", "alice", "seat aisle window", *at)
    assert [hit["text"] for hit in found["memories"]] == ["aisle"]
    versions = shell.json("memory", "history", "alice", "--topic", "seat", *at)
    assert [memory["text"] for memory in versions["memories"]] == ["aisle"]
    assert [t["seq"] for t in shell.json("session", "window", "alice", "s", *at)["turns"]] == [1]
    found = shell.json("session", "search", "alice", "s", "seat", *at)
    assert [turn["seq"] for turn in found["turns"]] == [1]
    assert [session["id"] for session in shell.json("session", "list", "alice", *at)] == ["s"]


def test_points_are_times_and_txids_that_can_be_read(shell: Commands) -> None:
    shell.remember("alice", "one")
    shell.run("branch", "sync", "alice")
    shell.remember("alice", "two")
    reached = shell.json("branch", "sync", "alice")["txid"]
    rows = shell.json("branch", "points", "alice")
    assert rows[0]["txid"] == reached
    out, _ = shell.run("branch", "points", "alice", "--limit", "1")
    txid, moment = out.split()
    assert int(txid) == reached
    assert shell.texts("alice", "--at", txid) == ["one", "two"]
    assert shell.texts("alice", "--at", moment) == ["one", "two"]
    oldest = rows[-1]["txid"]
    assert shell.texts("alice", "--at", str(oldest)) == ["one"]


def test_fork_write_list_delete(shell: Commands) -> None:
    shell.remember("alice", "shared")
    out, _ = shell.run("branch", "fork", "alice", "trial", "--ttl", "3600")
    assert re.match(r"trial  txid \d+, .*, from main at txid \d+, until 2", out)
    shell.remember("alice@trial", "of trial")
    assert shell.texts("alice@trial") == ["of trial", "shared"]
    assert shell.texts("alice") == ["shared"]
    listed = shell.json("branch", "list", "alice")["branches"]
    assert sorted(branch["name"] for branch in listed) == ["main", "trial"]
    out, _ = shell.run("branch", "delete", "alice@trial")
    assert out == "deleted alice@trial\n"
    _, err = shell.run("memory", "list", "alice@trial", code=1)
    assert err.startswith("palimp: branch_not_found: ")
    assert "palimp branch list" in err
    _, err = shell.run("branch", "delete", "alice", code=1)
    assert err.startswith("palimp: invalid_request: ")


def test_export_import(shell: Commands) -> None:
    shell.remember("alice", "one")
    shell.run("branch", "checkpoint", "alice", "early")
    shell.remember("alice", "two")
    out, _ = shell.run("export", "alice", "now.db")
    assert out.startswith("now.db: ")
    done = shell.json("export", "alice", "early.db", "--at", "early")
    assert done["bytes"] == (shell.folder / "early.db").stat().st_size
    _, err = shell.run("export", "alice", "now.db", code=1)
    assert err.startswith("palimp: already_exists: now.db exists")
    out, _ = shell.run("import", "early.db", "bob")
    assert out == "bob holds what early.db holds\n"
    assert shell.texts("bob") == ["one"]
    _, err = shell.run("import", "now.db", "bob", code=1)
    assert err.startswith("palimp: already_exists: ")


def test_verify_names_the_damage_and_restore_reports_it(shell: Commands) -> None:
    store = ("--object-store", f"file://{shell.folder}/objects")
    code = (
        "import sys, palimp\n"
        "with palimp.open('memory', object_store=sys.argv[1]) as mem:\n"
        "    for name in ('alice', 'bob'):\n"
        "        mem.profile(name).remember('one', durability='durable')\n"
    )
    made = python(code, shell.folder, store[1])
    assert made.returncode == 0, made.stderr
    out, _ = shell.run("verify", "--all", *store)
    assert re.findall(r"^(\S+): sound, ", out, re.MULTILINE) == ["default--alice", "default--bob"]
    (damaged,) = _segments_of("alice", shell, store)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    out, _ = shell.run("verify", "alice", *store, code=1)
    assert damaged.name in out
    assert "still readable: " in out
    found = shell.json("verify", "--all", *store, code=1)["profiles"]
    assert [(row["profile"], len(row["findings"]) > 0) for row in found] == [
        ("default--alice", True),
        ("default--bob", False),
    ]
    (finding, *_) = found[0]["findings"]
    assert finding["branch"] == "main"
    assert finding["key"].endswith(damaged.name)
    out, err = shell.run("restore", *store, "--data", "second", code=1)
    assert out == "2 profiles: 1 branches restored, 1 could not be\n"
    assert err.startswith("default--alice")
    _, err = shell.run("verify", code=2)
    assert "give a PROFILE or --all" in err


def _segments_of(profile: str, shell: Commands, store: tuple[str, str]) -> list[Path]:
    code = (
        "import sys, palimp\n"
        "from palimp.api import GetManifest\n"
        "with palimp.open('memory', object_store=sys.argv[1]) as mem:\n"
        "    one = mem.profile(sys.argv[2])\n"
        "    found = mem.call('manifest', one.target, GetManifest()).manifest\n"
        "    print(found['snapshot']['key'])\n"
    )
    done = python(code, shell.folder, store[1], profile)
    assert done.returncode == 0, done.stderr
    name = done.stdout.strip().rpartition("/")[2]
    return [path for path in (shell.folder / "objects").rglob("*") if path.name.endswith(name)]


def test_restore_on_a_new_machine(shell: Commands) -> None:
    code = (
        "import sys, palimp\n"
        "with palimp.open('memory', object_store=sys.argv[1]) as mem:\n"
        "    mem.profile('alice').remember('one')\n"
        "    mem.profile('alice').fork('trial').remember('two')\n"
    )
    store = f"file://{shell.folder}/objects"
    made = python(code, shell.folder, store)
    assert made.returncode == 0, made.stderr
    out, _ = shell.run("restore", "--object-store", store, "--data", "second")
    assert out == "1 profiles: 2 branches restored, 0 could not be\n"


def test_debug_shows_the_manifest(shell: Commands) -> None:
    shell.remember("alice", "one")
    shell.run("branch", "checkpoint", "alice", "before")
    manifest = shell.json("debug", "manifest", "alice")
    assert list(manifest["checkpoints"]) == ["before"]
    assert manifest["epoch"] >= 1


# Needs a node; tests/unit/client has its examples.
ELSEWHERE = {"use-a-node-from-python"}
PAGES = sorted(page for page in HOW_TO.glob("*.md") if page.stem not in ELSEWHERE)
# What pages take for given.
FILES = {"trips.jsonl": '{"to": "Oslo"}\n', "photo.jpg": "picture"}


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_a_how_to_runs_from_top_to_bottom(shell: Commands, page: Path) -> None:
    for name, content in FILES.items():
        (shell.folder / name).write_text(content)
    text = page.read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = python("\n".join(blocks), shell.folder)
    assert done.returncode == 0, done.stderr
    for command in re.findall(r"^palimp (.*)$", _console(text), re.MULTILINE):
        shell.run(*shlex.split(command))


def _console(text: str) -> str:
    return "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))


def test_the_undo_page_prints_the_past(shell: Commands) -> None:
    text = (HOW_TO / "undo-what-an-agent-did.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    lines = python("\n".join(blocks), shell.folder).stdout.splitlines()
    was, now, hit = lines[:3]
    assert was == "['Prefers aisle seats']"
    assert now == "['Is allergic to tea', 'Prefers window seats']"
    assert hit == "Prefers aisle seats"
    assert lines[-2:] == [was, now]
