"""Events as rows, to Arc and back."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimp.api.events import EventInput
from palimp.arc.codec import (
    TIME_US_MAX,
    TIME_US_MIN,
    encode_rows,
    event_of,
    iso_us,
    parse_time,
    row_event,
    row_of,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
optional = st.none() | texts
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9)
events = st.builds(
    EventInput,
    agent=texts,
    text=texts,
    kind=texts,
    event=texts,
    session=optional,
    metadata=st.none() | st.dictionaries(st.text(max_size=9), scalars, min_size=1, max_size=3),
    tags=st.lists(texts.filter(lambda tag: "," not in tag), unique=True, max_size=4).map(tuple),
    importance=st.none() | st.floats(0, 1, exclude_min=True),
    parent=optional,
    dedup_key=optional,
)
times = st.integers(TIME_US_MIN, TIME_US_MAX)


@given(events, times)
def test_an_event_comes_back_as_it_was(event: EventInput, at_us: int) -> None:
    row = row_of(event, at_us)
    found = row_event(row)
    for name in EventInput.__struct_fields__:
        assert getattr(found, name) == getattr(event, name), name
    assert found.at_us == at_us
    columns = msgspec.msgpack.decode(encode_rows("events", "o", [row]))["columns"]
    values = {name: column[0] for name, column in columns.items()}
    assert values["time"] == at_us * 1000
    assert event_of(json.loads(json.dumps(values))) == found


def test_all_twelve_columns_are_there_with_their_types() -> None:
    rows = [row_of(EventInput(agent="a", text="b"), at) for at in (1_767_225_600_000_000, 2**52)]
    body = encode_rows("my-events", "o", rows)
    found = msgspec.msgpack.decode(body)
    assert found["m"] == "my-events"
    assert (
        list(found["columns"])
        == (
            "time org_id agent_id session_id memory_type event_type content metadata_json tags_csv "
            "dedup_key importance parent_id"
        ).split()
    )
    assert {len(values) for values in found["columns"].values()} == {2}
    assert found["columns"]["importance"] == [0.0, 0.0]
    assert all(type(value) is float for value in found["columns"]["importance"])
    assert found["columns"]["metadata_json"] == ["{}", "{}"]
    assert found["columns"]["session_id"] == found["columns"]["tags_csv"] == ["", ""]
    # int64 by its first byte, where msgpack would take an unsigned one.
    assert b"\xd3" + (1_767_225_600_000_000_000).to_bytes(8, "big") in body


def test_metadata_is_compact_and_tags_stand_once() -> None:
    row = row_of(
        EventInput(agent="a", text="b", metadata={"b": 1, "a": [1]}, tags=("x", "y", "x")), 1
    )
    assert row.metadata == '{"a":[1],"b":1}'
    assert row.tags == "x,y"


@pytest.mark.parametrize("metadata", ["", "{}", "{", "[1]", "1", "null", "[" * 5000])
def test_metadata_that_is_none_is_left_out(metadata: str) -> None:
    event = event_of({"time": 10**18, "metadata_json": metadata})
    assert event is not None
    assert event.metadata is None


@pytest.mark.parametrize(
    ("value", "at_us"),
    [
        ("2026-02-07T20:15:00.123456Z", 1_770_495_300_123_456),
        ("2026-02-07T20:15:00Z", 1_770_495_300_000_000),
        ("2026-02-07T20:15:00.1Z", 1_770_495_300_100_000),
        ("2026-02-07T20:15:00.123456789Z", 1_770_495_300_123_456),
        ("2026-02-07T22:15:00.5+02:00", 1_770_495_300_500_000),
        ("2026-02-07 20:15:00.5+00", 1_770_495_300_500_000),
        ("2026-02-07T20:15:00.5", 1_770_495_300_500_000),
        (1_770_495_300_123_456_789, 1_770_495_300_123_456),
        (1.770495300123456e18, 1_770_495_300_123_456),
        ("yesterday", None),
        ("2026-02-30T00:00:00Z", None),
        (None, None),
        (True, None),
        (math.inf, None),
    ],
)
def test_times_are_read_in_every_form(value: Any, at_us: int | None) -> None:
    assert parse_time(value) == at_us


@given(times)
def test_a_time_that_is_written_can_be_read(at_us: int) -> None:
    assert parse_time(iso_us(at_us)) == at_us


def test_what_other_writers_left_is_read_as_far_as_it_can_be() -> None:
    found = event_of(
        {"time": "2026-02-07T20:15:00Z", "content": None, "tags_csv": ",a,,b,", "importance": "1"}
    )
    assert found is not None
    assert (found.text, found.tags, found.importance) == ("", ("a", "b"), None)
    assert (found.agent, found.kind, found.event) == (None, "episodic", "general")
    assert event_of({"content": "no time"}) is None
