"""Options and output shared by the commands."""

from __future__ import annotations

import functools
import json
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
    "given",
    "json_lines",
    "object_store_option",
    "place_options",
    "profile_argument",
    "when",
]

F = TypeVar("F", bound=Callable[..., Any])


class Place:
    """Where a command works, and how it answers."""

    def __init__(
        self, data: str | None, namespace: str, as_json: bool, object_store: str | None = None
    ) -> None:
        self.data = data
        self.namespace = namespace
        self.as_json = as_json
        self._settings = given({"object_store": object_store})

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Open the folder for one command."""
        with palimp.open(self.data, **self._settings) as mem:
            yield mem

    @contextmanager
    def profile(self, name: str) -> Iterator[Profile]:
        """Open the folder and name a profile in it."""
        with self.client() as mem:
            yield mem.profile(name, namespace=self.namespace)

    @contextmanager
    def reading(self, name: str, at: str | None) -> Iterator[Profile | PastProfile]:
        """Open the folder and name a profile in it, as it is or as it was at a point."""
        point = None if at is None else Point.parse(at)
        with self.profile(name) as store:
            yield store if point is None else store.at(point)


def place_options(command: F) -> F:
    """Add --data, --namespace and --json, and hand them on as `place`.

    So is what `object_store_option` adds.
    """

    @click.option(
        "--data",
        metavar="FOLDER",
        help="Folder with the memories. [default: PALIMP_DATA_DIR, else ./memory]",
    )
    @click.option("--namespace", default="default", show_default=True, help="Namespace.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        data: str | None,
        namespace: str,
        as_json: bool,
        object_store: str | None = None,
        **rest: Any,
    ) -> Any:
        return command(*args, place=Place(data, namespace, as_json, object_store), **rest)

    return wrapped  # type: ignore[return-value]


profile_argument = click.argument("profile")
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
            value = json.loads(stripped, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            yield number, Invalid(f"line {number} is not JSON: {error}")
            continue
        if isinstance(value, list):
            yield from ((number, element) for element in value)
        else:
            yield number, value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
