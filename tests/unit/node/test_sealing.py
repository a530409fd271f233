"""The master key of a node: where it comes from, and which starts are refused."""

from __future__ import annotations

import base64
import logging
import sys
from pathlib import Path

import pytest

import palimp
from palimp.errors import Invalid, Unavailable
from palimp.node import load_settings, sealing
from palimp.node.sealing import master_keys
from palimp.store.directory import DirectoryStore
from palimp.store.identity import recognise

KEY = base64.b64encode(b"k" * 32).decode()
OTHER = base64.b64encode(b"o" * 32).decode()


def opened(folder: Path, key: str | None = KEY, **settings: object) -> palimp.Client:
    given = {} if key is None else {"master_key": key}
    return palimp.open(folder, embed_provider="none", **given, **settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with opened(tmp_path / "m") as mem:
        mem.profile("alice").remember("the wombat sleeps")
    return tmp_path / "m"


def contents(folder: Path) -> dict[str, bytes]:
    # Which process has it, and had it, is no data.
    left_out = {"lock", "socket"}
    return {
        str(path): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in left_out
    }


def test_the_store_holds_nothing_readable_and_the_folder_opens_again(folder: Path) -> None:
    objects = [path for path in (folder / "objects").rglob("*") if path.is_file()]
    assert any(path.suffix == ".ltx" for path in objects)
    assert not [path for path in objects if b"wombat" in path.read_bytes()]
    with opened(folder) as mem:
        assert mem.profile("alice").recall("wombat")[0].text == "the wombat sleeps"
        assert not mem.profile("alice").verify().findings


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, "holds values sealed under a master key, and none is set: set PALIMP_MASTER_KEY"),
        (OTHER, "has keys wrapped by master key"),
        ("short", "is not 32 bytes in base64; `palimp keygen master` makes one"),
    ],
    ids=["missing", "wrong", "malformed"],
)
def test_a_start_without_the_key_is_refused_and_changes_nothing(
    folder: Path, key: str | None, message: str
) -> None:
    before = contents(folder)
    with pytest.raises(Invalid, match=message) as caught:
        opened(folder, key)
    assert contents(folder) == before
    assert OTHER not in caught.value.message
    with opened(folder) as mem:
        assert len(list(mem.profile("alice").list())) == 1


def test_without_a_master_key_there_is_nothing_of_this(tmp_path: Path) -> None:
    with opened(tmp_path / "m", None) as mem:
        mem.profile("alice").remember("hello")
        assert not mem.keys().on
    store = DirectoryStore(tmp_path / "m" / "objects")
    assert not recognise(store).sealed
    assert store.list("v1/keys/").entries == []
    # What was there stays readable when a key comes.
    with opened(tmp_path / "m") as mem:
        mem.profile("alice").remember("hello again")
        assert len(list(mem.profile("alice").list())) == 2
        assert mem.profile("alice").remember("hello").status == "duplicate"


def test_a_key_is_replaced_by_putting_the_new_one_first(folder: Path) -> None:
    with opened(folder, f"{OTHER},{KEY}") as mem:
        assert [master.current for master in mem.keys().masters] == [True, False]
        list(mem.rotate_keys("default"))
        (retired,) = mem.retire_master_keys().retired
    with pytest.raises(Invalid):
        opened(folder, KEY)
    with opened(folder, OTHER) as mem:
        assert mem.keys().masters[0].id != retired
        assert len(list(mem.profile("alice").list())) == 1


def test_a_file_or_a_command_gives_the_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    command = f"{sys.executable} -c 'print(open(\"{path}\").read())'"
    found = [
        master_keys(load_settings(given, {}))[0].key
        for given in (
            {"master_key": KEY},
            {"master_key_file": str(path)},
            {"master_key_command": command},
        )
    ]
    assert found == [b"k" * 32] * 3


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("raise SystemExit(3)", Invalid, "ended with status 3; run it by hand"),
        ("print('secret words')", Invalid, "is not 32 bytes in base64"),
        ("print()", Invalid, "holds 0 keys"),
        ("print('ü' * 44)", Invalid, "is not a key in base64"),
        ("while True: print('x' * 1000)", Invalid, "gives more than 65,536 bytes"),
        ("import time; time.sleep(60)", Unavailable, "did not end within"),
    ],
)
def test_a_command_that_gives_no_key_is_said_without_what_it_printed(
    code: str, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    if error is Unavailable:
        monkeypatch.setattr(sealing, "_COMMAND_SECONDS", 0.2)
    command = f'{sys.executable} -X utf8 -c "{code}"'
    settings = load_settings({"master_key_command": command}, {})
    with caplog.at_level(logging.DEBUG), pytest.raises(error, match=message) as caught:
        master_keys(settings)
    assert "PALIMP_MASTER_KEY_COMMAND" in str(caught.value)
    assert "secret words" not in str(caught.value) + caplog.text
    assert code not in str(caught.value)


def test_a_missing_file_a_missing_command_and_two_places_are_refused(tmp_path: Path) -> None:
    for given, message in (
        ({"master_key_file": str(tmp_path / "none")}, "cannot be read: No such file"),
        ({"master_key_command": str(tmp_path / "none")}, "cannot be run"),
        ({"master_key_command": "'"}, "is not a command line"),
        ({"master_key_command": " "}, "is empty"),
        ({"master_key": KEY, "master_key_file": "f"}, "comes from one place; set one of"),
    ):
        with pytest.raises(Invalid, match=message):
            master_keys(load_settings(given, {}))


def test_the_key_is_shown_nowhere() -> None:
    settings = load_settings({"master_key": KEY}, {})
    assert KEY not in repr(settings)
    assert KEY not in str(settings.shared())
    command = load_settings({"master_key_command": "vault read --token s3cret"}, {})
    assert "s3cret" not in repr(command) + str(command.shared())


def test_processes_on_a_folder_have_one_key(folder: Path) -> None:
    with opened(folder), pytest.raises(Invalid, match=r"with master_key .*PALIMP_MASTER_KEY"):
        opened(folder, OTHER).profile("alice").list()
