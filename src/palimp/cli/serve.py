"""`palimp serve`: a node that answers over HTTP until it is told to stop."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ..api import GetNode, NodeInfo, Target
from ..catalog import default_url
from ..clock import Clock
from ..errors import Error, Invalid, Unavailable
from ..node import Node, Settings, load_settings
from ..node.aliases import unread
from ..node.credentials import check_exposure
from ..node.leasing import advertised
from ..node.logs import configure
from ..observe import logger
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
    from ..client.transports.folder import Folder
    from ..http.app import Mounted

__all__ = ["MEMTRACE", "command", "serve_alone"]

_LOG = logger("serve")
# The dialect whose clients are asked for keys at a port of their own.
MEMTRACE = "memtrace"
# And before that handing databases to other nodes, while requests are still answered.
_HANDOVER_SHARE = 0.4
_WORKERS_MAX = 64


@click.command("serve")
@click.option("--host", help="Address to listen on. [default: that of PALIMP_LISTEN]")
@click.option(
    "--port",
    type=click.IntRange(0, PORT_MAX),
    help="Port; 0 takes a free one, which is logged. [default: that of PALIMP_LISTEN]",
)
@click.option(
    "--data",
    metavar="FOLDER",
    help="Folder with the memories. [default: PALIMP_DATA_DIR, else ./memory]",
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
@click.option(
    "--workers",
    type=click.IntRange(1, _WORKERS_MAX),
    default=1,
    show_default=True,
    help="So many processes answer, each a node on a folder of its own in FOLDER; this one passes "
    "requests on to them.",
)
def command(
    host: str | None,
    port: int | None,
    data: str | None,
    object_store: str | None,
    dialects: tuple[str, ...],
    workers: int,
) -> None:
    """Serve a folder over HTTP: the API at /v1, /docs, /metrics, /ready, MCP at /mcp.

    \b
    palimp serve
    palimp serve --port 8100 --data ./memory --object-store s3://bucket/prefix
    palimp serve --dialect memoturn=8101
    palimp serve --workers 4
    """
    settings = load_settings(given({"data_dir": data, "object_store": object_store}))
    if settings.catalog_url is None:
        url = default_url(Path(settings.data_dir))
        settings = msgspec.structs.replace(settings, catalog_url=url)
    configure(settings.log_level, settings.log_format)
    for one in unread(os.environ):
        _LOG.warning("%s is not read: this release has nothing it would set", one)
    check_proxies(settings.trusted_proxies)
    spoken = [parse_dialect(one) for one in dialects]
    if any(one == MEMTRACE for one, _ in spoken):
        from ..node.memtrace import at_a_port

        settings = at_a_port(settings, "PALIMP_MASTER_KEY", "palimp")
    name, number = listen_address(settings.listen, host, port)
    shared = _for_workers(settings) if workers > 1 else settings
    check_exposure(shared, name)
    with ExitStack() as stack:
        listener = stack.enter_context(listen(name, number))
        others = [(one, stack.enter_context(listen(name, at))) for one, at in spoken]
        if workers > 1:
            done = _serve_workers(settings, shared, workers, listener, others)
        else:
            done = serve_alone(settings, listener, others)
    _LOG.info("stopped; everything that was written is in the store")
    sys.exit(0 if done else 1)


def _for_workers(settings: Settings) -> Settings:
    from .workers import for_workers

    return for_workers(settings)


def _serve_workers(
    settings: Settings,
    shared: Settings,
    count: int,
    listener: socket.socket,
    dialects: Sequence[tuple[str, socket.socket]],
) -> bool:
    """Serve the folder by several processes; `shared` are the settings of each."""
    from .workers import folders_of_workers, serve_workers, ship_what_is_left

    stop = Stop()
    # Of all, before any of them starts: what another had taken by then would be a branch beside.
    left = (Path(shared.data_dir), *folders_of_workers(settings.data_dir))
    ship_what_is_left(settings, left, Clock())
    return serve_workers(shared, count, listener, dialects, stop)


def serve_alone(
    settings: Settings,
    listener: socket.socket | None,
    dialects: Sequence[tuple[str, socket.socket]],
) -> bool:
    """Serve the folder by this process; without a `listener` only dialects, at their ports."""
    if listener is None:
        if settings.lease_store != "single":
            raise Invalid(
                "other nodes reach this one at the address of PALIMP_LISTEN, and none is set"
            )
    elif settings.lease_store != "single":
        # Before anything is opened: what others cannot reach is not to have anything.
        advertised(settings, url_of(listener))
    stop = Stop()
    folder, node = _folder(settings)
    try:
        if Path(node.context.about.folder, "workers").is_dir():
            from .workers import folders_of_workers, ship_what_is_left

            ship_what_is_left(settings, folders_of_workers(settings.data_dir), Clock())
        if settings.auth == "on":
            # Now: a node that cannot tell tokens apart is not to answer anybody.
            _LOG.info("tokens are signed with key %s", node.tokens.key_id)
        if settings.auth == "on" or _has_to_do_with_memtrace(settings):
            from ..node.memtrace_start import prepare_memtrace

            prepare_memtrace(node.context, settings)
        return _serve(node, _mounts(folder, settings), listener, dialects, stop)
    finally:
        folder.close()


def _has_to_do_with_memtrace(settings: Settings) -> bool:
    return settings.memtrace_auth is not None or settings.memtrace_arc_url is not None


def _serve(
    node: Node,
    mounts: Mapping[str, Mounted],
    listener: socket.socket | None,
    dialects: Sequence[tuple[str, socket.socket]],
    stop: Stop,
) -> bool:
    """Answer until it is to stop; return whether every request was finished."""
    from ..http import create_app
    from ..http.api import Limits
    from ..node.serving import Served

    settings, clock = node.settings, node.context.clock
    limits = Limits.of(settings)
    ports = {one.getsockname()[1]: name for name, one in dialects}
    app = create_app(node, limits=limits, mounts=mounts, ports=ports)
    sockets = [*([] if listener is None else [listener]), *(one for _, one in dialects)]
    served = Served(
        app,
        sockets,
        read_seconds=limits.read_seconds,
        write_seconds=limits.write_seconds,
        connections=limits.in_flight * CONNECTIONS_PER_REQUEST,
        trusted_proxies=settings.trusted_proxies,
    )
    try:
        # It answers already: whoever hears of it may send something at once.
        node.join(url_of(sockets[0]))
    except Error:
        served.stop(0)
        raise
    about = node.context.about
    _LOG.info(
        "serving %s, folder %s, history in %s", url_of(sockets[0]), about.folder, about.object_store
    )
    for name, one in dialects:
        _LOG.info("speaking %s at %s", name, url_of(one))
    node.look_after_itself()
    while not stop.wanted:
        if not served.running:
            _LOG.error("the server ended by itself")
            return False
        clock.sleep(LOOK_SECONDS)
    end_after(settings.shutdown_timeout)
    node.leave(settings.shutdown_timeout * _HANDOVER_SHARE)
    return drain(app.api, served, clock, settings.shutdown_timeout * REQUESTS_SHARE)


def _folder(settings: Settings) -> tuple[Folder, Node]:
    """Open the folder as its owner: other processes of this machine are its visitors."""
    from ..client.transports.folder import Folder

    folder = Folder(settings, serving=True)
    node = folder.node
    if node is None:
        owner = folder.call("node.info", Target(), GetNode())
        assert isinstance(owner, NodeInfo)
        folder.close()
        raise Unavailable(
            f"{settings.data_dir} is open in process {owner.process} already; end that, or serve "
            "another folder with --data"
        )
    return folder, node


def _mounts(folder: Folder, settings: Settings) -> Mapping[str, Mounted]:
    if importlib.util.find_spec("mcp") is None:
        return {}
    from ..client import AsyncClient
    from ..client.transports.threaded import Threaded
    from ..mcp import create_mount

    # Where a credential is asked for, the name by which a node is reached says nothing.
    hosts = None if settings.auth == "on" else ()
    return {"/mcp": create_mount(AsyncClient(Threaded(folder)), allowed_hosts=hosts)}
