"""Values from a language model: its answer becomes a struct, or nothing.

Whatever stands in the data a model is shown, all it can do is fill the fields of the type that was
asked for. What does not fit is asked for again, a bounded number of times.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec

from ..decoding import from_json
from ..spending import Spending
from .language import LanguageModel, Malformed, Prompt, one_line, quoted

__all__ = ["decode", "schema_of", "structured"]

S = TypeVar("S", bound=msgspec.Struct)

REPAIRS = 2
ANSWER_CHARS_MAX = 65_536
# Of an answer that is shown to the model again.
_SHOWN_CHARS_MAX = 8_192
_REASON_CHARS_MAX = 300
# Places in an answer at which an object may begin. Each is read to its end, so they are bounded.
_PLACES_MAX = 64
# What servers let a strict schema hold; the rest is checked here, when the answer is decoded.
_KEYWORDS = ("type", "description", "enum", "const", "anyOf", "items", "properties")


def structured(
    model: LanguageModel,
    prompt: Prompt,
    type_: type[S],
    spending: Spending,
    *,
    repairs: int = REPAIRS,
) -> S:
    """Return the answer of a model as a value of `type_`.

    An answer that does not fit is sent back with the reason, at most `repairs` times; then
    `Malformed` is raised with all of them. A refusal is final. What else the model raises passes
    through.
    """
    prompt = msgspec.structs.replace(prompt, schema=schema_of(type_), name=_name(type_))
    asked = prompt
    answers: list[str] = []
    while True:
        try:
            answer = model.complete(asked, spending)
            return decode(answer, type_)
        except Malformed as error:
            answers += (text[:ANSWER_CHARS_MAX] for text in error.answers)
            fault, reason = str(error), error.details["reason"]
        if reason == "refused" or repairs == 0:
            break
        repairs -= 1
        again = _again(prompt.schema, fault, answers[-1] if answers else "")
        asked = msgspec.structs.replace(prompt, text=f"{prompt.text}\n\n{again}")
    raise Malformed(
        f"{model.name} at {model.host} gave no answer that can be used (asked "
        f"{len(answers)} times): {fault}; repeat it later, or configure another model",
        reason=reason,
        answers=answers,
    )


def decode(answer: str, type_: type[S]) -> S:
    """Return the value that an answer holds; raises `Malformed`.

    The answer may be the object alone, or have it in a code fence or between prose. Two objects
    that fit and differ are none: one of them may be a quotation.
    """
    text = answer.strip()
    try:
        return from_json(text.encode("utf-8", "replace"), type_)
    except msgspec.ValidationError as error:
        # It is JSON, so the whole of it was meant.
        raise _unfit(str(error), answer) from error
    except (msgspec.DecodeError, RecursionError) as error:
        fault = f"it is not JSON: {error}"
    found: list[S] = []
    for data in _objects(text):
        try:
            found.append(from_json(data, type_))
        except (msgspec.DecodeError, RecursionError) as error:
            fault = str(error)
    if not found:
        raise _unfit(fault, answer)
    if any(one != found[0] for one in found):
        raise _unfit("it holds several objects that fit and differ", answer)
    return found[0]


@cache
def schema_of(type_: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON schema of a struct as strict servers want it.

    No references, every object closed, and every field required: a model says null, or gives an
    empty list, where a field has a default.
    """
    (root,), components = msgspec.json.schema_components([type_], ref_template="{name}")
    return _plain(root, components)


def _plain(schema: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _plain(components[schema["$ref"]], components)
    result = {name: schema[name] for name in _KEYWORDS if name in schema}
    if all(isinstance(one, str) for one in result.get("enum", (0,))):
        result["type"] = "string"
    if "anyOf" in result:
        result["anyOf"] = [_plain(one, components) for one in result["anyOf"]]
    if "items" in result:
        result["items"] = _plain(result["items"], components)
    if "properties" in result:
        fields = {name: _plain(one, components) for name, one in result["properties"].items()}
        result.update(properties=fields, required=list(fields), additionalProperties=False)
    return result


def _objects(text: str) -> list[bytes]:
    """Return the JSON objects in a text, one behind the other."""
    decoder = json.JSONDecoder()
    found: list[bytes] = []
    start = text.find("{")
    for _ in range(_PLACES_MAX):
        if start < 0:
            break
        try:
            _, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            found.append(text[start:end].encode("utf-8", "replace"))
        start = text.find("{", end)
    return found


def _again(schema: Mapping[str, Any], fault: str, answer: str) -> str:
    # With the schema, because some servers pass over it without a word.
    return (
        f"Your last answer, quoted here, cannot be used: {one_line(fault, _REASON_CHARS_MAX)}\n"
        f"{quoted(answer[:_SHOWN_CHARS_MAX])}\n"
        "Give the whole answer again: one JSON object and nothing else, that fits this schema:\n"
        f"{json.dumps(schema)}"
    )


def _unfit(fault: str, answer: str) -> Malformed:
    return Malformed(one_line(fault, _REASON_CHARS_MAX), reason="malformed", answers=(answer,))


def _name(type_: type[msgspec.Struct]) -> str:
    return type_.__name__.strip("_").lower()
