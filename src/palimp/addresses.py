"""Addresses of this machine and of others."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

__all__ = ["is_loopback", "is_self_hosted"]

_OWN = tuple(
    map(
        ipaddress.ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "169.254.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)


def is_loopback(host: str) -> bool:
    """Whether a name or an address, in brackets or not, is reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_self_hosted(host: str, listed: Collection[str] = ()) -> bool:
    """Whether a host is this machine, on a private network, inside a cluster, or in `listed`.

    Goes by the name alone: nothing is looked up. A name without a dot is one of the local network,
    unless it begins with a digit: that may be any address, written as one number.
    """
    name = host.strip("[]").rstrip(".").lower()
    if not name:
        return False
    if is_loopback(name) or name in listed:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        near = "." not in name and not name[0].isdigit()
        return near or name.endswith((".svc.cluster.local", ".internal"))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return is_self_hosted(str(address.ipv4_mapped), listed)
    return any(address.version == own.version and address in own for own in _OWN)
