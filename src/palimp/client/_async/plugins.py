"""What the client asks about plugins of governance."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...api import NO_OPTIONS, Options, Target, to_request
from ...api.base import Request
from ...api.limits import PLUGIN_EVENTS_DEFAULT
from ...api.plugins import (
    ActivatePlugin,
    AddPluginSigner,
    ListPluginEvents,
    ListPlugins,
    ListPluginSigners,
    PluginBinding,
    PluginEvents,
    PluginInfo,
    Plugins,
    PluginSigner,
    PluginSigners,
    PublishPlugin,
    RemovePluginSigner,
)

__all__ = ["GovernancePlugins"]


class GovernancePlugins:
    """The part of a client that is about plugins; where a node asks, with its platform key.

    They are kept in the object store, for all nodes on it.
    """

    if TYPE_CHECKING:

        async def call(
            self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
        ) -> Any: ...

        async def aside(self, function: Any, *arguments: Any) -> Any: ...

    async def plugins(self, *, domain: str | None = None) -> Plugins:
        """Return what is published, what is installed at the node, and in `bindings` what runs."""
        request = to_request(ListPlugins, {"domain": domain}, "plugins")
        found: Plugins = await self.call("plugins.list", Target(), request)
        return found

    async def publish_plugin(
        self, package: str | os.PathLike[str] | Mapping[str, bytes]
    ) -> PluginInfo:
        """Keep a signed package for good: a folder, or its files by relative path.

        The same again is the same. Raises `Conflict` where its version has other content, `Denied`
        where no signer of the node has signed it.
        """
        from ...governance.plugins.package import encode_files, read_folder

        files: Mapping[str, bytes]
        if isinstance(package, Mapping):
            files = package
        else:
            files = await self.aside(read_folder, package)
        fields = {"files": encode_files(files)}
        request = to_request(PublishPlugin, fields, "publish_plugin")
        made: PluginInfo = await self.call("plugins.publish", Target(), request)
        return made

    async def activate_plugin(
        self,
        plugin_key: str,
        version: str | None = None,
        *,
        domain: str = "governance",
        binding: str = "default",
        subject: str = "*",
    ) -> PluginBinding:
        """Have a plugin asked from the next run on; `version` is one, or a range as `^1.2`.

        `governance:default:v1`, without a version, stands for the built-in rules alone.
        """
        fields = {
            "domain": domain,
            "plugin_key": plugin_key,
            "version": version,
            "binding": binding,
            "subject": subject,
        }
        request = to_request(ActivatePlugin, fields, "activate_plugin")
        made: PluginBinding = await self.call("plugins.activate", Target(), request)
        return made

    async def plugin_signers(self) -> PluginSigners:
        """Return whose signatures hold, and whose did."""
        found: PluginSigners = await self.call("plugins.signers", Target(), ListPluginSigners())
        return found

    async def add_plugin_signer(self, signer: str, public_key: str) -> PluginSigner:
        """Let the signatures of a key hold: 32 bytes of Ed25519 in base64.

        Raises `Conflict` where the signer has another key.
        """
        fields = {"signer": signer, "public_key": public_key}
        request = to_request(AddPluginSigner, fields, "add_plugin_signer")
        made: PluginSigner = await self.call("plugins.add_signer", Target(), request)
        return made

    async def remove_plugin_signer(self, signer: str) -> PluginSigner:
        """Let the signatures of a signer hold no more: what they have signed is not run."""
        request = to_request(RemovePluginSigner, {"signer": signer}, "remove_plugin_signer")
        gone: PluginSigner = await self.call("plugins.remove_signer", Target(), request)
        return gone

    async def plugin_events(
        self,
        *,
        domain: str | None = None,
        plugin_key: str | None = None,
        binding: str | None = None,
        limit: int = PLUGIN_EVENTS_DEFAULT,
    ) -> PluginEvents:
        """Return what happened to plugins lately, the newest first."""
        fields = {"domain": domain, "plugin_key": plugin_key, "binding": binding, "limit": limit}
        request = to_request(ListPluginEvents, fields, "plugin_events")
        found: PluginEvents = await self.call("plugins.events", Target(), request)
        return found
