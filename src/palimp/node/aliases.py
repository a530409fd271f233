"""The names under which other memory systems were set, and what of ours each of them means.

A table, not a prefix: some of their values mean something else here, and some of their names have
nothing here that they would set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

__all__ = ["ALIASES", "DIALECTS", "Alias", "aliased", "unread"]

# Of each dialect, with what its names begin.
DIALECTS = {"memoturn": "MEMOTURN_"}
# 68 years.
_FOR_GOOD = str(1 << 31)


class Alias(NamedTuple):
    """A name of another system and the setting it means, where that is not all: how its values do.

    `values` are those that are called otherwise here; None: as if it were not set. `number` is
    whether whatever is no number counts as not set, as it does there.
    """

    dialect: str
    variable: str
    setting: str
    values: Mapping[str, str | None] = {}
    number: bool = False

    def meant(self, value: str) -> str | None:
        """Return a value in our words; None where it says nothing."""
        if self.number:
            if not (value.isascii() and value.isdigit()):
                return None
            value = value.lstrip("0") or "0"
        return self.values.get(value, value) or None


def _memoturn(
    setting: str, values: Mapping[str, str | None] = {}, *, number: bool = False
) -> Alias:
    return Alias("memoturn", DIALECTS["memoturn"] + setting.upper(), setting, values, number)


ALIASES: tuple[Alias, ...] = (
    _memoturn("data_dir"),
    _memoturn("listen"),
    _memoturn("object_store"),
    _memoturn("node_id"),
    _memoturn("single_node"),
    _memoturn("auth"),
    _memoturn("platform_key"),
    _memoturn("cluster_key"),
    _memoturn("auth_key"),
    _memoturn("persist_auth_key"),
    _memoturn("hot_cap"),
    _memoturn("request_timeout"),
    _memoturn("max_body_bytes"),
    _memoturn("max_concurrency"),
    _memoturn("control_rate"),
    _memoturn("write_queue_depth", {"0": None}, number=True),
    _memoturn("durability", {"standard": "local"}),
    # There 0 means that nothing is given up for its age, here that everything is.
    _memoturn("pitr_retention_secs", {"0": _FOR_GOOD}),
    _memoturn("pitr_snapshot_retention_secs"),
    _memoturn("policy_cache_secs"),
    _memoturn("audit_flush_ms"),
    # Of clients.
    _memoturn("url"),
    _memoturn("token"),
    _memoturn("source"),
)


def aliased(variables: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield what an environment says under the names of others: setting, value, variable."""
    for alias in ALIASES:
        value = alias.meant(variables.get(alias.variable, ""))
        if value is not None:
            yield alias.setting, value, alias.variable


def unread(variables: Mapping[str, str]) -> list[str]:
    """Return the names of another system that are set and mean nothing here."""
    known = {alias.variable for alias in ALIASES}
    prefixes = tuple(DIALECTS.values())
    return sorted(name for name in variables if name.startswith(prefixes) and name not in known)
