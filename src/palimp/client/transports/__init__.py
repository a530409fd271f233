"""Ways to reach a node. Each has a synchronous and an asynchronous form of the same two methods."""

from __future__ import annotations

from .base import AsyncTransport, Transport

__all__ = ["AsyncTransport", "Transport"]
