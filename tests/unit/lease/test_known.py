from __future__ import annotations

from palimp.lease import Peer
from palimp.lease.known import Known


def peer(node: str) -> Peer:
    return Peer(node, f"http://{node}", "0.1.0", 1, "p", "h")


def test_changes_add_to_what_is_known() -> None:
    known = Known()
    assert (known.peers(), known.held(), known.holder("x")) == ((), 0, None)
    known.replace({"b": peer("b"), "a": peer("a")}, {"x": "a", "y": "b"}, 5)
    assert known.peers() == (peer("a"), peer("b"))
    known.apply({"c": peer("c"), "a": None}, {"y": None, "z": "c"}, 6)
    assert known.peers() == (peer("b"), peer("c"))
    # Of a node that is gone nobody can be asked; the database is named by somebody still.
    assert (known.holder("x"), known.holder("y"), known.holder("z")) == (None, None, peer("c"))
    assert (known.held(), known.moment) == (2, 6)


def test_what_was_told_does_not_undo_what_came_later() -> None:
    known = Known()
    known.replace({"a": peer("a")}, {}, 5)
    known.note("x", "a", 5)
    assert known.holder("x") is None
    known.note("x", "a", 6)
    assert known.holder("x") == peer("a")
    known.note("x", None, 7)
    assert (known.holder("x"), known.moment) == (None, 5)


def test_what_nodes_had_that_are_gone_is_nobodys() -> None:
    known = Known()
    known.replace({"a": peer("a"), "b": peer("b")}, {"x": "a", "y": "b"}, 1)
    known.keep_only({"b": peer("b"), "c": peer("c")})
    assert (known.held(), known.holder("x"), known.holder("y")) == (1, None, peer("b"))
    assert known.peers() == (peer("b"), peer("c"))
    assert known.peer("c") == peer("c")
