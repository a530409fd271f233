"""A node with a lease in a process of its own: `lease_backends.Child` starts it, stops it and asks it."""

from __future__ import annotations

import json
import sys
from typing import Any

from palimp.catalog import open_catalog
from palimp.clock import Clock
from palimp.errors import Unavailable
from palimp.lease import Peer
from palimp.observe import Metrics


def say(**said: Any) -> None:
    # In one piece: two threads say something.
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def telling(kind: type[Any]) -> type[Any]:
    """Return leases that say when their deadline changes."""

    def change(self: Any, deadline: float) -> None:
        self._told_deadline = deadline
        say(number=getattr(self, "_number", 0), deadline=deadline)

    told = property(lambda self: self._told_deadline, change)
    return type("Telling", (kind,), {"deadline": told})


def make(given: dict[str, Any]) -> Any:
    more = given["cluster"], given["node"], given["ttl"], Clock(), Metrics()
    if given["kind"] == "etcd":
        from palimp.lease.etcd import EtcdLeases

        return telling(EtcdLeases)(given["place"], *more)
    from palimp.lease.sql import SqlLeases

    catalog = open_catalog(given["place"], Clock())
    catalog.prepare()
    return telling(SqlLeases)(catalog.engine, *more)


def answer(leases: Any, what: str, *names: str) -> Any:
    if what == "state":
        # In this order: see `KeptLeases`.
        deadline, grant = leases.deadline, leases.grant
        return {"grant": grant, "holds": grant > 0 and Clock().boottime() < deadline}
    assert what == "claim"
    try:
        holder = leases.claim(*names)
    except Unavailable as error:
        return error.details["reason"]
    return "mine" if holder is None else holder.node


def main() -> None:
    given = json.loads(sys.argv[1])
    leases = make(given)
    node = given["node"]
    leases.start(Peer(node, f"http://{node}:8080", "0.1.0", 1, "child", f"home of {node}"))
    for line in sys.stdin:
        say(answer=answer(leases, *json.loads(line)))


if __name__ == "__main__":
    main()
