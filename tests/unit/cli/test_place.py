"""Where a command works: a folder or a node, decided before anything is opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import palimp
from palimp.cli.common import Place
from palimp.cli.main import COMMANDS, cli
from palimp.errors import Invalid

NODE = "http://user:secret@127.0.0.1:1"
# Commands that take no place, and why.
WITHOUT_A_PLACE = {
    "completions": "prints a script",
    "demo": "works in a folder of its own",
    "gateway": "keeps nothing",
    "eval": "works in a folder of its own",
    "keygen": "prints a key",
    "ltx": "reads segment files",
    "mcp": "has its own options",
    "memtrace": "works where that system would",
    "serve": "is the node",
    "setup": "writes the files of agent tools",
}
ONLY_ON_A_FOLDER = ("restore",)
# One changes the keys of a folder, which no process has to open for that; one reads a receipt.
# Others look at a plugin that is being written. To one a `--url` is that of an Arc.
BESIDE = {
    ("org", "add-arc"),
    ("token", "rotate"),
    ("erasure", "verify"),
    *(("governance", "plugin", name) for name in ("check", "keygen", "sign")),
}


def test_a_folder_unless_a_node_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Place().url is None
    assert Place(data="m").url is None
    assert Place(url=NODE).url == NODE
    assert Place(url=NODE, token="t").url == NODE
    monkeypatch.setenv("PALIMP_URL", NODE)
    assert Place().url == NODE
    assert Place(token="t").url == NODE
    assert Place(data="m").url is None
    assert Place(data="m", object_store="mem://").url is None
    # Set but empty means not set.
    monkeypatch.setenv("PALIMP_URL", "")
    assert Place().url is None


@pytest.mark.parametrize(
    ("options", "environment", "names"),
    [
        ({"url": NODE, "data": "m"}, None, ("--url", "--data m")),
        ({"url": NODE, "object_store": "mem://"}, None, ("--object-store mem://", "--url")),
        ({"object_store": "mem://"}, NODE, ("--object-store mem://", "PALIMP_URL")),
        ({"token": "secret"}, None, ("--token", "--url")),
        ({"data": "m", "token": "secret"}, NODE, ("--token", "--url")),
    ],
)
def test_what_does_not_go_together_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, str],
    environment: str | None,
    names: tuple[str, ...],
) -> None:
    if environment is not None:
        monkeypatch.setenv("PALIMP_URL", environment)
    with pytest.raises(Invalid) as raised:
        Place(**options)
    for name in names:
        assert name in str(raised.value)
    assert "secret" not in str(raised.value)


class Opened(Exception):
    """Stands for what would have been opened."""


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Both doors to memories, which only note who knocks."""
    knocks: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def door(name: str) -> Any:
        @contextmanager
        def opened(*arguments: Any, **settings: Any) -> Iterator[None]:
            knocks.append((name, arguments, settings))
            raise Opened
            yield

        return opened

    monkeypatch.setattr(palimp, "open", door("open"))
    monkeypatch.setattr(palimp, "connect", door("connect"), raising=False)
    return knocks


def leaves(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), name)
            assert inner is not None
            yield from leaves(inner, (*path, name))
    else:
        yield path


PLACED = [
    path
    for path in leaves(cli, ())
    if path[0] not in WITHOUT_A_PLACE and path[0] not in ONLY_ON_A_FOLDER and path not in BESIDE
]


def words(path: tuple[str, ...], folder: Path) -> list[str]:
    """Return arguments of the right shape for a command."""
    command: click.Command = cli
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    (folder / "file").write_text('{"text": "x"}\n')
    given = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            file = parameter.name == "file" and path[0] != "export"
            name = "acme--alice" if path[0] in ("db", "token") else "alice"
            json = parameter.name in ("filter", "update")
            if isinstance(parameter.type, click.Choice):
                name = parameter.type.choices[0]
            if isinstance(parameter.type, click.types.IntParamType):
                name = "1"
            given.append(str(folder / "file") if file else "{}" if json else name)
        elif parameter.required:
            given += [parameter.opts[0], str(folder / "out")]
        elif parameter.name == "yes":
            given.append("--yes")
        elif parameter.name == "out" and parameter.required:
            given += ["--out", str(folder / "out")]
    of_arcs = path[-1] in ("show-arc", "remove-arc", "parked")
    dialects = {"key": "memoria", "org": "memtrace" if of_arcs else "memorysync"}
    dialect = ["--dialect", dialects[path[0]]] if path[0] in dialects else []
    more = {
        ("memory", "history"): ["--topic", "t"],
        ("org", "parked"): ["--retry"],
        ("key", "create"): ["--user", "ann", "--name", "laptop"],
    }
    return [path[0], *dialect, *path[1:], *given, *more.get(path, [])]


@pytest.mark.parametrize("path", PLACED, ids=" ".join)
def test_every_command_on_memories_reaches_a_node_or_opens_a_folder(
    path: tuple[str, ...], doors: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path[0] == "catalog":
        pytest.importorskip("sqlalchemy")
    monkeypatch.setenv("PALIMP_CATALOG_URL", f"sqlite:///{tmp_path}/catalog.db")
    arguments = words(path, tmp_path)
    run = CliRunner().invoke
    found = run(cli, [*arguments, "--url", NODE, "--token", "t"])
    assert isinstance(found.exception, Opened), found.output
    assert isinstance(run(cli, arguments, env={"PALIMP_URL": NODE}).exception, Opened)
    folder = run(cli, [*arguments, "--data", "m"], env={"PALIMP_URL": NODE})
    assert isinstance(folder.exception, Opened)
    assert doors == [
        ("connect", (NODE,), {"token": "t"}),
        # The variable is read by what it is for.
        ("connect", (None,), {"token": None}),
        ("open", ("m",), {}),
    ]
    both = run(cli, [*arguments, "--url", NODE, "--data", "m"])
    assert isinstance(both.exception, Invalid)


@pytest.mark.parametrize("name", ONLY_ON_A_FOLDER)
def test_a_command_for_folders_says_so(name: str, doors: list[Any]) -> None:
    found = CliRunner().invoke(cli, [name], env={"PALIMP_URL": NODE})
    assert isinstance(found.exception, Invalid)
    assert "works on a folder, not on a node" in str(found.exception)
    assert "PALIMP_URL" in str(found.exception)
    assert CliRunner().invoke(cli, [name, "--url", NODE]).exit_code == 2
    assert doors == []
    opened = CliRunner().invoke(cli, [name, "--data", "m"], env={"PALIMP_URL": NODE})
    assert isinstance(opened.exception, Opened)
    assert "Works on a folder" in CliRunner().invoke(cli, [name, "--help"]).output


def test_every_command_without_a_place_has_a_reason() -> None:
    placed = {path[0] for path in PLACED}
    assert placed.isdisjoint(WITHOUT_A_PLACE)
    assert set(COMMANDS) <= placed | set(WITHOUT_A_PLACE) | set(ONLY_ON_A_FOLDER)
