"""The Memoturn dialect: that system's routes, headers and shapes over our operations."""

from .app import Memoturn
from .routes import ROUTES, Route

__all__ = ["ROUTES", "Memoturn", "Route"]
