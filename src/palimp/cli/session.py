"""`palimp session`: transcripts, and what happened in a session."""

from __future__ import annotations

from typing import Any

import click

from ..api import Turn
from ..api.events import CONTEXT_EVENTS_DEFAULT
from ..api.sessions import TURN_SEARCH_DEFAULT, WINDOW_DEFAULT
from .common import (
    Place,
    at_option,
    echo_json,
    echo_txid,
    place_options,
    profile_argument,
    wait_option,
    when,
)

_session_argument = click.argument("session")
_handles_argument = click.argument(
    "handles", nargs=-1, required=True, type=int, metavar="HANDLE..."
)


@click.group("session")
def command() -> None:
    """Append to, read and search transcripts, and sum up sessions."""


@command.command("append")
@profile_argument
@_session_argument
@click.argument("role")
@click.argument("content")
@click.option("--speaker", help="Who spoke, where the role does not say it.")
@click.option("--at", help="When, e.g. 2026-03-02T08:41:00Z.")
@click.option(
    "--key", "keys", multiple=True, help="Do not append it where a turn has this key; repeatable."
)
@wait_option
@place_options
def append(place: Place, profile: str, session: str, role: str, content: str, **more: Any) -> None:
    """Append one turn.

    \b
    palimp session append alice s1 user "hello"
    """
    with place.profile(profile) as store:
        done = store.session(session).append(role, content, **more)
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"turn {done.seq}" + ("" if all(done.created) else " was there before"))
    for note in done.notes:
        click.echo(f"  {note}")


@command.command("window")
@profile_argument
@_session_argument
@click.option("--last", type=int, default=WINDOW_DEFAULT, show_default=True, help="How many.")
@at_option
@place_options
def window(place: Place, profile: str, session: str, last: int, at: str | None) -> None:
    """Show the last turns, oldest first."""
    with place.reading(profile, at) as store:
        turns = store.session(session).window(last)
    if place.as_json:
        echo_json(turns)
        return
    for turn in turns:
        _print_turn(turn)


@command.command("search")
@profile_argument
@_session_argument
@click.argument("query")
@click.option("-k", type=int, default=TURN_SEARCH_DEFAULT, show_default=True, help="How many.")
@at_option
@place_options
def search(place: Place, profile: str, session: str, query: str, k: int, at: str | None) -> None:
    """Rank the turns of a session."""
    with place.reading(profile, at) as store:
        found = store.session(session).search(query, k=k)
    if place.as_json:
        echo_json(found)
        return
    for turn in found:
        click.echo(f"{turn.score:.2f}  ", nl=False)
        _print_turn(turn)


@command.command("context")
@profile_argument
@_session_argument
@click.option("--since", default="24h", show_default=True, help="After this time, or how long ago.")
@click.option("--kind", "kinds", multiple=True, help="Only these kinds: decision, ...")
@click.option("--max-tokens", type=int, help="Leave out the oldest until it has no more.")
@click.option(
    "--limit", type=int, default=CONTEXT_EVENTS_DEFAULT, show_default=True, help="How many."
)
@at_option
@place_options
def context(place: Place, profile: str, session: str, at: str | None, **fields: Any) -> None:
    """Show what happened in a session as text for a prompt."""
    with place.reading(profile, at) as store:
        found = store.session(session).context(**fields)
    if place.as_json:
        echo_json(found)
        return
    click.echo(found.text, nl=False)


@command.command("find")
@profile_argument
@_handles_argument
@at_option
@place_options
def find(place: Place, profile: str, handles: tuple[int, ...], at: str | None) -> None:
    """Show turns of any session by their handles; what is not there is left out."""
    with place.reading(profile, at) as store:
        turns = store.find_turns(handles)
    if place.as_json:
        echo_json(turns)
        return
    for turn in turns:
        click.echo(f"{turn.session}  ", nl=False)
        _print_turn(turn)


@command.command("remove")
@profile_argument
@_session_argument
@_handles_argument
@place_options
def remove(place: Place, profile: str, session: str, handles: tuple[int, ...]) -> None:
    """Remove turns of a session by their handles, which `session window --json` shows."""
    with place.profile(profile) as store:
        done = store.session(session).remove(handles)
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"removed {len(done.handles)} turns")


@command.command("list")
@profile_argument
@at_option
@place_options
def list_(place: Place, profile: str, at: str | None) -> None:
    """List sessions, most recently active first."""
    with place.reading(profile, at) as store:
        sessions = list(store.sessions())
    if place.as_json:
        echo_json(list(sessions))
        return
    for session in sessions:
        click.echo(
            f"{session.id}  {session.turns} turns, {session.memories} memories, "
            f"active {when(session.last_active_at)}"
        )


@command.command("end")
@profile_argument
@_session_argument
@click.option("--turns", is_flag=True, help="Remove the transcript too.")
@place_options
def end(place: Place, profile: str, session: str, turns: bool) -> None:
    """Remove the session's tasks and, with --turns, its transcript; other memories stay."""
    with place.profile(profile) as store:
        done = store.session(session).end(turns=turns)
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"removed {done.tasks} tasks and {done.turns} turns")


def _print_turn(turn: Turn) -> None:
    said = turn.content if isinstance(turn.content, str) else str(turn.content)
    click.echo(f"{turn.seq}. {turn.speaker or turn.role}: {said}")
