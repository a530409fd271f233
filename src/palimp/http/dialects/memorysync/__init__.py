"""The MemorySync dialect: that system's routes and shapes over our operations."""

from .app import MemorySync
from .routes import ROUTES, Route

__all__ = ["ROUTES", "MemorySync", "Route"]
