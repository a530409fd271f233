"""One node and no leases: killed, stopped, and its store failing, while clients write and read."""

from __future__ import annotations

import time
from pathlib import Path

from .checker import check
from .harness import cluster
from .stores import CALM, ROUGH

SEED = 11


def test_one_node_is_killed_and_its_store_fails(tmp_path: Path) -> None:
    with cluster(tmp_path, 1, leases="single", seed=SEED) as made:
        node = made.nodes[0]
        clients = made.clients(3, 3, SEED)
        made.rough(ROUGH)
        time.sleep(2)
        node.kill()
        node.start()
        time.sleep(1.5)
        made.rough(CALM)
        node.cut("store")
        time.sleep(1)
        node.heal("store")
        node.stop()
        time.sleep(0.5)
        node.go_on()
        node.term()
        node.start()
        time.sleep(0.5)
        for client in clients:
            client.finish()
        run = made.settle()
    assert made.recorder.acknowledged() > 50
    assert check(run) == []
