"""One node: settings become parts, parts become a context, calls go through it."""

from __future__ import annotations

from .node import Node
from .settings import SETTINGS, Settings, load_settings

__all__ = ["SETTINGS", "Node", "Settings", "load_settings"]
