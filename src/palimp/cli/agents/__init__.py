"""Agent tools that speak MCP: where their configuration is, and how it is changed with care."""

from __future__ import annotations

from .files import Change, write
from .server import server_entry
from .tools import RULE, TOOLS, Scope, changes

__all__ = ["RULE", "TOOLS", "Change", "Scope", "changes", "server_entry", "write"]
