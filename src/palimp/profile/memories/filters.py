"""A caller's filters as one SQL condition over the memories table (alias `m`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import apsw

from ...api import PERSONAL_LABELS, SECRET_LABELS, Filters
from ...api.limits import FILTER_VALUES_MAX, TAGS_MAX
from ...clock import parse_when
from ...errors import Invalid
from ..checks import check_label, check_share
from ..protocols import Sealer
from ..ranking import TIERS

__all__ = ["Conditions", "conditions"]

_LABELS = (*SECRET_LABELS, *PERSONAL_LABELS)
_SEEN = ("active", "archived", "quarantined")
_DELETED = ("soft_deleted", "hard_delete_pending")
_EQUAL = ("session", "source", "agent", "speaker", "project", "environment", "trust")


class Conditions(NamedTuple):
    """SQL over alias `m` and its named parameters; always includes what makes a row visible.

    Metadata may be sealed, and so is compared outside of SQL: what runs the SQL takes it from `on`.
    """

    sql: str
    parameters: dict[str, Any]
    metadata: Mapping[str, Any] | None = None

    def on(self, connection: apsw.Connection, sealer: Sealer) -> Conditions:
        """Return the conditions with all that the SQL needs on this connection."""
        if self.metadata is None:
            return self
        from .metadata import holding

        held = holding(connection, self.metadata, sealer)
        return self._replace(parameters={**self.parameters, "metadata": held})


def conditions(filters: Filters, now_ms: int, *, deleted: bool = False) -> Conditions:
    """Return the condition of `filters` at `now_ms`; raises `Invalid` for an impossible one.

    With `deleted` the state may be one that only the table of deleted memories has.
    """
    parts = ["m.state = :state", "(m.expires_at IS NULL OR m.expires_at > :now)"]
    parameters: dict[str, Any] = {"state": filters.state, "now": now_ms}
    if filters.state not in _SEEN and not (deleted and filters.state in _DELETED):
        _refuse_state(filters.state)
    if not filters.include_superseded:
        parts.append("m.superseded_at IS NULL")
    several = (("type", filters.types), ("kind", filters.kinds), ("source", filters.sources))
    for column, values in several:
        if len(values) > FILTER_VALUES_MAX:
            raise Invalid(
                f"{column}s has {len(values):,} values, at most {FILTER_VALUES_MAX:,} are allowed"
            )
        for place, value in enumerate(values):
            check_label(value, f"{column}s[{place}]")
        if values:
            names = [f"{column}{place}" for place in range(len(values))]
            parts.append(f"m.{column} IN ({', '.join(':' + name for name in names)})")
            parameters.update(zip(names, values, strict=True))
    for column in _EQUAL:
        value = getattr(filters, column)
        if value is not None:
            check_label(value, column)
            parts.append(f"m.{column} = :{column}")
            parameters[column] = value
    if filters.any_project and (filters.project, filters.project_or_none) != (None, None):
        raise Invalid("give any_project, which means all of them, or name a project, not both")
    if filters.project_or_none is not None:
        _project_or_none(filters, parts, parameters)
    _time_range(filters, parts, parameters, now_ms)
    if filters.importance_min is not None:
        parts.append("m.importance >= :importance_min")
        parameters["importance_min"] = check_share(filters.importance_min, "importance_min")
    if len(filters.tags) > TAGS_MAX:
        raise Invalid(f"tags has {len(filters.tags):,} values, at most {TAGS_MAX} are allowed")
    for place, tag in enumerate(filters.tags):
        check_label(tag, f"tags[{place}]")
        parts.append(f"EXISTS (SELECT 1 FROM json_each(m.tags) WHERE value = :tag{place})")
        parameters[f"tag{place}"] = tag
    if filters.tags_any:
        _tags_any(filters.tags_any, parts, parameters)
    _flags(filters.flags, parts, parameters)
    if filters.tier is not None:
        if filters.tier not in TIERS:
            raise Invalid(f"tier is {filters.tier!r:.80}; give {', '.join(TIERS)}")
        parts.append("coalesce(m.memory_tier, 'hot') = :tier")
        parameters["tier"] = filters.tier
    if not filters.metadata:
        return Conditions(" AND ".join(parts), parameters)
    # Not before: most filters have none.
    from .metadata import HOLDS, check_wanted

    check_wanted(filters.metadata)
    # Behind what SQLite decides by itself.
    parts.append(f"m.metadata IS NOT NULL AND {HOLDS}(:metadata, m.id, m.metadata)")
    return Conditions(" AND ".join(parts), parameters, filters.metadata)


def _refuse_state(state: str) -> None:
    if state in _DELETED:
        raise Invalid(f"state is {state!r}: deleted memories are listed, nothing else finds them")
    raise Invalid(
        f"state is {state!r:.80}; give {', '.join(_SEEN)}, or to a listing {' or '.join(_DELETED)}"
    )


def _project_or_none(filters: Filters, parts: list[str], parameters: dict[str, Any]) -> None:
    check_label(filters.project_or_none, "project_or_none")
    if filters.project is not None:
        raise Invalid("give project, which leaves out what has none, or project_or_none, not both")
    parts.append("(m.project = :project_or_none OR m.project IS NULL)")
    parameters["project_or_none"] = filters.project_or_none


def _tags_any(tags: tuple[str, ...], parts: list[str], parameters: dict[str, Any]) -> None:
    if len(tags) > TAGS_MAX:
        raise Invalid(f"tags_any has {len(tags):,} values, at most {TAGS_MAX} are allowed")
    for place, tag in enumerate(tags):
        check_label(tag, f"tags_any[{place}]")
        parameters[f"any_tag{place}"] = tag
    names = ", ".join(f":any_tag{place}" for place in range(len(tags)))
    parts.append(f"EXISTS (SELECT 1 FROM json_each(m.tags) WHERE value IN ({names}))")


def _flags(flags: tuple[str, ...], parts: list[str], parameters: dict[str, Any]) -> None:
    for place, flag in enumerate(dict.fromkeys(flags)):
        if flag not in _LABELS:
            raise Invalid(f"no memory is flagged {flag!r:.80}; flags are {', '.join(_LABELS)}")
        parts.append(f"EXISTS (SELECT 1 FROM json_each(m.flags) WHERE value = :flag{place})")
        parameters[f"flag{place}"] = flag


def _time_range(
    filters: Filters, parts: list[str], parameters: dict[str, Any], now_ms: int
) -> None:
    since = None if filters.since is None else parse_when(filters.since, "since", now_ms)
    until = None if filters.until is None else parse_when(filters.until, "until", now_ms)
    if since is not None and until is not None and since >= until:
        raise Invalid(f"since ({filters.since}) is not before until ({filters.until})")
    if since is not None:
        parts.append("m.occurred_at >= :since")
        parameters["since"] = since
    if until is not None:
        parts.append("m.occurred_at < :until")
        parameters["until"] = until
