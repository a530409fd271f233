"""Plugins of governance, as the master manages them there."""

from __future__ import annotations

from typing import Any

from ....api import Target
from ....api.base import Request
from ....api.plugins import (
    ActivatePlugin,
    AddPluginSigner,
    ListPluginEvents,
    ListPlugins,
    ListPluginSigners,
    PluginBinding,
    PluginEvents,
    PluginInfo,
    Plugins,
    PluginSigners,
    PublishPlugin,
)
from ....errors import Invalid
from ..foreign import Route, wrong
from .call import Call
from .names import stamp

__all__ = ["ROUTES"]

_BAD_REQUEST, _NOT_IMPLEMENTED = 400, 501
_EVENTS, _EVENTS_MAX = 20, 200
_PRIORITY, _PERCENT = 100, 100
_ONE_STEP = "a signed package of a known signer can be run as soon as it is published"


def signers(call: Call) -> Any:
    """Return whose signatures hold."""
    found: PluginSigners = _do(call, "plugins.signers", ListPluginSigners())
    return {
        "signers": [
            {
                "signer": one.signer,
                "algorithm": one.algorithm,
                "public_key": one.public_key,
                "is_active": one.active,
            }
            for one in found.signers
        ]
    }


def add_signer(call: Call) -> Any:
    """Let the signatures of a key hold."""
    request = AddPluginSigner(signer=call.text("signer"), public_key=call.text("public_key"))
    _do(call, "plugins.add_signer", request)
    return {"ok": True}


def listing(call: Call) -> Any:
    """Return what is published."""
    return [_entry(one) for one in _plugins(call, call.query.get("domain")).plugins]


def publish(call: Call) -> Any:
    """Keep a signed package."""
    files = call.fields.get("files")
    if not isinstance(files, dict) or not all(isinstance(one, str) for one in files.values()):
        raise wrong("files must map paths to base64", _BAD_REQUEST, said=True)
    try:
        done: PluginInfo = _do(call, "plugins.publish", PublishPlugin(files=files))
    except Invalid as error:
        raise wrong(str(error), _BAD_REQUEST, said=True) from error
    return _entry(done)


def bindings(call: Call) -> Any:
    """Return what runs in a domain."""
    name = call.query.get("binding", "default")
    found = _plugins(call, call.values["domain"]).bindings
    return [_rule(one) for one in found if one.binding == name]


def bind(call: Call) -> Any:
    """Have a plugin run: all of a subject, or all there are; nothing is rolled out by parts."""
    fields = call.fields
    plain = (
        fields.get("priority", _PRIORITY) == _PRIORITY
        and fields.get("rollout_percent", _PERCENT) == _PERCENT
        and not fields.get("transport_endpoint")
    )
    if not plain:
        raise wrong(
            "a binding has no priority, no percentage and no endpoint here: one plugin runs, as a "
            "program of its own; leave priority, rollout_percent and transport_endpoint out",
            _NOT_IMPLEMENTED,
            said=True,
        )
    kind = call.text("selector_kind", required=False) or "semver"
    if kind not in ("exact", "semver"):
        raise Invalid(f"selector_kind is {kind!r:.40}; give exact or semver")
    request = ActivatePlugin(
        domain=call.values["domain"],
        plugin_key=call.text("plugin_key"),
        version=call.text("selector_value"),
        binding=call.text("binding_key", required=False) or "default",
        subject=call.text("subject_key", required=False) or "*",
    )
    done: PluginBinding = _do(call, "plugins.activate", request)
    return _rule(done)


def activate(call: Call) -> Any:
    """Have one version of a plugin run for everybody."""
    request = ActivatePlugin(
        domain=call.values["domain"],
        plugin_key=call.text("plugin_key"),
        version=call.text("version"),
        binding=call.text("binding_key", required=False) or "default",
    )
    done: PluginBinding = _do(call, "plugins.activate", request)
    return _rule(done)


def matrix(call: Call) -> Any:
    """Return what can be run here."""
    return [
        {
            "plugin_key": one.plugin_key,
            "version": one.version,
            "domain": one.domain,
            "runtime": one.runtime,
            "status": one.status,
            "review_status": None,
            "supported": one.status == "active",
            "reason": None if one.status == "active" else "its signer was removed",
            "compatibility": None,
        }
        for one in _plugins(call, call.query.get("domain")).plugins
    ]


def events(call: Call) -> Any:
    """Return what happened lately, the newest first."""
    request = ListPluginEvents(
        domain=call.query.get("domain"),
        plugin_key=call.query.get("plugin_key"),
        binding=call.query.get("binding"),
        limit=call.number("limit", _EVENTS, 1, _EVENTS_MAX),
    )
    found: PluginEvents = _do(call, "plugins.events", request)
    return [
        {
            "event_id": one.id,
            "domain": one.domain,
            "binding_key": one.binding,
            "subject_key": one.subject,
            "plugin_key": one.plugin_key,
            "version": one.version,
            "event_type": one.type,
            "status": one.status,
            "message": one.message,
            "created_at": stamp(one.at),
            "actor": one.by,
        }
        for one in found.events
    ]


def _plugins(call: Call, domain: str | None) -> Plugins:
    found: Plugins = _do(call, "plugins.list", ListPlugins(domain=domain))
    return found


def _do(call: Call, operation: str, request: Request) -> Any:
    return call.do(operation, request, target=Target())


def _entry(found: PluginInfo) -> dict[str, Any]:
    return {
        "plugin_key": found.plugin_key,
        "version": found.version,
        "domain": found.domain,
        "name": found.name,
        "runtime": found.runtime,
        "signer": found.signer,
        "status": found.status,
        "review_status": None,
        "score": None,
        "published_at": None if found.published_at is None else stamp(found.published_at),
        "published_by": found.published_by,
    }


def _rule(found: PluginBinding) -> dict[str, Any]:
    return {
        "domain": found.domain,
        "binding_key": found.binding,
        "subject_key": found.subject,
        "priority": _PRIORITY,
        "plugin_key": found.plugin_key,
        "selector_kind": "exact" if found.version[:1].isdigit() else "semver",
        "selector_value": found.version,
        "rollout_percent": _PERCENT,
        "transport_endpoint": None,
        "status": "active",
        "updated_at": stamp(found.updated_at),
        "updated_by": found.updated_by,
    }


_ADMIN = "/admin/plugins"
_VERSION = f"{_ADMIN}/{{key}}/{{version}}"
_DOMAIN = f"{_ADMIN}/domains/{{domain}}"
_TEST = "tests/dialects/memoria/test_admin.py"

ROUTES: tuple[Route, ...] = (
    Route("GET", f"{_ADMIN}/signers", "master", signers, _TEST),
    Route("POST", f"{_ADMIN}/signers", "master", add_signer, _TEST),
    Route("GET", _ADMIN, "master", listing, _TEST),
    Route("POST", _ADMIN, "master", publish, _TEST),
    Route(
        "POST", f"{_VERSION}/review", "master", None, _TEST,
        refusal=f"there are no reviews: {_ONE_STEP}",
    ),
    Route(
        "POST", f"{_VERSION}/score", "master", None, _TEST,
        refusal=f"there are no scores: {_ONE_STEP}",
    ),
    Route("GET", f"{_DOMAIN}/bindings", "master", bindings, _TEST),
    Route("POST", f"{_DOMAIN}/bindings", "master", bind, _TEST),
    Route("POST", f"{_DOMAIN}/activate", "master", activate, _TEST),
    Route("GET", f"{_ADMIN}/matrix", "master", matrix, _TEST),
    Route("GET", f"{_ADMIN}/events", "master", events, _TEST),
)  # fmt: skip
