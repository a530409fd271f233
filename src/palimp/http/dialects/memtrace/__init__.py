"""The Memtrace dialect: that system's routes and shapes over our operations."""

from .app import Memtrace
from .routes import ROUTES, Route

__all__ = ["ROUTES", "Memtrace", "Route"]
