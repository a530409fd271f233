"""Options and output shared by the commands."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeVar

import click

import palimp

from ..api.base import Result
from ..client import Client, PastProfile, Profile
from ..clock import format_ms
from ..errors import Invalid
from ..points import Point

__all__ = [
    "Place",
    "at_option",
    "echo_json",
    "echo_txid",
    "folder_options",
    "given",
    "json_lines",
    "json_value",
    "object_store_option",
    "parse_json",
    "place_options",
    "profile_argument",
    "store_options",
    "wait_option",
    "when",
]

F = TypeVar("F", bound=Callable[..., Any])

_URL_VARIABLE = "PALIMP_URL"


class Place:
    """Where a command works, a folder or a node, and how it answers.

    What the command line says wins over `PALIMP_URL`, that over a folder nobody named. Raises
    `Invalid` where both a folder and a node are named, or an option that fits neither.
    """

    def __init__(
        self,
        *,
        data: str | None = None,
        url: str | None = None,
        token: str | None = None,
        namespace: str = "default",
        as_json: bool = False,
        object_store: str | None = None,
    ) -> None:
        self.data = data
        self.namespace = namespace
        self.as_json = as_json
        ambient = os.environ.get(_URL_VARIABLE) or None
        self.url = url if url is not None or data is not None else ambient
        self._url = url
        self._token = token
        self._object_store = object_store
        self._catalog_url: str | None = None
        # No message shows the URL: a careless one holds a password.
        if url is not None and data is not None:
            raise Invalid(f"--url and --data {data}: a command works on one of them; leave one out")
        if self.url is not None and object_store is not None:
            raise Invalid(
                f"--object-store {object_store} with {'--url' if url else _URL_VARIABLE}: a node "
                "knows where its history is; leave one out, or name the folder with --data"
            )
        if self.url is None and token is not None:
            raise Invalid("--token is for a node, and this works on a folder; add --url")

    def with_catalog(self) -> Place:
        """Return the place for what is kept in a catalog: a folder that names none has its own."""
        if self.url is not None:
            return self
        from pathlib import Path

        from ..catalog import default_url
        from ..node import load_settings

        settings = load_settings({} if self.data is None else {"data_dir": self.data})
        if settings.catalog_url is None:
            self._catalog_url = default_url(Path(settings.data_dir))
        return self

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Reach the node, or open the folder, for one command."""
        if self.url is not None:
            # Without --url, `connect` reads the variable itself and names it in what it refuses.
            with palimp.connect(self._url, token=self._token) as mem:
                yield mem
        else:
            settings = given({"object_store": self._object_store, "catalog_url": self._catalog_url})
            with palimp.open(self.data, **settings) as mem:
                yield mem

    @contextmanager
    def profile(self, name: str) -> Iterator[Profile]:
        """Reach the node, or open the folder, and name a profile in it."""
        with self.client() as mem:
            yield mem.profile(name, namespace=self.namespace)

    @contextmanager
    def reading(self, name: str, at: str | None) -> Iterator[Profile | PastProfile]:
        """Like `profile`, as it is or as it was at a point."""
        point = None if at is None else Point.parse(at)
        with self.profile(name) as store:
            yield store if point is None else store.at(point)


_data_option = click.option(
    "--data",
    metavar="FOLDER",
    help="Folder with the memories. [default: PALIMP_DATA_DIR, else ./memory]",
)
_url_option = click.option(
    "--url", help="A node instead of a folder. [default: PALIMP_URL, unless --data is given]"
)
_token_option = click.option(
    "--token", help="The node's credential. [default: PALIMP_TOKEN, which `ps` does not show]"
)
_namespace_option = click.option(
    "--namespace", default="default", show_default=True, help="Namespace."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
_PLACED = ("data", "url", "token", "namespace", "as_json", "object_store")


def place_options(command: F) -> F:
    """Add --data, --url, --token, --namespace and --json, and hand them on as `place`.

    So is what `object_store_option` adds.
    """
    placed: F = _placed(command, _data_option, _url_option, _token_option)
    return placed


def store_options(command: F) -> F:
    """Add the options of `place_options` to a command that is about the whole store.

    It has no --namespace.
    """
    placed: F = _placed(command, _data_option, _url_option, _token_option, namespace=False)
    return placed


def folder_options(command: F) -> F:
    """Add the options of `place_options` to a command that only makes sense on a folder.

    It has no --url; where `PALIMP_URL` says that a node is meant, it is refused until --data says
    otherwise.
    """

    @functools.wraps(command)
    def on_folder(*args: Any, place: Place, **rest: Any) -> Any:
        if place.url is not None:
            raise Invalid(
                f"{_URL_VARIABLE} names a node, and this command works on a folder, not on a node; "
                "name the folder with --data"
            )
        return command(*args, place=place, **rest)

    placed: F = _placed(on_folder, _data_option)
    return placed


def _placed(command: Any, *where: Callable[[Any], Any], namespace: bool = True) -> Any:
    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> Any:
        placed = {name: options.pop(name) for name in _PLACED if name in options}
        return command(*args, place=Place(**placed), **options)

    decorated: Any = wrapped
    named = (_namespace_option,) if namespace else ()
    for option in reversed((*where, *named, _json_option)):
        decorated = option(decorated)
    return decorated


profile_argument = click.argument("profile")
wait_option = click.option(
    "--wait",
    is_flag=True,
    flag_value="embedded",
    default=None,
    help="Return when it can be found by meaning too.",
)
object_store_option = click.option(
    "--object-store",
    metavar="URL",
    help="Where the history is kept. [default: PALIMP_OBJECT_STORE, else in the folder]",
)
at_option = click.option(
    "--at", metavar="POINT", help="As it was at a checkpoint, a txid, or an RFC 3339 time."
)


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given: not None, not empty."""
    return {name: value for name, value in fields.items() if value not in (None, (), [])}


def echo_json(value: Result | list[Result] | dict[str, Any]) -> None:
    """Print a result as JSON."""
    if isinstance(value, Result):
        plain: Any = value.to_dict()
    elif isinstance(value, list):
        plain = [one.to_dict() for one in value]
    else:
        plain = value
    click.echo(json.dumps(plain, ensure_ascii=False, indent=2))


def echo_txid(txid: int) -> None:
    """Print a txid where it does not disturb a pipe."""
    click.echo(f"txid: {txid}", err=True)


def when(ms: int | None) -> str:
    """Return a time for people, or nothing."""
    return "" if ms is None else format_ms(ms, pattern="%Y-%m-%d %H:%M")


def json_lines(stream: IO[str]) -> Iterator[tuple[int, Any | Invalid]]:
    """Yield line number and value of each JSON line; an `Invalid` where a line is not JSON.

    Empty lines are passed over. A file with one JSON array is read as its elements.
    """
    for number, line in enumerate(stream, 1):
        stripped = line.strip()
        if not stripped:
            continue
        try:
            value = parse_json(stripped)
        except Invalid as error:
            yield number, Invalid(f"line {number} is {error}")
            continue
        if isinstance(value, list):
            yield from ((number, element) for element in value)
        else:
            yield number, value


def json_value(_context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    """Return what an option says in JSON."""
    try:
        return None if text is None else parse_json(text)
    except Invalid as error:
        raise Invalid(f"--{parameter.name} is {error}") from error


def parse_json(text: str) -> Any:
    """Return the value of a JSON text; raises `Invalid` where it is none."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"not JSON: {error}") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
