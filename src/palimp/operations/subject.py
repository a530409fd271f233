"""What is held of somebody: read whole, page by page."""

from __future__ import annotations

from ..api import Target
from ..api.subject import ExportSubject, SubjectPage
from ..profile import subject
from .context import Context

__all__ = ["export"]


def export(context: Context, target: Target, request: ExportSubject) -> SubjectPage:
    """Read one page of what is held in a profile or a session."""
    subject.check_export(request)
    with context.reading(target) as database:
        if database is None:
            return SubjectPage(records=(), next_cursor=None, txid=0)
        sealer = context.sealer_of(target)
        (records, cursor), txid, _ = database.read(lambda c: subject.page(c, request, sealer))
    return SubjectPage(records=records, next_cursor=cursor, txid=txid)
