"""`palimp governance plugin`: make, sign, publish and bind plugins of governance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..api.plugins import PluginInfo
from ..errors import Invalid
from .common import Place, echo_json, given, store_options, when

__all__ = ["plugin"]

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
_folder_argument = click.argument("folder", type=click.Path(path_type=Path))


@click.group("plugin")
def plugin() -> None:
    """Have code of your own asked before and after runs of governance.

    It runs in a process of its own with limits, and sees steps, numbers and ids: no memory.
    """


@plugin.command("keygen")
@_json_option
def keygen(as_json: bool) -> None:
    """Print a new key pair: the private key, a secret, signs; a node is told the public one.

    \b
    palimp governance plugin keygen
    """
    import base64

    from ..security.keys import SigningKey

    made = SigningKey.generate()
    public = base64.b64encode(made.public_bytes).decode()
    if as_json:
        echo_json({"private_key": made.export(), "public_key": public})
        return
    click.echo(f"private key  {made.export()}")
    click.echo(f"public key   {public}")


@plugin.command("sign")
@_folder_argument
@click.option("--signer", required=True, help="The name under which a node knows the key.")
@click.option(
    "--key-file",
    required=True,
    type=click.File("r"),
    help="The file with the private key; - for standard input.",
)
@_json_option
def sign(folder: Path, signer: str, key_file: Any, as_json: bool) -> None:
    """Write digest and signature into the manifest of FOLDER.

    \b
    palimp governance plugin sign ./calm --signer me --key-file me.key
    """
    from ..disk import replace_file
    from ..governance.plugins.manifest import MANIFEST
    from ..governance.plugins.package import open_package, read_folder, signed_manifest

    files = read_folder(folder)
    signed = signed_manifest(files, signer, key_file.read(), f"--key-file {key_file.name}")
    try:
        replace_file(folder / MANIFEST, signed)
    except OSError as error:
        raise Invalid(f"{folder / MANIFEST} cannot be written: {error}") from error
    package = open_package({**files, MANIFEST: signed})
    if as_json:
        key, version = package.manifest.plugin_key, package.manifest.version
        echo_json({"plugin_key": key, "version": version, "sha256": package.sha256})
    else:
        click.echo(f"signed by {signer}: {package.sha256}")


@plugin.command("check")
@_folder_argument
@_json_option
def check(folder: Path, as_json: bool) -> None:
    """Check the plugin in FOLDER and call its hooks once, as a node would.

    Exit code 1 where something is wrong.

    \b
    palimp governance plugin check ./calm
    """
    from ..governance.plugins.package import open_package, read_folder
    from ..governance.plugins.runner import run
    from ..governance.plugins.strategy import program_of

    package = open_package(read_folder(folder), stated=False)
    program, manifest = program_of(package, "debug"), package.manifest
    found: dict[str, Any] = {
        "plugin_key": manifest.plugin_key,
        "version": manifest.version,
        "sha256": package.sha256,
        "signer": None if manifest.integrity is None else manifest.integrity.signer,
        "hooks": {},
    }
    for capability in manifest.capabilities:
        phase = capability.partition(".")[2]
        said = run(program, {"phase": phase, "strategy_key": program.key, **_SAMPLES[phase]})
        found["hooks"][phase] = {"answer": said.given, "printed": said.printed}
        found["network"] = "cut off" if said.cut_off else "refused by Python only"
    if as_json:
        echo_json(found)
        return
    click.echo(f"{found['plugin_key']} {found['version']}  {found['sha256']}")
    click.echo(f"signed by {found['signer']}" if found["signer"] else "not signed")
    for phase, said in found["hooks"].items():
        click.echo(f"{phase}: {said['answer']}")
        if said["printed"]:
            click.echo(f"  printed: {said['printed']}")
    click.echo(f"network: {found['network']}")


@plugin.command("publish")
@_folder_argument
@store_options
def publish(place: Place, folder: Path) -> None:
    """Keep the signed plugin in FOLDER for good, for every node on the store.

    The same again is the same; other content needs a higher version.

    \b
    palimp governance plugin publish ./calm
    """
    with place.client() as mem:
        made = mem.publish_plugin(folder)
    if place.as_json:
        echo_json(made)
    else:
        click.echo(_line(made))


@plugin.command("list")
@click.option("--domain", help="Only of this domain.")
@store_options
def list_(place: Place, domain: str | None) -> None:
    """List what is published, what is installed at the node, and what is bound."""
    with place.client() as mem:
        found = mem.plugins(domain=domain)
    if place.as_json:
        echo_json(found)
        return
    for one in found:
        click.echo(_line(one))
    for rule in found.bindings:
        version = f" {rule.version}" if rule.version else ""
        click.echo(f"{rule.binding} for {rule.subject} runs {rule.plugin_key}{version}")


@plugin.command("activate")
@click.argument("plugin_key")
@click.argument("version", required=False)
@click.option("--domain", default="governance", show_default=True, help="Domain.")
@click.option("--binding", default="default", show_default=True, help="Binding.")
@click.option("--subject", default="*", show_default=True, help="For whom; * for everybody.")
@store_options
def activate(
    place: Place, plugin_key: str, version: str | None, domain: str, binding: str, subject: str
) -> None:
    """Have PLUGIN_KEY asked from the next run on: VERSION, or the highest of a range.

    `governance:default:v1`, without a version, stands for the built-in rules alone.

    \b
    palimp governance plugin activate governance:calm:v1 1.0.0
    palimp governance plugin activate governance:calm:v1 '^1.0'
    """
    with place.client() as mem:
        made = mem.activate_plugin(
            plugin_key, version, domain=domain, binding=binding, subject=subject
        )
    if place.as_json:
        echo_json(made)
    else:
        shown = f" {made.version}" if made.version else ""
        click.echo(f"{made.binding} for {made.subject} runs {made.plugin_key}{shown}")


@plugin.command("signer-add")
@click.argument("signer")
@click.argument("public_key")
@store_options
def signer_add(place: Place, signer: str, public_key: str) -> None:
    """Let what SIGNER signs with the other half of PUBLIC_KEY be published and run."""
    with place.client() as mem:
        made = mem.add_plugin_signer(signer, public_key)
    if place.as_json:
        echo_json(made)
    else:
        click.echo(f"{made.signer} may sign plugins")


@plugin.command("signer-remove")
@click.argument("signer")
@store_options
def signer_remove(place: Place, signer: str) -> None:
    """Let the signatures of SIGNER hold no more: what they have signed is not run."""
    with place.client() as mem:
        gone = mem.remove_plugin_signer(signer)
    if place.as_json:
        echo_json(gone)
    else:
        click.echo(f"{gone.signer} may not sign plugins any more")


@plugin.command("signer-list")
@store_options
def signer_list(place: Place) -> None:
    """List whose signatures hold, and whose did."""
    with place.client() as mem:
        found = mem.plugin_signers()
    if place.as_json:
        echo_json(found)
        return
    for one in found:
        state = "active" if one.active else f"removed {when(one.at)}"
        click.echo(f"{one.signer}  {one.public_key}  {state}")


@plugin.command("events")
@click.option("--plugin", "plugin_key", help="Only of this plugin.")
@click.option("--binding", help="Only of this binding.")
@click.option("--limit", type=int, help="How many; else 20.")
@store_options
def events(place: Place, **wanted: Any) -> None:
    """Say what happened to plugins lately, the newest first."""
    with place.client() as mem:
        found = mem.plugin_events(**given(wanted))
    if place.as_json:
        echo_json(found)
        return
    for one in found:
        named = " ".join(filter(None, (one.plugin_key, one.version, one.message)))
        click.echo(f"{when(one.at)}  {one.type}  {one.status}  {named}")
    if not len(found):
        click.echo("nothing happened yet", err=True)


def _line(one: PluginInfo) -> str:
    whose = f"signed by {one.signer}" if one.source == "published" else "installed here"
    return f"{one.plugin_key} {one.version}  {one.status}  {whose}"


# What hooks are called with for a try.
_PLAN = {
    "actions": ["stale", "redundancy"],
    "estimated_impact": {"stale": 2, "redundancy": 1},
    "requires_approval": False,
    "users": 1,
}
_SAMPLES: dict[str, dict[str, Any]] = {
    "plan": {"task": "daily", "base_plan": _PLAN},
    "execute": {
        "task": "daily",
        "plan": _PLAN,
        "summary": {"stale": 2, "redundancy": 1},
        "report": {
            "status": "success",
            "decisions": [
                {
                    "action": "supersede",
                    "memory": "mem_0",
                    "confidence": 0.97,
                    "rationale": "nearer than 0.95 to a newer one",
                    "rollback_hint": "palimp governance undo",
                }
            ],
            "metrics": {},
            "warnings": [],
        },
    },
}
