"""Recall: candidates from channels, features in [0, 1], one weighted score, and the reasons."""

from __future__ import annotations

from .run import RecallContext, recall, search_turns
from .weights import WEIGHTS, Weights

__all__ = ["WEIGHTS", "RecallContext", "Weights", "recall", "search_turns"]
