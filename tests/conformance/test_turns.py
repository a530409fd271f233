"""Turns by their keys and handles, over every client."""

import base64
from typing import Any

import pytest

import palimp
from palimp.api.limits import BATCH_ITEMS_MAX


def test_a_turn_that_is_there_by_a_key_is_not_appended(do: Any, alice: Any) -> None:
    chat = alice.session("chat")
    first = do(chat.append("user", "I sail", keys=["a", "b"]))
    assert (first.seqs, first.created) == ((1,), (True,))
    again = do(chat.extend([{"role": "user", "content": "other", "keys": ["c", "b"]}]))
    assert (again.seqs, again.handles, again.created) == ((1,), first.handles, (False,))
    both = do(
        chat.extend(
            [
                {"role": "user", "content": "new", "keys": ["d"]},
                {"role": "user", "content": "twice", "keys": ["d"]},
                {"role": "user", "content": "without"},
            ]
        )
    )
    assert (both.seqs, both.created) == ((2, 2, 3), (True, False, True))
    assert [turn.content for turn in do(chat.window())] == ["I sail", "new", "without"]
    assert do(chat.append("user", "I sail", keys=["a"])).seq == 1
    assert do(chat.append("user", "more")).seq == 4, "a repeat takes no number"
    # A key is one of its session.
    assert do(alice.session("other").append("user", "I sail", keys=["a"])).created == (True,)


def test_turns_are_read_and_removed_by_their_handles(do: Any, alice: Any) -> None:
    chat = alice.session("chat")
    said = do(chat.extend([{"role": "user", "content": one, "keys": [one]} for one in "abc"]))
    other = do(alice.session("other").append("user", "zebra"))
    assert len({*said.handles, *other.handles}) == 4
    assert [turn.handle for turn in do(chat.window())] == list(said.handles)
    wanted = [other.handles[0], said.handles[1], 10**6, said.handles[1]]
    found = do(alice.find_turns(wanted))
    assert [(one.session, one.content) for one in found] == [("other", "zebra"), ("chat", "b")]

    gone = do(chat.remove([said.handles[1], other.handles[0], 10**6]))
    assert gone.handles == (said.handles[1],)
    assert [turn.seq for turn in do(chat.window())] == [1, 3]
    assert do(chat.remove([said.handles[1]])).handles == ()
    assert len(do(alice.session("other").window())) == 1, "it is of another session"
    again = do(chat.append("user", "b", keys=["b"]))
    assert (again.seq, again.created) == (4, (True,)), "its key went with it, its number did not"


def test_what_was_removed_is_not_found_by_its_words_nor_by_those_beside_it(
    do: Any, alice: Any
) -> None:
    chat = alice.session("chat")
    turns = [{"role": "user", "content": one} for one in ("apple tart", "zebra crossing", "plum")]
    said = do(chat.extend(turns))
    assert do(chat.search("zebra"))
    do(chat.remove([said.handles[1]]))
    assert not do(chat.search("zebra")), "the entries of its neighbours held its words too"
    assert [one.content for one in do(chat.search("apple", k=1))] == ["apple tart"]


def test_the_same_errors(do: Any, alice: Any) -> None:
    with pytest.raises(palimp.Invalid, match="5 keys"):
        do(alice.session("chat").append("user", "x", keys=list("abcde")))
    for handles in ([], [0], range(BATCH_ITEMS_MAX + 1)):
        with pytest.raises(palimp.Invalid, match="handles"):
            do(alice.session("chat").remove(handles))
        with pytest.raises(palimp.Invalid, match="handles"):
            do(alice.find_turns(handles))
    # Of a profile that was never written.
    assert not do(alice.find_turns([1]))
    assert do(alice.session("chat").remove([1])).handles == ()


def test_values_are_read_with_their_keys(do: Any, alice: Any) -> None:
    for name in ("a/1", "a/2", "b/1"):
        do(alice.kv.put(name, {"name": name}))
    found = do.all(alice.kv.entries("a/"))
    assert [(one.key, one.data) for one in found] == [
        ("a/1", b'{"name":"a/1"}'),
        ("a/2", b'{"name":"a/2"}'),
    ]
    big = b"x" * (3 << 20)
    for name in "wxyz":
        do(alice.kv.put(name, big))
    assert [one.data for one in do.all(alice.kv.entries("")) if len(one.key) == 1] == [big] * 4


def test_texts_get_vectors(do: Any, tmp_path: Any, alice: Any) -> None:
    with pytest.raises(palimp.Unconfigured, match="nothing can be embedded"):
        do(alice.embed_texts(["hello"]))
    client = do.open(tmp_path / "embedding", embed_provider="bundled")
    try:
        other = client.profile("bob")
        found = do(other.embed_texts(["a cat", "a kitten", "tax law"]))
        near, far = (
            sum(x * y for x, y in zip(found.vectors[0], one, strict=True))
            for one in found.vectors[1:]
        )
        assert found.model
        assert near > far
        with pytest.raises(palimp.Invalid, match="texts"):
            do(other.embed_texts([]))
    finally:
        do(client.close())


def test_of_sealed_turns_nothing_is_found_either(do: Any, tmp_path: Any) -> None:
    key = base64.b64encode(b"k" * 32).decode()
    client = do.open(tmp_path / "sealed", embed_provider="none", master_key=key)
    try:
        do(client.set_policy("default", {"encryption": {"fields": True}}))
        alice = client.profile("alice")
        chat = alice.session("chat")
        said = do(chat.extend([{"role": "user", "content": one} for one in ("plum", "zebra")]))
        do(chat.remove(said.handles[1:]))
        assert not do(chat.search("zebra"))
        assert [one.content for one in do(chat.search("plum"))] == ["plum"]
        do(alice.kv.put("k", "v"))
        assert [one.data for one in do.all(alice.kv.entries())] == [b"v"]
    finally:
        do(client.close())
