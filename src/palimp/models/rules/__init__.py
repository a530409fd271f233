"""Extraction without a model: dates, preferences, decisions, identities; precision first."""

from __future__ import annotations

from .extract import PROPOSALS_PER_TURN_MAX, extract_rules
from .statements import contradiction, statement
from .types import Category, Decision, Proposal, Statement, Turn, Type

__all__ = [
    "PROPOSALS_PER_TURN_MAX",
    "Category",
    "Decision",
    "Proposal",
    "Statement",
    "Turn",
    "Type",
    "contradiction",
    "extract_rules",
    "statement",
]
