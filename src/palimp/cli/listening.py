"""What commands that serve have in common: where they listen, and how they stop."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Protocol

from ..clock import Clock
from ..errors import Invalid, Unavailable
from ..observe import logger

if TYPE_CHECKING:
    from ..node.serving import Served

__all__ = [
    "CONNECTIONS_PER_REQUEST",
    "LOOK_SECONDS",
    "PARENT_GONE",
    "PORT_MAX",
    "REQUESTS_SHARE",
    "Stop",
    "check_proxies",
    "drain",
    "end_after",
    "listen",
    "listen_address",
    "parse_dialect",
    "url_of",
]

_LOG = logger("serve")
PORT_MAX = 65_535
_BACKLOG = 1_024
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Of the time for stopping, what requests under way may take; the rest is for shipping.
REQUESTS_SHARE = 0.5
LOOK_SECONDS = 0.05
# Set in a process that ends with the one that started it.
PARENT_GONE = threading.Event()
# Connections that wait for their next request, beside those with one under way.
CONNECTIONS_PER_REQUEST = 2


class Draining(Protocol):
    """What answers requests, and can be told to take no new ones."""

    @property
    def in_flight(self) -> int:
        """How many are under way."""

    def drain(self) -> None:
        """Refuse what comes from now on."""


class Stop:
    """The wish to stop: a first signal says it, a second one ends the process where it stands."""

    def __init__(self) -> None:
        # A handler runs in the middle of anything; one that took a lock could wait for itself.
        self._told = False
        for number in _SIGNALS:
            signal.signal(number, self._signalled)

    def _signalled(self, _number: int, _frame: object) -> None:
        if self._told:
            os._exit(1)
        self._told = True

    @property
    def wanted(self) -> bool:
        """Whether somebody wants it."""
        return self._told or PARENT_GONE.is_set()


def end_after(seconds: float) -> None:
    """End the process after so long, whatever it is doing."""

    def late() -> None:
        _LOG.error(
            "not stopped within %g s: what is not in the store yet stays in the folder, and is "
            "shipped when it is opened again",
            seconds,
        )
        os._exit(1)

    clock = threading.Timer(seconds, late)
    clock.daemon = True
    clock.start()


def drain(api: Draining, served: Served, clock: Clock, seconds: float) -> bool:
    """Refuse new requests, wait for those under way, close the connections."""
    _LOG.info("stopping; %d requests are under way", api.in_flight)
    api.drain()
    end = clock.monotonic() + seconds
    # It goes on listening meanwhile: whoever asks /ready is told, not turned away.
    while api.in_flight and clock.monotonic() < end:
        clock.sleep(LOOK_SECONDS)
    unfinished = api.in_flight
    if unfinished:
        _LOG.warning("%d requests are cut short: they took more than %g s", unfinished, seconds)
    served.stop(max(end - clock.monotonic(), 0.0))
    return not unfinished


def parse_dialect(given: str) -> tuple[str, int]:
    """Return the dialect and the port of an option."""
    from ..http.dialects import check_dialect

    name, equals, number = given.partition("=")
    port = int(number) if number.isascii() and number.isdigit() else PORT_MAX + 1
    if not equals or port > PORT_MAX:
        raise Invalid(f"--dialect is {given!r:.80}; give NAME=PORT, as memoturn=8100")
    return check_dialect(name), port


def listen_address(listen: str, host: str | None, port: int | None) -> tuple[str, int]:
    """Return where to listen: what the command line says, for the rest the setting."""
    name, colon, number = listen.rpartition(":")
    if not (colon and number.isascii() and number.isdigit() and int(number) <= PORT_MAX):
        raise Invalid(f"PALIMP_LISTEN is {listen!r:.80}; give HOST:PORT, as 127.0.0.1:8080")
    return host or name.strip("[]"), int(number) if port is None else port


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address of this machine."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise Invalid(f"host {host!r:.80} is not an address; give 127.0.0.1 or ::1") from None
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # A port whose last owner just ended is free, though connections of it may linger.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"{address} port {port} cannot be listened on: {os.strerror(error.errno or 0)}; end "
            "what uses it, or give another with --port (0 takes a free one)"
        ) from error
    return listener


def check_proxies(proxies: str | None) -> None:
    """Refuse what is no address: a misspelt proxy would never be trusted, and nobody be told."""
    for one in proxies.split(",") if proxies else ():
        try:
            ipaddress.ip_network(one.strip())
        except ValueError:
            raise Invalid(
                f"PALIMP_TRUSTED_PROXIES has {one.strip()!r:.80}, which is no address and no "
                "network; give for instance 127.0.0.1,10.0.0.0/8"
            ) from None


def url_of(listener: socket.socket) -> str:
    """Return the URL of what listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
