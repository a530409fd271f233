"""What is held of somebody, handed over: all of it, of one moment, readable, through every transport."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from palimp.api import ExportSubject
from palimp.errors import Conflict, Invalid

STRANGE = "Zoë – 日本\n# no heading\n`x` 🙂"


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    text = (folder / name).read_text("utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


@pytest.fixture
def held(do: Any, alice: Any) -> dict[str, str]:
    """A profile with something of every kind."""
    first = do(alice.remember("Lives in Rome", topic="home", source="mail:7", session="s1"))
    second = do(alice.remember("Lives in Bern", topic="home", session="s2"))
    third = do(alice.remember(STRANGE, derived_from=(second.id,)))
    gone = do(alice.remember("Wants to be forgotten"))
    do(alice.lifecycle.delete(gone.id, reason="asked for it"))
    do(alice.session("s1").append("user", "ciao", speaker="Zoë"))
    do(alice.session("s2").append("tool", {"found": [1, 2]}))
    do(alice.documents("trips").insert({"_id": "t1", "to": "日本"}))
    do(alice.kv.put("theme", "dark"))
    do(alice.kv.space("bin").put("raw", b"\xff\x00"))
    return {"first": first.id, "second": second.id, "third": third.id, "gone": gone.id}


def test_everything_is_there_and_says_where_it_came_from(
    do: Any, alice: Any, held: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    counts = do(alice.export_subject(out))
    assert counts == {"memory": 4, "turn": 2, "document": 1, "value": 2}
    assert {path.name for path in out.iterdir()} == {
        *("README.md", "everything.md", "memories.jsonl", "turns.jsonl", "documents.jsonl"),
        "kv.jsonl",
    }
    memories = {one["id"]: one for one in lines(out, "memories.jsonl")}
    first, second = memories[held["first"]], memories[held["second"]]
    assert (first["source"], first["session"]) == ("mail:7", "s1")
    assert first["superseded_by"] == held["second"]
    assert second["supersedes"] == [held["first"]]
    assert [event["event"] for event in first["events"]] == ["created", "superseded"]
    assert memories[held["third"]]["text"] == STRANGE
    assert memories[held["third"]]["derived_from"] == [held["second"]]
    gone = memories[held["gone"]]
    assert gone["state"] == "soft_deleted"
    assert gone["events"][-1]["reason"] == "asked for it"
    turns = lines(out, "turns.jsonl")
    assert [(one["session"], one["content"]) for one in turns] == [
        ("s1", "ciao"),
        ("s2", {"found": [1, 2]}),
    ]
    (document,) = lines(out, "documents.jsonl")
    assert (document["collection"], document["id"]) == ("trips", "t1")
    assert document["document"]["to"] == "日本"
    values = {one["key"]: one for one in lines(out, "kv.jsonl")}
    assert values["theme"]["text"] == "dark"
    assert (values["raw"]["ns"], values["raw"]["base64"]) == ("bin", "/wA=")


def test_the_page_is_for_people_and_no_text_is_taken_for_a_heading(
    do: Any, alice: Any, held: dict[str, str], tmp_path: Path
) -> None:
    do(alice.export_subject(tmp_path / "out"))
    page = (tmp_path / "out" / "everything.md").read_text("utf-8").split("\n")
    headings = [line for line in page if line.startswith("# ")]
    assert headings == ["# Memories", "# Conversations", "# Documents", "# Stored values"]
    assert "> # no heading" in page
    assert "- came from: mail:7" in page
    assert f"- was replaced by: {held['second']}" in page
    readme = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "`default--alice`" in readme
    assert "`memories.jsonl` (4)" in readme


def test_a_session_has_its_memories_and_turns_only(
    do: Any, alice: Any, held: dict[str, str], tmp_path: Path
) -> None:
    counts = do(alice.export_subject(tmp_path / "out", session="s1"))
    assert counts == {"memory": 1, "turn": 1, "document": 0, "value": 0}
    assert lines(tmp_path / "out", "memories.jsonl")[0]["id"] == held["first"]
    assert "conversation `s1`" in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_of_an_earlier_state(do: Any, alice: Any, tmp_path: Path) -> None:
    do(alice.remember("One"))
    do(alice.checkpoint("before"))
    do(alice.remember("Two"))
    do(alice.at("before").export_subject(tmp_path / "then"))
    assert [one["text"] for one in lines(tmp_path / "then", "memories.jsonl")] == ["One"]


def test_pages_are_of_one_moment(
    do: Any, client: Any, alice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"Number {number}" for number in range(2_300)]
    for start in range(0, len(texts), 500):
        batch = [{"type": "event", "text": text} for text in texts[start : start + 500]]
        do(alice.ingest(batch))
    request = ExportSubject(limit=700)
    point = do(alice.sync())
    found, sizes = [], []
    target = alice.at(point).target
    while True:
        page = do(client.call("subject.export", target, request))
        found += [record.data["text"] for record in page.records]
        sizes.append(len(page.records))
        # What is written meanwhile is of another moment.
        do(alice.remember(f"Later {len(sizes)}"))
        if page.next_cursor is None:
            break
        request = ExportSubject(limit=700, cursor=page.next_cursor)
    assert sizes == [700, 700, 700, 200]
    assert found == texts
    counts = do(alice.export_subject(tmp_path / "out"))
    assert counts["memory"] == 2_304


def test_large_records_make_shorter_pages(do: Any, client: Any, alice: Any) -> None:
    for number in range(6):
        do(alice.kv.put(f"k{number}", "x" * (1 << 20)))
    sizes, request = [], ExportSubject()
    while True:
        page = do(client.call("subject.export", alice.target, request))
        sizes.append(len(page.records))
        if page.next_cursor is None:
            break
        request = ExportSubject(cursor=page.next_cursor)
    assert sizes == [4, 2]


def test_what_cannot_be(do: Any, client: Any, alice: Any, tmp_path: Path) -> None:
    do(client.profile("nobody").export_subject(tmp_path / "nobody"))
    page = (tmp_path / "nobody" / "everything.md").read_text("utf-8")
    assert "Nothing is held" in page
    do(alice.remember("One"))
    with pytest.raises(Conflict, match="is not empty"):
        do(alice.export_subject(tmp_path / "nobody"))
    for cursor in ("", "x", "é", "W10=", "WyJtZW1vcnkiLFsiYSJdXQ==", "WyJhIixbMV1d"):
        with pytest.raises(Invalid, match="did not come from an earlier page"):
            do(client.call("subject.export", alice.target, ExportSubject(cursor=cursor)))
    with pytest.raises(Invalid):
        do(client.call("subject.export", alice.target, ExportSubject(limit=0)))
