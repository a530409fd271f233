"""`palimp memtrace`: Memtrace's own command line, over our folder.

Its settings are found as there (`node.memtrace`), its lines are those, and so are its errors: one
line on standard error, `error: ` before it, and exit code 1.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ..addresses import is_loopback
from ..errors import Error, Invalid
from ..observe import logger
from ..version import __version__
from . import organisations
from .common import Place

if TYPE_CHECKING:
    from ..node import Settings

_LOG = logger("serve")
_PROGRAM = "memtrace"
_MASTER = "MEMTRACE_MASTER_KEY"
_URL_VARIABLE = "PALIMP_URL"
_FOLDER_MODE = 0o755
_org_argument = click.argument("org", metavar="ORG_ID")


class _Own(click.Group):
    """A group whose errors are said as that system says them."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the command line."""
        with _said():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Carry out a command."""
        with _said():
            return super().invoke(ctx)


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(0)
    except click.UsageError as error:
        _fail(error.format_message())
    except Error as error:
        _fail(str(error))


def _fail(text: str) -> None:
    click.echo(f"error: {text}", err=True)
    sys.exit(1)


@click.group("memtrace", cls=_Own, invoke_without_command=True)
@click.version_option(__version__, prog_name=_PROGRAM, message="%(prog)s version %(version)s")
@click.pass_context
def command(context: click.Context) -> None:
    """Memtrace's own command line: serve its clients, and look after organisations and keys.

    Without a command it serves. It is set by MEMTRACE_* and memtrace.toml, as that is.

    \b
    palimp memtrace keygen master
    palimp memtrace serve
    palimp memtrace org create "Acme Corp"
    """
    if context.invoked_subcommand is None:
        context.invoke(serve)


@command.command("serve")
def serve() -> None:
    """Serve Memtrace's clients, at port 9100 unless it is set."""
    from ..catalog import default_url
    from ..node.aliases import unread
    from ..node.credentials import check_exposure
    from ..node.logs import configure
    from ..node.memtrace import at_a_port, unread_in_file
    from .listening import check_proxies, listen, listen_address
    from .serve import MEMTRACE, serve_alone

    settings = _settings()
    configure(settings.log_level, settings.log_format)
    for one in (*unread(os.environ), *unread_in_file()):
        _LOG.warning("%s is not read: this release has nothing it would set", one)
    settings = at_a_port(settings, _MASTER, _PROGRAM)
    check_proxies(settings.trusted_proxies)
    if settings.catalog_url is None:
        url = default_url(Path(settings.data_dir))
        settings = msgspec.structs.replace(settings, catalog_url=url)
    with ExitStack() as stack:
        ours = None
        if settings.listen:
            host, port = listen_address(settings.listen, None, None)
            check_exposure(settings, host)
            ours = stack.enter_context(listen(host, port))
        host = settings.memtrace_host
        if not (settings.memtrace_auth or is_loopback(host)):
            _LOG.warning(
                "nobody is asked for a key: what asks for another name than this machine's"
                " own is refused"
            )
        theirs = stack.enter_context(listen(host, settings.memtrace_port))
        done = serve_alone(settings, ours, [(MEMTRACE, theirs)])
    _LOG.info("stopped; everything that was written is in the store")
    sys.exit(0 if done else 1)


@command.group("keygen")
def keygen() -> None:
    """Make keys."""


@keygen.command("master")
def master() -> None:
    """Print a new master key for MEMTRACE_MASTER_KEY: a secret that nobody can bring back."""
    from ..security.envelope import MasterKey

    click.echo(MasterKey.generate().export())


@command.group("org")
def org() -> None:
    """Organisations, and the Arcs in which they keep their events."""


@org.command("create")
@click.argument("name")
def create_org(name: str) -> None:
    """Make organisation NAME."""
    organisations.create_org(_place(), name, None)


@org.command("list")
def list_orgs() -> None:
    """List them, the oldest first."""
    organisations.list_orgs(_place())


@org.command("delete")
@_org_argument
def delete_org(org: str) -> None:
    """Delete one with its keys, agents, sessions, Arc and events; it does not ask."""
    organisations.delete_org(_place(), org)


@org.command("add-arc")
@_org_argument
@organisations.arc_options
def add_arc(
    org: str, arc_url: str | None, api_key: str, database: str | None, measurement: str
) -> None:
    """Have one keep its events in an Arc from now on."""
    organisations.add_arc(_sealing(), org, arc_url, database, api_key, measurement)


@org.command("show-arc")
@_org_argument
def show_arc(org: str) -> None:
    """Show where one keeps its events; the key is masked."""
    organisations.show_arc(_sealing(), org)


@org.command("remove-arc")
@_org_argument
def remove_arc(org: str) -> None:
    """Take its Arc away."""
    organisations.remove_arc(_place(), org)


@command.group("key")
def key() -> None:
    """Keys with which clients reach what is of an organisation."""


@key.command("create")
@click.option("--org", help="Whose memories it reaches. [required]")
@click.option("--name", help="What it is called; no two have one name. [required]")
@click.option("--permissions", metavar="A,B", help="What it may do. [default: read,write]")
def create_key(org: str | None, name: str | None, permissions: str | None) -> None:
    """Make a key and print it once."""
    organisations.create_key(_place(), org, name, permissions)


@key.command("list")
@click.option("--org", help="Of which organisation. [required]")
def list_keys(org: str | None) -> None:
    """List the keys of an organisation, the oldest first."""
    organisations.list_keys(_place(), org)


@key.command("revoke")
@click.argument("key", metavar="KEY_ID")
def revoke_key(key: str) -> None:
    """Let a key hold no more."""
    organisations.revoke_key(_place(), key)


def _settings() -> Settings:
    """Return the settings; where the folder is to be is made, as that system does."""
    from ..node.memtrace import memtrace_settings

    settings = memtrace_settings()
    parent = Path(settings.data_dir).expanduser().parent
    try:
        parent.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise Invalid(
            f"folder {parent} cannot be made: {error.strerror}; set MEMTRACE_AUTH_DB_PATH or "
            "PALIMP_DATA_DIR to a path that can be"
        ) from error
    return settings


def _place() -> Place:
    """Return the folder, or the node that PALIMP_URL names."""
    if os.environ.get(_URL_VARIABLE):
        return Place()
    return Place(data=_settings().data_dir).with_catalog()


def _sealing() -> Place:
    """Return the place of a command that needs the master key, and refuse it without one."""
    if not os.environ.get(_URL_VARIABLE):
        from ..node.memtrace import at_a_port

        at_a_port(_settings(), _MASTER, _PROGRAM)
    return _place()
