"""`palimp serve`: a node that answers over HTTP until it is told to stop."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ..api import GetNode, NodeInfo, Target
from ..catalog import default_url
from ..clock import Clock
from ..errors import Invalid, Unavailable
from ..node import Node, Settings, load_settings
from ..node.aliases import unread
from ..node.credentials import check_exposure
from ..node.logs import configure
from ..observe import logger
from .common import given, object_store_option

if TYPE_CHECKING:
    from ..client.transports.folder import Folder
    from ..http.app import App, Mounted
    from ..node.serving import Served

_LOG = logger("serve")
_PORT_MAX = 65_535
_BACKLOG = 1_024
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Of the time for stopping, what requests under way may take; the rest is for shipping.
_REQUESTS_SHARE = 0.5
_LOOK_SECONDS = 0.05
# Connections that wait for their next request, beside those with one under way.
_CONNECTIONS_PER_REQUEST = 2


@click.command("serve")
@click.option("--host", help="Address to listen on. [default: that of PALIMP_LISTEN]")
@click.option(
    "--port",
    type=click.IntRange(0, _PORT_MAX),
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
def command(
    host: str | None,
    port: int | None,
    data: str | None,
    object_store: str | None,
    dialects: tuple[str, ...],
) -> None:
    """Serve a folder over HTTP: the API at /v1, /docs, /metrics, /ready, MCP at /mcp.

    \b
    palimp serve
    palimp serve --port 8100 --data ./memory --object-store s3://bucket/prefix
    palimp serve --dialect memoturn=8101
    """
    settings = load_settings(given({"data_dir": data, "object_store": object_store}))
    if settings.catalog_url is None:
        url = default_url(Path(settings.data_dir))
        settings = msgspec.structs.replace(settings, catalog_url=url)
    configure(settings.log_level, settings.log_format)
    for one in unread(os.environ):
        _LOG.warning("%s is not read: this release has nothing it would set", one)
    _check_proxies(settings.trusted_proxies)
    spoken = [_dialect(one) for one in dialects]
    name, number = _address(settings.listen, host, port)
    check_exposure(settings, name)
    with ExitStack() as stack:
        listener = stack.enter_context(_listener(name, number))
        others = [(one, stack.enter_context(_listener(name, at))) for one, at in spoken]
        stop = _Stop()
        folder, node = _folder(settings)
        try:
            if settings.auth == "on":
                # Now: a node that cannot tell tokens apart is not to answer anybody.
                _LOG.info("tokens are signed with key %s", node.tokens.key_id)
            done = _serve(node, _mounts(folder, settings), listener, others, stop)
        finally:
            folder.close()
    _LOG.info("stopped; everything that was written is in the store")
    sys.exit(0 if done else 1)


class _Stop:
    """The wish to stop: a first signal says it, a second one ends the process where it stands."""

    def __init__(self) -> None:
        # A handler runs in the middle of anything; one that took a lock could wait for itself.
        self.wanted = False
        for number in _SIGNALS:
            signal.signal(number, self._signalled)

    def _signalled(self, _number: int, _frame: object) -> None:
        if self.wanted:
            os._exit(1)
        self.wanted = True


def _end_after(seconds: float) -> None:
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


def _serve(
    node: Node,
    mounts: Mapping[str, Mounted],
    listener: socket.socket,
    dialects: Sequence[tuple[str, socket.socket]],
    stop: _Stop,
) -> bool:
    """Answer until it is to stop; return whether every request was finished."""
    from ..http import create_app
    from ..http.api import Limits
    from ..node.serving import Served

    settings, clock = node.settings, node.context.clock
    limits = Limits.of(settings)
    ports = {one.getsockname()[1]: name for name, one in dialects}
    app = create_app(node, limits=limits, mounts=mounts, ports=ports)
    served = Served(
        app,
        [listener, *(one for _, one in dialects)],
        read_seconds=limits.read_seconds,
        write_seconds=limits.write_seconds,
        connections=limits.in_flight * _CONNECTIONS_PER_REQUEST,
        trusted_proxies=settings.trusted_proxies,
    )
    about = node.context.about
    _LOG.info(
        "serving %s, folder %s, history in %s", _url(listener), about.folder, about.object_store
    )
    for name, one in dialects:
        _LOG.info("speaking %s at %s", name, _url(one))
    node.look_after_itself()
    while not stop.wanted:
        if not served.running:
            _LOG.error("the server ended by itself")
            return False
        clock.sleep(_LOOK_SECONDS)
    _end_after(settings.shutdown_timeout)
    return _drain(app, served, clock, settings.shutdown_timeout * _REQUESTS_SHARE)


def _drain(app: App, served: Served, clock: Clock, seconds: float) -> bool:
    """Refuse new requests, wait for those under way, close the connections."""
    _LOG.info("stopping; %d requests are under way", app.api.in_flight)
    app.api.drain()
    end = clock.monotonic() + seconds
    # It goes on listening meanwhile: whoever asks /ready is told, not turned away.
    while app.api.in_flight and clock.monotonic() < end:
        clock.sleep(_LOOK_SECONDS)
    unfinished = app.api.in_flight
    if unfinished:
        _LOG.warning("%d requests are cut short: they took more than %g s", unfinished, seconds)
    served.stop(max(end - clock.monotonic(), 0.0))
    return not unfinished


def _folder(settings: Settings) -> tuple[Folder, Node]:
    """Open the folder as its owner: other processes of this machine are its visitors."""
    from ..client.transports.folder import Folder

    folder = Folder(settings)
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


def _dialect(given: str) -> tuple[str, int]:
    """Return the dialect and the port of an option."""
    from ..http.dialects import check_dialect

    name, equals, number = given.partition("=")
    port = int(number) if number.isascii() and number.isdigit() else _PORT_MAX + 1
    if not equals or port > _PORT_MAX:
        raise Invalid(f"--dialect is {given!r:.80}; give NAME=PORT, as memoturn=8100")
    return check_dialect(name), port


def _address(listen: str, host: str | None, port: int | None) -> tuple[str, int]:
    """Return where to listen: what the command line says, for the rest the setting."""
    name, colon, number = listen.rpartition(":")
    if not (colon and number.isascii() and number.isdigit() and int(number) <= _PORT_MAX):
        raise Invalid(f"PALIMP_LISTEN is {listen!r:.80}; give HOST:PORT, as 127.0.0.1:8080")
    return host or name.strip("[]"), int(number) if port is None else port


def _listener(host: str, port: int) -> socket.socket:
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


def _check_proxies(proxies: str | None) -> None:
    """Refuse what is no address: a misspelt proxy would never be trusted, and nobody be told."""
    for one in proxies.split(",") if proxies else ():
        try:
            ipaddress.ip_network(one.strip())
        except ValueError:
            raise Invalid(
                f"PALIMP_TRUSTED_PROXIES has {one.strip()!r:.80}, which is no address and no "
                "network; give for instance 127.0.0.1,10.0.0.0/8"
            ) from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
