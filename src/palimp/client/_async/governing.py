"""Governance of a profile's memories: run, shown, taken back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ...api import to_request
from ...api.base import Request
from ...api.governance import (
    Consolidate,
    GetGovernance,
    GetGovernanceReport,
    GovernanceReport,
    GovernanceReports,
    GovernanceStatus,
    GovernanceStep,
    GovernanceTask,
    GovernanceUndone,
    ListGovernanceReports,
    Reflect,
    ReflectMode,
    RunGovernance,
    UndoGovernance,
)

if TYPE_CHECKING:
    from .profile import AsyncProfile

__all__ = ["AsyncProfileGovernance"]


class AsyncProfileGovernance:
    """Rules that look through the memories of one profile: a value that holds nothing open.

    Each run that changes something is kept with what every memory was before, so that `undo` takes
    back exactly that run.
    """

    __slots__ = ("profile",)

    def __init__(self, profile: AsyncProfile) -> None:
        self.profile = profile

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.profile!r}>"

    async def run(
        self,
        task: GovernanceTask = "all",
        *,
        steps: Iterable[GovernanceStep] = (),
        dry_run: bool = False,
        cooldown: bool = False,
        force: bool = False,
        approved: bool = False,
    ) -> GovernanceReport:
        """Ask the rules of a task, or these steps, and do what they decide.

        With `dry_run` nothing changes and the report says what would. With `cooldown` a run within
        an hour of the last is skipped, unless `force`.
        """
        fields = {
            "task": task,
            "steps": tuple(steps),
            "dry_run": dry_run,
            "cooldown": cooldown,
            "force": force,
            "approved": approved,
        }
        done: GovernanceReport = await self._call(
            "governance.run", to_request(RunGovernance, fields, "run")
        )
        return done

    async def consolidate(
        self, *, dry_run: bool = False, cooldown: bool = False, force: bool = False
    ) -> GovernanceReport:
        """Look for memories that disagree and conclusions without grounds; show what is alike."""
        fields = {"dry_run": dry_run, "cooldown": cooldown, "force": force}
        done: GovernanceReport = await self._call(
            "governance.consolidate", to_request(Consolidate, fields, "consolidate")
        )
        return done

    async def reflect(
        self,
        mode: ReflectMode = "auto",
        *,
        dry_run: bool = False,
        cooldown: bool = False,
        force: bool = False,
    ) -> GovernanceReport:
        """Show what hangs together among the newest facts; with a model, conclude from it.

        Raises `Unconfigured` for mode `model` where there is none.
        """
        fields = {"mode": mode, "dry_run": dry_run, "cooldown": cooldown, "force": force}
        done: GovernanceReport = await self._call(
            "governance.reflect", to_request(Reflect, fields, "reflect")
        )
        return done

    async def reports(self) -> GovernanceReports:
        """Return what is said of the last 20 runs that changed something, the newest first."""
        found: GovernanceReports = await self._call("governance.reports", ListGovernanceReports())
        return found

    async def report(self, run: str) -> GovernanceReport:
        """Return what one run did, decision by decision; `NotFound` where it is not kept."""
        found: GovernanceReport = await self._call("governance.report", GetGovernanceReport(id=run))
        return found

    async def undo(self, run: str) -> GovernanceUndone:
        """Take back what one run did; what was changed again since stays. A second time: nothing.

        Raises `NotFound` where it is not kept, `Conflict` while it is under way.
        """
        done: GovernanceUndone = await self._call("governance.undo", UndoGovernance(id=run))
        return done

    async def status(self) -> GovernanceStatus:
        """Return whether governance is on here, and the last run of each task."""
        found: GovernanceStatus = await self._call("governance.status", GetGovernance())
        return found

    async def _call(self, operation: str, request: Request) -> Any:
        return await self.profile.client.call(operation, self.profile.target, request)
