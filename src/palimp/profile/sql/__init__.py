"""SQL of a caller's own, in the file of the memories and kept away from them."""

from .run import Limits, check_statements, run, run_reading, writes_at_sight

__all__ = ["Limits", "check_statements", "run", "run_reading", "writes_at_sight"]
