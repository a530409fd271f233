"""Keys and values over every client."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.api import GetValue, ListKeys, PutValue
from palimp.api.limits import KV_KEY_BYTES_MAX, KV_SPACE_BYTES_MAX, KV_VALUE_BYTES_MAX, PAGE_MAX

VALUES: list[Any] = [
    b"",
    b"\x00\xff\r\n",
    "",
    "héllo\nworld \U0001f600",
    None,
    True,
    0,
    -1.5,
    10**40,
    -(2**63),
    [],
    {},
    {"a": [1, None, {"b": "ü"}], "": False},
]
KEYS = ["a", " ", "a/b", "..", ".", "%2F", "a?b=c#d&e", "ключ", "\U0010ffff", "a\x00b", '"', "+"]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_as_what_it_was_put_as(do: Any, alice: Any, value: Any) -> None:
    done = do(alice.kv.put("k", value))
    assert (done.ns, done.key, done.expires_at, done.txid) == ("default", "k", None, 1)
    found = do(alice.kv.get("k", "absent"))
    assert (found, type(found)) == (value, type(value))


def test_bytes_like_values_and_sequences(do: Any, alice: Any) -> None:
    for value in (bytearray(b"xy"), memoryview(b"xy")):
        do(alice.kv.put("k", value))
        assert do(alice.kv.get("k")) == b"xy"
    do(alice.kv.put("k", (1, "a")))
    assert do(alice.kv.get("k")) == [1, "a"]


@pytest.mark.parametrize(
    "value",
    [float("nan"), {1: 2}, {"a": b"x"}, {1}, object(), [float("inf")], "\ud800", ["\ud800"]],
)
def test_what_json_cannot_say_is_refused(do: Any, alice: Any, value: Any) -> None:
    with pytest.raises(palimp.Invalid, match="value"):
        do(alice.kv.put("k", value))


def test_a_value_that_is_nested_without_end_is_refused(do: Any, alice: Any) -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(palimp.Invalid, match="cannot be said as JSON"):
        do(alice.kv.put("k", nested))
    # Taken apart piece by piece: to let go of it as a whole would recurse as deep.
    while nested:
        nested = nested.pop()


@pytest.mark.parametrize("key", KEYS, ids=ascii)
def test_any_text_is_a_key(do: Any, alice: Any, key: str) -> None:
    space = alice.kv.space(key)
    do(space.put(key, key))
    assert do(space.get(key)) == key
    assert do.all(space.keys()) == do.all(space.keys(key)) == [key]
    assert do.all(alice.kv.keys()) == []
    assert do(space.delete(key)) is True
    assert do(space.get(key)) is None


def test_what_is_not_there(do: Any, client: Any, alice: Any) -> None:
    assert do(alice.kv.get("k")) is None
    assert do(alice.kv.get("k", 5)) == 5
    assert do(alice.kv.delete("k")) is False
    assert do.all(alice.kv.keys()) == []
    assert do.all(client.profiles()) == []
    with pytest.raises(palimp.NotFound, match="no key 'k' in 'default'") as caught:
        do(alice.kv.entry("k"))
    assert caught.value.code == "not_found"
    # A profile without keys, and a branch that is not there.
    do(alice.remember("x"))
    assert do(alice.kv.get("k")) is None
    assert do(alice.kv.delete("k")) is False
    with pytest.raises(palimp.NotFound) as caught:
        do(alice.branch("trial").kv.get("k"))
    assert caught.value.code == "branch_not_found"


def test_a_put_replaces_value_type_and_time(do: Any, alice: Any) -> None:
    first = do(alice.kv.put("k", "text", ttl=timedelta(hours=1)))
    assert first.expires_at is not None
    assert do(alice.kv.put("k", b"bytes")).expires_at is None
    found = do(alice.kv.entry("k"))
    assert isinstance(found, palimp.GotValue)
    assert (found.data, found.content_type) == (b"bytes", "application/octet-stream")
    assert do(alice.kv.delete("k")) is True
    assert do(alice.kv.delete("k")) is False


def test_values_say_their_type_and_txid(do: Any, client: Any, alice: Any) -> None:
    do(alice.kv.put("t", "x"))
    txid = do(alice.kv.put("j", {"a": 1})).txid
    kinds = [do(alice.kv.entry(key)).content_type for key in ("t", "j")]
    assert kinds == ["text/plain; charset=utf-8", "application/json"]
    assert do(alice.kv.entry("j", consistency="primary")).txid == txid
    # What another client put as a type of its own stays bytes here, and keeps its name.
    given = PutValue(ns="default", key="p", data=b"\x89PNG", content_type="image/PNG; a=b")
    do(client.call("kv.put", alice.target, given))
    assert do(alice.kv.get("p")) == b"\x89PNG"
    assert do(alice.kv.entry("p")).content_type == "image/PNG; a=b"
    # What is not what it says is not guessed at.
    do(
        client.call(
            "kv.put",
            alice.target,
            PutValue(ns="default", key="q", data=b"{", content_type="application/json"),
        )
    )
    with pytest.raises(palimp.Invalid, match=r"entry\(\) returns its bytes"):
        do(alice.kv.get("q"))


def test_keys_by_prefix_in_the_order_of_their_bytes(do: Any, alice: Any) -> None:
    keys = ["a", "a/1", "a/2", "a0", "b", "é", "\ud7ff", "\ue000", "\U0001f600", "\U0010ffff"]
    for key in reversed(keys):
        do(alice.kv.put(key, 1))
    do(alice.kv.space("other").put("a/3", 1))
    assert do.all(alice.kv.keys()) == keys
    assert do.all(alice.kv.keys("a/")) == ["a/1", "a/2"]
    assert do.all(alice.kv.keys("a")) == ["a", "a/1", "a/2", "a0"]
    assert do.all(alice.kv.keys("c")) == []
    assert do.all(alice.kv.keys("\ud7ff")) == ["\ud7ff"]
    assert do.all(alice.kv.keys("\U0010ffff")) == ["\U0010ffff"]


def test_pages(do: Any, client: Any, alice: Any) -> None:
    for n in range(5):
        do(alice.kv.put(f"k{n}", n))
    found, cursor = [], None
    while True:
        request = ListKeys(ns="default", prefix="k", limit=2, cursor=cursor)
        page = do(client.call("kv.list", alice.target, request))
        assert page.txid == 5
        found.append(list(page))
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [["k0", "k1"], ["k2", "k3"], ["k4"]]
    for limit in (0, PAGE_MAX + 1):
        with pytest.raises(palimp.Invalid, match="limit"):
            do(client.call("kv.list", alice.target, ListKeys(ns="default", limit=limit)))


def test_limits_are_refused_by_name(do: Any, client: Any, alice: Any) -> None:
    key, space = "k" * KV_KEY_BYTES_MAX, "é" * (KV_SPACE_BYTES_MAX // 2)
    do(alice.kv.space(space).put(key, "x"))
    assert do.all(alice.kv.space(space).keys()) == [key]
    refused: list[tuple[Any, str]] = [
        (lambda: alice.kv.put(key + "k", 1), "key has 1,025 bytes; give 1 to 1,024"),
        (lambda: alice.kv.get("é" * 513), "key has 1,026 bytes"),
        (lambda: alice.kv.space(space + "x").put("k", 1), "ns has 129 bytes; give 1 to 128"),
        (lambda: alice.kv.put("", 1), "key is empty"),
        (lambda: alice.kv.space("").put("k", 1), "ns is empty"),
        (lambda: alice.kv.get("\ud800"), "surrogate|UTF-8"),
        (lambda: alice.kv.put("k", 1, ttl=0), "ttl"),
        (lambda: alice.kv.put("k", 1, ttl=-1), "ttl"),
        (lambda: alice.kv.put("k", 1, ttl=float("nan")), "ttl"),
        (lambda: alice.kv.put("k", 1, ttl=10**12), "ttl"),
        (lambda: alice.kv.put(5, 1), "key"),
        (lambda: alice.kv.get(None), "key"),
        (lambda: alice.kv.get("k", consistency="eventual"), "consistency.*primary"),
    ]
    for call, message in refused:
        with pytest.raises(palimp.Invalid, match=message):
            do(call())
    with pytest.raises(palimp.Invalid, match="text, not int"):
        alice.kv.space(5)
    for kind in ("", "a\r\nb: c", " a", "é", "a" * 257):
        request = PutValue(ns="n", key="k", data=b"", content_type=kind)
        with pytest.raises(palimp.Invalid, match="content_type"):
            do(client.call("kv.put", alice.target, request))
    assert do(alice.kv.get("k")) is None


def test_large_values(do: Any, alice: Any) -> None:
    value = bytes(range(256)) * (KV_VALUE_BYTES_MAX // 256)
    do(alice.kv.put("k", value))
    assert do(alice.kv.get("k")) == value
    with pytest.raises(palimp.Invalid, match="at most 16,777,216") as caught:
        do(alice.kv.put("k", value + b"x"))
    assert caught.value.code == "payload_too_large"
    assert do.all(alice.kv.keys()) == ["k"]


def test_a_repeat_of_a_write_gets_the_first_answer(do: Any, alice: Any) -> None:
    first = do(alice.kv.put("k", 1, ttl=60, request_id="one"))
    do(alice.kv.put("k", 2))
    assert do(alice.kv.put("k", 1, ttl=60, request_id="one")) == first
    assert do(alice.kv.get("k")) == 2
    assert do(alice.kv.delete("k", request_id="two")) is True
    do(alice.kv.put("k", 3, durability="durable"))
    assert do(alice.kv.delete("k", request_id="two")) is True
    assert do(alice.kv.get("k")) == 3
    with pytest.raises(palimp.Conflict):
        do(alice.kv.put("k", 4, request_id="one"))


def test_keys_share_txids_branches_and_history_with_memories(
    do: Any, client: Any, alice: Any, tmp_path: Path
) -> None:
    do(alice.remember("before there were keys"))
    do(alice.checkpoint("empty"))
    do(alice.kv.put("k", "old"))
    assert do(alice.kv.entry("k")).txid == 2
    do(alice.checkpoint("old"))
    trial = do(alice.fork("trial"))
    do(alice.kv.put("k", "new"))
    do(trial.kv.put("t", "on trial"))
    assert do(trial.kv.get("k")) == "old"
    assert do(alice.kv.get("t")) is None
    past = alice.at("old")
    assert (do(past.kv.get("k")), do.all(past.kv.keys())) == ("old", ["k"])
    assert do(past.kv.space("x").get("k")) is None
    assert not hasattr(past.kv, "put")
    assert do(alice.at("empty").kv.get("k", "none")) == "none"
    # To before the table was made, and on from there.
    undo = do(alice.rewind("empty")).undo
    assert do(alice.kv.get("k")) is None
    assert do(alice.kv.delete("k")) is False
    do(alice.kv.put("k", "again"))
    assert do(alice.kv.get("k")) == "again"
    do(alice.rewind(undo))
    assert do(alice.kv.get("k")) == "new"
    do(alice.export(tmp_path / "alice.db"))
    bob = client.profile("bob")
    do(bob.import_(tmp_path / "alice.db"))
    assert do(bob.kv.get("k")) == "new"
    assert do(alice.verify()).findings == ()


def test_a_reader_waits_for_no_older_state_than_it_asks_for(
    do: Any, client: Any, alice: Any
) -> None:
    do(alice.kv.put("k", 1))
    request = GetValue(ns="default", key="k")
    with pytest.raises(palimp.Unavailable, match="not yet 9"):
        do(client.call("kv.get", alice.target, request, palimp.api.Options(min_txid=9)))
