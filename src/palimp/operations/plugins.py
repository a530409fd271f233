"""Plugins of governance: who may sign them, what is published, what is bound, what happened."""

from __future__ import annotations

import msgspec

from ..api import Target
from ..api.limits import PLUGIN_EVENTS_MAX
from ..api.plugins import (
    ActivatePlugin,
    AddPluginSigner,
    ListPluginEvents,
    ListPlugins,
    ListPluginSigners,
    PluginBinding,
    PluginEvent,
    PluginEvents,
    PluginInfo,
    Plugins,
    PluginSigner,
    PluginSigners,
    PublishPlugin,
    RemovePluginSigner,
)
from ..errors import Invalid
from ..governance.plugins import register
from ..governance.plugins.installed import Installed, find_installed, installed
from ..governance.plugins.manifest import DOMAIN
from ..governance.plugins.package import decode_files
from ..governance.plugins.register import Event, Noted, Register, Release, Rule, Signer, Who
from ..governance.plugins.versions import parse_version
from ..governance.strategy import BUILT_IN
from ..profile.checks import check_integer
from .context import Context

__all__ = [
    "activate",
    "add_signer",
    "list_events",
    "list_plugins",
    "list_signers",
    "note",
    "publish",
    "remove_signer",
]


def list_signers(context: Context, _target: Target, _request: ListPluginSigners) -> PluginSigners:
    """Say whose signatures hold, and whose did."""
    known = register.read(context.engine.store).signers
    return PluginSigners(signers=tuple(_signer(name, known[name]) for name in sorted(known)))


def add_signer(context: Context, _target: Target, request: AddPluginSigner) -> PluginSigner:
    """Let the signatures of a key hold."""
    store, who = context.engine.store, _who(context)
    made = register.add_signer(store, who, request.signer, request.public_key)
    return _signer(request.signer, made)


def remove_signer(context: Context, _target: Target, request: RemovePluginSigner) -> PluginSigner:
    """Let the signatures of a signer hold no more."""
    gone = register.remove_signer(context.engine.store, _who(context), request.signer)
    return _signer(request.signer, gone)


def publish(context: Context, _target: Target, request: PublishPlugin) -> PluginInfo:
    """Keep a signed package for good."""
    files = decode_files(request.files)
    return _published(*register.publish(context.engine.store, _who(context), files))


def list_plugins(context: Context, _target: Target, request: ListPlugins) -> Plugins:
    """Say what is published, what is installed at this node, and what is bound."""
    known = register.read(context.engine.store)
    if request.domain not in (None, DOMAIN):
        return Plugins(plugins=(), bindings=())
    found = [*_releases(known), *map(_installed, installed())]
    return Plugins(
        plugins=tuple(sorted(found, key=lambda one: one.plugin_key)),
        bindings=tuple(_binding(place, known.rules[place]) for place in sorted(known.rules)),
    )


def activate(context: Context, _target: Target, request: ActivatePlugin) -> PluginBinding:
    """Bind a plugin that is there, or the built-in rules alone."""
    if request.domain != DOMAIN:
        raise Invalid(f"domain {request.domain!r:.80} takes no plugins here; give {DOMAIN!r}")
    if (request.plugin_key == BUILT_IN) == (request.version is not None):
        asked = "takes no version" if request.version else "needs a version, or a range as ^1.2"
        raise Invalid(f"plugin {request.plugin_key!r:.160} {asked}")
    store, who = context.engine.store, _who(context)
    place = register.rule_key(request.domain, request.binding, request.subject)
    rule = Rule(request.plugin_key, request.version or "", who.at, who.by)
    if request.version and find_installed(request.plugin_key, request.version) is None:
        # Refused now rather than at the next run.
        register.find(register.read(store), rule)
    register.bind(store, who, place, rule)
    return _binding(place, register.read(store).rules[place])


def list_events(context: Context, _target: Target, request: ListPluginEvents) -> PluginEvents:
    """Say what happened lately, the newest first."""
    check_integer(request.limit, "limit", 1, PLUGIN_EVENTS_MAX)
    wanted = {
        name: value
        for name in ("domain", "plugin_key", "binding")
        if (value := getattr(request, name)) is not None
    }
    found = [
        one
        for one in reversed(register.read(context.engine.store).events)
        if all(getattr(one, name) == value for name, value in wanted.items())
    ]
    return PluginEvents(events=tuple(map(_event, found[: request.limit])))


def note(context: Context, noted: Noted) -> None:
    """Keep an event of what the node did by itself."""
    register.note(context.engine.store, Who(context.clock.now_ms(), "node"), noted)


def _who(context: Context) -> Who:
    return Who(context.clock.now_ms(), context.principal.actor)


def _releases(known: Register) -> list[PluginInfo]:
    keys = known.keys()
    found = []
    for key, releases in known.releases.items():
        for version in sorted(releases, key=lambda one: parse_version(one, "version")):
            release = releases[version]
            found.append(_published(key, version, release, holds=release.signer in keys))
    return found


def _published(key: str, version: str, release: Release, *, holds: bool = True) -> PluginInfo:
    return PluginInfo(
        plugin_key=key,
        version=version,
        domain=key.partition(":")[0],
        name=release.name,
        source="published",
        status="active" if holds else "unsigned",
        capabilities=release.capabilities,
        sha256=release.sha256,
        signer=release.signer,
        published_at=release.at,
        published_by=release.by,
    )


def _installed(one: Installed) -> PluginInfo:
    return PluginInfo(
        plugin_key=one.plugin_key,
        version=one.version,
        domain=DOMAIN,
        name=one.name,
        source="installed",
        status="active",
        capabilities=one.capabilities,
    )


def _signer(name: str, one: Signer) -> PluginSigner:
    return PluginSigner(signer=name, **msgspec.structs.asdict(one))


def _binding(place: str, rule: Rule) -> PluginBinding:
    domain, binding, subject = place.split("/")
    return PluginBinding(
        domain=domain,
        binding=binding,
        subject=subject,
        plugin_key=rule.plugin_key,
        version=rule.version,
        updated_at=rule.at,
        updated_by=rule.by,
    )


def _event(one: Event) -> PluginEvent:
    return PluginEvent(**msgspec.structs.asdict(one))
