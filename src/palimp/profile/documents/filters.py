"""From a filter to the SQL of a condition. Every value and path of the caller's is bound.

A comparison holds of a value, or where that is a list, of one of its elements. It compares like
with like: numbers with numbers (1 equals 1.0), texts with texts by code point, booleans with
booleans; `null` equals what is missing too. Lists are equal element by element, objects key by key
in any order. `$ne`, `$nin` and `$not` hold wherever what they negate does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...api.limits import DOCUMENT_CONDITIONS_MAX, FILTER_VALUES_MAX
from ...errors import Invalid
from .paths import (
    FALSE,
    ID,
    LIST,
    NULL,
    OBJECT,
    TRUE,
    Path,
    key_sql,
    parse_path,
    step_to_key,
    step_to_place,
)
from .values import check_value

__all__ = ["Bound", "Condition", "Keys", "compile_filter"]

# SQLite takes 32,766 values in a statement.
_BOUND_MAX = 10_000
_COMPARISONS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_OPERATORS = ("$eq", "$exists", "$gt", "$gte", "$in", "$lt", "$lte", "$ne", "$nin", "$not")
_JOINS = ("$and", "$nor", "$not", "$or")
# What is true of every value of a kind, from below and from above.
_KINDS: dict[type, tuple[str, str]] = {
    int: (f"> {NULL}", "< ''"),
    float: (f"> {NULL}", "< ''"),
    str: (">= ''", "< x''"),
    bool: (f">= {FALSE}", f"<= {TRUE}"),
}
_ELEMENT = (
    f"CASE e.type WHEN 'null' THEN {NULL} WHEN 'true' THEN {TRUE} WHEN 'false' THEN {FALSE} "
    f"WHEN 'array' THEN {LIST} WHEN 'object' THEN {OBJECT} ELSE e.atom END"
)


_HERE = Path("", ())


class Condition(NamedTuple):
    """The SQL of a condition on a row `d` and the values it binds."""

    sql: str
    values: list[Any]


class Bound:
    """The values of one statement, each once; `Invalid` where they are too many."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._names: dict[tuple[type, Any], str] = {}

    def __call__(self, value: Any) -> str:
        """Return the SQL of a value."""
        name = self._names.get((type(value), value))
        if name is None:
            self.values.append(value)
            if len(self.values) > _BOUND_MAX:
                raise Invalid(f"the filter has more than {_BOUND_MAX:,} values; make it smaller")
            name = self._names[type(value), value] = f"?{len(self.values)}"
        return name


class Keys(NamedTuple):
    """Gives the SQL of the key at a path: a column where it has an index."""

    columns: Mapping[str, str]
    bound: Bound

    def __call__(self, path: Path) -> str:
        """Return the SQL of the key."""
        column = self.columns.get(path.text)
        return column or key_sql("d.doc", path.sql("d.doc", self.bound))

    def beside_text(self, path: Path) -> str:
        """Return the SQL of what may stand for the key where it is compared with texts."""
        column = self.columns.get(path.text)
        return column or f"jsonb_extract(d.doc, {path.sql('d.doc', self.bound)})"

    def is_list(self, path: Path) -> str:
        """Return the SQL of whether a list is there."""
        column = self.columns.get(path.text)
        if column is not None:
            return f"{column} = {LIST}"
        return f"json_type(d.doc, {path.sql('d.doc', self.bound)}) = 'array'"


class _Test(NamedTuple):
    """What a comparison asks of a value, and of an element of a list."""

    value: str
    element: str


def compile_filter(given: Mapping[str, Any], keys: Keys) -> Condition:
    """Return the condition of a filter; `{}` is true of every document. Raises `Invalid`."""
    check_value(dict(given), "the filter")
    compiler = _Compiler(keys)
    return Condition(compiler.all_of(given), keys.bound.values)


class _Compiler:
    """Compiles one filter."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._bound = keys.bound
        self._conditions = 0

    def all_of(self, given: Mapping[str, Any]) -> str:
        """Return what is true where every entry of a filter is."""
        return _join(" AND ", [self._entry(name, wanted) for name, wanted in given.items()])

    def _entry(self, name: str, wanted: Any) -> str:
        if name == "$not":
            return _not(self.all_of(_filter(wanted, name)))
        if name in _JOINS:
            if not isinstance(wanted, list | tuple) or not wanted:
                raise Invalid(f"{name} takes a list of filters that is not empty")
            parts = [self.all_of(_filter(one, name)) for one in wanted]
            joined = _join(" AND " if name == "$and" else " OR ", parts)
            return _not(joined) if name == "$nor" else joined
        if name.startswith("$"):
            raise Invalid(f"unknown operator {name!r:.80}; known here are {', '.join(_JOINS)}")
        path = parse_path(name)
        if isinstance(wanted, dict) and any(key.startswith("$") for key in wanted):
            return self._operators(path, wanted)
        return self._operators(path, {"$eq": wanted})

    def _operators(self, path: Path, given: Mapping[str, Any]) -> str:
        """Return what is true where every operator holds of the value at a path."""
        tests: list[_Test] = []
        others: list[str] = []
        for name, operand in given.items():
            self._spend(path)
            if name in ("$eq", "$in"):
                tests.append(self._equal(path, name, operand))
            elif name in _COMPARISONS:
                tests.append(self._compared(path, name, operand, given))
            elif name in ("$ne", "$nin"):
                positive = "$eq" if name == "$ne" else "$in"
                others.append(_not(self._operators(path, {positive: operand})))
            elif name == "$exists":
                if not isinstance(operand, bool):
                    raise Invalid(f"{path.text:.80}: $exists takes true or false")
                others.append(f"{self._keys(path)} IS {'NOT ' if operand else ''}NULL")
            elif name == "$not":
                if not isinstance(operand, dict) or not operand:
                    raise Invalid(f"{path.text:.80}: $not takes an object of operators")
                others.append(_not(self._operators(path, operand)))
            else:
                raise Invalid(
                    f"{path.text:.80}: unknown operator {name!r:.80}; known here are "
                    f"{', '.join(_OPERATORS)}"
                )
        if tests:
            others.append(self._of_value_or_elements(path, tests))
        return _join(" AND ", others)

    def _of_value_or_elements(self, path: Path, tests: list[_Test]) -> str:
        value = _join(" AND ", [test.value for test in tests])
        if path.text == ID:
            return value
        place = path.sql("d.doc", self._bound)
        elements = " AND ".join(
            f"EXISTS (SELECT 1 FROM json_each(d.doc, {place}) AS e WHERE {test.element})"
            for test in tests
        )
        # Two searches of one index, where there is one: what is equal to a key, and every list.
        return f"({value} OR ({self._keys.is_list(path)} AND {elements}))"

    def _compared(self, path: Path, name: str, operand: Any, given: Mapping[str, Any]) -> _Test:
        kind = _KINDS.get(type(operand))
        if kind is None:
            raise Invalid(f"{path.text:.80}: {name} takes a number, a text or a boolean")
        compared = f"{_COMPARISONS[name]} {self._key_of(operand)}"
        least, most = kind
        ends = least if name in ("$lt", "$lte") else most
        # SQLite searches from one bound to one other: where both were given, they are these.
        opposite = ("$gt", "$gte") if name in ("$lt", "$lte") else ("$lt", "$lte")
        bounded = any(_KINDS.get(type(given.get(other))) == kind for other in opposite)
        key = self._key_beside(path, [operand])
        value = f"{key} {compared}" if bounded else f"({key} {compared} AND {key} {ends})"
        return _Test(value, f"{_ELEMENT} {compared} AND {_ELEMENT} {ends}")

    def _equal(self, path: Path, name: str, operand: Any) -> _Test:
        if name == "$in":
            if not isinstance(operand, list | tuple) or len(operand) > FILTER_VALUES_MAX:
                raise Invalid(
                    f"{path.text:.80}: $in and $nin take a list of at most {FILTER_VALUES_MAX:,} "
                    "values"
                )
            wanted = list(operand)
        else:
            wanted = [operand]
        plain = [self._key_of(one) for one in wanted if not isinstance(one, dict | list | tuple)]
        key = self._key_beside(path, wanted)
        values = [f"{key} IN ({', '.join(plain)})"] if plain else []
        elements = [f"{_ELEMENT} IN ({', '.join(plain)})"] if plain else []
        if None in wanted:
            values.append(f"{key} IS NULL")
        for one in wanted:
            if isinstance(one, dict | list | tuple) and path.text != ID:
                same = self._same(one, "d.doc", path)
                values.append(f"({self._keys(path)} = {self._key_of(one)} AND {same})")
                kind = "object" if isinstance(one, dict) else "array"
                same = self._same(one, "e.value", _HERE)
                # CASE, because a text that is no JSON must not be looked into.
                elements.append(f"CASE e.type WHEN '{kind}' THEN {same} END")
        return _Test(_join(" OR ", values, "0"), _join(" OR ", elements, "0"))

    def _same(self, wanted: Any, document: str, path: Path, tail: str = "") -> str:
        """Return what is true where the value at a path and a tail is just the one wanted."""
        self._spend(path)
        place = path.sql(document, self._bound, tail)
        if not isinstance(wanted, dict | list | tuple):
            return f"{key_sql(document, place)} = {self._key_of(wanted)}"
        if isinstance(wanted, dict):
            kind, count = "object", f"(SELECT count(*) FROM json_each({document}, {place}))"
            inner = [(step_to_key(key), one) for key, one in wanted.items()]
        else:
            kind, count = "array", f"json_array_length({document}, {place})"
            inner = [(step_to_place(index), one) for index, one in enumerate(wanted)]
        parts = [
            f"json_type({document}, {place}) = '{kind}'",
            f"{count} = {self._bound(len(wanted))}",
        ]
        parts += [self._same(one, document, path, tail + step) for step, one in inner]
        return _join(" AND ", parts)

    def _key_of(self, value: Any) -> str:
        """Return the SQL of the key of a value."""
        if value is None:
            return NULL
        if isinstance(value, bool):
            return TRUE if value else FALSE
        if isinstance(value, list | tuple | dict):
            return OBJECT if isinstance(value, dict) else LIST
        return self._bound(value)

    def _key_beside(self, path: Path, wanted: list[Any]) -> str:
        only_texts = all(isinstance(one, str) for one in wanted)
        return self._keys.beside_text(path) if only_texts else self._keys(path)

    def _spend(self, path: Path) -> None:
        # Every place doubles the SQL of a path.
        self._conditions += 1 << path.places
        if self._conditions > DOCUMENT_CONDITIONS_MAX:
            raise Invalid(
                f"the filter has more than {DOCUMENT_CONDITIONS_MAX:,} conditions (each part of "
                "digits in a path makes one count twice); make it smaller"
            )


def _filter(given: Any, name: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Invalid(f"{name} takes filters, which are objects, not {type(given).__name__}")
    return given


def _not(condition: str) -> str:
    # What is unknown, because something is missing, does not hold.
    return f"(({condition}) IS NOT TRUE)"


def _join(word: str, parts: Sequence[str], nothing: str = "1") -> str:
    """Return parts joined in halves: SQLite counts how deep an expression is, not how long."""
    if len(parts) <= 1:
        return parts[0] if parts else nothing
    middle = len(parts) // 2
    return f"({_join(word, parts[:middle])}{word}{_join(word, parts[middle:])})"
