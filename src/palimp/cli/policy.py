"""`palimp policy`: what a namespace or a profile may keep."""

from __future__ import annotations

from typing import IO

import click

from ..api import NamespacePolicy, Policy, ProfilePolicy, to_request
from .common import Place, echo_json, parse_json, place_options

_namespace_argument = click.argument("name", metavar="[NAMESPACE]", required=False)
_profile_option = click.option("--profile", help="Of a profile, instead of its namespace.")


@click.group("policy")
def command() -> None:
    """Say what may be kept, and for how long.

    A policy holds for NAMESPACE (else that of --namespace) or, with --profile, makes one profile of
    it stricter.
    """


@command.command("get")
@_namespace_argument
@_profile_option
@place_options
def get(place: Place, name: str | None, profile: str | None) -> None:
    """Show a policy as JSON; of a profile what was set for it, and what is in force.

    \b
    palimp policy get acme
    palimp policy get acme --profile alice
    """
    with place.client() as mem:
        found = mem.policy(name or place.namespace, profile)
    echo_json(found if place.as_json else _plain(found))


@command.command("set")
@_namespace_argument
@_profile_option
@click.option("--policy", "text", help="The policy as JSON.")
@click.option(
    "--file",
    type=click.File("r", encoding="utf-8"),
    default="-",
    help="A file with it instead. [default: -, standard input]",
)
@place_options
def set_(
    place: Place, name: str | None, profile: str | None, text: str | None, file: IO[str]
) -> None:
    """Replace a policy by a JSON object; what it leaves out is not limited.

    \b
    palimp policy set acme --policy '{"memory": {"event_max_age_secs": 7776000}}'
    palimp policy set acme --profile alice --file strict.json
    """
    with place.client() as mem:
        policy = to_request(Policy, parse_json(text or file.read()), "policy")
        done = mem.set_policy(name or place.namespace, policy, profile)
    echo_json(done if place.as_json else _plain(done))


@command.command("clear")
@_namespace_argument
@_profile_option
@place_options
def clear(place: Place, name: str | None, profile: str | None) -> None:
    """Take a policy away; those of other profiles stay."""
    namespace = name or place.namespace
    with place.client() as mem:
        done = mem.set_policy(namespace, None, profile)
    if place.as_json:
        echo_json(done)
        return
    whose = f"namespace {namespace}" if profile is None else f"profile {profile} of {namespace}"
    click.echo(f"{whose} has no policy of its own")


def _plain(found: NamespacePolicy | ProfilePolicy) -> dict[str, object]:
    if isinstance(found, ProfilePolicy):
        return found.to_dict()
    return found.policy or {}
