"""`palimp ltx` as a user meets it: output, JSON, exit codes, and files that appear whole or not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import apsw
import pytest

from palimp import ltx

from ..forked import Shell

SIZE = 4_096


class Commands(Shell):
    """Of `palimp ltx`."""

    def run(self, *arguments: str, **how: Any) -> tuple[str, str]:
        return super().run("ltx", *arguments, **how)


@pytest.fixture
def shell(tmp_path: Path) -> Commands:
    """A folder with a snapshot and two segments of a real database, and what it is at the end."""
    live = apsw.Connection(str(tmp_path / "live.db"))
    live.execute("PRAGMA journal_mode=wal").fetchall()
    before = b""
    for txid, statement in enumerate(
        (
            "CREATE TABLE t (body TEXT)",
            "INSERT INTO t VALUES ('Prefers aisle seats')",
            "INSERT INTO t VALUES (hex(randomblob(9000)))",
        ),
        1,
    ):
        live.execute(statement).fetchall()
        after = bytes(live.serialize("main"))
        pages = {n + 1: after[n * SIZE :][:SIZE] for n in range(len(after) // SIZE)}
        changed = [
            (n, page) for n, page in pages.items() if page != before[(n - 1) * SIZE :][:SIZE]
        ]
        header = ltx.Header(
            page_size=SIZE,
            commit=len(pages),
            min_txid=txid,
            max_txid=txid,
            timestamp_ms=1_767_225_600_000,
            pre_apply_checksum=ltx.database_checksum(before, SIZE) if txid > 1 else 0,
        )
        data = ltx.encode(header, changed, ltx.database_checksum(after, SIZE))
        (tmp_path / f"{txid}.ltx").write_bytes(data)
        before = after
    live.close()
    (tmp_path / "image").write_bytes(before)
    return Commands(tmp_path)


def break_(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_sound_files_are_said_to_be_sound(shell: Commands) -> None:
    out, err = shell.run("verify", "1.ltx", "2.ltx")
    assert (
        out
        == "1.ltx: sound, snapshot of txid 1, 2 pages\n2.ltx: sound, segment of txid 2, 1 pages\n"
    )
    assert err == ""
    rows = shell.json("verify", "1.ltx")["files"]
    assert (rows[0]["file"], rows[0]["sound"], rows[0]["max_txid"]) == ("1.ltx", True, 1)


def test_all_files_are_looked_at_and_the_first_bad_one_is_the_error(shell: Commands) -> None:
    break_(shell.folder / "2.ltx", -1)
    out, err = shell.run("verify", "1.ltx", "2.ltx", "live.db", "none.ltx", "3.ltx", code=1)
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "1.ltx", "2.ltx", "live.db", "none.ltx", "3.ltx",
    ]  # fmt: skip
    assert "segment of txid 2 is damaged at byte" in lines[1]
    assert "not an LTX file: it begins with b'SQLi'" in lines[2]
    assert "there is no such file" in lines[3]
    assert "sound" in lines[4]
    assert err.startswith("palimp: internal: 2.ltx: the segment of txid 2 is damaged at byte")
    rows = shell.json("verify", "1.ltx", "2.ltx", code=1)["files"]
    assert [row["sound"] for row in rows] == [True, False]
    assert rows[1]["code"] == "internal"
    assert int(rows[1]["expected"], 16) ^ int(rows[1]["found"], 16) == 1
    assert rows[1]["offset"] == len((shell.folder / "2.ltx").read_bytes()) - 8


def test_payloads_of_other_programs_are_accepted_when_said(shell: Commands) -> None:
    golden = Path(__file__).parents[1] / "unit" / "ltx" / "golden" / "foreign.ltx"
    _, err = shell.run("verify", str(golden), code=1)
    assert "verify it as foreign" in err
    assert "sound, snapshot of txid 1, 1 pages" in shell.run("verify", "--foreign", str(golden))[0]


def test_dump_shows_every_part(shell: Commands) -> None:
    out, _ = shell.run("dump", "2.ltx")
    lines = out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "header", "pages and page index", "trailer",
    ]  # fmt: skip
    assert "  timestamp_ms: 1767225600000 (2026-01-01 00:00 UTC)" in lines
    assert "  page 2: offset 100, " in out
    shown = shell.json("dump", "3.ltx")
    whole = ltx.decode((shell.folder / "3.ltx").read_bytes())
    assert [row["pgno"] for row in shown["pages"]] == list(whole.pages)
    assert [(r["pgno"], r["offset"], r["bytes"]) for r in shown["pages"]] == whole.entries
    assert int(shown["trailer"]["file_checksum"], 16) == whole.trailer.file_checksum
    assert int(shown["header"]["pre_apply_checksum"], 16) == whole.header.pre_apply_checksum


def test_dump_shows_what_comes_before_the_damage(shell: Commands) -> None:
    break_(shell.folder / "1.ltx", -1)
    out, err = shell.run("dump", "1.ltx", code=1)
    assert "  page 2: offset" in out
    assert "trailer" not in out
    assert err.startswith("palimp: internal: 1.ltx: the segment of txid 1 is damaged")


def test_export_makes_a_database(shell: Commands) -> None:
    out, _ = shell.run("export", "1.ltx", "2.ltx", "3.ltx", "out.db")
    pages = len((shell.folder / "image").read_bytes()) // SIZE
    assert out == f"out.db: {pages} pages, txid 3\n"
    assert (shell.folder / "out.db").read_bytes() == (shell.folder / "image").read_bytes()
    found = apsw.Connection(str(shell.folder / "out.db"))
    assert found.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert found.execute("SELECT count(*) FROM t").fetchall() == [(2,)]
    found.close()
    shown = shell.json("export", "1.ltx", "first.db")
    assert (shown["file"], shown["txid"]) == ("first.db", 1)
    joined = [(shell.folder / f"{n}.ltx").read_bytes() for n in (2, 3)]
    (shell.folder / "2-3.ltx").write_bytes(ltx.compact(joined))
    shell.run("export", "1.ltx", "2-3.ltx", "again.db")
    assert (shell.folder / "again.db").read_bytes() == (shell.folder / "image").read_bytes()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("1.ltx", "3.ltx"), "one ends at txid 1, the next begins at txid 3"),
        (("2.ltx", "3.ltx"), "2.ltx: it begins at txid 2; the first file must be a snapshot"),
        (("1.ltx", "2.ltx", "2.ltx"), "overlap between the segments: one ends at txid 2"),
        (("1.ltx", "image"), "image: not an LTX file"),
        (("1.ltx", "none.ltx"), "none.ltx: there is no such file"),
    ],
)
def test_a_refused_export_leaves_nothing_behind(
    shell: Commands, files: tuple[str, ...], message: str
) -> None:
    before = sorted(os.listdir(shell.folder))
    _, err = shell.run("export", *files, "out.db", code=1)
    assert message in err
    assert sorted(os.listdir(shell.folder)) == before


def test_a_damaged_segment_is_no_database(shell: Commands) -> None:
    break_(shell.folder / "3.ltx", -1)
    before = sorted(os.listdir(shell.folder))
    _, err = shell.run("export", "1.ltx", "2.ltx", "3.ltx", "out.db", code=1)
    assert err.startswith("palimp: internal: 3.ltx: the segment of txid 3 is damaged")
    assert sorted(os.listdir(shell.folder)) == before


def test_nothing_is_overwritten(shell: Commands) -> None:
    (shell.folder / "out.db").write_text("mine")
    _, err = shell.run("export", "1.ltx", "out.db", code=1)
    assert err.startswith("palimp: already_exists: out.db exists")
    assert (shell.folder / "out.db").read_text() == "mine"
    (shell.folder / "new.db-wal").write_text("a WAL SQLite would read")
    _, err = shell.run("export", "1.ltx", "new.db", code=1)
    assert "new.db-wal exists" in err
    _, err = shell.run("export", "1.ltx", "nowhere/out.db", code=1)
    assert err.startswith("palimp: not_found: there is no folder nowhere")
