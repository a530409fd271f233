"""Where a catalog is: URLs, what they need, and how one is named without its secrets."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from ..clock import Clock
from ..errors import Invalid, Unavailable, Unconfigured
from ..observe import logger

if TYPE_CHECKING:
    from .journal import Journal
    from .sql_catalog import SqlCatalog

__all__ = ["default_url", "open_catalog", "start_catalog"]

_LOG = logger("catalog")
_NEEDS = ("sqlalchemy", "alembic")
_FILE = "catalog.db"
_SCHEME = re.compile(r"([a-z][a-z0-9+]{0,30})://")
_POSTGRES = ("postgresql", "postgres", "postgresql+psycopg")
_MYSQL = ("mysql", "mariadb", "mysql+pymysql", "mariadb+pymysql")
_SHOWN = (
    "give sqlite:////path/of/catalog.db, postgresql://user:password@host:5432/database or "
    "mysql+pymysql://user:password@host:3306/database"
)


def default_url(folder: Path) -> str | None:
    """Return the catalog of a folder that names none; None where the extra is not installed."""
    if any(importlib.util.find_spec(name) is None for name in _NEEDS):
        return None
    return f"sqlite:///{quote(str(folder.expanduser().absolute() / _FILE))}"


def open_catalog(url: str, clock: Clock) -> SqlCatalog:
    """Return the catalog at a URL; sends nothing yet, so it may be down.

    Raises `Invalid` for a URL that names no catalog, `Unconfigured` without the extra `server`. No
    message shows the URL: it may hold a password.
    """
    scheme = _SCHEME.match(url)
    kind = scheme[1] if scheme else ""
    if kind not in ("sqlite", *_POSTGRES, *_MYSQL):
        shown = f"is {kind}://..., which this release has no catalog on" if kind else "is no URL"
        raise Invalid(f"PALIMP_CATALOG_URL {shown}; {_SHOWN}")
    driver = {"sqlite": (), **dict.fromkeys(_MYSQL, ("pymysql",))}.get(kind, ("psycopg",))
    missing = [name for name in (*_NEEDS, *driver) if importlib.util.find_spec(name) is None]
    if missing:
        raise Unconfigured(
            f"a catalog needs {' and '.join(missing)}; install it with: pip install "
            "'palimp[server]', or leave PALIMP_CATALOG_URL out: no data needs a catalog"
        )
    from .sql_catalog import SqlCatalog

    if kind == "sqlite":
        return SqlCatalog.on_file(_path(url), clock)
    if kind in _MYSQL:
        return SqlCatalog.on_mysql(url, clock)
    return SqlCatalog.on_postgresql(url, clock)


def start_catalog(
    url: str, clock: Clock, store: str | None = None, journal: Journal | None = None
) -> SqlCatalog:
    """Return the catalog at a URL with its tables made and migrated, or one that is down.

    That one is tried again with each use: a node starts without its catalog. It is that of the
    object store with the id `store` from then on; a new one has all that `journal` has. Raises as
    `open_catalog`, `Invalid` where it is another store's, and `Unavailable` with reason `format`
    where a newer release migrated it.
    """
    catalog = open_catalog(url, clock)
    if store is not None:
        catalog.bind(store, journal)
    try:
        catalog.prepare()
    except Invalid:
        catalog.close()
        raise
    except Unavailable as error:
        if error.details.get("reason") == "format":
            catalog.close()
            raise
        _LOG.warning("starting without a catalog: %s", error)
    return catalog


def _path(url: str) -> Path:
    path = unquote(url.removeprefix("sqlite://").removeprefix("/"))
    if not url.startswith("sqlite:///") or path in ("", ":memory:") or "\0" in path:
        # In memory every connection would have a catalog of its own.
        raise Invalid(f"PALIMP_CATALOG_URL names no file; {_SHOWN}")
    return Path(path).expanduser().absolute()
