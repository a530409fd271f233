"""What a node keeps of other systems' clients: in the catalog, and before that in its journal."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..clock import Clock
from ..store import ObjectStore
from .settings import Settings

if TYPE_CHECKING:
    from ..catalog.binding_tables import SqlBindings, SqlNotes
    from ..catalog.recovering import Recovery
    from ..catalog.sql_catalog import SqlCatalog
    from ..operations.credentials import Credentials

__all__ = ["Catalogued", "catalog_of", "catalogued_of"]


class Catalogued(NamedTuple):
    """Keys, what their dialects keep, what of that is of passing interest; and what recovers it."""

    credentials: Credentials | None = None
    bindings: SqlBindings | None = None
    notes: SqlNotes | None = None
    recovery: Recovery | None = None


def catalog_of(
    settings: Settings, store_id: str, store: ObjectStore, clock: Clock
) -> SqlCatalog | None:
    """Return the catalog of the settings, if they name one, with all that its journal has."""
    if settings.catalog_url is None:
        return None
    from ..catalog import start_catalog
    from ..catalog.journal import Journal

    journal = Journal(store, read_only=settings.read_only)
    return start_catalog(settings.catalog_url, clock, store_id, journal)


def catalogued_of(
    catalog: SqlCatalog | None,
    settings: Settings,
    folder: Path,
    store: ObjectStore,
    clock: Clock,
) -> Catalogued:
    """Return what is kept in a catalog; nothing where there is none."""
    if catalog is None:
        return Catalogued()
    from ..catalog.binding_tables import SqlBindings, SqlNotes
    from ..catalog.journal import Journal
    from ..catalog.key_tables import SqlCredentials
    from ..catalog.recovering import Recovery
    from ..operations.credentials import Credentials

    journal = Journal(store, read_only=settings.read_only)
    return Catalogued(
        Credentials(
            SqlCredentials(catalog, journal), _hashing(settings, folder, store, clock), clock
        ),
        SqlBindings(catalog, journal),
        SqlNotes(catalog),
        Recovery(catalog, journal),
    )


def _hashing(
    settings: Settings, folder: Path, store: ObjectStore, clock: Clock
) -> Callable[[], list[bytes]]:
    @cache
    def keys() -> list[bytes]:
        from .credentials import hash_keys

        return hash_keys(settings, folder, store, clock)

    return keys
