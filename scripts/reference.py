"""Write docs/reference from the code: operations, Python names, settings, commands, errors, limits.

python scripts/reference.py            write the pages
python scripts/reference.py --check    say which are not up to date, exit 1
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import reference_aliases
import reference_http
import reference_mcp
import reference_metrics

import palimp
from palimp import errors
from palimp.api import OPERATIONS, limits
from palimp.api.base import WIRE_NAMES
from palimp.cli.main import COMMANDS, cli
from palimp.client import fields
from palimp.node.settings import CLIENT_ONLY, ENVIRONMENT_ONLY, PREFIX, SETTINGS, Settings

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
HEADER = "<!-- Made by scripts/reference.py; change the code instead. -->\n\n"


def main() -> int:
    """Write or check every page."""
    check = "--check" in sys.argv[1:]
    stale = []
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        path = REFERENCE / name
        wanted = HEADER + text.rstrip() + "\n"
        if not path.exists() or path.read_text("utf-8") != wanted:
            stale.append(name)
            if not check:
                path.write_text(wanted, "utf-8")
    if check and stale:
        print(f"not up to date: {', '.join(stale)}; run make docs")
        return 1
    return 0


def pages() -> dict[str, str]:
    """Return every page by file name."""
    return {
        "operations.md": operations_page(),
        "python.md": python_page(),
        "settings.md": settings_page(),
        "commands.md": commands_page(),
        "errors.md": errors_page(),
        "limits.md": limits_page(),
        "http.md": reference_http.page(),
        "mcp.md": reference_mcp.page(),
        "aliases.md": reference_aliases.page(),
        "metrics.md": reference_metrics.page(),
    }


def operations_page() -> str:
    """Everything that can be asked, with the structs that travel."""
    lines = [
        "# Operations",
        "",
        "Every operation once: the Python client, the command line and MCP call these, and the",
        "routes of HTTP have these methods and paths.",
        "",
        "| operation | method and path | scope | writes | idempotent | what it does |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    structs: dict[str, type[msgspec.Struct]] = {}
    for row in OPERATIONS.values():
        lines.append(
            f"| `{row.name}` | `{row.method} {row.path}` | {row.scope} | {_yes(row.writes)} | "
            f"{_yes(row.idempotent)} | {row.summary} [{row.request.__name__}]"
            f"(#{row.request.__name__.lower()}) → [{row.result.__name__}]"
            f"(#{row.result.__name__.lower()}) |"
        )
        for struct in (row.request, row.result):
            _collect(struct, structs)
    lines += ["", "## Requests and results", ""]
    lines.append(
        "On the wire "
        + ", ".join(f"`{name}` is `{wire}`" for name, wire in WIRE_NAMES.items())
        + ". An unknown field of a request is refused by name."
    )
    for name in sorted(structs):
        lines += ["", *_struct(structs[name])]
    return "\n".join(lines)


def python_page() -> str:
    """Every public name with its signature and docstring."""
    lines = ["# Python", "", f"`import palimp` (release {palimp.__version__})"]
    for name in palimp.__all__:
        if name.startswith("__"):
            continue
        value = getattr(palimp, name)
        if inspect.isfunction(value):
            lines += ["", f"## palimp.{name}", "", _code(f"palimp.{name}", value), "", _doc(value)]
        elif issubclass(value, msgspec.Struct):
            lines += ["", *_struct(value, f"palimp.{name}")]
            lines += _methods(value, name)
        else:
            lines += ["", f"## palimp.{name}", "", _doc(value)]
            lines += _methods(value, name)
    lines += ["", "## Keyword arguments", ""]
    lines.append("Passed by name; what each means stands with the struct it is named after.")
    for table in (fields.MemoryFields, fields.ListFields, fields.RecallFields):
        lines += [
            "",
            f"### {table.__name__}",
            "",
            _doc(table),
            "",
            "| name | type |",
            "| --- | --- |",
        ]
        lines += [f"| `{n}` | {_type(t)} |" for n, t in typing.get_type_hints(table).items()]
    return "\n".join(lines)


def settings_page() -> str:
    """Every setting."""
    lines = [
        "# Settings",
        "",
        "Keywords of `palimp.open` win over environment variables, those over the TOML file that",
        f"`{PREFIX}CONFIG` names. An unknown name stops the start and names the nearest known one.",
        "",
        "| keyword and TOML | environment | default | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for field in msgspec.structs.fields(Settings):
        default = "not set" if field.default is None else f"`{field.default}`"
        names = f"| `{field.name}` | `{PREFIX}{field.name.upper()}` "
        lines.append(f"{names}| {default} | {SETTINGS[field.name]} |")
    for name, meaning in (ENVIRONMENT_ONLY | CLIENT_ONLY).items():
        lines.append(f"| | `{PREFIX}{name.upper()}` | not set | {meaning} |")
    return "\n".join(lines)


def commands_page() -> str:
    """The help of every command."""
    lines = ["# Commands", "", "```text", _help(cli, "palimp"), "```"]
    context = click.Context(cli, info_name="palimp")
    for name in sorted(COMMANDS):
        command = cli.get_command(context, name)
        assert command is not None
        for path, one in _walk(command, f"palimp {name}"):
            lines += ["", f"## {path}", "", "```text", _help(one, path), "```"]
    return "\n".join(lines)


def errors_page() -> str:
    """Every class and code."""
    lines = [
        "# Errors",
        "",
        "Every error is a `palimp.Error` with `code`, `retry_after` (seconds or None), `details`.",
        "The class says what to do next; the code is what travels on the wire.",
        "",
        "| class | codes | what to do |",
        "| --- | --- | --- |",
    ]
    for cls in errors.Error.__subclasses__():
        codes = ", ".join(f"`{code}`" for code in cls.codes)
        lines.append(f"| `palimp.{cls.__name__}` | {codes} | {_doc(cls)} |")
    return "\n".join(lines)


def limits_page() -> str:
    """Every limit."""
    lines = ["# Limits", "", limits.__doc__ or "", "", "| limit | value |", "| --- | --- |"]
    lines += [f"| `{name}` | {getattr(limits, name):,} |" for name in limits.__all__]
    return "\n".join(lines)


def _collect(kind: Any, found: dict[str, type[msgspec.Struct]]) -> None:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind.__name__ not in found:
            found[kind.__name__] = kind
            for field in msgspec.structs.fields(kind):
                _collect(field.type, found)
    else:
        for inner in typing.get_args(kind):
            _collect(inner, found)


def _struct(struct: type[msgspec.Struct], title: str | None = None) -> list[str]:
    lines = [f"## {title}" if title else f"### {struct.__name__}", "", _doc(struct), ""]
    lines += ["| field | type | default |", "| --- | --- | --- |"]
    for field in msgspec.structs.fields(struct):
        default = "required" if field.required else f"`{_default(field)}`"
        lines.append(f"| `{field.name}` | {_type(field.type)} | {default} |")
    return lines


def _default(field: Any) -> str:
    if field.default is msgspec.UNSET:
        return "not given"
    return repr(field.default if field.default is not msgspec.NODEFAULT else ())


def _methods(cls: type, name: str) -> list[str]:
    lines: list[str] = []
    # What a class of the client shares with another stands with each of them.
    shared = [base for base in reversed(cls.__mro__) if base.__module__.startswith("palimp.client")]
    members = {key: value for base in (shared or [cls]) for key, value in vars(base).items()}
    for method, value in members.items():
        if method.startswith("_") or not (inspect.isfunction(value) or isinstance(value, property)):
            continue
        if isinstance(value, property):
            lines += ["", f"### {name}.{method}", "", _doc(value)]
        else:
            lines += ["", f"### {name}.{method}", "", _code(method, value), "", _doc(value)]
    return lines


def _code(name: str, value: Any) -> str:
    signature = str(inspect.signature(value)).replace("(self, ", "(").replace("(self)", "()")
    prefix = "async " if inspect.iscoroutinefunction(value) else ""
    # Annotations are strings here; defaults keep their quotes.
    bare = re.sub(r"(: |-> )'([^']*)'", r"\1\2", signature)
    return f"```python\n{prefix}{name}{bare}\n```"


def _type(kind: Any) -> str:
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return " or ".join(_type(part) for part in typing.get_args(kind))
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(f"`{part!r}`" for part in typing.get_args(kind))
    origin = typing.get_origin(kind)
    if origin is not None:
        parts = typing.get_args(kind)
        inner = ", ".join("..." if p is Ellipsis else _type(p).replace("`", "") for p in parts)
        return f"`{getattr(origin, '__name__', origin)}[{inner}]`"
    if kind is type(None):
        return "None"
    return f"`{getattr(kind, '__name__', str(kind))}`"


def _doc(value: Any) -> str:
    text = inspect.cleandoc(value.__doc__ or "")
    assert text, f"{value} has no docstring"
    # A code block of a docstring is indented; everything else is a paragraph.
    return re.sub(r"(?<!\n)\n(?!\n| )", " ", text)


def _walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from _walk(command.commands[name], f"{path} {name}")


def _help(command: click.Command, path: str) -> str:
    context = click.Context(command, info_name=path, terminal_width=100, max_content_width=100)
    return command.get_help(context)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


if __name__ == "__main__":
    raise SystemExit(main())
