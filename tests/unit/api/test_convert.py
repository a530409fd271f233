"""Plain values become requests; what does not fit is refused with field and nearest name."""

import array

import numpy as np
import pytest

from palimp.api import ListMemories, MemoryInput, RecallRequest
from palimp.api.convert import nearest, to_request
from palimp.errors import Invalid


def refusal(cls, values: object, what: str = "memory") -> str:
    with pytest.raises(Invalid) as caught:
        to_request(cls, values, what)
    assert caught.value.code == "invalid_request"
    return str(caught.value)


def test_python_s_and_the_wire_s_names_mean_the_same() -> None:
    python = {"text": "x", "topic": "t", "session": "s", "agent": "a"}
    wire = {"text": "x", "topic_key": "t", "session_id": "s", "agent_id": "a"}
    assert to_request(MemoryInput, python, "memory") == to_request(MemoryInput, wire, "memory")


def test_one_field_under_both_names_is_refused() -> None:
    message = refusal(MemoryInput, {"text": "x", "topic": "a", "topic_key": "b"})
    assert "topic_key" in message
    assert "twice" in message


def test_a_request_passes_as_it_is() -> None:
    request = MemoryInput(text="x")
    assert to_request(MemoryInput, request, "memory") is request


@pytest.mark.parametrize(
    ("cls", "field", "meant"),
    [
        (MemoryInput, "topik", "topic"),
        (MemoryInput, "sesion", "session"),
        (MemoryInput, "confidance", "confidence"),
        (ListMemories, "include_superceded", "include_superseded"),
        (RecallRequest, "min_scores", "min_score"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_name(cls, field: str, meant: str) -> None:
    message = refusal(cls, {"text": "x", field: 1} if cls is MemoryInput else {field: 1})
    assert f"unknown field {field!r}" in message
    assert f"did you mean {meant!r}?" in message


def test_an_unknown_field_like_no_other_lists_the_known_ones() -> None:
    message = refusal(MemoryInput, {"text": "x", "zzzz": 1})
    assert "unknown field 'zzzz'" in message
    assert "did you mean" not in message
    assert "dedup_key" in message


def test_a_missing_field_is_named() -> None:
    assert refusal(MemoryInput, {"topic": "a"}) == "memory: field 'text' is missing"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", 5),
        ("text", None),
        ("text", b"bytes"),
        ("type", "opinion"),
        ("topic", 5),
        ("tags", "one,two"),
        ("tags", [1]),
        ("metadata", [1]),
        ("importance", "high"),
        ("importance", True),
        ("source_span", [1]),
        ("embedding", ["a"]),
        ("embedding", 5),
    ],
)
def test_a_wrong_type_names_what_and_the_field(field: str, value: object) -> None:
    message = refusal(MemoryInput, {"text": "x", field: value})
    assert message.startswith("memory: ")
    assert field in message


def test_a_wrong_element_names_its_place() -> None:
    assert "embedding[2]" in refusal(MemoryInput, {"text": "x", "embedding": [0.5, 1, "a"]})


@pytest.mark.parametrize("values", [None, 5, "text", ["text"], object()])
def test_what_is_no_object_is_refused(values: object) -> None:
    assert "must be an object with fields, not" in refusal(MemoryInput, values)


def test_a_field_name_that_is_no_text_is_refused() -> None:
    assert "field names are text, not int" in refusal(MemoryInput, {"text": "x", 5: 1})


@pytest.mark.parametrize(
    "values",
    [[1, 2.5], (1, 2.5), array.array("d", [1, 2.5]), np.array([1, 2.5], np.float32)],
    ids=lambda values: type(values).__name__,
)
def test_any_array_of_numbers_is_an_embedding(values: object) -> None:
    request = to_request(MemoryInput, {"text": "x", "embedding": values}, "memory")
    assert request.embedding == (1.0, 2.5)


def test_a_matrix_is_no_embedding() -> None:
    assert "embedding" in refusal(MemoryInput, {"text": "x", "embedding": np.zeros((2, 2))})


def test_nearest_says_nothing_where_nothing_is_near() -> None:
    assert nearest("topik", ["text", "topic"]) == " (did you mean 'topic'?)"
    assert nearest("zzzz", ["text", "topic"]) == ""
