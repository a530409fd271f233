"""Changes of other programs' files: what is put in can be taken out, and nothing else moves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palimp.cli.agents import Change, block, json_text, write
from palimp.errors import Conflict, Invalid

ENTRY = {"command": "/bin/palimp", "args": ["mcp", "--data", "/m", "--profile", "Zoë"]}
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
NAMES = st.text(max_size=8).filter(lambda name: name != "palimp")
SERVERS = st.dictionaries(NAMES, PLAIN, min_size=1, max_size=3)
LAYOUTS = st.sampled_from([None, 0, 1, 2, 4, "\t"])


@st.composite
def documents(draw: st.DrawFn) -> str:
    root = draw(st.dictionaries(st.text(max_size=8), PLAIN, min_size=1, max_size=4))
    root.pop("mcpServers", None)
    root["before"] = draw(PLAIN)
    if draw(st.booleans()):
        root["mcpServers"] = draw(SERVERS)
    if draw(st.booleans()):
        root["after"] = draw(PLAIN)
    text = json.dumps(root, indent=draw(LAYOUTS), ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return (
        draw(st.sampled_from(["", "\n", "  "])) + text + draw(st.sampled_from(["", "\n", "\r\n"]))
    )


@given(documents())
@example('{"mcpServers": {"a": {}}}')
@example('{\n  "numStartups": 3,\n  "mcpServers": {}\n}\n')
@example('{"a": "{\\"mcpServers\\": 1}"}')
@example('{\n\t"mcpServers": {"a": {"command": "x"}, "b": {}}\n}')
@example('{\n  "mcpServers": {\n    "a": 1\n  },\n  "é": "\\u00e9"\n}')
def test_what_is_put_into_json_is_there_and_comes_out_again(text: str) -> None:
    changed = json_text.put(text, "mcpServers", "palimp", ENTRY)
    expected = json.loads(text)
    expected.setdefault("mcpServers", {})["palimp"] = ENTRY
    assert json.loads(changed) == expected
    assert json_text.put(changed, "mcpServers", "palimp", ENTRY) == changed
    assert json_text.take(changed, "mcpServers", "palimp") == text
    # Everything that was there is there, in its order.
    left = iter(changed)
    assert all(character in left for character in text)


def test_a_file_that_was_not_there_is_not_there_again() -> None:
    made = json_text.put("", "mcpServers", "palimp", ENTRY)
    assert made.endswith("}\n")
    assert json_text.take(made, "mcpServers", "palimp") is None


def test_put_keeps_the_way_the_file_is_written() -> None:
    text = '{\n    "mcpServers": {\n        "a": {"command": "x"}\n    }\n}\n'
    assert json_text.put(text, "mcpServers", "palimp", {"command": "y", "args": []}) == (
        '{\n    "mcpServers": {\n        "a": {"command": "x"},\n        "palimp": {\n'
        '            "command": "y",\n            "args": []\n        }\n    }\n}\n'
    )
    assert json_text.put('{"a": 1}', "mcpServers", "palimp", {}) == (
        '{"a": 1, "mcpServers": {"palimp": {}}}'
    )


def test_an_entry_that_is_there_is_replaced_where_it_stands() -> None:
    text = '{"mcpServers": {"palimp": {"command": "old"}, "b": {}}, "z": 1}'
    changed = json_text.put(text, "mcpServers", "palimp", {"command": "new"})
    assert changed == text.replace("old", "new")
    assert json_text.take(text, "mcpServers", "palimp") == '{"mcpServers": {"b": {}}, "z": 1}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{oops", "not plain JSON"),
        ('{\n  // mine\n  "a": 1\n}', "not plain JSON"),
        ("[]", "a list, not an object"),
        ('{"mcpServers": []}', "'mcpServers' that is a list"),
        ("\ufeff{}", "not plain JSON"),
        ("[" * 100_000, "not plain JSON"),
    ],
)
def test_json_that_cannot_be_changed_with_care_is_refused(text: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        json_text.find(text, "mcpServers", "palimp")


LINES = st.text("ab\n \r#é", max_size=30)


@given(LINES, LINES)
@example("", "")
@example("no line end", "")
@example("a\n", "b")
@example("\n", "")
@example("a\r\nb\r\n", "")
def test_what_is_put_into_a_text_comes_out_again(before: str, after: str) -> None:
    changed = block.put(before, "one\ntwo")
    assert "one" in changed
    assert changed.startswith(before)
    assert block.put(changed, "one\ntwo") == changed
    # What the user writes below it later stays below.
    taken = block.take(changed + after) or ""
    assert taken.startswith(before)
    assert taken.endswith(after)
    assert taken[len(before) : len(taken) - len(after)] in (("", "\n", "\r\n") if after else ("",))


def test_a_newer_block_takes_the_place_of_the_older() -> None:
    old = block.put("mine\n", "old words")
    new = block.put(old + "below\n", "new words")
    assert "old words" not in new
    assert new.startswith("mine\n")
    assert new.endswith("below\n")


def test_a_file_with_a_header_is_ours_until_something_is_added() -> None:
    made = block.put("", "words", "---\nhead: 1\n---\n")
    assert made.startswith("---\nhead: 1\n---\n<!--")
    assert block.take(made, "---\nhead: 1\n---\n") is None
    kept = block.take(made + "mine\n", "---\nhead: 1\n---\n")
    assert kept is not None
    assert "mine" in kept
    assert block.take("no block", "") == "no block"


@pytest.mark.parametrize("broken", ["{0}", "{1}", "{1}{0}", "{0}{1}{0}{1}"])
def test_marks_that_do_not_match_are_refused(broken: str) -> None:
    made = block.put("", "x").splitlines()
    with pytest.raises(Invalid, match="marks"):
        block.put(broken.format(made[0], made[2]), "words")


def changed(path: Path, after: str | None, **more: Any) -> Change:
    return Change(path, path.read_text() if path.exists() else None, after, **more)


def test_mode_and_link_of_a_file_stay(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "config"
    real.parent.mkdir()
    real.write_text("old")
    real.chmod(0o640)
    link = tmp_path / "config"
    link.symlink_to(real)
    write(changed(link, "new"))
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o640
    assert os.listdir(real.parent) == ["config"]


def test_a_new_file_is_private_where_it_should_be(tmp_path: Path) -> None:
    write(changed(tmp_path / "a" / "b" / "shared", "x"))
    write(changed(tmp_path / "mine", "x", private=True))
    assert (tmp_path / "a" / "b" / "shared").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o600


def test_a_file_changed_in_the_meantime_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("planned")
    change = changed(path, "new")
    path.write_text("somebody else was faster")
    with pytest.raises(Conflict, match="changed in the meantime"):
        write(change)
    assert path.read_text() == "somebody else was faster"


def test_a_diff_shows_no_line_that_stays(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("SECRET=1\n")
    assert "SECRET" not in changed(path, "SECRET=1\nours\n").diff()
