"""`palimp gateway`: one address for all nodes."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from ..addresses import is_loopback
from ..clock import Clock
from ..errors import Invalid
from ..node import Settings, load_settings
from ..node.aliases import unread
from ..node.logs import configure
from ..observe import Metrics, logger
from .common import given, object_store_option
from .listening import (
    CONNECTIONS_PER_REQUEST,
    LOOK_SECONDS,
    PORT_MAX,
    REQUESTS_SHARE,
    Stop,
    check_proxies,
    drain,
    end_after,
    listen,
    listen_address,
    parse_dialect,
    url_of,
)

if TYPE_CHECKING:
    from ..http.gateway import Gateway
    from ..lease import Placement
    from ..node.serving import Served

__all__ = ["command", "open_gateway", "open_placement"]

_LOG = logger("gateway")
# Until who is alive was read for the first time.
_FIRST_SECONDS = 2.0


@click.command("gateway")
@click.option("--host", help="Address to listen on. [default: that of PALIMP_LISTEN]")
@click.option(
    "--port",
    type=click.IntRange(0, PORT_MAX),
    help="Port; 0 takes a free one, which is logged. [default: that of PALIMP_LISTEN]",
)
@object_store_option
@click.option(
    "--dialect",
    "dialects",
    metavar="NAME=PORT",
    multiple=True,
    help="Speak a dialect at the root of a port of its own too; repeatable. Every dialect is below "
    "its name at the first port anyway.",
)
def command(
    host: str | None, port: int | None, object_store: str | None, dialects: tuple[str, ...]
) -> None:
    """Send each request to the node that has its database; keep nothing.

    It finds the nodes in the lease store: PALIMP_ETCD, or PALIMP_LEASES=sql and PALIMP_CATALOG_URL,
    and PALIMP_OBJECT_STORE as on the nodes. It asks nobody for a credential: the nodes do.

    \b
    palimp gateway
    palimp gateway --port 8100 --object-store s3://bucket/prefix
    palimp gateway --dialect memoturn=8101
    """
    settings = load_settings(given({"object_store": object_store}))
    configure(settings.log_level, settings.log_format)
    for one in unread(os.environ):
        _LOG.warning("%s is not read: this release has nothing it would set", one)
    check_proxies(settings.trusted_proxies)
    spoken = [parse_dialect(one) for one in dialects]
    name, number = listen_address(settings.listen, host, port)
    _check_exposure(settings, name)
    clock = Clock()
    with ExitStack() as stack:
        listener = stack.enter_context(listen(name, number))
        others = [(one, stack.enter_context(listen(name, at))) for one, at in spoken]
        stop = Stop()
        placement = stack.enter_context(open_placement(settings, clock))
        gateway, served = open_gateway(settings, placement, listener, others, clock)
        _LOG.info("passing on %s to the nodes of %s", url_of(listener), settings.object_store)
        for dialect, its in others:
            _LOG.info("speaking %s at %s", dialect, url_of(its))
        while not stop.wanted and served.running:
            clock.sleep(LOOK_SECONDS)
        end_after(settings.shutdown_timeout)
        done = drain(gateway, served, clock, settings.shutdown_timeout * REQUESTS_SHARE)
    _LOG.info("stopped")
    sys.exit(0 if done and stop.wanted else 1)


@contextmanager
def open_placement(settings: Settings, clock: Clock) -> Iterator[Placement]:
    """Yield where the databases of the settings' object store are, once it was read.

    Where the lease store does not answer, it goes on being asked. Raises `Invalid` where the
    settings name none, or no object store, and what opening the latter raises.
    """
    from ..catalog import start_catalog
    from ..node.leasing import make_placement
    from ..store import open_store
    from ..store.identity import identify

    if settings.object_store is None:
        raise Invalid(
            "a gateway finds the nodes by the object store that they share: set "
            "PALIMP_OBJECT_STORE to the one that is set on them"
        )
    store = open_store(settings.object_store, clock=clock)
    try:
        cluster = identify(store)
    finally:
        store.close()
    with ExitStack() as stack:
        catalog = None
        if settings.lease_store == "sql" and settings.catalog_url is not None:
            catalog = start_catalog(settings.catalog_url, clock, cluster)
            stack.callback(catalog.close)
        placement = make_placement(settings, cluster, catalog, clock)
        stack.callback(placement.close)
        end = clock.monotonic() + _FIRST_SECONDS
        while not placement.peers() and clock.monotonic() < end:
            clock.sleep(LOOK_SECONDS)
        yield placement


def open_gateway(
    settings: Settings,
    placement: Placement,
    listener: socket.socket,
    dialects: Sequence[tuple[str, socket.socket]],
    clock: Clock,
) -> tuple[Gateway, Served]:
    """Return a gateway and what serves it, from now on."""
    from ..http.api import Limits
    from ..http.gateway import Gateway
    from ..node.serving import Served

    limits = Limits.of(settings)
    gateway = Gateway(
        placement,
        limits,
        clock,
        Metrics(),
        open_to_all=settings.auth != "on",
        platform_key=settings.platform_key,
        ports={one.getsockname()[1]: name for name, one in dialects},
    )
    served = Served(
        gateway,
        [listener, *(one for _, one in dialects)],
        read_seconds=limits.read_seconds,
        write_seconds=limits.write_seconds,
        connections=limits.in_flight * CONNECTIONS_PER_REQUEST,
        trusted_proxies=settings.trusted_proxies,
    )
    return gateway, served


def _check_exposure(settings: Settings, host: str) -> None:
    """Refuse to stand open to a network before nodes that ask nobody."""
    if settings.auth != "on" and not is_loopback(host):
        raise Invalid(
            f"{host} is not a loopback address, and a gateway asks nobody for a credential: its "
            "nodes have to. Set PALIMP_AUTH=on for it as for them, or listen on 127.0.0.1"
        )
