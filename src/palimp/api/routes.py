"""From a method and a path to an operation, and back: made from OPERATIONS, in one place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from ..errors import Invalid
from .operation import Operation
from .operations import OPERATIONS

__all__ = ["Match", "Router", "fill_path", "placeholders"]


class Match(NamedTuple):
    """The operation of a route and the decoded values of its placeholders.

    `operation` is None where the path is known and the method is not; `allowed` says which are.
    """

    operation: Operation | None
    values: dict[str, str]
    allowed: tuple[str, ...]


class Router:
    """Matches raw paths, so that a percent-encoded `/` in a name never becomes a separator."""

    def __init__(self, operations: Iterable[Operation] = OPERATIONS.values()) -> None:
        self._root: _Branch = _Branch()
        for operation in operations:
            self._root.add(operation)

    def match(self, method: str, raw_path: bytes) -> Match | None:
        """Return the match of a path as it came, still encoded; None where no route has it.

        Raises `Invalid` for a path that is not percent-encoded UTF-8.
        """
        node, given = self._root, []
        for part in raw_path.lstrip(b"/").split(b"/"):
            fixed = node.words.get(part)
            if fixed is None and node.any is not None:
                given.append(_decode(part))
                fixed = node.any
            if fixed is None:
                return None
            node = fixed
        if not node.methods:
            return None
        operation = node.methods.get(method)
        names = placeholders(operation.path) if operation else ()
        values = dict(zip(names, given, strict=True)) if operation else {}
        return Match(operation, values, tuple(sorted(node.methods)))


class _Branch:
    """What may follow in a path: known words, any value, or the end (with its methods)."""

    __slots__ = ("any", "methods", "words")

    def __init__(self) -> None:
        self.words: dict[bytes, _Branch] = {}
        self.any: _Branch | None = None
        self.methods: dict[str, Operation] = {}

    def add(self, operation: Operation) -> None:
        node = self
        for part in operation.path.strip("/").split("/"):
            if part.startswith("{"):
                node.any = node.any or _Branch()
                node = node.any
            else:
                node = node.words.setdefault(part.encode(), _Branch())
        node.methods[operation.method] = operation


def placeholders(path: str) -> tuple[str, ...]:
    """Return the names in braces of a path, in order."""
    return tuple(_names(path))


def fill_path(path: str, values: Mapping[str, str]) -> str:
    """Return a path with its placeholders filled and encoded."""
    for name in placeholders(path):
        path = path.replace("{" + name + "}", _encode(values[name], name), 1)
    return path


def _names(path: str) -> Iterator[str]:
    for part in path.split("/"):
        if part.startswith("{"):
            yield part[1:-1]


def _encode(value: str, name: str) -> str:
    try:
        encoded = quote(value, safe="")
    except UnicodeEncodeError as error:
        raise Invalid(f"{name} {value!r:.80} is not UTF-8 text: {error.reason}") from error
    # A segment of dots is taken out of a URL by whoever tidies it up on the way.
    return encoded.replace(".", "%2E") if not encoded.strip(".") else encoded


def _decode(part: bytes) -> str:
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"the path has {part!r:.80}, which is not percent-encoded UTF-8") from error
