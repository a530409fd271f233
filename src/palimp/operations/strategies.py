"""Which plugin of governance is asked at this node, looked up anew for every run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import Error, Kept
from ..observe import logger

if TYPE_CHECKING:
    from ..governance.plugins.package import Package
    from ..governance.plugins.register import Bound, Register
    from ..governance.plugins.runner import Program
    from ..governance.strategy import Strategy
    from .context import Context

__all__ = ["BoundPlugins"]

_LOG = logger("governance")


class BoundPlugins:
    """See `governance.strategy.Strategies`. Thread-safe.

    With a `folder` the package in it is asked, which nobody needs to have signed; else the one that
    `binding` leads to for `subject`, or for everybody. What comes of that is an event when it is
    another than before.
    """

    def __init__(
        self, folder: str | None, *, binding: str, subject: str, log_level: str = "info"
    ) -> None:
        self._folder = folder
        self._binding = binding
        self._subject = subject
        self._log_level = log_level
        # What was told last, of the binding and of its failures.
        self._told: dict[str, str] = {}
        self._package: Package | None = None

    def check(self) -> None:
        """Refuse a folder that holds no plugin, and names that no binding has."""
        from ..governance.plugins.manifest import DOMAIN
        from ..governance.plugins.register import rule_key

        rule_key(DOMAIN, self._binding, self._subject)
        if self._folder is not None:
            self._of_folder(self._folder)

    def strategy_for(self, context: Context) -> Strategy | None:
        """Return what is asked now; raises where it cannot be had."""
        try:
            found = self._find(context)
        except Error as error:
            self._tell(context, "binding.load_failed", str(error))
            raise
        if found is not None:
            self._tell(context, "binding.loaded", "", found.key)
        return found

    def _find(self, context: Context) -> Strategy | None:
        from ..governance.plugins.installed import find_installed
        from ..governance.plugins.manifest import DOMAIN
        from ..governance.plugins.register import find, read, rule_of
        from ..governance.plugins.strategy import program_of
        from ..governance.strategy import BUILT_IN

        if self._folder is not None:
            package = self._of_folder(self._folder)
        else:
            known = read(context.engine.store)
            rule = rule_of(known, DOMAIN, self._binding, self._subject)
            if rule is None or rule.plugin_key == BUILT_IN:
                return None
            here = find_installed(rule.plugin_key, rule.version)
            if here is not None:
                return self._strategy(context, here.program, here.capabilities)
            package = self._of_store(context, known, find(known, rule))
        program = program_of(package, self._log_level)
        return self._strategy(context, program, package.manifest.capabilities)

    def _strategy(
        self, context: Context, program: Program, capabilities: tuple[str, ...]
    ) -> Strategy:
        from ..governance.plugins.strategy import PluginStrategy

        def failed(error: Error) -> None:
            self._tell(context, "governance.degraded", str(error), program.key)

        return PluginStrategy(program, capabilities, context.metrics, failed)

    def _of_folder(self, folder: str) -> Package:
        from ..governance.plugins.package import open_package, read_folder

        return open_package(read_folder(folder), stated=False)

    def _of_store(self, context: Context, known: Register, bound: Bound) -> Package:
        """Return a release, from memory where it is the one of the run before."""
        from ..governance.plugins.package import check_signature
        from ..governance.plugins.register import read_release

        package = self._package
        if package is None or package.sha256 != bound.release.sha256:
            package = self._package = read_release(context.engine.store, known, bound)
        else:
            check_signature(package, known.keys())
        return package

    def _tell(self, context: Context, kind: str, message: str, key: str = "") -> None:
        """Keep an event, unless it says what the last of its kind did."""
        about = kind.partition(".")[0]
        said = f"{kind} {key}: {message}"
        if self._told.get(about) == said:
            return
        self._told[about] = said
        if about == "binding":
            # Whatever failed before, this may be another plugin.
            self._told.pop("governance", None)
        from ..governance.plugins.register import Noted
        from .plugins import note

        loaded = kind == "binding.loaded"
        if not loaded:
            _LOG.error("%s: %s", kind, message)
        named, _, version = key.partition("@")
        noted = Noted(
            type=kind,
            status="ok" if loaded else "failed",
            message=message,
            binding=self._binding,
            subject=self._subject,
            plugin_key=named or None,
            version=version or None,
        )
        # A store that is away, or may not be written, keeps no run from going on.
        kept = Kept()
        with kept:
            note(context, noted)
        if kept.error is not None:
            _LOG.warning("an event of plugins could not be kept: %s", kept.error)
