"""The readers of other programs' files: every form, what is broken, and bounded memory."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import palimp
from palimp.api import MemoryInput
from palimp.api.limits import TEXT_BYTES_MAX
from palimp.cli.importing import FORMATS, Item, Source, Summary, import_items, run
from palimp.cli.importing.values import VALUE_BYTES_MAX, json_values
from palimp.errors import Error, Invalid


class Bytes(io.RawIOBase):
    """A file that is made while it is read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.left:
            self.left = next(self.pieces, b"")
        size = min(len(buffer), len(self.left))
        buffer[:size] = self.left[:size]
        self.left = self.left[size:]
        return size


def stream(*pieces: bytes) -> io.BufferedReader:
    return io.BufferedReader(Bytes(iter(pieces)))


def items(data: str | bytes, form: str = "messages") -> list[Item]:
    raw = data.encode() if isinstance(data, str) else data
    return list(FORMATS[form].read(Source("file", stream(raw))))


def memories(data: str | bytes, form: str = "messages") -> list[MemoryInput]:
    found = [item.found for item in items(data, form)]
    assert all(isinstance(one, MemoryInput) for one in found), found
    return [one for one in found if isinstance(one, MemoryInput)]


def texts(data: str | bytes, form: str = "messages") -> list[str]:
    return [memory.text for memory in memories(data, form)]


HELLO = {"role": "user", "content": "hello"}
HI = {"role": "assistant", "content": [{"type": "text", "text": "hi"}, {"type": "image_url"}]}


@pytest.mark.parametrize(
    "data",
    [
        f"{json.dumps(HELLO)}\n{json.dumps(HI)}\n",
        json.dumps([HELLO, HI]),
        json.dumps([HELLO, HI], indent=2),
        json.dumps({"messages": [HELLO, HI]}),
        json.dumps({"title": "t", "messages": [HELLO, HI], "z": {"y": []}}, indent=1),
        json.dumps([{"messages": [HELLO]}, {"messages": [HI]}], indent="\t"),
        f"{json.dumps({'messages': [HELLO]})}\n\n{json.dumps({'messages': [HI]})}",
        f"{json.dumps([HELLO])}\n{json.dumps([HI])}\n",
        f"\ufeff{json.dumps(HELLO)}\r\n{json.dumps(HI)}\r\n",
    ],
)
def test_every_form_of_a_conversation_is_read(data: str) -> None:
    assert texts(data) == ["hello", "hi"]
    assert [memory.speaker for memory in memories(data)] == ["user", "assistant"]


def test_what_a_message_says_of_itself_is_kept() -> None:
    exported = {
        "id": "conv-7",
        "model": "m",
        "messages": [
            {"role": "user", "name": "Ann", "content": "one", "created_at": 1767261600, "x": 1},
            {"role": "user", "content": "two", "id": 9, "timestamp": "2026-01-01T10:00:00Z"},
            {"role": "user", "content": "three", "create_time": 1767261600123.0},
            {"role": "user", "content": [{"type": "text", "text": {"value": "four"}}, "five"]},
        ],
    }
    one, two, three, four = memories(json.dumps(exported))
    assert (one.type, one.kind, one.session, one.speaker) == ("event", "turn", "conv-7", "Ann")
    assert one.observed_at == two.observed_at == 1_767_261_600_000
    assert three.observed_at == 1_767_261_600_123
    assert two.dedup_key == "9"
    assert four.text == "four\nfive"


def test_a_message_without_words_is_no_error() -> None:
    calls = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
    also = {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}
    found = items(json.dumps([calls, picture, also]))
    assert [item.found for item in found] == [None, None, None]


def test_the_same_words_again_are_another_event_and_the_same_file_is_not() -> None:
    turn = {"session": "s", "speaker": "Ann", "text": "yes"}
    once = [memory.dedup_key for memory in memories(json.dumps([turn, turn]))]
    assert len(set(once)) == 2
    assert once == [memory.dedup_key for memory in memories(f"{json.dumps(turn)}\n" * 2)]
    long = {**turn, "session": "é" * 250, "speaker": "b" * 400}
    (memory,) = memories(json.dumps(long))
    assert len(str(memory.dedup_key).encode()) <= 512


BROKEN = [
    ('{"text": "a"}\n{"text": "brok\n{"text": "b"}\n', 2, "not JSON"),
    ('{"text": "a"}\n\n{"text": NaN}\n{"text": "b"}\n', 3, "NaN is not JSON"),
    ('{"text": "a"}\n"words"\n{"text": "b"}\n', 2, "must be an object with fields, not str"),
    ('{"text": "a"}\n{"txt": "c"}\n{"text": "b"}\n', 2, "unknown field 'txt'"),
    ('{"text": "a"}\n{"session": "s"}\n{"text": "b"}\n', 2, "needs its words"),
    ('{"text": "a"}\n{"text": 7}\n{"text": "b"}\n', 2, "needs its words"),
    ('{"text": "a"}\n{"text": "c", "at": "never"}\n{"text": "b"}\n', 2, "at is not a time"),
    ('{"text": "a"}\n{"messages": 7}\n{"text": "b"}\n', 2, "'messages' is not a list"),
    ('{"text": "a"}\n{"text": "c", "session": 7}\n{"text": "b"}\n', 2, "session"),
    ('[{"text": "a"},\n{"text": oops},\n\n{"text": "b"}]', 2, "not JSON"),
    ('[{"text": "a"},\n\n\n7, {"text": "b"}]', 4, "must be an object with fields, not int"),
    ('[{"text": "a"},\n{"text": "b"},\n{"text": "cut', 3, "not JSON"),
    ('{"text": "a"}\n' + "[" * 50_000 + '\n{"text": "b"}\n', 2, "not JSON"),
    (b'{"text": "a"}\n{"text": "\xff"}\n{"text": "b"}\n', 2, "not UTF-8 at byte 11"),
]


@pytest.mark.parametrize(("data", "line", "says"), BROKEN)
def test_a_broken_line_is_named_and_hides_no_other(data: str | bytes, line: int, says: str) -> None:
    found = items(data)
    (broken,) = (item for item in found if isinstance(item.found, Error))
    assert broken.place == line
    assert says in str(broken.found)
    words = [item.found.text for item in found if isinstance(item.found, MemoryInput)]
    assert words == ["a", "b"]


def test_a_broken_message_of_a_conversation_is_named_with_its_place() -> None:
    found = items(json.dumps({"messages": [HELLO, {"role": "user"}, HI]}))
    assert [isinstance(item.found, Error) for item in found] == [False, True, False]
    assert str(found[1].found).startswith("messages[1]: a turn needs its words")


@pytest.mark.parametrize("form", ["messages", "mcp-jsonl"])
def test_an_empty_file_holds_nothing_and_a_binary_one_is_refused(form: str) -> None:
    assert items("", form) == items("\n \r\n", form) == []
    with pytest.raises(Invalid, match="file is not UTF-8 text"):
        items(b"\x1f\x8b\x08\x00 and more", form)
    with pytest.raises(Invalid, match="file is not UTF-8 text"):
        items('{"text": "a"}'.encode("utf-16"), form)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=10,
)


@given(st.lists(JSON, max_size=5), st.sampled_from([None, 0, 2]), st.integers(1, 40), st.booleans())
def test_a_list_is_cut_into_its_elements_wherever_the_pieces_end(
    values: list[Any], indent: int | None, size: int, ascii_only: bool
) -> None:
    raw = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode()
    # The first line is read whole; a line end at once leaves all the rest to the pieces.
    raw = b"[\n" + raw[1:]
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    found = list(json_values(stream(*pieces), "file"))
    assert [value for _, value in found] == values


def endless(line: bytes, count: int) -> io.BufferedReader:
    return io.BufferedReader(Bytes(line for _ in range(count)))


@pytest.mark.parametrize("opening", [b"", b"[\n"])
def test_memory_stays_bounded_however_long_the_file(opening: bytes) -> None:
    count, after = 36_000, b"," if opening else b""
    turn = json.dumps({"role": "user", "content": "x" * 500}).encode() + after + b"\n"
    pieces = (piece for piece in (opening, *(turn for _ in range(count))) if piece)
    source = Source("file", io.BufferedReader(Bytes(pieces)))
    tracemalloc.start()
    read = sum(isinstance(item.found, MemoryInput) for item in FORMATS["messages"].read(source))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == count
    # What other tests left running allocates too.
    assert peak < 16 << 20 < count * len(turn)


@pytest.mark.parametrize("opening", [b"", b"[\n"])
def test_a_line_of_any_length_is_passed_over_without_being_held(opening: bytes) -> None:
    after = b"," if opening else b""
    huge = 8 * VALUE_BYTES_MAX // (1 << 20)

    def pieces() -> Iterator[bytes]:
        yield opening + b'{"text": "a"}' + after + b"\n"
        yield b'{"text": "'
        for _ in range(huge):
            yield b"x" * (1 << 20)
        yield b'"}' + after + b'\n{"text": "b"}'

    source = Source("file", io.BufferedReader(Bytes(pieces())))
    tracemalloc.start()
    found = list(FORMATS["messages"].read(source))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [item.place for item in found] == ([1, 2, 3] if not opening else [2, 3, 4])
    error = found[1].found
    assert isinstance(error, Error)
    assert error.code == "payload_too_large"
    assert f"{huge << 20:,}"[:4] in str(error)
    assert peak < 4 * VALUE_BYTES_MAX


def graph(*lines: Any) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


ZOE = {
    "type": "entity",
    "name": "Zoë_Li",
    "entityType": "person",
    "observations": ["Speaks Danish", "zoë_li lives in Århus"],
}
WORKS = {"type": "relation", "from": "Zoë_Li", "to": "Anthropic", "relationType": "works_at"}


def test_a_knowledge_graph_becomes_facts() -> None:
    speaks, lives, works = memories(graph(ZOE, WORKS), "mcp-jsonl")
    assert speaks.text == "Zoë_Li: Speaks Danish"
    assert lives.text == "zoë_li lives in Århus"
    for fact in (speaks, lives):
        assert (fact.type, fact.kind, fact.topic) == ("fact", "entity", None)
        assert (fact.keywords, fact.tags) == ("Zoë_Li", ("person",))
        assert fact.dedup_key
    assert works.text == "Zoë_Li works_at Anthropic"
    assert (works.type, works.kind, works.tags) == ("fact", "relationship", ("works_at",))
    assert works.metadata == {"from": "Zoë_Li", "relation_type": "works_at", "to": "Anthropic"}


def test_a_broken_part_of_a_graph_is_named_and_hides_no_other() -> None:
    lines = graph(
        {**ZOE, "observations": ["good", 7, " "]},
        {"type": "thing"},
        {"type": "entity", "name": "x", "entityType": "y"},
        {"type": "relation", "from": "a", "to": "b"},
        ["entity"],
        {**ZOE, "observations": []},
        WORKS,
    )
    found = items(lines, "mcp-jsonl")
    broken = [(item.place, str(item.found)) for item in found if isinstance(item.found, Error)]
    assert [line for line, _ in broken] == [1, 1, 2, 3, 4, 5]
    for (_, reason), says in zip(
        broken,
        ("observations[1]", "observations[2]", "'thing'", "no list", "'relationType'", "not list"),
        strict=True,
    ):
        assert says in reason
    assert [item.found is None for item in found].count(True) == 1
    assert sum(isinstance(item.found, MemoryInput) for item in found) == 2


def test_batches_are_bounded_by_number_and_by_bytes(profile: palimp.Profile) -> None:
    sizes: list[int] = []
    count = 2 * run.BATCH_ITEMS_MAX + 1
    small = (Item(n, MemoryInput(text=f"fact {n}")) for n in range(count))
    summary = Summary()
    import_items(profile, small, summary, sizes.append)
    assert sizes == [run.BATCH_ITEMS_MAX, 2 * run.BATCH_ITEMS_MAX, count]
    assert summary.written == count
    sizes.clear()
    text = "word " * (TEXT_BYTES_MAX // 5)
    large = (Item(n, MemoryInput(text=text, dedup_key=str(n))) for n in range(5))
    import_items(profile, large, summary, sizes.append)
    assert sizes == [5]
    assert len(text) * 4 < run.BATCH_BYTES_MAX <= len(text) * 5


def test_what_does_not_fit_is_named_and_only_so_many_are_kept(profile: palimp.Profile) -> None:
    too_long = MemoryInput(text="x" * (TEXT_BYTES_MAX + 1))
    summary = Summary()
    found: list[Item] = [Item(1, too_long), Item(2, MemoryInput(text="fits"))]
    found += [Item(n, Invalid("no")) for n in range(3, run.BROKEN_NAMED_MAX + 10)]
    import_items(profile, found, summary)
    assert summary.broken[0][0] == 1
    assert "1,048,576 are allowed" in summary.broken[0][1]
    assert summary.broken_count == run.BROKEN_NAMED_MAX + 8
    assert len(summary.broken) == run.BROKEN_NAMED_MAX
    assert [memory.text for memory in profile.list()] == ["fits"]


def test_an_import_that_stops_halfway_says_how_far_it_came_and_can_be_repeated(
    tmp_path: Path,
) -> None:
    found = [Item(n, MemoryInput(text=f"fact {n}")) for n in range(run.BATCH_ITEMS_MAX + 5)]
    mem = palimp.open(tmp_path / "m")
    with pytest.raises(palimp.Unavailable, match=r"^after 1,000 memories were written: "):
        import_items(mem.profile("alice"), found, Summary(), lambda _: mem.close())
    summary = Summary()
    with palimp.open(tmp_path / "m") as again:
        import_items(again.profile("alice"), found, summary)
    assert summary.counts == {"duplicate": run.BATCH_ITEMS_MAX, "created": 5}
