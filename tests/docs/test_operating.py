"""What the pages on operating say, done: the copy of a store that is being written, and its repair."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import palimp
from palimp.cli.main import cli
from palimp.store import open_store

ROOT = Path(__file__).resolve().parents[2]
BACKUP = ROOT / "docs" / "operating" / "backup.md"
PROFILES = 6


def copier() -> Callable[[str, str], None]:
    """Return the function that the page prints."""
    (code,) = re.findall(r"```python\n(.*?)```", BACKUP.read_text("utf-8"), re.DOTALL)
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(compile(code, str(BACKUP), "exec"), namespace)
    copy: Callable[[str, str], None] = namespace["copy"]
    return copy


@contextmanager
def writing(mem: palimp.Client) -> Iterator[None]:
    """Write to all profiles, and give up old states, until the block ends."""
    done = threading.Event()

    def work() -> None:
        number = 0
        while not done.is_set():
            mem.profile(f"p{number % PROFILES}").remember(f"note {number}", durability="durable")
            number += 1
            if number % 100 == 0:
                mem.maintain()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def opened(folder: Path, store: Path) -> palimp.Client:
    return palimp.open(
        folder,
        embed_provider="none",
        object_store=store.as_uri(),
        # Nothing old stays, so that objects go while they are copied.
        pitr_retention_secs=0,
        pitr_snapshot_retention_secs=0,
    )


def test_a_copy_in_order_of_a_store_that_is_written_is_sound(tmp_path: Path) -> None:
    copy = copier()
    source, target = tmp_path / "source", tmp_path / "target"
    target.mkdir()
    with opened(tmp_path / "memory", source) as mem:
        for number in range(PROFILES):
            mem.profile(f"p{number}").remember("the first", durability="durable")
        with writing(mem):
            # Again and again into the same place, which is sound after each.
            for number in range(3):
                copy(source.as_uri(), target.as_uri())
                with opened(tmp_path / f"drill-{number}", target) as drill:
                    checked = list(drill.verify())
                    assert len(checked) == PROFILES
                    assert [result.findings for _, result in checked] == [()] * PROFILES
                    for profile, _ in checked:
                        assert "the first" in {memory.text for memory in profile.list()}


def broken(tmp_path: Path) -> tuple[Path, list[Path]]:
    """Return a store whose newest segment is missing, and the segments that are left."""
    store = tmp_path / "store"
    with opened(tmp_path / "memory", store) as mem:
        alice = mem.profile("alice")
        for number in range(5):
            alice.remember(f"note {number}", durability="durable")
        (prefix,) = (store / "v1" / "db").glob("*/main")
        older = (prefix / "manifest.json").read_bytes()
        alice.remember("note 5", durability="durable")
        segments = sorted(prefix.glob("*.ltx"))
        segments.pop().unlink()
    (tmp_path / "older.json").write_bytes(older)
    return store, segments


def test_a_head_that_lacks_a_segment_says_so_and_shows_nothing_wrong(tmp_path: Path) -> None:
    store, _ = broken(tmp_path)
    with opened(tmp_path / "new", store) as mem:
        alice = mem.profile("alice")
        (finding,) = alice.verify().findings
        assert finding.what == "the object is missing"
        assert "txids up to 5" in finding.readable
        with pytest.raises(palimp.Internal, match="is missing, though the manifest names it"):
            list(alice.list())
        with pytest.raises(palimp.Internal, match="is missing, though the manifest names it"):
            list(alice.at(palimp.Point.txid(5)).list())


def test_an_older_manifest_in_its_place_is_the_branch_as_it_was(tmp_path: Path) -> None:
    store, segments = broken(tmp_path)
    (segments[0].parent / "manifest.json").write_bytes((tmp_path / "older.json").read_bytes())
    with opened(tmp_path / "new", store) as mem:
        alice = mem.profile("alice")
        assert not alice.verify().findings
        alice.remember("written on", durability="durable")
        assert {one.text for one in alice.list()} == {
            *(f"note {n}" for n in range(5)),
            "written on",
        }
        assert not alice.verify().findings


def test_segments_become_a_file_that_another_profile_takes(tmp_path: Path) -> None:
    store, segments = broken(tmp_path)
    restored = tmp_path / "restored.db"
    done = CliRunner().invoke(cli, ["ltx", "export", *map(str, segments), str(restored)])
    assert done.exit_code == 0, done.output
    with sqlite3.connect(restored) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    with opened(tmp_path / "new", store) as mem:
        again = mem.profile("alice-again")
        again.import_(restored)
        assert {one.text for one in again.list()} == {f"note {number}" for number in range(5)}


def test_a_copy_of_a_store_is_the_same_store(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with opened(tmp_path / "memory", tmp_path / "store") as mem:
        mem.profile("alice").remember("x", durability="durable")
    copier()((tmp_path / "store").as_uri(), (tmp_path / "copy").as_uri())
    same = [open_store((tmp_path / one).as_uri()).get("v1/store.json") for one in ("store", "copy")]
    assert same[0] is not None
    assert same[1] is not None
    assert same[0].data == same[1].data
