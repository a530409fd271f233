"""The folder: founded once, held by one process, left alone when it is not ours."""

import json
import os
import shutil
import stat
import uuid
from pathlib import Path

import pytest

import palimp
from palimp.errors import Internal, Invalid, Unavailable
from palimp.node.folder import FORMAT, Folder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def content(path: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in path.iterdir() if entry.is_file()}


def test_a_new_folder_is_made_for_its_owner_only(path: Path) -> None:
    Folder(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    mark = json.loads((path / "palimp.json").read_bytes())
    assert (mark["product"], mark["format"], mark["store"]) == ("palimpsest", FORMAT, "")
    assert str(uuid.UUID(mark["node"])) == mark["node"]
    assert "Palimpsest" in (path / "README.txt").read_text()


def test_an_empty_folder_is_taken(path: Path) -> None:
    path.mkdir()
    Folder(path).close()
    assert (path / "palimp.json").exists()


def test_a_closed_folder_opens_again(path: Path) -> None:
    Folder(path).close()
    mark = (path / "palimp.json").read_bytes()
    Folder(path).close()
    assert (path / "palimp.json").read_bytes() == mark


def test_an_open_folder_is_refused_and_its_holder_named(path: Path) -> None:
    holder = Folder(path)
    with pytest.raises(Unavailable, match=f"is open in process {os.getpid()} ") as caught:
        Folder(path)
    assert caught.value.details["reason"] == "locked"
    holder.close()
    Folder(path).close()


def test_a_founding_that_was_interrupted_is_repeated(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash or a full disk before the mark is in place must not make the folder unusable."""

    def refuse(*_args: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        patch.setattr(os, "replace", refuse)
        with pytest.raises(Unavailable, match="No space left") as caught:
            Folder(path)
        assert caught.value.details["reason"] == "folder"
    Folder(path).close()
    assert (path / "palimp.json").exists()


def test_somebody_else_s_folder_is_refused_and_left_as_it_was(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")
    with pytest.raises(Invalid, match="not empty and not a Palimpsest folder"):
        Folder(path)
    assert content(path) == {"thesis.tex": b"years of work"}


def test_a_file_is_no_folder(path: Path) -> None:
    path.write_text("a file")
    with pytest.raises(Invalid, match="is a file; give a folder"):
        Folder(path)
    assert path.read_text() == "a file"


def test_a_missing_parent_is_not_made(path: Path) -> None:
    with pytest.raises(Unavailable, match="check that its parent exists") as caught:
        Folder(path / "deeper" / "still")
    assert caught.value.details["reason"] == "folder"
    assert not path.exists()


def test_a_newer_format_is_refused_with_both_numbers(path: Path) -> None:
    path.mkdir()
    (path / "palimp.json").write_text('{"product": "palimpsest", "format": 99}')
    with pytest.raises(Unavailable, match=f"has format 99, this release reads up to {FORMAT}") as c:
        Folder(path)
    assert c.value.details["reason"] == "format"


def test_what_a_newer_release_adds_to_the_mark_is_no_obstacle(path: Path) -> None:
    path.mkdir()
    mark = {"product": "palimpsest", "format": FORMAT, "written_by": "9.9"}
    (path / "palimp.json").write_text(json.dumps(mark))
    Folder(path).close()


def test_a_folder_of_an_unreleased_version_is_refused(path: Path) -> None:
    path.mkdir()
    (path / "palimp.json").write_text('{"product": "palimpsest", "format": 1}')
    with pytest.raises(Invalid, match="format 1, which only unreleased versions wrote"):
        Folder(path)


@pytest.mark.parametrize(
    "mark", [b"", b"{", b"[]", b'"palimpsest"', b"\xff\xfe", b'{"product": "palimpsest"}']
)
def test_a_damaged_mark_is_named(path: Path, mark: bytes) -> None:
    path.mkdir()
    (path / "palimp.json").write_bytes(mark)
    with pytest.raises(Invalid, match=r"palimp\.json is not what Palimpsest writes"):
        Folder(path)
    assert (path / "palimp.json").read_bytes() == mark


def test_the_mark_of_another_product_is_refused(path: Path) -> None:
    path.mkdir()
    (path / "palimp.json").write_text('{"product": "palimony", "format": 1}')
    with pytest.raises(Invalid, match="belongs to 'palimony', not to Palimpsest"):
        Folder(path)


def test_a_refused_folder_is_not_kept_locked(path: Path) -> None:
    path.mkdir()
    mark = path / "palimp.json"
    mark.write_text('{"product": "palimpsest", "format": 99}')
    with pytest.raises(Unavailable, match="format 99"):
        Folder(path)
    mark.write_text(json.dumps({"product": "palimpsest", "format": FORMAT}))
    Folder(path).close()


def test_the_home_folder_may_be_written_as_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Folder("~/memory").close()
    assert (tmp_path / "memory" / "palimp.json").exists()


@pytest.mark.parametrize("bad", [5, "a\0b"], ids=repr)
def test_a_path_that_is_none_is_refused(bad: object) -> None:
    with pytest.raises(Invalid):
        palimp.open(bad)


@pytest.fixture
def filled(path: Path) -> Path:
    with palimp.open(path) as mem:
        for name in ("alice", "bob"):
            mem.profile(name).remember(f"of {name}")
    return path


def test_a_stray_file_beside_the_profiles_is_no_obstacle(filled: Path) -> None:
    (filled / "hot" / "notes.txt").write_text("left by somebody")
    with palimp.open(filled) as mem:
        assert [profile.name for profile in mem.profiles()] == ["alice", "bob"]
        assert mem.maintain().profiles == 2


def test_a_damaged_profile_is_named_and_kept_and_the_others_go_on(filled: Path) -> None:
    file = local_file(filled, "alice")
    junk = b"not a database at all, " * 1_000
    file.write_bytes(junk)
    with palimp.open(filled) as mem:
        with pytest.raises(Internal, match=r"default--alice: the local file .* is damaged") as c:
            mem.profile("alice").recall("x")
        assert "The object store has up to txid" in str(c.value)
        assert [memory.text for memory in mem.profile("bob").list()] == ["of bob"]
    assert file.read_bytes() == junk
    shutil.rmtree(file.parents[1])
    with palimp.open(filled) as mem:
        assert [memory.text for memory in mem.profile("alice").list()] == ["of alice"]


def local_file(folder: Path, profile: str) -> Path:
    name = folder / "objects" / "v1" / "names" / "default" / f"{profile}.json"
    db_id = json.loads(name.read_bytes())["db_id"]
    return next((folder / "hot" / db_id / "main").glob("i_*/main.db"))


def test_more_profiles_than_are_kept_open(path: Path) -> None:
    with palimp.open(path, hot_cap=2) as mem:
        for again in range(2):
            for n in range(5):
                mem.profile(f"p{n}").remember(f"{n} {again}")
        for n in range(5):
            assert [memory.text for memory in mem.profile(f"p{n}").list()] == [f"{n} 1", f"{n} 0"]
