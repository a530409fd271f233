"""Nodes in network namespaces of their own: what is cut is cut by the kernel, packet by packet.

Needs root, `ip` and `nft`. The host is on the same bridge, and has what the nodes share: the
store, etcd and the catalog, at one port for each node.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_BRIDGE = "br-palimp"
_NETWORK = "10.99.7"
HOST = f"{_NETWORK}.254"


def missing() -> str | None:
    """Return why there can be no namespaces here; None where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(program) is None:
            return f"{program} is not installed (apt-get install {package})"
    return None


class Wire:
    """Packets between a node and an address, by port; cut and healed like a `Link`."""

    def __init__(
        self, space: str, host: str, port: int, *, to: Sequence[str], serves: bool
    ) -> None:
        self.host = host
        self.port = port
        self._space = space
        self._to = to
        self._serves = serves
        self._table = f"cut{port}" + ("in" if serves else "out")

    def cut(self, way: str = "both") -> None:
        """Drop what goes `there` (to where the port is), `back`, or `both`."""
        chains = {"there": [], "back": []}  # type: dict[str, list[str]]
        for address in self._to:
            chains["there"].append(f"ip {'saddr' if self._serves else 'daddr'} {address} tcp dport")
            chains["back"].append(f"ip {'daddr' if self._serves else 'saddr'} {address} tcp sport")
        arrives = {"there": self._serves, "back": not self._serves}
        rules = [f"add table inet {self._table}"]
        for hook in ("input", "output"):
            rules.append(
                f"add chain inet {self._table} {hook} {{ type filter hook {hook} priority 0; }}"
            )
        for one, matches in chains.items():
            if way in (one, "both"):
                hook = "input" if arrives[one] else "output"
                rules += [
                    f"add rule inet {self._table} {hook} {match} {self.port} drop"
                    for match in matches
                ]
        _run("ip", "netns", "exec", self._space, "nft", "; ".join(rules))

    def heal(self, *, reset: bool = False) -> None:
        """Let everything through; what was sent meanwhile is sent again by TCP, late."""
        # Added first, so that it can be deleted whether it was there or not.
        rules = f"add table inet {self._table}; delete table inet {self._table}"
        _run("ip", "netns", "exec", self._space, "nft", rules)


class Namespace:
    """One node's network."""

    def __init__(self, number: int) -> None:
        self.name = f"palimp{number}"
        self.host = f"{_NETWORK}.{number}"
        self.command = ("ip", "netns", "exec", self.name)
        self._outside = f"vp{number}"
        _run("ip", "netns", "add", self.name)
        _run(*f"ip link add {self._outside} type veth peer name eth0 netns {self.name}".split())
        _run(*f"ip link set {self._outside} master {_BRIDGE} up".split())
        _run(*f"ip -n {self.name} addr add {self.host}/24 dev eth0".split())
        _run(*f"ip -n {self.name} link set eth0 up".split())
        _run(*f"ip -n {self.name} link set lo up".split())

    def leads_to(self, port: int) -> Wire:
        """Return the wire to a port of the host."""
        return Wire(self.name, HOST, port, to=[HOST], serves=False)

    def serves(self, port: int, others: Sequence[str]) -> Wire:
        """Return the wire from other addresses to a port of the node."""
        return Wire(self.name, self.host, port, to=others, serves=True)

    def close(self) -> None:
        # With its namespace it would go too, but some time later.
        _run("ip", "link", "del", self._outside)
        _run("ip", "netns", "del", self.name)


@contextmanager
def bridge() -> Iterator[None]:
    """The network that the host and the nodes share, for as long as the block runs."""
    _run("ip", "link", "add", _BRIDGE, "type", "bridge")
    try:
        _run("ip", "link", "set", _BRIDGE, "up")
        _run("ip", "addr", "add", f"{HOST}/24", "dev", _BRIDGE)
        yield
    finally:
        _run("ip", "link", "del", _BRIDGE)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
