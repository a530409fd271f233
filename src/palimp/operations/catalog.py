"""Makes the keys and records in the catalog again from the object store."""

from __future__ import annotations

from ..api import Target
from ..api.catalog import CatalogRecovered, RecoverCatalog
from ..errors import Unconfigured
from .context import Context

__all__ = ["recover"]


def recover(context: Context, _target: Target, request: RecoverCatalog) -> CatalogRecovered:
    """Do one step."""
    if context.recovery is None:
        raise Unconfigured(
            "there is no catalog here: set PALIMP_CATALOG_URL, or start the node with "
            "`palimp serve`, which has one in its folder (extra `server`)"
        )
    done = context.recovery.page(request.cursor)
    return CatalogRecovered(entries=done.entries, removed=done.removed, next_cursor=done.cursor)
