"""What operations ask of whoever knows at which node of a cluster a profile is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..api import PeerInfo, Target
from ..api.base import Request, Result
from ..engine import Address

if TYPE_CHECKING:
    from .context import Context

__all__ = ["Owners"]


class Owners(Protocol):
    """Which node has which profile, for the operations of one of them. Thread-safe."""

    def hold(self, address: Address) -> None:
        """Make this the node of a profile, if it is not; `Unavailable` where another is."""

    def carry_out(
        self, context: Context, operation: str, target: Target, request: Request
    ) -> Result:
        """Carry out an operation on a profile at the node that has it, as part of another."""

    def peers(self) -> tuple[PeerInfo, ...]:
        """Return the nodes that are alive, as last heard."""
