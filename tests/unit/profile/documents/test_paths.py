"""Paths: what they mean, and that equal ones are written in one way."""

import apsw
import pytest

from palimp.errors import Invalid
from palimp.profile.documents.paths import key_sql, parse_path


@pytest.mark.parametrize(
    ("text", "keys", "canonical"),
    [
        ("a", ["a"], "a"),
        ("a.b.c", ["a", "b", "c"], "a.b.c"),
        (r"a\.b", ["a.b"], r"a\.b"),
        (r"\a", ["a"], "a"),
        (r"a\\", ["a\\"], r"a\\"),
        (r"a\\.b", ["a\\", "b"], r"a\\.b"),
        (r"\$ref.$id", ["$ref", "$id"], r"\$ref.\$id"),
        ("0", ["0"], "0"),
        (r"\0", ["0"], r"\0"),
        ("007", ["007"], r"\007"),
        ("-1", ["-1"], "-1"),
        ("a[0]", ["a[0]"], "a[0]"),
        ("12345678", ["12345678"], r"\12345678"),
    ],
)
def test_a_path_is_its_keys(text: str, keys: list[str], canonical: str) -> None:
    path = parse_path(text)
    assert [part.key for part in path.parts] == keys
    assert path.text == canonical
    assert parse_path(canonical) == path


def test_only_plain_digits_are_places() -> None:
    places = [part.place for part in parse_path(r"0.12.\3.007.-1.1a").parts]
    assert places == [0, 12, None, None, None, None]


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "a\\", "$set", "\ud800", "0.1.2.3.4"]
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="path"):
        parse_path(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.0", 1),
        ("a.1.0", 2),
        ("a.1.1.x", 3),
        (r"a.\0", None),
        ("b.0", 4),
        (r"b.\0", 4),
        ("b.1.0", 5),
        ("a.2", None),
        ("b.2.0.0.0", None),
    ],
)
def test_digits_are_places_of_lists_and_keys_of_objects(text: str, found: int | None) -> None:
    document = '{"a": [1, [2, {"x": 3}]], "b": {"0": 4, "1": {"0": 5}}}'
    path = parse_path(text).sql("?1", lambda one: "'" + one.replace("'", "''") + "'")
    connection = apsw.Connection(":memory:")
    assert connection.execute(f"SELECT {key_sql('?1', path)}", (document,)).get == found
