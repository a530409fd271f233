from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from palimp.lease import Peer, preferred

NODES = [Peer(node, f"http://{node}", "0.1.0", 1, "p", "h") for node in "abcd"]
NAMES = [f"acme--p{number}" for number in range(4_000)]


def placed(peers: list[Peer]) -> dict[str, str]:
    found = {name: preferred(peers, name) for name in NAMES}
    return {name: peer.node for name, peer in found.items() if peer is not None}


def test_databases_spread_evenly_over_the_nodes() -> None:
    counts = Counter(placed(NODES).values())
    assert set(counts) == set("abcd")
    assert all(850 < count < 1_150 for count in counts.values())


def test_only_those_of_a_node_move_when_it_goes_or_drains() -> None:
    before = placed(NODES)
    after = placed(NODES[1:])
    assert {before[name] for name in NAMES if before[name] != after[name]} == {"a"}
    draining = [replace(NODES[0], draining=True), *NODES[1:]]
    assert placed(draining) == after


def test_the_order_of_the_nodes_and_what_they_say_is_no_matter() -> None:
    others = [replace(peer, address="http://other", process="p2") for peer in reversed(NODES)]
    assert placed(others) == placed(NODES)


def test_without_nodes_there_is_no_place() -> None:
    assert preferred([], "acme--a") is None
    assert preferred([replace(NODES[0], draining=True)], "acme--a") is None
