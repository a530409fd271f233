"""`palimp fleet`: the same done to many profiles, by the nodes, as a task that can be followed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import click

from ..api import Erase, MemoryType
from ..api.annotating import Reassign
from ..api.base import Result
from ..api.tasks import GovernanceTask, Task, TaskKind, TaskState
from ..client import Client
from ..clock import Clock
from ..errors import Invalid
from .common import Place, echo_json, given, store_options, when

_LOOK_SECONDS = 1.0
_ENDED = ("done", "failed", "cancelled")
_id_argument = click.argument("task", metavar="TASK")
_wait_option = click.option(
    "--wait", is_flag=True, help="Follow it until it has ended; exit code 1 where it failed."
)


@click.group("fleet")
def command() -> None:
    """Do the same to many profiles, as a task of all nodes.

    A task is kept in the catalog and goes on after this command has ended. It needs the platform
    key, where a node asks for one.
    """


@command.command("run")
@click.argument("kind", type=click.Choice(get_args(TaskKind)))
@click.option(
    "--namespace", "namespaces", multiple=True, help="Profiles of this namespace; repeatable."
)
@click.option("--all", "everything", is_flag=True, help="Profiles of every namespace.")
@click.option("--match", metavar="GLOB", help="Only profiles with such names, as 'customer-*'.")
@click.option("--dry-run", is_flag=True, help="Count the profiles, and do nothing to them.")
@click.option("--to", metavar="WHERE", help="export: a folder of the node, or an object store.")
@click.option(
    "--task",
    type=click.Choice(get_args(GovernanceTask)),
    help="governance: which rules. [default: all]",
)
@click.option("--id", "ids", metavar="ID", multiple=True, help="erase: this memory; repeatable.")
@click.option("--topic", help="erase: all that has this topic, superseded or not.")
@click.option(
    "--type",
    "kind_of",
    type=click.Choice(get_args(MemoryType)),
    help="erase: of that topic only what is of this type.",
)
@click.option("--session", help="erase: all memories and turns of this session.")
@click.option("--source", help="erase: all that came from this source.")
@click.option("--whole-profile", "whole", is_flag=True, help="erase: the profiles themselves.")
@click.option("--derived", is_flag=True, help="erase: also what was made of it.")
@click.option("--grace", type=float, help="erase: seconds until history is written anew.")
@click.option("--reason", help="erase: kept with each erasure.")
@click.option("--project", metavar="ID", help="reassign: whose memories are given over.")
@click.option("--into", metavar="ID", help="reassign: to which project. [default: to none]")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_wait_option
@store_options
def run(
    place: Place,
    kind: TaskKind,
    namespaces: tuple[str, ...],
    everything: bool,
    match: str | None,
    dry_run: bool,
    to: str | None,
    task: GovernanceTask | None,
    yes: bool,
    wait: bool,
    project: str | None,
    into: str | None,
    **erasing: Any,
) -> None:
    """Begin a task of KIND on many profiles.

    \b
    palimp fleet run verify --all --wait
    palimp fleet run erase --namespace acme --session s42 --dry-run
    palimp fleet run governance --namespace acme --task daily
    palimp fleet run export --namespace acme --match 'customer-*' --to s3://backup/exports
    """
    erase = _erase(kind, **erasing)
    if erase is not None and not (yes or dry_run):
        click.confirm("Erase from every one of these profiles, for good?", abort=True)
    with place.client() as mem:
        made = mem.create_task(
            kind,
            namespaces=namespaces,
            match=match,
            all=everything,
            dry_run=dry_run,
            to=_url(to),
            erase=erase,
            governance=_governance(kind, task),
            reassign=_reassign(kind, project, into),
        )
        _follow(place, mem, made, wait=wait)


@command.command("list")
@click.option("--state", type=click.Choice(get_args(TaskState)), help="Only those.")
@store_options
def list_(place: Place, state: TaskState | None) -> None:
    """List the tasks of all nodes, the newest first; those that ended for 72 hours."""
    with place.client() as mem:
        found: list[Result] = list(mem.tasks(state=state))
    if place.as_json:
        echo_json(found)
        return
    for one in found:
        assert isinstance(one, Task)
        click.echo(f"{when(one.created_at)}  {_line(one)}")


@command.command("show")
@_id_argument
@_wait_option
@store_options
def show(place: Place, task: str, wait: bool) -> None:
    """Say how far a task is, and what failed."""
    with place.client() as mem:
        _follow(place, mem, mem.task(task), wait=wait)


@command.command("cancel")
@_id_argument
@store_options
def cancel(place: Place, task: str) -> None:
    """Have a task end where it is; what it did stays done."""
    with place.client() as mem:
        _show(place, mem.cancel_task(task))


@command.command("retry")
@_id_argument
@_wait_option
@store_options
def retry(place: Place, task: str, wait: bool) -> None:
    """Have a task go on that failed or was cancelled, with the profiles that failed again."""
    with place.client() as mem:
        _follow(place, mem, mem.retry_task(task), wait=wait)


def _erase(
    kind: TaskKind, *, kind_of: MemoryType | None, whole: bool, derived: bool, **more: Any
) -> Erase | None:
    """Return what is to be erased; options that say so are for `erase` only."""
    fields = given({**more, "type": kind_of})
    if kind == "erase":
        return Erase(**fields, profile=whole, include_derived=derived)
    if fields or whole or derived:
        raise Invalid(f"a task {kind!r} erases nothing; leave out what says what is to be erased")
    return None


def _governance(kind: TaskKind, task: GovernanceTask | None) -> GovernanceTask | None:
    if kind == "governance":
        return task or "all"
    if task is not None:
        raise Invalid(f"a task {kind!r} asks no rules; leave --task out")
    return None


def _reassign(kind: TaskKind, project: str | None, into: str | None) -> Reassign | None:
    if kind == "reassign":
        if project is None:
            raise Invalid("say whose memories are given over: --project")
        return Reassign(project=project, to=into)
    if (project, into) != (None, None):
        raise Invalid(f"a task {kind!r} gives nothing over; leave --project and --into out")
    return None


def _url(to: str | None) -> str | None:
    return to if to is None or "://" in to else Path(to).absolute().as_uri()


def _follow(place: Place, mem: Client, task: Task, *, wait: bool) -> None:
    clock, progress = Clock(), sys.stderr.isatty() and not place.as_json
    while wait and task.state not in _ENDED:
        clock.sleep(_LOOK_SECONDS)
        task = mem.task(task.id)
        if progress:
            click.echo(f"\r{_line(task)}", nl=False, err=True)
    if wait and progress:
        click.echo(err=True)
    _show(place, mem.task(task.id) if wait else task)
    if wait and task.state == "failed":
        sys.exit(1)


def _show(place: Place, task: Task) -> None:
    if place.as_json:
        echo_json(task)
        return
    click.echo(_line(task))
    if task.state == "running":
        click.echo(f"  at {task.runner}, heard of last {when(task.seen_at)}")
    for name, count in task.result.items():
        click.echo(f"  {name}: {count:,}")
    if task.message is not None:
        click.echo(f"  {task.message}")
    for one in task.errors:
        click.echo(f"  failed: {one.profile}: {one.message}")
    if task.failed > len(task.errors) > 0:
        click.echo(f"  and {task.failed - len(task.errors):,} more")
    if task.state in ("failed", "cancelled"):
        click.echo(f"  to go on with it: palimp fleet retry {task.id}")


def _line(task: Task) -> str:
    total = "?" if task.total is None else f"{task.total:,}"
    failed = f", {task.failed:,} failed" if task.failed else ""
    dry = " (dry run)" if task.spec.get("dry_run") else ""
    return f"{task.id}  {task.kind}{dry}: {task.state}, {task.done:,} of {total} profiles{failed}"
