"""Plugins of governance on the wire: who may sign them, what is published, and what is bound."""

from __future__ import annotations

from typing import Literal

from .base import Request, Result, Sequenced
from .limits import PLUGIN_EVENTS_DEFAULT
from .operation import row

__all__ = [
    "ROWS",
    "ActivatePlugin",
    "AddPluginSigner",
    "ListPluginEvents",
    "ListPluginSigners",
    "ListPlugins",
    "PluginBinding",
    "PluginEvent",
    "PluginEvents",
    "PluginInfo",
    "PluginSigner",
    "PluginSigners",
    "Plugins",
    "PublishPlugin",
    "RemovePluginSigner",
]


class ListPluginSigners(Request, frozen=True, kw_only=True):
    """Ask whose signatures hold."""


class PluginSigner(Result, frozen=True, kw_only=True):
    """A signer and their Ed25519 key in base64; not `active` where its signatures hold no more.

    Added or removed at `at` (UTC ms) by `by`.
    """

    signer: str
    public_key: str
    active: bool
    at: int
    by: str
    algorithm: str = "ed25519"


class PluginSigners(Result, Sequenced[PluginSigner], frozen=True, kw_only=True):
    """All there are, by name."""

    signers: tuple[PluginSigner, ...]

    def _items(self) -> tuple[PluginSigner, ...]:
        return self.signers


class AddPluginSigner(Request, frozen=True, kw_only=True):
    """Let the signatures of a key hold: 32 bytes of Ed25519 in base64."""

    signer: str
    public_key: str


class RemovePluginSigner(Request, frozen=True, kw_only=True):
    """Let the signatures of a signer hold no more: what they have signed is not run."""

    signer: str


class PublishPlugin(Request, frozen=True, kw_only=True):
    """Keep a signed package for good: its files by relative path, in base64, with manifest.json.

    The same again is the same; other content under a version that is there is a conflict.
    """

    files: dict[str, str]


class PluginInfo(Result, frozen=True, kw_only=True):
    """One version of a plugin.

    `status` is `active` where it can be run, and `unsigned` where its signer was removed. One that
    is `installed` beside Palimpsest, as an entry point, has neither digest nor signer.
    """

    plugin_key: str
    version: str
    domain: str
    name: str
    runtime: str = "python"
    source: Literal["published", "installed"]
    status: Literal["active", "unsigned"]
    capabilities: tuple[str, ...]
    sha256: str | None = None
    signer: str | None = None
    published_at: int | None = None
    published_by: str | None = None


class PluginBinding(Result, frozen=True, kw_only=True):
    """What runs for a `subject` (`*`: everybody without a binding of their own) of a `binding`.

    `version` is a version, or a range of which the highest that is published runs.
    """

    domain: str
    binding: str
    subject: str
    plugin_key: str
    version: str
    updated_at: int
    updated_by: str


class ListPlugins(Request, frozen=True, kw_only=True):
    """Read what is published, installed at this node, and bound."""

    domain: str | None = None


class Plugins(Result, Sequenced[PluginInfo], frozen=True, kw_only=True):
    """All there are, by key and then by version, and the bindings."""

    plugins: tuple[PluginInfo, ...]
    bindings: tuple[PluginBinding, ...]

    def _items(self) -> tuple[PluginInfo, ...]:
        return self.plugins


class ActivatePlugin(Request, frozen=True, kw_only=True):
    """Have a plugin asked from the next run on.

    `version` is one, or a range as `^1.2`. The key `governance:default:v1` stands for the built-in
    rules alone, and takes none.
    """

    domain: str
    plugin_key: str
    version: str | None = None
    binding: str = "default"
    subject: str = "*"


class ListPluginEvents(Request, frozen=True, kw_only=True):
    """Read what happened to plugins lately, the newest first."""

    domain: str | None = None
    plugin_key: str | None = None
    binding: str | None = None
    limit: int = PLUGIN_EVENTS_DEFAULT


class PluginEvent(Result, frozen=True, kw_only=True):
    """Something that happened, for instance `package.published` or `binding.load_failed`."""

    id: str
    type: str
    status: str
    message: str
    domain: str
    at: int
    by: str
    binding: str | None = None
    subject: str | None = None
    plugin_key: str | None = None
    version: str | None = None


class PluginEvents(Result, Sequenced[PluginEvent], frozen=True, kw_only=True):
    """The last of them; 200 are kept."""

    events: tuple[PluginEvent, ...]

    def _items(self) -> tuple[PluginEvent, ...]:
        return self.events


_PLUGINS = "/v1/plugins"

ROWS = (
    row(
        "plugins.signers",
        f"GET {_PLUGINS}/signers",
        ListPluginSigners,
        PluginSigners,
        "read platform",
        "Read whose signatures of plugins hold.",
    ),
    row(
        "plugins.add_signer",
        f"POST {_PLUGINS}/signers",
        AddPluginSigner,
        PluginSigner,
        "admin writes idempotent platform 201",
        "Let the signatures of a key hold.",
    ),
    row(
        "plugins.remove_signer",
        f"DELETE {_PLUGINS}/signers/{{signer}}",
        RemovePluginSigner,
        PluginSigner,
        "admin writes idempotent platform",
        "Let the signatures of a signer hold no more.",
    ),
    row(
        "plugins.publish",
        f"POST {_PLUGINS}",
        PublishPlugin,
        PluginInfo,
        "admin writes idempotent platform 201",
        "Keep a signed plugin of governance.",
    ),
    row(
        "plugins.list",
        f"GET {_PLUGINS}",
        ListPlugins,
        Plugins,
        "read platform",
        "Read what plugins there are, and which are bound.",
    ),
    row(
        "plugins.activate",
        f"POST {_PLUGINS}/domains/{{domain}}/activate",
        ActivatePlugin,
        PluginBinding,
        "admin writes idempotent platform",
        "Have a plugin asked from the next run on.",
    ),
    row(
        "plugins.events",
        f"GET {_PLUGINS}/events",
        ListPluginEvents,
        PluginEvents,
        "read platform",
        "Read what happened to plugins lately.",
    ),
)
