"""A plugin as a strategy: asked for the hooks its manifest names, and for no others.

What it is given is what any strategy is: steps, numbers, and of decisions the ids; never a text of
a memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import Error
from ...observe import Metrics, logger
from .manifest import LOG_LEVELS
from .package import Package
from .runner import Program, run

__all__ = ["PluginStrategy", "program_of"]

_LOG = logger("governance")
_LOGGED_CHARS = 2_000


class PluginStrategy:
    """See `governance.strategy.Strategy`; each hook is a process that has ended when it returns.

    `failed` is told why one did.
    """

    def __init__(
        self,
        program: Program,
        capabilities: tuple[str, ...],
        metrics: Metrics,
        failed: Callable[[Error], None],
    ) -> None:
        self.key = program.key
        self._program = program
        self._capabilities = capabilities
        self._metrics = metrics
        self._failed = failed

    def plan(self, task: str, base_plan: dict[str, Any]) -> dict[str, Any]:
        """Ask before a run."""
        return self._ask("plan", task=task, base_plan=base_plan)

    def execute(
        self, task: str, plan: dict[str, Any], summary: dict[str, Any], report: dict[str, Any]
    ) -> dict[str, Any]:
        """Ask after a run."""
        return self._ask("execute", task=task, plan=plan, summary=summary, report=report)

    def _ask(self, phase: str, **given: Any) -> dict[str, Any]:
        if f"governance.{phase}" not in self._capabilities:
            return {}
        try:
            said = run(self._program, {"phase": phase, "strategy_key": self.key, **given})
        except Error as error:
            self._metrics.add("plugin_calls", outcome=error.code)
            self._failed(error)
            raise
        self._metrics.add("plugin_calls", outcome="done")
        if said.printed:
            _LOG.debug("plugin %s: %s", self.key, said.printed[-_LOGGED_CHARS:])
        return said.given


def program_of(package: Package, log_level: str) -> Program:
    """Return what is called of a package; of the environment it reads the level of its log."""
    manifest = package.manifest
    entry = manifest.entry.python
    return Program(
        f"{manifest.plugin_key}@{manifest.version}",
        entry.module,
        entry.object,
        manifest.limits,
        package.files,
        {name: log_level for name in LOG_LEVELS if name in manifest.permissions.env},
    )
