"""What a node does for Memtrace's clients before it answers: an old Arc taken over, a first key.

Several nodes may do it at once: each thing is noted by a write that compares, so it is done once.
"""

from __future__ import annotations

import logging

from ..api import Target
from ..api.credentials import CreateCredential
from ..errors import Conflict, Unavailable, Unconfigured
from ..observe import logger
from ..operations import Context
from ..operations.arcs import put_first, sealed
from ..operations.credentials import create
from ..operations.organisations import (
    DIALECT,
    ORG_DEFAULT,
    ArcRow,
    arc_rows,
    ensure_default,
)
from .settings import Settings

__all__ = ["asks_for_keys", "prepare_memtrace"]

_LOG = logger("memtrace")
_KEY = "admin"
_PERMISSIONS = ("read", "write", "admin")
_DATABASE_DEFAULT, _MEASUREMENT_DEFAULT = "default", "events"
_ARC_ID = "arc_default"
_FRAME = "=" * 66


def asks_for_keys(settings: Settings) -> bool:
    """Whether Memtrace's clients are asked for a key from the start."""
    if settings.memtrace_auth is None:
        return settings.auth == "on"
    return settings.memtrace_auth


def prepare_memtrace(context: Context, settings: Settings) -> None:
    """Take over an Arc of an older configuration, and make the first key where keys are asked for.

    Raises `Invalid` for an Arc that cannot be, `Unconfigured` where there is no catalog, or nothing
    its keys can be sealed with, or hashes of keys be made with.
    """
    if settings.memtrace_arc_url is not None:
        _take_over(context, settings)
    if settings.memtrace_auth is False:
        ensure_default(context)
    if asks_for_keys(settings):
        try:
            _first_key(context)
        except Unconfigured as error:
            # Who never said anything of Memtrace is not kept from starting.
            if settings.memtrace_auth:
                raise
            _LOG.info("no key is made for Memtrace's clients: %s", error)


def _take_over(context: Context, settings: Settings) -> None:
    from ..arc import ArcBinding, check_binding

    if next(arc_rows(context), None) is not None:
        return
    binding = check_binding(
        ArcBinding(
            ORG_DEFAULT,
            settings.memtrace_arc_url or "",
            settings.memtrace_arc_api_key or "",
            settings.memtrace_arc_database or _DATABASE_DEFAULT,
            settings.memtrace_arc_measurement or _MEASUREMENT_DEFAULT,
        )
    )
    _LOG.warning("legacy [arc] config detected - migrating to DB url=%s", binding.url)
    ensure_default(context)
    row = ArcRow(
        state="draining",
        id=_ARC_ID,
        url=binding.url,
        database=binding.database,
        measurement=binding.measurement,
        created_at=context.clock.now_ms(),
        secret=sealed(context, ORG_DEFAULT, binding.api_key),
    )
    put_first(context, ORG_DEFAULT, row, None)
    _LOG.info(
        "migration complete; remove [arc] url/api_key/database/measurement from memtrace.toml on "
        "next deploy"
    )


def _first_key(context: Context) -> None:
    """Make a key, and say it once; nothing where there ever was one."""
    if context.credentials is None:
        raise Unconfigured(
            "keys are kept in the catalog, and there is none here: set PALIMP_CATALOG_URL, or "
            "install the extra `server`"
        )
    try:
        if context.credentials.table.any(DIALECT):
            return
        ensure_default(context)
        request = CreateCredential(
            dialect=DIALECT,
            subject=ORG_DEFAULT,
            name=_KEY,
            detail={"permissions": list(_PERMISSIONS)},
        )
        made = create(context, Target(), request)
    except Conflict:
        # Another node was faster, and has said it.
        return
    except Unavailable as error:
        raise error.located("making the first key for Memtrace's clients") from error
    # Also where less is logged: nobody can ask for it again.
    level = max(logging.INFO, _LOG.getEffectiveLevel())
    for line in (
        _FRAME,
        "FIRST RUN: Save your admin API key (shown only once)",
        f"API Key: {made.secret}",
        _FRAME,
    ):
        _LOG.log(level, "%s", line)
