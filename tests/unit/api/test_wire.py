"""Every operation travels and arrives as it was; routes are told apart as their table says."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palimp.api import OPERATIONS, Operation, Options, Target
from palimp.api.answers import (
    STATUS,
    Answer,
    decode_answer,
    decode_error,
    encode_answer,
    encode_error,
    gives_file,
)
from palimp.api.routes import Router, fill_path, placeholders
from palimp.api.wire import HEADER_PREFER, decode_call, encode_call
from palimp.errors import CODES, Error, Internal, Invalid, Unavailable

ROUTER = Router()
TEXTS = st.text(min_size=1, max_size=20)
NAMES = st.from_regex(r"[a-z0-9](_?[a-z0-9]){0,6}", fullmatch=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
OPTIONS = st.builds(
    Options,
    request_id=st.none() | st.from_regex(r"[!-~]{1,30}", fullmatch=True),
    durability=st.sampled_from([None, "local", "durable"]),
    min_txid=st.none() | st.integers(0, 10**15),
)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field, as they are after they were decoded."""
    origin = getattr(kind, "__origin__", None)
    if kind is Any:
        return JSON
    if origin is dict or kind is dict:
        inner = values(kind.__args__[1]) if origin is dict else JSON
        named = origin is dict and kind.__args__[0] is not str
        keys = values(kind.__args__[0]) if named else st.text(max_size=5)
        return st.dictionaries(keys, inner, max_size=2)
    if origin is tuple and kind.__args__[-1] is not Ellipsis:
        return st.tuples(*map(values, kind.__args__))
    if origin in (tuple, list):
        return st.lists(values(kind.__args__[0]), max_size=3).map(origin)
    if origin is not None and str(origin).endswith("Literal"):
        return st.sampled_from(kind.__args__)
    if hasattr(kind, "__args__"):
        # A text that looks like a number would arrive as one where the field takes both.
        kinds = [one for one in kind.__args__ if not (one is str and int in kind.__args__)]
        return st.one_of([values(one) for one in kinds if one is not msgspec.UnsetType])
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return structs(kind)
    simple = {
        str: TEXTS,
        int: st.integers(-(10**15), 10**15),
        float: FLOATS,
        bool: st.booleans(),
        bytes: st.binary(max_size=50),
        type(None): st.none(),
    }
    return simple[kind]


# Building one takes longer than drawing from it.
@lru_cache
def structs(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    fields = {one.name: values(one.type) for one in msgspec.structs.fields(kind)}
    if "content_type" in fields:
        fields["content_type"] = st.sampled_from(["text/plain", "application/octet-stream"])
    if hasattr(kind, "__post_init__"):
        # It holds one of several things.
        ones = [
            st.builds(kind, **{one: fields[one].filter(lambda v: v is not None)}) for one in fields
        ]
        return st.one_of(ones)
    return st.builds(kind, **fields)


@lru_cache
def targets(operation: Operation) -> st.SearchStrategy[Target]:
    names = placeholders(operation.path)
    if "db" in names or "profile" in names:
        at = st.none() if operation.writes else st.none() | st.sampled_from(["txid:7", "a b&c"])
        return st.builds(Target, NAMES, NAMES, NAMES, at)
    if "namespace" in names:
        return st.builds(Target, NAMES)
    return st.just(Target())


@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_request_arrives_as_it_was(name: str, data: st.DataObject) -> None:
    operation = OPERATIONS[name]
    target, options = data.draw(targets(operation)), data.draw(OPTIONS)
    request = data.draw(structs(operation.request))
    call = encode_call(operation, target, request, options)
    path, _, query = call.path.partition("?")
    match = ROUTER.match(call.method, path.encode("ascii"))
    assert match is not None
    assert match.operation is operation
    arrived = decode_call(operation, match.values, query.encode("ascii"), call.headers, call.body)
    assert arrived == (target, request, options)


@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_result_arrives_as_it_was(name: str, data: st.DataObject) -> None:
    operation = OPERATIONS[name]
    result = data.draw(structs(operation.result))
    answer = encode_answer(operation, result, {HEADER_PREFER: "return=representation"})
    assert answer.status == (200 if operation.success == 204 else operation.success)
    assert decode_answer(operation, answer) == result


def test_what_removes_something_says_nothing_unless_asked() -> None:
    operation = OPERATIONS["memories.forget"]
    result = operation.result(id="mem_1", forgotten=True, txid=7)
    answer = encode_answer(operation, result, {})
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["palimp-txid"] == "7"
    nothing = operation.result(id="mem_1", forgotten=False, txid=7)
    assert encode_answer(operation, nothing, {}).status == 404


CLASSES = {code: cls for cls in Error.__subclasses__() for code in cls.codes}


@given(
    code=st.sampled_from(CODES),
    message=TEXTS,
    wait=st.none() | st.floats(0, 1e6),
    details=st.dictionaries(st.sampled_from(["index", "reason", "txid"]), JSON),
)
def test_every_error_arrives_as_it_was(
    code: str, message: str, wait: float | None, details: dict[str, Any]
) -> None:
    error = CLASSES[code](message, code=code, retry_after=wait, **details)
    answer = encode_error(error)
    assert answer.status == STATUS[code]
    arrived = decode_error(answer)
    assert type(arrived) is type(error)
    assert (str(arrived), arrived.code, arrived.details) == (message, code, details)
    assert arrived.retry_after == wait
    if wait is not None:
        assert int(answer.headers["retry-after"]) == max(1, math.ceil(wait))


@given(st.integers(400, 599), st.binary(max_size=300), st.sampled_from(["", "7", "soon", "\xb2"]))
def test_an_answer_of_somebody_else_is_an_error_all_the_same(
    status: int, body: bytes, after: str
) -> None:
    error = decode_error(Answer(status, {"retry-after": after}, body))
    assert isinstance(error, Error)
    assert str(status) in str(error)


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"\xff", b'{"txid": "x"}'])
def test_a_success_of_somebody_else_says_so(body: bytes) -> None:
    for operation in OPERATIONS.values():
        if not gives_file(operation) and msgspec.structs.fields(operation.result):
            with pytest.raises(Internal, match="not Palimpsest's"):
                decode_answer(operation, Answer(200, {}, body))


def test_codes_and_statuses_are_those_of_the_wire() -> None:
    assert set(STATUS) == set(CODES)
    assert encode_error(Unavailable("busy", retry_after=0.2)).headers["retry-after"] == "1"


@given(st.binary(max_size=60), st.sampled_from(["GET", "POST", "PUT", "DELETE", "BREW"]))
def test_any_path_has_one_answer(path: bytes, method: str) -> None:
    try:
        match = ROUTER.match(method, b"/v1/" + path)
    except Invalid:
        return
    if match is not None and match.operation is not None:
        assert match.operation.method == method
        assert set(match.values) == set(placeholders(match.operation.path))


@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_value_never_becomes_a_part_of_a_path(name: str, data: st.DataObject) -> None:
    operation = OPERATIONS[name]
    given_values = {one: data.draw(TEXTS) for one in placeholders(operation.path)}
    path = fill_path(operation.path, given_values)
    assert path.count("/") == operation.path.count("/")
    assert not {".", ".."} & set(path.split("/"))
    match = ROUTER.match(operation.method, path.encode("ascii"))
    assert match is not None
    assert (match.operation, match.values) == (operation, given_values)


def test_a_method_that_is_not_taken_is_known_from_a_path_that_is_not() -> None:
    match = ROUTER.match("PATCH", b"/v1/node")
    assert match is not None
    assert match.operation is None
    assert match.allowed == ("GET",)
    for path in (b"/v1", b"/v1/", b"/v1/memory/a/b/c/d/e/f", b"/v1/memory/", b"/v1/node/"):
        assert ROUTER.match("PATCH", path) is None or path == b"/v1/memory/"
    with pytest.raises(Invalid, match="percent-encoded"):
        ROUTER.match("GET", b"/v1/memory/%ff")
    assert ROUTER.match("GET", quote("/v1/node", safe="").encode()) is None
