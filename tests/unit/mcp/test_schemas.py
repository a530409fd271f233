from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from palimp.api.base import Request, Result
from palimp.mcp.schemas import schema


class Inner(Request, frozen=True, kw_only=True):
    """Inner words."""

    topic: str
    size: int | float | None = None


class Outer(Request, frozen=True, kw_only=True):
    """Outer words."""

    many: tuple[Inner, ...] = ()
    one: Inner | None = None
    named: Annotated[str | None, msgspec.Meta(description="a name")] = None
    choice: Literal["b", "a"] = "a"
    flag: bool = False


class Given(Result, frozen=True, kw_only=True):
    """Given words."""

    topic: str | None = None


NUMBER = {"anyOf": [{"type": "integer"}, {"type": "number"}]}


def test_brief_arguments_say_what_fits_and_nothing_else() -> None:
    inner = {
        "type": "object",
        "properties": {"topic": {"type": "string"}, "size": NUMBER},
        "required": ["topic"],
    }
    assert schema(Outer, brief=True) == {
        "type": "object",
        "properties": {
            "many": {"type": "array", "items": inner},
            "one": inner,
            "named": {"type": "string", "description": "a name"},
            "choice": {"enum": ["a", "b"], "default": "a"},
            "flag": {"type": "boolean"},
        },
    }


def test_the_long_form_has_the_docstrings_the_wires_names_and_refuses_what_is_unknown() -> None:
    inner = schema(Inner, brief=False)
    assert inner["description"] == "Inner words."
    assert inner["required"] == ["topic_key"]
    assert inner["additionalProperties"] is False


def test_results_of_the_wire_hold_nulls() -> None:
    assert schema(Given, brief=False)["properties"] == {
        "topic_key": {"anyOf": [{"type": "string"}, {"type": "null"}]}
    }
