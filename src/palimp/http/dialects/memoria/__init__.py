"""The Memoria dialect: that system's routes and shapes over our operations."""

from .app import Memoria
from .routes import ROUTES, Route

__all__ = ["ROUTES", "Memoria", "Route"]
