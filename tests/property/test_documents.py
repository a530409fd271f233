"""Filters, sorts and updates of arbitrary documents, against an evaluator that knows no SQL."""

import json
from typing import Any

import apsw
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from palimp.api import DeleteDocuments, FindDocuments, UpdateDocuments
from palimp.errors import Conflict, Invalid
from palimp.profile import documents

EXAMPLES = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.data_too_large]
)
MISSING = object()

# What documents hold

STRANGE = [
    "0", "1", "a.b", 'q"', "'; DROP TABLE x--", "b\\", "é\U0001f600", "$ref", "[0]", "a b", "\0", "A",
]  # fmt: skip
# Mostly the same few, so that paths often lead somewhere.
KEYS = st.one_of(
    st.sampled_from(["a", "b"]), st.sampled_from(["a", "0", "1"]), st.sampled_from(STRANGE)
)
NUMBERS = st.sampled_from(
    [
        0,
        1,
        -1,
        2,
        1.0,
        0.5,
        -0.0,
        2**53,
        2**53 + 1,
        float(2**53),
        2**63 - 1,
        -(2**63),
        1e308,
        5e-324,
    ]
)
TEXTS = st.sampled_from(["", "a", "b", "1", "true", "null", "[1]", "{}", "é", "\U0001f600", "\uffff", "a\0b", "x'00'", "' OR 1=1"])  # fmt: skip
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, st.integers(-3, 3))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)


def written(key: str) -> str:
    """A key as a part of a path that means it and nothing else."""
    text = key.replace("\\", "\\\\").replace(".", "\\.")
    return "\\" + text if text.startswith("$") else text


PATHS = st.lists(KEYS, min_size=1, max_size=3).map(lambda keys: ".".join(map(written, keys)))

# Filters

COMPARED = st.dictionaries(
    st.sampled_from(["$gt", "$gte", "$lt", "$lte"]),
    st.one_of(NUMBERS, TEXTS, st.booleans(), st.integers(-3, 3)),
    min_size=1,
    max_size=3,
)


@st.composite
def operators(draw: st.DrawFn, depth: int = 0) -> dict[str, Any]:
    given = dict(draw(st.one_of(st.just({}), COMPARED)))
    for name in draw(
        st.lists(st.sampled_from(["$eq", "$ne", "$in", "$nin", "$exists", "$not"]), max_size=2)
    ):
        if name in ("$eq", "$ne"):
            given[name] = draw(VALUES)
        elif name in ("$in", "$nin"):
            given[name] = draw(st.lists(VALUES, max_size=3))
        elif name == "$exists":
            given[name] = draw(st.booleans())
        elif depth < 2:
            given[name] = draw(operators(depth + 1).filter(bool))
    return given


LITERALS = VALUES.filter(
    lambda value: not isinstance(value, dict) or not any(key.startswith("$") for key in value)
)
ENTRIES = st.dictionaries(PATHS, st.one_of(LITERALS, operators()), max_size=2)
FILTERS = st.recursive(
    ENTRIES,
    lambda inner: st.one_of(
        st.dictionaries(
            st.sampled_from(["$and", "$or", "$nor"]),
            st.lists(inner, min_size=1, max_size=3),
            max_size=2,
        ),
        st.fixed_dictionaries({"$not": inner}),
    ),
    max_leaves=4,
)


# The evaluator: what the documentation says, in Python


def parts(path: str) -> list[str]:
    found, escaped = [""], False
    for character in path:
        if escaped:
            found[-1] += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ".":
            found.append("")
        else:
            found[-1] += character
    return found


def at(document: Any, path: str) -> Any:
    for part in parts(path):
        if isinstance(document, dict):
            document = document.get(part, MISSING)
        elif isinstance(document, list) and part.isdigit():
            document = document[int(part)] if int(part) < len(document) else MISSING
        else:
            return MISSING
    return document


def kind(value: Any) -> str:
    return {bool: "bool", int: "number", float: "number", str: "text"}.get(type(value), "none")


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(one[key], other[key]) for key in one)
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    if one is None or other is None:
        return one is other
    return kind(one) == kind(other) != "none" and one == other


def compares(value: Any, name: str, wanted: Any) -> bool:
    if kind(value) != kind(wanted) or kind(value) == "none":
        return False
    return {
        "$gt": value > wanted,
        "$gte": value >= wanted,
        "$lt": value < wanted,
        "$lte": value <= wanted,
    }[name]


def holds(value: Any, name: str, wanted: Any) -> bool:
    if name == "$exists":
        return (value is not MISSING) == wanted
    if name == "$not":
        return not all(holds(value, inner, operand) for inner, operand in wanted.items())
    if name in ("$ne", "$nin"):
        return not holds(value, {"$ne": "$eq", "$nin": "$in"}[name], wanted)
    if name == "$in":
        return any(holds(value, "$eq", one) for one in wanted)
    candidates = [value, *(value if isinstance(value, list) else ())]
    if name == "$eq":
        return (value is MISSING and wanted is None) or any(same(one, wanted) for one in candidates)
    return any(compares(one, name, wanted) for one in candidates)


def matches(document: dict[str, Any], given: dict[str, Any]) -> bool:
    for name, wanted in given.items():
        if name == "$and":
            true = all(matches(document, one) for one in wanted)
        elif name == "$or":
            true = any(matches(document, one) for one in wanted)
        elif name == "$nor":
            true = not any(matches(document, one) for one in wanted)
        elif name == "$not":
            true = not matches(document, wanted)
        elif isinstance(wanted, dict) and any(key.startswith("$") for key in wanted):
            true = all(
                holds(at(document, name), inner, operand) for inner, operand in wanted.items()
            )
        else:
            true = holds(at(document, name), "$eq", wanted)
        if not true:
            return False
    return True


def rank(value: Any) -> tuple[int, Any]:
    if value is MISSING:
        return 0, 0
    if value is None:
        return 1, 0
    if isinstance(value, bool):
        return 4, value
    if isinstance(value, int | float):
        return 2, value
    if isinstance(value, str):
        return 3, value
    return (5, 0) if isinstance(value, list) else (6, 0)


# The store


def store(given: list[dict[str, Any]], indexes: list[str]) -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    if given:
        drafts = documents.draft(
            [{**one, "_id": f"{number:03}"} for number, one in enumerate(given)]
        )
        documents.insert(connection, "c", drafts, 0)
    for path in indexes:
        documents.create_index(connection, "c", documents.parse_path(path))
    return connection


def found(
    connection: apsw.Connection, filter: dict[str, Any], sort: Any = None, limit: int = 2
) -> list[dict[str, Any]]:
    """Every page of a listing."""
    request = FindDocuments(collection="c", filter=filter, sort=sort or {}, limit=limit)
    listed: list[dict[str, Any]] = []
    while True:
        page, cursor = documents.find(connection, request)
        assert len(page) <= limit
        listed += page
        if cursor is None:
            return listed
        request = FindDocuments(
            collection="c", filter=filter, sort=sort or {}, limit=limit, cursor=cursor
        )


def exact(value: Any) -> str:
    """As JSON, where 1, 1.0 and true differ."""
    return json.dumps(value, sort_keys=True)


INDEXES = st.lists(PATHS, max_size=2)
GIVEN = st.lists(DOCUMENTS, max_size=8)


@EXAMPLES
@given(GIVEN, FILTERS, INDEXES)
def test_what_is_found_is_what_matches(
    given: list[dict[str, Any]], filter: dict[str, Any], indexes: list[str]
) -> None:
    wanted = [
        one
        for one in ({"_id": f"{n:03}", **doc} for n, doc in enumerate(given))
        if matches(one, filter)
    ]
    paths = [name for name in filter if not name.startswith("$")]
    for indexed in ([], [*indexes, *paths]):
        connection = store(given, indexed)
        assert exact(found(connection, filter, limit=3)) == exact(wanted)
        assert documents.count(connection, "c", filter) == len(wanted)
    removed = documents.delete(
        connection, DeleteDocuments(collection="c", filter=filter, multi=True)
    )
    assert removed == len(wanted)
    assert documents.count(connection, "c", {}) == len(given) - removed


@EXAMPLES
@given(
    GIVEN,
    st.dictionaries(PATHS, st.sampled_from([1, -1]), min_size=1, max_size=2),
    INDEXES,
    st.booleans(),
)
def test_documents_come_sorted_page_by_page(
    given: list[dict[str, Any]], sort: dict[str, int], indexes: list[str], own: bool
) -> None:
    wanted = [{"_id": f"{number:03}", **doc} for number, doc in enumerate(given)]
    if list(sort.values())[-1] < 0:
        wanted.reverse()
    for path, way in reversed(sort.items()):
        wanted.sort(key=lambda one: rank(at(one, path)), reverse=way < 0)
    connection = store(given, [*indexes, *(sort if own else ())])
    assert exact(found(connection, {}, sort)) == exact(wanted)


# Every kind of value against every comparison with every kind

VALUES_OF_EVERY_KIND: list[Any] = [
    None, False, True, 0, 1, 1.0, -1, 2**53 + 1, float(2**53), 1e308, "", "0", "1", "true", "null", "[1]",
    "\uffff", "\U0001f600", [], [1], [True], ["1"], [None], [[1]], [[]], [{}], [1, "1"], [{"x": 1.0}], [0, 2],
    {}, {"x": 1}, {"x": True}, {"x": 1, "y": 2}, {"y": 2, "x": 1}, {"x": [1]}, {"x": None},
]  # fmt: skip


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("name", ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"])
def test_every_value_is_compared_with_every_other(name: str, indexed: bool) -> None:
    given: list[dict[str, Any]] = [{}, *({"a": value} for value in VALUES_OF_EVERY_KIND)]
    connection = store(given, ["a"] if indexed else [])
    for wanted in VALUES_OF_EVERY_KIND:
        for filter in ({"a": {name: wanted}}, {"a": {"$not": {name: wanted}}}):
            if name not in ("$eq", "$ne") and kind(wanted) == "none":
                with pytest.raises(Invalid, match="takes a number, a text or a boolean"):
                    documents.count(connection, "c", filter)
                continue
            expected = [one for one in given if matches(one, filter)]
            listed = found(connection, filter, limit=100)
            for one in listed:
                del one["_id"]
            assert exact(listed) == exact(expected), filter


# Updates

OPERANDS = st.fixed_dictionaries(
    {},
    optional={
        "$set": st.dictionaries(PATHS, VALUES, min_size=1, max_size=2),
        "$unset": st.dictionaries(PATHS, st.just(""), min_size=1, max_size=2),
        "$inc": st.dictionaries(PATHS, NUMBERS, min_size=1, max_size=1),
        "$push": st.dictionaries(PATHS, VALUES, min_size=1, max_size=1),
    },
).filter(bool)


class Unfit(Exception):
    pass


def put(document: Any, keys: list[str], change: Any) -> None:
    """Set what `change` makes of what is at the keys."""
    key, *rest = keys
    if isinstance(document, list):
        if not key.isdigit() or int(key) > len(document):
            raise Unfit
        if int(key) == len(document):
            document.append(MISSING)
        place: Any = int(key)
        old = document[place]
    elif isinstance(document, dict):
        place, old = key, document.get(key, MISSING)
    else:
        raise Unfit
    if rest:
        document[place] = {} if old is MISSING else old
        put(document[place], rest, change)
    else:
        document[place] = change(old)


def remove(document: Any, keys: list[str]) -> None:
    *way, last = keys
    for key in way:
        document = at(document, written(key))
    if isinstance(document, dict):
        document.pop(last, None)
    elif isinstance(document, list) and last.isdigit() and int(last) < len(document):
        document[int(last)] = None


def changed(document: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    document = json.loads(json.dumps(document))

    def add(operand: Any) -> Any:
        def change(old: Any) -> Any:
            if old is MISSING:
                return operand
            if kind(old) != "number":
                raise Unfit
            new = old + operand
            if isinstance(new, float) and new in (float("inf"), float("-inf")):
                raise Unfit
            if isinstance(new, int) and not -(2**63) <= new < 2**63:
                raise Unfit
            return new

        return change

    def push(operand: Any) -> Any:
        def change(old: Any) -> Any:
            if old is not MISSING and not isinstance(old, list):
                raise Unfit
            return [*(() if old is MISSING else old), operand]

        return change

    for name, operands in update.items():
        for path, operand in operands.items():
            keys = parts(path)
            if name == "$unset":
                remove(document, keys)
            else:
                make = {"$set": lambda value: lambda _: value, "$inc": add, "$push": push}[name]
                put(document, keys, make(operand))
    return document


def collide(update: dict[str, Any]) -> bool:
    paths = [parts(path) for operands in update.values() for path in operands]
    return any(
        one[: len(other)] == other
        for i, one in enumerate(paths)
        for j, other in enumerate(paths)
        if i != j
    )


@EXAMPLES
@given(st.lists(DOCUMENTS, min_size=1, max_size=4), OPERANDS, FILTERS, st.booleans())
def test_an_update_changes_what_matches(
    given: list[dict[str, Any]], update: dict[str, Any], filter: dict[str, Any], multi: bool
) -> None:
    connection = store(given, [])
    if collide(update):
        with pytest.raises(Invalid, match="is changed twice"):
            documents.compile_update(update)
        return
    before = [{"_id": f"{number:03}", **doc} for number, doc in enumerate(given)]
    chosen = [number for number, one in enumerate(before) if matches(one, filter)]
    chosen = chosen if multi else chosen[:1]
    request = UpdateDocuments(collection="c", filter=filter, update=update, multi=multi)
    changes = documents.compile_update(update)
    try:
        after = [
            changed(one, update) if number in chosen else one for number, one in enumerate(before)
        ]
    except Unfit:
        with pytest.raises(Invalid):
            documents.update(connection, request, changes)
        return
    matched, modified = documents.update(connection, request, changes)
    assert matched == len(chosen)
    assert modified == sum(
        exact(one) != exact(other) for one, other in zip(before, after, strict=True)
    )
    assert exact(found(connection, {})) == exact(after)


@EXAMPLES
@given(st.text(max_size=30))
def test_no_text_of_a_caller_becomes_sql(text: str) -> None:
    """As a path, a value, a key, an id, an index: it means itself, or it is refused."""
    connection = store([{"a": 1}], [])
    key = written(text)
    for path in (text, key):
        try:
            parsed = documents.parse_path(path)
        except Invalid:
            continue
        assert found(connection, {path: {"$exists": True}}) in ([], [{"_id": "000", "a": 1}])
        documents.create_index(connection, "c", parsed)
        assert found(connection, {path: text}, {path: 1}) == []
    if text and text == text.strip():
        try:
            documents.insert(
                connection, "c", documents.draft([{"_id": text, text: text, "a": text}]), 0
            )
        except (Invalid, Conflict):
            return
        assert found(connection, {"_id": text, "a": {"$eq": text}})[0]["_id"] == text
        if not any(part.isdigit() for part in [text]) and text != "_id":
            assert found(connection, {key: text})[0][text] == text
    assert connection.execute("PRAGMA integrity_check").get == "ok"
