"""Documents over every client."""

from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.api import CountDocuments, FindDocuments, InsertDocuments, UpdateDocuments
from palimp.api.limits import (
    DOCUMENT_BYTES_MAX,
    DOCUMENT_CONDITIONS_MAX,
    DOCUMENT_DEPTH_MAX,
    DOCUMENT_ID_BYTES_MAX,
    DOCUMENT_INDEXES_MAX,
    DOCUMENT_PATH_BYTES_MAX,
    DOCUMENT_SKIP_MAX,
    FILTER_VALUES_MAX,
    PAGE_MAX,
)

TRIPS = [
    {"_id": "oslo", "to": "Oslo", "seat": {"row": 12, "letter": "A"}, "tags": ["work", "rail"]},
    {"_id": "rome", "to": "Rome", "seat": {"row": 3.0, "letter": "C"}, "tags": ["fun"]},
    {"_id": "bonn", "to": "Bonn", "seat": None, "legs": [{"at": 1}, {"at": 2}]},
]


@pytest.fixture
def trips(do: Any, alice: Any) -> Any:
    trips = alice.documents("trips")
    do(trips.insert(TRIPS))
    return trips


def nested(depth: int) -> dict[str, Any]:
    """Objects within each other, so many."""
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [one["_id"] for one in found]


# What every client answers


def test_documents_come_back_as_they_were_given(do: Any, alice: Any) -> None:
    trips = alice.documents("trips")
    given = {
        "text": "héllo\n\0\U0001f600",
        "numbers": [0, -1, 1.0, 0.1, 2**63 - 1, -(2**63), 1e308],
        "others": [None, True, False, {}, [], ""],
        "a.b": {"$ref": 1, "": 2, 'q"\\': 3},
    }
    done = do(trips.insert(given))
    assert (len(done.ids), len(done.id), done.txid) == (1, 26, 1)
    (found,) = do.all(trips.find())
    assert found == {"_id": done.id, **given}
    assert list(map(type, found["numbers"])) == list(map(type, given["numbers"]))
    assert do(trips.find_one({"_id": done.id})) == found


def test_ids_rise_and_are_taken_once(do: Any, alice: Any) -> None:
    trips = alice.documents("trips")
    first = do(trips.insert([{"n": n} for n in range(100)]))
    second = do(trips.insert({"n": 100}))
    made = [*first.ids, *second.ids]
    assert made == sorted(set(made))
    with pytest.raises(palimp.Conflict, match=first.ids[7]) as caught:
        do(trips.insert([{"_id": "new"}, {"_id": first.ids[7]}]))
    assert caught.value.code == "already_exists"
    assert caught.value.details["index"] == 1
    with pytest.raises(palimp.Conflict, match="twice"):
        do(trips.insert([{"_id": "twice"}, {"_id": "twice"}]))
    assert do(trips.count()) == 101
    assert do.all(trips.find({"_id": {"$in": ["new", "twice"]}})) == []


@pytest.mark.parametrize(
    ("filter", "wanted"),
    [
        ({}, "oslo rome bonn"),
        ({"to": "Oslo"}, "oslo"),
        ({"seat.row": 3}, "rome"),
        ({"seat.row": {"$gt": 2, "$lt": 12}}, "rome"),
        ({"seat.row": {"$gte": 3, "$lte": 12}}, "oslo rome"),
        ({"to": {"$lt": "Oslo"}}, "bonn"),
        ({"to": {"$ne": "Oslo"}}, "rome bonn"),
        ({"to": {"$in": ["Oslo", "Bonn"]}}, "oslo bonn"),
        ({"to": {"$nin": ["Oslo", "Bonn"]}}, "rome"),
        ({"legs": {"$exists": True}}, "bonn"),
        ({"seat": {"$exists": False}}, ""),
        ({"seat": None}, "bonn"),
        ({"tags": None}, "bonn"),
        ({"tags": "work"}, "oslo"),
        ({"tags": ["fun"]}, "rome"),
        ({"seat": {"letter": "A", "row": 12}}, "oslo"),
        ({"seat": {"letter": "A"}}, ""),
        ({"legs.1.at": 2}, "bonn"),
        ({"legs": {"at": 2}}, "bonn"),
        ({"seat.row": {"$not": {"$gt": 5}}}, "rome bonn"),
        ({"$or": [{"to": "Oslo"}, {"seat.letter": "C"}]}, "oslo rome"),
        ({"$and": [{"to": "Oslo"}, {"seat.letter": "C"}]}, ""),
        ({"$nor": [{"to": "Oslo"}, {"seat.letter": "C"}]}, "bonn"),
        ({"$not": {"to": "Oslo"}}, "rome bonn"),
        ({"_id": {"$gt": "bonn"}}, "oslo rome"),
    ],
    ids=str,
)
def test_filters(do: Any, trips: Any, filter: dict[str, Any], wanted: str) -> None:
    assert ids(do.all(trips.find(filter))) == wanted.split()
    assert do(trips.count(filter)) == len(wanted.split())


def test_sort_limit_and_skip(do: Any, trips: Any) -> None:
    assert ids(do.all(trips.find(sort={"to": 1}))) == ["bonn", "oslo", "rome"]
    assert ids(do.all(trips.find(sort={"seat.row": -1}))) == ["oslo", "rome", "bonn"]
    assert ids(do.all(trips.find(sort={"tags": 1, "to": -1}))) == ["bonn", "rome", "oslo"]
    assert ids(do.all(trips.find(sort={"to": 1}, limit=1, skip=1))) == ["oslo"]
    for wrong in ({"limit": 0}, {"limit": -1}, {"limit": "1"}, {"skip": -1}, {"sort": ["to"]}):
        with pytest.raises(palimp.Invalid):
            do.all(trips.find(**wrong))
    assert do(trips.find_one(sort={"_id": -1}))["_id"] == "rome"
    assert do(trips.find_one({"to": "Paris"})) is None


@pytest.mark.parametrize("sort", [{}, {"n": 1}, {"n": -1}, {"even": -1, "n": 1}], ids=str)
def test_iteration_passes_every_page_and_goes_on_after_what_was_read(
    do: Any, alice: Any, sort: dict[str, int]
) -> None:
    many = alice.documents("many")
    for start in range(0, 2_500, 1_000):
        numbers = range(start, min(start + 1_000, 2_500))
        do(many.insert([{"n": n, "even": n % 2 == 0} for n in numbers]))
    found = [one["n"] for one in do.all(many.find(sort=sort))]
    wanted = list(range(2_500))
    if "even" in sort:
        wanted.sort(key=lambda n: n % 2)
    elif sort.get("n") == -1:
        wanted.reverse()
    assert found == wanted
    assert [one["n"] for one in do.all(many.find(sort=sort, limit=1_500, skip=10))] == wanted[
        10:1_510
    ]

    def page(cursor: str | None) -> Any:
        request = FindDocuments(collection="many", sort=sort, limit=100, cursor=cursor)
        return do(alice.client.call("documents.find", alice.target, request))

    first = page(None)
    do(many.delete({"_id": {"$in": ids(first.docs)}}, multi=True))
    assert [one["n"] for one in page(first.next_cursor)] == wanted[100:200]


def test_updates(do: Any, trips: Any) -> None:
    done = do(
        trips.update(
            {"to": "Oslo"},
            {
                "$set": {"seat.letter": "B", "new.deep.0": 1, "tags.2": "x"},
                "$unset": {"to": "", "nothing.here": ""},
                "$inc": {"seat.row": 2, "changes": 1},
                "$push": {"notes": {"by": "me"}},
            },
        )
    )
    assert (done.matched, done.modified, done.txid) == (1, 1, 2)
    assert do(trips.find_one({"_id": "oslo"})) == {
        "_id": "oslo",
        "seat": {"row": 14, "letter": "B"},
        "tags": ["work", "rail", "x"],
        "new": {"deep": {"0": 1}},
        "changes": 1,
        "notes": [{"by": "me"}],
    }
    done = do(trips.update({}, {"$set": {"seen": True}}))
    assert (done.matched, done.modified) == (1, 1)
    done = do(trips.update({}, {"$set": {"seen": True}}, multi=True))
    assert (done.matched, done.modified) == (3, 2)
    assert do(trips.update({"seen": 1}, {"$unset": {"seen": ""}}, multi=True)).matched == 0
    # As JSON 1, 1.0 and true differ, whatever Python says.
    assert do(trips.update({}, {"$set": {"seen": 1}}, multi=True)).modified == 3
    assert do(trips.update({}, {"$set": {"seen": 1.0}}, multi=True)).modified == 3


def test_what_is_removed_from_a_list_leaves_its_place(do: Any, trips: Any) -> None:
    do(trips.update({"to": "Oslo"}, {"$unset": {"tags.0": "", "tags.7": "", "seat.letter.x": ""}}))
    assert do(trips.find_one({"_id": "oslo"})) == {**TRIPS[0], "tags": [None, "rail"]}


def test_the_first_is_the_one_inserted_first_whatever_the_index(do: Any, trips: Any) -> None:
    do(trips.create_index("to"))
    for wanted in ("oslo", "rome"):
        do(trips.update({"to": {"$gt": "A"}, "done": None}, {"$set": {"done": 1}}))
        assert do(trips.find_one({"done": 1}, sort={"to": -1}))["_id"] == wanted
    assert do(trips.delete({"to": {"$gt": "A"}})) == 1
    assert ids(do.all(trips.find({"to": {"$gt": "A"}}))) == ["rome", "bonn"]


def test_an_update_that_does_not_fit_one_document_changes_none(do: Any, trips: Any) -> None:
    with pytest.raises(palimp.Invalid, match=r"'bonn'.*nothing was updated.*null"):
        do(trips.update({}, {"$set": {"seat.row": 1}}, multi=True))
    with pytest.raises(palimp.Invalid, match=r"\$push on 'to': there is no list, but a text"):
        do(trips.update({}, {"$push": {"to": 1}}))
    with pytest.raises(palimp.Invalid, match="too large"):
        do(trips.update({"_id": "oslo"}, {"$inc": {"seat.row": 2**63 - 1}}))
    assert do.all(trips.find()) == TRIPS


def test_delete_drop_and_collections(do: Any, alice: Any, trips: Any) -> None:
    do(alice.documents("a-b_1").insert({}))
    listed = do(alice.document_collections())
    assert [(one.name, one.count) for one in listed] == [("a-b_1", 1), ("trips", 3)]
    assert do(trips.delete({})) == 1
    assert ids(do.all(trips.find())) == ["rome", "bonn"]
    assert do(trips.delete({"to": "Paris"}, multi=True)) == 0
    assert do(trips.delete({}, multi=True)) == 2
    assert do(trips.drop()) is True
    assert do(trips.drop()) is False
    assert [one.name for one in do(alice.document_collections())] == ["a-b_1"]


def test_indexes_give_the_same_answers(do: Any, alice: Any, trips: Any) -> None:
    filters = [
        {"seat.row": 3},
        {"seat.row": {"$gt": 3}},
        {"tags": "fun"},
        {"legs.0.at": 1},
        {"seat": None},
    ]
    before = [do.all(trips.find(one, sort={"seat.row": -1})) for one in filters]
    for path in ("seat.row", "tags", "legs.0.at", "seat"):
        assert do(trips.create_index(path)) is True
        assert do(trips.create_index(path)) is False
    assert do(trips.create_index("_id")) is False
    assert do(trips.indexes()) == ("legs.0.at", "seat", "seat.row", "tags")
    assert [do.all(trips.find(one, sort={"seat.row": -1})) for one in filters] == before
    do(trips.insert({"_id": "new", "seat": {"row": 3}}))
    assert ids(do.all(trips.find({"seat.row": 3}))) == ["rome", "new"]


def test_nothing_is_there_before_the_first_write(do: Any, alice: Any) -> None:
    trips = alice.documents("trips")
    for _ in range(2):
        assert do.all(trips.find({"a": 1}, sort={"a": 1})) == []
        assert (do(trips.count()), do(trips.find_one()), do(trips.indexes())) == (0, None, ())
        done = do(trips.update({}, {"$set": {"a": 1}}))
        assert (done.matched, done.modified) == (0, 0)
        assert do(trips.delete({})) == 0
        assert do(trips.drop()) is False
        assert [one.name for one in do(alice.document_collections())] == []
        with pytest.raises(palimp.Invalid, match="unknown operator"):
            do(trips.count({"$where": 1}))
        do(alice.remember("there is a profile now"))


def test_a_repeat_of_a_write_changes_nothing(do: Any, alice: Any, trips: Any) -> None:
    done = do(trips.insert({"a": 1}, request_id="r1"))
    assert do(trips.insert({"a": 1}, request_id="r1")) == done
    done = do(trips.update({"a": 1}, {"$inc": {"a": 1}}, request_id="r2"))
    assert do(trips.update({"a": 1}, {"$inc": {"a": 1}}, request_id="r2")) == done
    assert do(trips.delete({}, request_id="r3")) == do(trips.delete({}, request_id="r3")) == 1
    assert do(trips.count()) == 3
    assert do(trips.create_index("a", request_id="r4")) is do(
        trips.create_index("a", request_id="r4")
    )


# With the history


def test_documents_rewind_fork_and_travel_with_the_profile(
    do: Any, client: Any, alice: Any, trips: Any, tmp_path: Path
) -> None:
    do(alice.checkpoint("before"))
    do(trips.create_index("seat.row"))
    do(trips.update({}, {"$set": {"seat": {"row": 99}}}, multi=True))
    do(alice.documents("later").insert({"a": 1}))
    past = alice.at("before").documents("trips")
    assert do.all(past.find({"seat.row": {"$gt": 5}})) == TRIPS[:1]
    assert (do(past.count()), do(past.indexes())) == (3, ())
    assert [one.name for one in do(alice.at("before").document_collections())] == ["trips"]

    trial = do(alice.fork("trial"))
    do(trial.documents("trips").delete({}, multi=True))
    assert do(trips.count({"seat.row": 99})) == 3
    do(alice.export(tmp_path / "alice.db"))
    copy = client.profile("copy")
    do(copy.import_(tmp_path / "alice.db"))
    assert do.all(copy.documents("trips").find()) == do.all(trips.find())
    assert do(copy.documents("trips").indexes()) == ("seat.row",)

    done = do(alice.rewind("before"))
    assert do.all(trips.find({"seat.row": 12})) == TRIPS[:1]
    assert do(trips.indexes()) == ()
    do(alice.documents("later").insert({"a": 2}))
    assert do(trips.create_index("seat.row")) is True
    assert do(trips.count({"seat.row": 12})) == 1
    do(alice.rewind(done.undo))
    assert do(trips.count({"seat.row": 99})) == 3
    assert do(trips.indexes()) == ("seat.row",)
    assert do.all(alice.documents("later").find({"a": 1}))
    assert not do(alice.verify()).findings
    request = InsertDocuments(collection="trips", docs=({},))
    with pytest.raises(palimp.Invalid, match="past"):
        do(client.call("documents.insert", alice.at("before").target, request))


# What is refused


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"_id": 1}, "_id must be text"),
        ({"_id": None}, "_id is null"),
        ({"_id": " "}, "_id is empty"),
        ({"a": float("nan")}, "nan"),
        ({"a": "\ud800"}, "surrogate"),
        ({"\ud800": 1}, "surrogate"),
        ({"a": {1: 2}}, "not text"),
        ({"a": {1}}, "no JSON form"),
        ({"a": 2**63}, "64"),
        ({"a": 10**400}, "1329 bits"),
        (nested(DOCUMENT_DEPTH_MAX + 1), "more than 32 levels"),
        (nested(100_000), "levels|JSON"),
    ],
    ids=lambda one: str(one)[:40] if isinstance(one, str) else None,
)
def test_documents_that_cannot_be_are_refused(
    do: Any, alice: Any, document: dict[str, Any], message: str
) -> None:
    trips = alice.documents("trips")
    with pytest.raises(palimp.Invalid, match=message):
        do(trips.insert(document))
    with pytest.raises(palimp.Invalid, match=message) as caught:
        do(trips.insert([{}, document]))
    assert caught.value.code == "invalid_request"
    assert do(trips.count()) == 0


def test_a_batch_names_the_document_that_is_refused(do: Any, alice: Any) -> None:
    with pytest.raises(palimp.Invalid, match=r"docs\[1\] \(nothing of the batch was written\)"):
        do(alice.documents("trips").insert([{}, {"_id": 7}]))
    for wrong in ([], [{}] * 1_001):
        with pytest.raises(palimp.Invalid, match="give 1 to 1,000"):
            do(alice.documents("trips").insert(wrong))
    for wrong in ("text", [1], [[]], 7):
        with pytest.raises(palimp.Invalid):
            do(alice.documents("trips").insert(wrong))


def test_documents_of_the_greatest_size_and_depth(do: Any, alice: Any) -> None:
    trips = alice.documents("trips")
    text = "x" * (DOCUMENT_BYTES_MAX - len('{"a":""}'))
    do(trips.insert([{"a": text, "_id": "x" * DOCUMENT_ID_BYTES_MAX}, nested(DOCUMENT_DEPTH_MAX)]))
    assert do(trips.find_one())["a"] == text
    long_id = {"_id": "x" * (DOCUMENT_ID_BYTES_MAX + 1)}
    with pytest.raises(palimp.Invalid, match="_id has 257 bytes"):
        do(trips.insert(long_id))
    for wrong in ({"a": text + "x"}, {"a": text[:-1] + "é"}, {"a": [1] * DOCUMENT_BYTES_MAX}):
        with pytest.raises(palimp.Invalid, match="1,048,57") as caught:
            do(trips.insert(wrong))
        assert caught.value.code == "payload_too_large"
    with pytest.raises(palimp.Invalid) as caught:
        do(trips.update({}, {"$set": {"b": "more"}}))
    assert caught.value.code == "payload_too_large"
    deepest = ".".join("a" * (DOCUMENT_DEPTH_MAX - 1))
    with pytest.raises(palimp.Invalid, match="more than 32 levels"):
        do(trips.update({deepest: {}}, {"$set": {f"{deepest}.b": {}}}))
    # A page ends early where documents are large, and the next goes on.
    do(trips.insert([{"a": text[:-10], "n": n} for n in range(20)]))
    page = do(alice.client.call("documents.find", alice.target, FindDocuments(collection="trips")))
    assert 16 <= len(page) < 20
    assert len(do.all(trips.find())) == 22


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        ({"$where": "1"}, r"unknown operator '\$where'; known here are \$and"),
        ({"a": {"$regex": "x"}}, r"unknown operator '\$regex'; known here are \$eq"),
        ({"a": {"$gt": 1, "b": 2}}, "unknown operator 'b'"),
        ({"a": {"$gt": None}}, "a number, a text or a boolean"),
        ({"a": {"$lt": [1]}}, "a number, a text or a boolean"),
        ({"a": {"$in": 1}}, "a list of at most 1,000"),
        ({"a": {"$nin": [0] * (FILTER_VALUES_MAX + 1)}}, "a list of at most 1,000"),
        ({"a": {"$exists": 1}}, "true or false"),
        ({"a": {"$not": 1}}, "object of operators"),
        ({"a": {"$not": {}}}, "object of operators"),
        ({"a": {"$not": {"b": 1}}}, "unknown operator 'b'"),
        ({"$or": []}, "not empty"),
        ({"$and": {"a": 1}}, "takes a list"),
        ({"$or": [1]}, "which are objects"),
        ({"$not": [1]}, "which are objects"),
        ({"": 1}, "empty part"),
        ({"a..b": 1}, "empty part"),
        ({".": 1}, "empty part"),
        ({"a\\": 1}, "ends in a backslash"),
        ({"a" * (DOCUMENT_PATH_BYTES_MAX + 1): 1}, "513 bytes"),
        ({".".join("a" * (DOCUMENT_DEPTH_MAX + 1)): 1}, "33 parts"),
        ({"0.0.0.0.0": 1}, "5 parts of digits"),
        ({"a": float("inf")}, "inf"),
        ({"a": 2**64}, "64"),
        ({"a": "\ud800"}, "surrogate"),
        ({"\ud800": 1}, "surrogate"),
        ({"$or": [{f"a{n}": n} for n in range(DOCUMENT_CONDITIONS_MAX + 1)]}, "1,000 conditions"),
        ({"$or": [{f"a{n}.0.0.0.0": n} for n in range(63)]}, "1,000 conditions"),
        ({"a": nested(DOCUMENT_DEPTH_MAX)}, "more than 32 levels"),
        ({"a": list(range(DOCUMENT_CONDITIONS_MAX + 1))}, "1,000 conditions"),
    ],
    ids=lambda one: str(one)[:40],
)
def test_filters_that_cannot_be_are_refused(
    do: Any, trips: Any, filter: dict[str, Any], message: str
) -> None:
    for ask in (trips.count, trips.find_one, trips.delete):
        with pytest.raises(palimp.Invalid, match=message):
            do(ask(filter))
    with pytest.raises(palimp.Invalid, match=message):
        do(trips.update(filter, {"$set": {"a": 1}}))
    assert do.all(trips.find()) == TRIPS


@pytest.mark.parametrize("depth", [33, 1_000, 10_000])
def test_a_filter_nested_without_end_is_refused(do: Any, trips: Any, depth: int) -> None:
    by_and: dict[str, Any] = {"a": 1}
    by_not: dict[str, Any] = {"$eq": 1}
    for _ in range(depth):
        by_and, by_not = {"$and": [by_and]}, {"$not": by_not}
    for filter in (by_and, {"a": by_not}, {"a": nested(depth)}):
        for ask in (trips.count, trips.delete):
            with pytest.raises(palimp.Invalid, match=r"levels deep|JSON"):
                do(ask(filter))
    assert do(trips.count()) == 3


def test_a_filter_as_deep_and_as_wide_as_it_may_be(do: Any, trips: Any) -> None:
    deep: dict[str, Any] = {"to": "Oslo"}
    for _ in range(DOCUMENT_DEPTH_MAX - 1):
        deep = {"$not": deep}
    assert do(trips.count(deep)) == 2
    wide = {"$or": [{"to": f"{n}"} for n in range(DOCUMENT_CONDITIONS_MAX - 1)] + [{"to": "Oslo"}]}
    assert ids(do.all(trips.find(wide))) == ["oslo"]
    many = {"to": {"$in": [*map(str, range(FILTER_VALUES_MAX - 1)), "Rome"]}}
    assert ids(do.all(trips.find(many))) == ["rome"]


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({}, "update is empty"),
        ({"to": "Paris"}, r"a document is not replaced: give \$set"),
        ({"$rename": {"a": "b"}}, r"unknown operator '\$rename'"),
        ({"$set": {}}, "not empty"),
        ({"$set": 1}, "an object of paths"),
        ({"$set": {"_id": "new"}}, "_id of a document never changes"),
        ({"$unset": {"_id": ""}}, "_id of a document never changes"),
        ({"$set": {"$a": 1}}, "is an operator"),
        ({"$set": {"a": 1, "a.b": 2}}, "'a.b' is changed twice"),
        ({"$set": {"a": 1}, "$inc": {"a": 1}}, "'a' is changed twice"),
        ({"$inc": {"a": "1"}}, "takes a number"),
        ({"$inc": {"a": True}}, "takes a number"),
        ({"$push": {"a": {"$each": [1]}}}, r"knows no \$each"),
        ({"$set": {"tags.x": 1}}, "no place in a list"),
        ({"$set": {"tags.3": 1}}, "its next place is 2"),
        ({"$set": {"to.x": 1}}, "cannot be set in a text"),
        ({"$set": {"a": nested(DOCUMENT_DEPTH_MAX)}}, "more than 32 levels"),
        ({"$set": {"a": float("nan")}}, "nan"),
    ],
    ids=str,
)
def test_updates_that_cannot_be_are_refused(
    do: Any, trips: Any, update: dict[str, Any], message: str
) -> None:
    with pytest.raises(palimp.Invalid, match=message):
        do(trips.update({"_id": "oslo"}, update))
    assert do.all(trips.find()) == TRIPS


@pytest.mark.parametrize(
    "name", ["", "A", "-a", "a b", "a" * 65, 'a"; DROP TABLE x; --', "ü", "a.b", ".."]
)
def test_names_of_collections_that_cannot_be_are_refused(do: Any, alice: Any, name: str) -> None:
    trips = alice.documents(name)
    for call in (
        lambda: trips.insert({}),
        lambda: trips.count(),
        lambda: trips.find_one(),
        lambda: trips.update({}, {"$set": {"a": 1}}),
        lambda: trips.delete({}),
        lambda: trips.create_index("a"),
        lambda: trips.indexes(),
        lambda: trips.drop(),
    ):
        with pytest.raises((palimp.Invalid, palimp.NotFound)):
            do(call())
    assert list(do(alice.document_collections())) == []


def test_limits_of_pages_are_refused_not_clamped(do: Any, alice: Any, trips: Any) -> None:
    def find(**fields: Any) -> Any:
        request = FindDocuments(collection="trips", **fields)
        return do(alice.client.call("documents.find", alice.target, request))

    assert len(find(limit=PAGE_MAX, skip=DOCUMENT_SKIP_MAX)) == 0
    for wrong in (
        {"limit": 0},
        {"limit": PAGE_MAX + 1},
        {"skip": -1},
        {"skip": DOCUMENT_SKIP_MAX + 1},
        {"sort": {"to": 2}},
        {"sort": {"to": 0}},
        {"sort": {f"a{n}": 1 for n in range(9)}},
        {"cursor": "x"},
        {"cursor": "[1,[]]", "sort": {"to": 1}},
        {"cursor": "[0,[]]"},
        {"cursor": "[1,[18446744073709551616]]", "sort": {"to": 1}},
        {"cursor": "[" * 10_000},
        {"cursor": "[1,[]]", "skip": 1},
    ):
        with pytest.raises(palimp.Invalid):
            find(**wrong)


def test_a_collection_has_a_bounded_number_of_indexes(do: Any, trips: Any) -> None:
    for number in range(DOCUMENT_INDEXES_MAX):
        assert do(trips.create_index(f"path{number}"))
    with pytest.raises(palimp.Invalid, match="32 indexes"):
        do(trips.create_index("one.more"))
    assert do(trips.create_index("path0")) is False
    assert ids(do.all(trips.find({"to": "Rome"}))) == ["rome"]


def test_requests_made_by_hand_are_checked_too(do: Any, alice: Any) -> None:
    deep = nested(20_000)
    for name, request in (
        ("insert", InsertDocuments(collection="trips", docs=(deep,))),
        ("count", CountDocuments(collection="trips", filter=deep)),
        ("update", UpdateDocuments(collection="trips", filter={}, update={"$set": deep})),
    ):
        with pytest.raises(palimp.Invalid, match=r"levels deep|JSON"):
            do(alice.client.call(f"documents.{name}", alice.target, request))
