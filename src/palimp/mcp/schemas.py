"""JSON schemas of structs, as short as they can be and still say what fits."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from ..api.base import WIRE_NAMES, Result

__all__ = ["schema"]

_NULL = {"type": "null"}
_REFERENCE = "#/$defs/"
_PYTHON_NAMES = {wire: name for name, wire in WIRE_NAMES.items()}


def schema(struct: type[msgspec.Struct], *, brief: bool) -> dict[str, Any]:
    """Return the schema of a struct, whole in itself: no references, titles or empty defaults.

    Where null and leaving a field out say the same, in arguments and in our own answers, null is
    not mentioned; results of the wire hold nulls. A `brief` one has Python's names for the fields;
    others have those of the wire, and the docstrings.
    """
    (root,), components = msgspec.json.schema_components(
        [struct], ref_template=_REFERENCE + "{name}"
    )
    return _Writer(components, brief, nulls=issubclass(struct, Result)).write(root)


class _Writer:
    def __init__(self, components: dict[str, Any], brief: bool, nulls: bool) -> None:
        self.components = components
        self.brief = brief
        self.nulls = nulls

    def write(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return one schema with everything it refers to."""
        if "$ref" in given:
            return self._struct(self.components[given["$ref"].removeprefix(_REFERENCE)])
        result = {key: value for key, value in given.items() if key not in ("anyOf", "default")}
        choices = [self.write(one) for one in given.get("anyOf", ()) if self.nulls or one != _NULL]
        if len(choices) == 1:
            result = {**choices[0], **result}
        elif choices:
            result["anyOf"] = choices
        if given.get("default"):
            result["default"] = given["default"]
        if isinstance(given.get("items"), dict):
            result["items"] = self.write(given["items"])
        if "properties" in given:
            result["properties"] = self._properties(given["properties"])
        return result

    def _struct(self, given: dict[str, Any]) -> dict[str, Any]:
        left_out = {"title", "description", "required"}
        if self.brief:
            left_out.add("additionalProperties")
        plain = {key: value for key, value in given.items() if key not in left_out}
        if not self.brief:
            plain["description"] = inspect.cleandoc(given["description"])
        # That an answer holds what it holds need not be said briefly.
        if given["required"] and not (self.brief and "additionalProperties" not in given):
            plain["required"] = [self._name(name) for name in given["required"]]
        return self.write(plain)

    def _properties(self, given: dict[str, Any]) -> dict[str, Any]:
        return {self._name(name): self.write(value) for name, value in given.items()}

    def _name(self, wire: str) -> str:
        return _PYTHON_NAMES.get(wire, wire) if self.brief else wire
