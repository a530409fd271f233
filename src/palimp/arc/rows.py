"""What is written to Arc and read from it, as values."""

from __future__ import annotations

from typing import NamedTuple

from ..api.events import Event

__all__ = ["Import", "Parked", "Row"]


class Row(NamedTuple):
    """One row of a measurement, without its organisation; absent texts are empty."""

    at_us: int
    agent: str
    session: str
    kind: str
    event: str
    text: str
    metadata: str
    tags: str
    dedup_key: str
    importance: float
    parent: str

    @property
    def identity(self) -> tuple[int, str, str, str]:
        """By what a row is known again in Arc, which has no ids. No two of a spool have one."""
        return self.at_us, self.agent, self.event, self.dedup_key


class Import(NamedTuple):
    """An event that was kept elsewhere before; `source` tells it apart from all others there."""

    source: str
    event: Event


class Parked(NamedTuple):
    """An event that Arc refused. It stays until it is retried and taken, or dropped."""

    id: int
    org: str
    event: Event
    error: str
    parked_ms: int
