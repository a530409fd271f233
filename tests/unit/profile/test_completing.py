"""A file from elsewhere is taken where its tables are just what a first write makes."""

from pathlib import Path

import apsw
import pytest

import palimp
from palimp.api.limits import COLLECTIONS_MAX


@pytest.fixture
def exported(timed: palimp.Client, tmp_path: Path) -> Path:
    profile = timed.profile("alice")
    profile.kv.put("k", "v", ttl=60)
    profile.vectors("docs-1").upsert("a", [1, 0], metadata={"n": 1})
    profile.vectors("b").upsert("a", [1])
    profile.vectors("docs").upsert("a", [1])
    profile.vectors("b").drop()
    path = tmp_path / "file.db"
    profile.export(path)
    return path


def alter(path: Path, *statements: str) -> None:
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_what_export_wrote_comes_back(timed: palimp.Client, exported: Path) -> None:
    bob = timed.profile("bob")
    bob.import_(exported)
    assert bob.kv.get("k") == "v"
    assert [hit.metadata for hit in bob.vectors("docs-1").search([1, 0])] == [{"n": 1}]
    assert [one.name for one in bob.vector_collections()] == ["docs", "docs-1"]
    bob.kv.put("k", "w", ttl=60)
    bob.vectors("b").upsert("a", [1, 2, 3])


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "another kv": (
        ("DROP TABLE __palimp_kv", "CREATE TABLE __palimp_kv (ns, k, expires_at, meta, v)"),
        "'__palimp_kv",
    ),
    "a default": (
        ("ALTER TABLE __palimp_kv ADD COLUMN x TEXT DEFAULT 'y'",),
        "table '__palimp_kv' in another form",
    ),
    "no index": (("DROP INDEX __palimp_kv_expires",), "lacks index '__palimp_kv_expires'"),
    "an index of their own": (
        ('CREATE INDEX mine ON "__palimp_vectors_docs" (metadata)',),
        "has index 'mine'",
    ),
    "a trigger": (
        ("CREATE TRIGGER mine AFTER INSERT ON __palimp_kv BEGIN DELETE FROM __palimp_kv; END",),
        "has trigger 'mine'",
    ),
    "a collection by another name": (
        ('CREATE TABLE "__palimp_vectors_No Name" (a)',),
        "has table '__palimp_vectors_No Name'",
    ),
    "another collection": (
        ('CREATE TABLE "__palimp_vectors_more" (handle INTEGER PRIMARY KEY)',),
        "__palimp_vectors_more",
    ),
    "a view": (("CREATE VIEW __palimp_vectors_more AS SELECT 1",), "__palimp_vectors_more"),
    "too many": (
        tuple(f"CREATE TABLE __palimp_vectors_c{n} (a)" for n in range(COLLECTIONS_MAX)),
        "__palimp_vectors_",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_only_named_like_ours_is_refused(
    kind: str, timed: palimp.Client, exported: Path
) -> None:
    statements, words = WRONG[kind]
    alter(exported, "BEGIN", *statements, "COMMIT")
    with pytest.raises(palimp.Invalid, match=words):
        timed.profile("bob").import_(exported)
    assert [profile.name for profile in timed.profiles()] == ["alice"]


def test_a_vector_of_another_length_is_no_answer(timed: palimp.Client, exported: Path) -> None:
    alter(exported, 'UPDATE "__palimp_vectors_docs-1" SET vector = zeroblob(5)')
    bob = timed.profile("bob")
    bob.import_(exported)
    with pytest.raises(palimp.Internal, match="dimensions"):
        bob.vectors("docs-1").search([1, 0])
    with pytest.raises(palimp.Internal, match="not what was written"):
        bob.vectors("docs-1").get("a")
