"""The command line: parse, open, one call, print."""

from __future__ import annotations

from .main import cli, main

__all__ = ["cli", "main"]
