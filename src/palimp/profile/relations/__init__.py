"""How memories relate to each other, and what is named in them."""

from __future__ import annotations

from .copying import Given, of, take
from .tables import ENTITIES, LINKS, RELATIONS, complete, drop, prepare

__all__ = ["ENTITIES", "LINKS", "RELATIONS", "Given", "complete", "drop", "of", "prepare", "take"]
