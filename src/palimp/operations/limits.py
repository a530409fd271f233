"""How often a credential may call, and how often an address may fail to show one.

In memory, of this node alone. Authentication comes first: a call without a credential costs no
credential anything, and failing has a limit of its own.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict

from ..clock import Clock
from ..errors import Unavailable
from .access import Principal

__all__ = ["RateLimits"]

_BUCKETS_MAX = 10_000
_MINUTE = 60.0
# Whoever has one address of IPv6 has all of such a network.
_NETWORK_BITS = 64


class RateLimits:
    """Token buckets for callers and for failed attempts. Thread-safe.

    `rate` is how many calls a second a credential may make, with a burst of as many; 0: any number.
    `failures` is how many attempts a minute may fail from one address, with a burst of as many.
    """

    def __init__(self, clock: Clock, *, rate: float, failures: float) -> None:
        self._calls = _Buckets(clock, rate, max(1.0, rate)) if rate else None
        self._failed = _Buckets(clock, failures / _MINUTE, max(1.0, failures))

    def check(self, principal: Principal, address: str) -> None:
        """Count a call of somebody who was authenticated; `Unavailable` (overloaded) over the rate.

        Where authentication is off, everybody is the owner, and their addresses are counted.
        """
        if self._calls is None:
            return
        anonymous = principal.kind == "owner"
        wait = self._calls.take(_network(address) if anonymous else principal.actor)
        if wait:
            who = "this address" if anonymous else "this credential"
            raise Unavailable(
                f"{who} calls more than {self._calls.rate:g} times a second, the limit of this "
                f"node (PALIMP_RATE_LIMIT); repeat it in {wait:.1f} s, or put many writes into one "
                "ingest",
                code="overloaded",
                reason="rate",
                retry_after=wait,
            )

    def failed(self, address: str) -> None:
        """Count an attempt that failed to authenticate; `Unavailable` (overloaded) over the limit.

        A caller that has a valid credential is never kept out by others at its address.
        """
        wait = self._failed.take(_network(address))
        if wait:
            raise Unavailable(
                f"more than {self._failed.rate * _MINUTE:g} calls a minute from this address had "
                f"no valid credential; give one, or repeat it in {wait:.1f} s",
                code="overloaded",
                reason="failures",
                retry_after=wait,
            )


class _Buckets:
    """One bucket for each key, of the keys used last."""

    def __init__(self, clock: Clock, rate: float, burst: float) -> None:
        self.rate = rate
        self._burst = burst
        self._clock = clock
        self._lock = threading.Lock()
        # How much was left, and when. One that is forgotten is full again, as it was long ago.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one and return 0, or return in how many seconds there will be one."""
        now = self._clock.monotonic()
        with self._lock:
            left, at = self._left.pop(key, (self._burst, now))
            left = min(self._burst, left + (now - at) * self.rate)
            wait = 0.0 if left >= 1 else (1 - left) / self.rate
            self._left[key] = (left if wait else left - 1, now)
            if len(self._left) > _BUCKETS_MAX:
                self._left.popitem(last=False)
        return wait


def _network(address: str) -> str:
    """Return the network whose holder an address is of: an address of IPv4, a /64 of IPv6."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, _NETWORK_BITS), strict=False))
