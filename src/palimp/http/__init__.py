"""HTTP over OPERATIONS: an ASGI app made from the table. It serves nothing itself."""

from __future__ import annotations

from .app import create_app

__all__ = ["create_app"]
