"""Who may write, made of the settings: the leases of a node, and the address it gives the others.

The modules of leases are imported where they are configured: a folder opened alone has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..clock import Clock
from ..errors import Invalid, Unavailable
from ..lease import Leases, Placement
from ..observe import Metrics
from .settings import PREFIX, Settings

if TYPE_CHECKING:
    from ..operations.usage import Catalog

__all__ = ["advertised", "check_alone", "make_leases", "make_placement"]

_EVERY_ADDRESS = ("0.0.0.0", "::", "[::]")  # noqa: S104  what nobody can be reached at


def make_leases(
    settings: Settings,
    store_id: str,
    node: str,
    catalog: Catalog | None,
    clock: Clock,
    metrics: Metrics,
) -> Leases | None:
    """Return the leases of a node on a store; None where it is the only one that writes to it.

    They hold nothing before `start`.
    """
    if settings.lease_store == "single" or settings.read_only:
        return None
    if settings.lease_store == "etcd":
        from ..lease.etcd import EtcdLeases

        return EtcdLeases(_etcd(settings), store_id, node, settings.lease_ttl, clock, metrics)
    from ..lease.sql import SqlLeases

    return SqlLeases(_engine(settings, catalog), store_id, node, settings.lease_ttl, clock, metrics)


def make_placement(
    settings: Settings, store_id: str, catalog: Catalog | None, clock: Clock
) -> Placement:
    """Return where databases are, for who has none itself: a gateway. `Invalid` without leases."""
    if settings.lease_store == "etcd":
        from ..lease.etcd import EtcdPlacement

        return EtcdPlacement(_etcd(settings), store_id, clock)
    if settings.lease_store == "sql":
        from ..lease.sql import SqlPlacement

        return SqlPlacement(_engine(settings, catalog), store_id, clock)
    raise Invalid(
        f"nothing says which node has what: set {PREFIX}ETCD, or {PREFIX}LEASES=sql and "
        f"{PREFIX}CATALOG_URL, as on the nodes"
    )


def check_alone(settings: Settings) -> None:
    """Refuse to own a folder, outside `palimp serve`, whose databases other nodes may have.

    Raises `Invalid`.
    """
    if settings.lease_store != "single" and not settings.read_only:
        raise Invalid(
            f"leases are kept in {settings.lease_store}, so that several nodes share the store, "
            f"and the others could not reach this process: run `palimp serve` and "
            f"palimp.connect() to it, open with read_only=True, or take {PREFIX}LEASES and "
            f"{PREFIX}ETCD out of the environment"
        )


def advertised(settings: Settings, listening: str) -> str:
    """Return the URL at which other nodes reach this one, which listens at the URL `listening`.

    Raises `Invalid` where that is none.
    """
    url = (settings.advertise or listening).rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        plain = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    except ValueError:
        usable = plain = False
    if not usable or not plain:
        raise Invalid(
            f"{PREFIX}ADVERTISE is {url!r:.200}; give the URL at which the other nodes reach this "
            "one, without a path, as http://10.0.0.5:8080"
        )
    if parts.hostname in _EVERY_ADDRESS:
        raise Invalid(
            f"{url} is every address of this machine, at which no other node can reach it: set "
            f"{PREFIX}ADVERTISE to the URL at which they can, as http://10.0.0.5:8080"
        )
    return url


def _etcd(settings: Settings) -> str:
    if settings.etcd is None:
        raise Invalid(f"{PREFIX}LEASES=etcd needs {PREFIX}ETCD: the endpoints of etcd, by comma")
    return settings.etcd


def _engine(settings: Settings, catalog: Any) -> Any:
    if catalog is not None:
        if catalog.dialect == "mysql":
            # There nothing tells which transactions are still under way: who follows the changes
            # of claims would pass over one that is committed late.
            raise Invalid(
                f"{PREFIX}LEASES=sql is for PostgreSQL, and for SQLite on one machine; the catalog "
                f"{catalog.name} is neither: set {PREFIX}ETCD, or {PREFIX}CATALOG_URL to a "
                "PostgreSQL"
            )
        return catalog.engine
    if settings.catalog_url is None:
        raise Invalid(
            f"{PREFIX}LEASES=sql needs {PREFIX}CATALOG_URL: the database in which they are kept"
        )
    raise Unavailable(
        f"leases are kept in the database of {PREFIX}CATALOG_URL, which could not be opened (the "
        "log says why); start this node when it can",
        reason="lease",
    )
