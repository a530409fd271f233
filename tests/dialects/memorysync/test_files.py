"""Documents and imports, by the published client: what becomes of a file, whenever it is cut off."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import memorysync
import pytest

from palimp.clock import Clock
from palimp.http.dialects.memorysync import jobs

from .speaking import House

NOTES = "# Locks\n\nThe keeper of lock three is Anselm.\n\n# Boats\n\nThe ferry is called Gisela.\n"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("files"), Clock())
    yield made
    made.close()


# -- upload --------------------------------------------------------------------------------------


def test_a_document_in_memories_that_know_where_they_stand(house: House) -> None:
    client = house.client("reader")
    first = client.upload(
        NOTES.encode(), filename="notes.md", source="wiki", metadata={"team": "canal"}
    )
    assert type(first) is memorysync.Memory
    assert first.text == "# Locks\n\nThe keeper of lock three is Anselm."
    assert (first.source, first.metadata) == ("wiki", {"team": "canal"})
    kept = list(house.profile("reader").list())
    assert len(kept) == 2
    for one in kept:
        assert one.source_span is not None
        start, end = one.source_span
        assert NOTES[start:end] == one.text
        assert one.derived_from == ("source:notes.md",)
        place = house.raw("reader").get(f"/memory/{one.handle}").json()["provenance"]
        assert (place["file"], place["start"], place["end"]) == ("notes.md", start, end)
    again = client.upload(NOTES.encode(), filename="notes.md")
    assert type(again) is memorysync.AddSkippedResponse
    assert (again.reason, sorted(again.memory_ids)) == ("duplicate", sorted(o.handle for o in kept))


def test_a_page_by_what_a_reader_sees(house: House) -> None:
    page = b"<title>no</title><p>The <b>ferry</b> is called Gisela.</p><script>no()</script>"
    found = house.client("pages").upload(page, filename="a.html")
    assert type(found) is memorysync.Memory
    assert found.text == "The ferry is called Gisela."


@pytest.mark.parametrize("data", [b"", b" \n", b"--- ***"])
def test_a_file_that_says_nothing_is_no_error(house: House, data: bytes) -> None:
    done = house.client("blank").upload(data, filename="a.txt")
    assert type(done) is memorysync.AddSkippedResponse
    assert done.reason == "no_extractable_text"


def test_files_that_are_refused_write_nothing(house: House) -> None:
    client = house.client("refused")
    for name, data, metadata in (
        ("a.pdf", b"%PDF", None),
        ("a.txt", b"caf\xe9 au lait for all of us", None),
        ("a" * 500 + ".txt", b"words are here", None),
    ):
        with pytest.raises(memorysync.ValidationError):
            client.upload(data, filename=name, metadata=metadata)
    with pytest.raises(memorysync.MemorySyncError) as told:
        client.upload(NOTES.encode(), filename="a.md", metadata={"k": "x" * 20_000})
    assert told.value.status_code == 413
    with pytest.raises(memorysync.MemorySyncError) as told:
        client.upload(b"x" * (9 << 20), filename="a.md")
    assert told.value.status_code == 413
    raw = house.raw("refused")
    assert raw.post("/memory/upload", json={"file": "x"}).status_code == 415
    assert raw.post("/memory/upload", files={"other": b"x"}).status_code == 422
    torn = {"content-type": "multipart/form-data; boundary=b"}
    assert raw.post("/memory/upload", content=b"--b\r\n", headers=torn).status_code == 422
    assert client.knowledge_stats()["total_memories"] == 0


def test_no_file_is_left_in_the_folder(house: House) -> None:
    before = {one.name for one in house.folder.iterdir()}
    house.client("tidy").upload(NOTES.encode(), filename="notes.md")
    assert {one.name for one in house.folder.iterdir()} == before


# -- imports -------------------------------------------------------------------------------------


def lines(count: int, **more: Any) -> bytes:
    rows = [{"text": f"Lock {n} has a keeper with a lamp.", **more} for n in range(count)]
    return b"\n".join(json.dumps(one).encode() for one in rows)


def ended(client: memorysync.MemorySyncClient, job: dict[str, Any]) -> dict[str, Any]:
    """Return a job when it has ended; until then its progress is below 100."""
    until = time.monotonic() + 20
    while (found := client.get_import(job["id"]))["status"] not in jobs.FINISHED:
        assert found["progress_percentage"] < 100
        assert time.monotonic() < until, found
    return found


def test_lines_are_written_in_the_background(house: House) -> None:
    client = house.client("lines")
    data = lines(450, tags=["moved"], importance=0.9) + b"\n"
    job = client.create_import(data, filename="all.jsonl")
    assert job["total_bytes"] == len(data)
    found = ended(client, job)
    assert (found["status"], found["created"], found["progress_percentage"]) == (
        "completed",
        450,
        100,
    )
    assert client.knowledge_stats()["total_memories"] == 450
    assert next(iter(house.profile("lines").list())).tags == ("moved",)
    assert job["id"] in [one["id"] for one in client.list_imports(status="completed")["jobs"]]
    assert len(client.list_imports(limit=1)["jobs"]) == 1
    # One that has ended is what it was.
    assert client.cancel_import(job["id"]) == found


def test_a_list_and_what_is_wrong_in_it(house: House) -> None:
    rows = [
        {"text": "The first lock is green."},
        7,
        {"text": ""},
        {"text": "The last lock is red."},
    ]
    data = json.dumps({"memories": rows}).encode()
    strict, patient = house.client("strict"), house.client("patient")
    found = ended(strict, strict.create_import(data, filename="a.json"))
    assert (found["status"], found["created"], found["rejected"]) == ("failed", 1, 1)
    assert found["error"] == "record 1: not_an_object"
    found = ended(patient, patient.create_import(data, filename="a.json", continue_on_error=True))
    assert (found["status"], found["created"], found["rejected"]) == ("completed", 2, 2)
    assert [one["index"] for one in found["errors"]] == [1, 2]
    broken = ended(patient, patient.create_import(b'{"memories": [{}', filename="a.json"))
    assert broken["status"] == "failed"


def test_the_same_file_again_goes_on_where_it_ended(house: House) -> None:
    client = house.client("resumed")
    rows = [{"text": f"Boat {n} has a mast of oak.", "client_ref": f"r{n}"} for n in range(30)]
    data = [json.dumps(one) for one in rows]
    ended(
        client, client.create_import("\n".join(data[:12]).encode(), filename="a.jsonl", resume=True)
    )
    again = client.create_import("\n".join(data).encode(), filename="a.jsonl", resume=True)
    found = ended(client, again)
    assert (found["already_imported"], found["created"]) == (12, 18)
    bare = ended(client, client.create_import(lines(1), filename="a.jsonl", resume=True))
    assert (bare["status"], bare["error"]) == ("failed", "record 0: client_ref_missing")


def test_jobs_are_of_their_end_user_and_tenant(house: House) -> None:
    client = house.client("owner")
    job = client.create_import(lines(1), filename="a.jsonl")
    ended(client, job)
    for other in (house.client("stranger"), house.client("owner", key=house.new_key("org_b"))):
        with pytest.raises(memorysync.NotFoundError):
            other.get_import(job["id"])
        with pytest.raises(memorysync.NotFoundError):
            other.cancel_import(job["id"])
        assert other.list_imports()["jobs"] == []
    with pytest.raises(memorysync.ValidationError):
        client.list_imports(status="lost")
    with pytest.raises(memorysync.ValidationError):
        client.create_import(b"", filename="a.jsonl")


def test_a_cancelled_job_keeps_what_it_wrote(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_BATCH", 1)
    client = house.client("cancelled")
    job = client.create_import(lines(20_000), filename="a.jsonl")
    assert client.cancel_import(job["id"])["cancel_requested"]
    found = ended(client, job)
    assert found["status"] == "cancelled"
    assert found["created"] < 20_000
    assert client.knowledge_stats()["total_memories"] == found["created"]


def test_what_a_process_left_behind_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node goes while a job runs; the same file sent again with `resume` does the rest."""
    rows = [{"text": f"Buoy {n} is lit at night.", "client_ref": f"r{n}"} for n in range(3_000)]
    data = "\n".join(json.dumps(one) for one in rows).encode()
    first = House(tmp_path, Clock())
    with monkeypatch.context() as slow:
        slow.setattr(jobs, "_BATCH", 1)
        job = first.client().create_import(data, filename="a.jsonl", resume=True)
        first.close()
    house = House(tmp_path, Clock())
    try:
        client = house.client()
        found = client.get_import(job["id"])
        assert found["status"] == "interrupted"
        assert found["progress_percentage"] < 100
        assert client.list_imports(status="interrupted")["total"] == 1
        done = ended(client, client.create_import(data, filename="a.jsonl", resume=True))
        assert done["already_imported"] + done["created"] == 3_000
        assert client.knowledge_stats()["total_memories"] == 3_000
    finally:
        house.close()
