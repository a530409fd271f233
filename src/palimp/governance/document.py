"""Policies as values: what is valid, which of two is stricter, and the object they are kept in.

Inside, a policy is a flat mapping from dotted names (`memory.event_max_age_secs`) to what is set.
Nothing here knows a store or a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from ..api import Policy
from ..api.limits import BATCH_ITEMS_MAX
from ..decoding import from_json
from ..errors import Internal, Invalid, Unavailable
from ..profile.ranking import FACTORS, SETS, is_ranking, ranking_of

__all__ = [
    "FIELDS",
    "OVERRIDES_MAX",
    "Document",
    "Effective",
    "Values",
    "checked",
    "decode",
    "effective",
    "loosened",
    "nested",
    "strictest",
    "with_override",
    "with_policy",
]

Values = dict[str, Any]

FORMAT = 1
WRITER = 1
# They are one object with the namespace's, which every node reads as a whole.
OVERRIDES_MAX = 10_000
_SECONDS_LEAST = 60
_SECONDS_MAX = 100 * 365 * 86_400
_COUNT_MAX = 1_000_000


class _Field(NamedTuple):
    """What one field takes, and which of two values is the stricter one.

    `words` go from the loosest to the strictest, of a choice none is stricter. A threshold is a
    number of which none is stricter, and 0 is never.
    """

    kind: Literal["number", "share", "threshold", "switch", "permit", "word", "choice", "ranking"]
    least: float = 0
    most: float = 0
    words: tuple[str, ...] = ()
    of_profiles: bool = True

    def stricter(self, one: Any, other: Any) -> Any:
        if self.kind in ("number", "share"):
            return min(one, other)
        if self.kind == "switch":
            return one or other
        if self.kind == "permit":
            return one and other
        if not self.is_ordered:
            # Neither is stricter: what is nearer to the profile holds.
            return other
        return max(one, other, key=self.words.index)

    def takes(self) -> str:
        if self.kind in ("number", "share"):
            return f"{self.least:,} to {self.most:,}"
        if self.kind == "threshold":
            return f"{self.least:,} to {self.most:,}, or 0 for never"
        if self.kind == "ranking":
            return f"{' or '.join(SETS)}, or weights from 0 of {', '.join(FACTORS)}, not all 0"
        return "true or false" if self._is_bool else " or ".join(self.words)

    def fits(self, value: Any) -> bool:
        if self.kind == "number":
            return type(value) is int and self.least <= value <= self.most
        if self.kind == "threshold":
            return type(value) is int and (value == 0 or self.least <= value <= self.most)
        if self.kind == "share":
            return type(value) in (int, float) and self.least <= value <= self.most
        if self.kind == "ranking":
            return is_ranking(value)
        return type(value) is bool if self._is_bool else value in self.words

    @property
    def is_ordered(self) -> bool:
        """Whether one of two values is the stricter one."""
        return self.kind not in ("choice", "ranking", "threshold")

    @property
    def _is_bool(self) -> bool:
        return self.kind in ("switch", "permit")


_SECONDS = _Field("number", _SECONDS_LEAST, _SECONDS_MAX)
_SWITCH = _Field("switch")
_DAYS = _Field("number", 1, _SECONDS_MAX // 86_400)
_MODEL = _Field("word", words=("allow", "deny"))
_REDACTION = _Field("word", words=("allow", "flag", "redact", "refuse"))
# Below that, texts about different things are taken for each other.
_COSINE_LEAST = 0.8

FIELDS: dict[str, _Field] = {
    "retention.pitr_secs": _SECONDS,
    "retention.pitr_snapshot_secs": _SECONDS,
    "memory.task_ttl_max_secs": _SECONDS,
    "memory.event_max_age_secs": _SECONDS,
    "memory.superseded_max_age_secs": _SECONDS,
    "memory.superseded_max_count": _Field("number", 1, _COUNT_MAX),
    "memory.near_duplicates": _Field("word", words=("report", "supersede")),
    "memory.near_duplicate_min": _Field("share", _COSINE_LEAST, 1.0),
    "memory.associations": _SWITCH,
    "memory.entities": _SWITCH,
    "memory.summarize_at": _Field("threshold", 2, BATCH_ITEMS_MAX),
    "memory.unscoped": _Field("word", words=("allow", "record", "refuse")),
    "erasure.purge_on_forget": _SWITCH,
    "erasure.grace_secs": _Field("number", 0, _SECONDS_MAX),
    "audit.enabled": _SWITCH,
    "audit.include_reads": _SWITCH,
    "audit.retention_secs": _SECONDS._replace(of_profiles=False),
    "ai_egress.extract": _MODEL,
    "ai_egress.ask": _MODEL,
    "ai_egress.embed": _Field("word", words=("allow", "self_hosted_only", "deny")),
    "redaction.secrets": _REDACTION,
    "redaction.personal": _REDACTION,
    # A profile could choose one that finds less.
    "redaction.rules": _Field("choice", words=("standard", "memoria"), of_profiles=False),
    "encryption.fields": _SWITCH,
    "lifecycle.active_days": _DAYS,
    "lifecycle.archive": _Field("permit"),
    "lifecycle.archived_days": _DAYS,
    "lifecycle.soft_delete": _SWITCH,
    "lifecycle.grace_days": _DAYS._replace(least=0),
    "lifecycle.warm_days": _DAYS,
    "lifecycle.cold_days": _DAYS,
    "ranking.weights": _Field("ranking"),
    "governance.enabled": _SWITCH,
}


class Effective(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force, each field by its name with `_` for the dot; None: without a limit."""

    retention_pitr_secs: int | None = None
    retention_pitr_snapshot_secs: int | None = None
    memory_task_ttl_max_secs: int | None = None
    memory_event_max_age_secs: int | None = None
    memory_superseded_max_age_secs: int | None = None
    memory_superseded_max_count: int | None = None
    memory_near_duplicates: str = "report"
    memory_near_duplicate_min: float | None = None
    memory_associations: bool = False
    memory_entities: bool = False
    memory_summarize_at: int | None = None
    memory_unscoped: str | None = None
    erasure_purge_on_forget: bool = False
    erasure_grace_secs: int | None = None
    audit_enabled: bool = False
    audit_include_reads: bool = False
    audit_retention_secs: int | None = None
    ai_egress_extract: str = "allow"
    ai_egress_ask: str = "allow"
    ai_egress_embed: str = "allow"
    redaction_secrets: str = "allow"
    redaction_personal: str = "allow"
    redaction_rules: str = "standard"
    encryption_fields: bool = False
    lifecycle_active_days: int | None = None
    lifecycle_archive: bool = True
    lifecycle_archived_days: int | None = None
    lifecycle_soft_delete: bool = False
    lifecycle_grace_days: int | None = None
    lifecycle_warm_days: int | None = None
    lifecycle_cold_days: int | None = None
    ranking_weights: str | dict[str, float] | None = None
    governance_enabled: bool = False

    @property
    def has_tiers(self) -> bool:
        """Whether it matters when a memory was used last."""
        return self.lifecycle_warm_days is not None or self.lifecycle_cold_days is not None

    @property
    def counts_reads(self) -> bool:
        """Whether it matters who was read: for the tiers, or for the ranking."""
        return self.has_tiers or ranking_of(self.ranking_weights).counts_usage

    @property
    def screens(self) -> bool:
        """Whether anything that is written has to be looked at."""
        return self.redaction_secrets != "allow" or self.redaction_personal != "allow"


class Document(NamedTuple):
    """The policy object of a namespace. `raw` is all of it, with what a newer release put there."""

    raw: dict[str, Any]
    policy: Values
    profiles: dict[str, Values]

    @property
    def version(self) -> int:
        """How often it was changed; 0 where there is no object."""
        version: int = self.raw.get("version", 0)
        return version

    @property
    def is_set(self) -> bool:
        """Whether the namespace has a policy of its own."""
        return self.raw.get("policy") is not None

    def override(self, profile: str) -> dict[str, Any] | None:
        """Return what is kept for a profile alone."""
        found: dict[str, Any] | None = self.raw.get("profiles", {}).get(profile)
        return found


def checked(policy: Policy, *, of_profile: bool) -> Values:
    """Return a caller's policy as values; raises `Invalid` naming the field and what it takes."""
    values: Values = {}
    for name, field in FIELDS.items():
        section, _, key = name.partition(".")
        value = getattr(getattr(policy, section), key, None)
        if value is None:
            continue
        if of_profile and not field.of_profiles:
            raise Invalid(f"{name} is for a namespace as a whole; set it there")
        if not field.fits(value):
            raise Invalid(f"{name} is {_shown(value):.80}; give {field.takes()}")
        values[name] = value
    fine, daily = values.get("retention.pitr_secs"), values.get("retention.pitr_snapshot_secs")
    if fine is not None and daily is not None and daily < fine:
        raise Invalid(
            f"retention.pitr_snapshot_secs is {daily:,}, fewer than retention.pitr_secs, {fine:,}; "
            "give as many or more"
        )
    return values


def strictest(*policies: Mapping[str, Any]) -> Values:
    """Return field by field the strictest of several policies."""
    found: Values = {}
    for values in policies:
        for name, value in values.items():
            found[name] = FIELDS[name].stricter(found[name], value) if name in found else value
    return found


def loosened(values: Mapping[str, Any], above: Mapping[str, Any]) -> list[str]:
    """Return what of `values` is looser than what holds above it, each as a phrase."""
    return [
        f"{name} {_shown(value)} (it is {_shown(above[name])} there)"
        for name, value in values.items()
        if name in above
        and FIELDS[name].is_ordered
        and FIELDS[name].stricter(value, above[name]) != value
    ]


def effective(values: Mapping[str, Any]) -> Effective:
    """Return values as what the rest of the product asks."""
    return Effective(**{name.replace(".", "_"): value for name, value in values.items()})


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values in sections, as they are kept and travel."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        section, _, key = name.partition(".")
        found.setdefault(section, {})[key] = value
    return found


def decode(data: bytes | None, place: str) -> Document:
    """Return the document of an object, an empty one where there is none."""
    if data is None:
        return Document({}, {}, {})
    try:
        raw = from_json(data, dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Internal(f"{place} is damaged: {error}") from error
    if not isinstance(raw.get("format"), int) or raw["format"] > FORMAT:
        raise Unavailable(
            f"{place} has format {raw.get('format')!r:.20}, this release reads {FORMAT}; use the "
            "release that wrote it, or a newer one",
            reason="format",
        )
    overrides = raw.get("profiles", {})
    return Document(
        raw,
        _known(raw.get("policy") or {}, place),
        {name: _known(held, f"{place}, profile {name}") for name, held in overrides.items()},
    )


def with_policy(document: Document, values: Values | None, nonce: str) -> bytes:
    """Return the object with another policy of the namespace; None: with none."""
    kept = None if values is None else _merged(values, document.raw.get("policy"))
    return _encode(document, nonce, policy=kept)


def with_override(document: Document, profile: str, values: Values | None, nonce: str) -> bytes:
    """Return the object with other values of a profile; None: with none."""
    profiles = dict(document.raw.get("profiles", {}))
    if values is None:
        profiles.pop(profile, None)
    else:
        profiles[profile] = _merged(values, profiles.get(profile))
    if len(profiles) > OVERRIDES_MAX:
        raise Invalid(
            f"{OVERRIDES_MAX:,} profiles of this namespace have policies of their own, which is "
            "the most; put what they share into the namespace's"
        )
    return _encode(document, nonce, profiles=profiles)


def _encode(document: Document, nonce: str, **changed: Any) -> bytes:
    writer = document.raw.get("writer", WRITER)
    if writer > WRITER:
        raise Unavailable(
            f"the policy may be changed by releases from writer {writer} on, this one has "
            f"{WRITER}; use a newer release",
            reason="format",
        )
    base: dict[str, Any] = {"format": FORMAT, "writer": WRITER, "policy": None, "profiles": {}}
    fresh = {"version": document.version + 1, "nonce": nonce}
    return msgspec.json.encode({**base, **document.raw, **changed, **fresh})


def _known(sections: Any, place: str) -> Values:
    """Return the fields this release knows."""
    values: Values = {}
    for name, field in FIELDS.items():
        section, _, key = name.partition(".")
        held = sections.get(section) if isinstance(sections, dict) else None
        value = held.get(key) if isinstance(held, dict) else None
        if value is None:
            continue
        if not field.fits(value):
            raise Unavailable(
                f"{place}: {name} is {value!r:.40}, which this release does not understand; use "
                "the release that set it, or set it again",
                reason="format",
            )
        values[name] = value
    daily = values.get("retention.pitr_snapshot_secs")
    if daily is not None:
        # Else what is too old for a snapshot would be there as a boundary.
        values.setdefault("retention.pitr_secs", daily)
    return values


def _merged(values: Values, before: dict[str, Any] | None) -> dict[str, Any]:
    """Return new values in sections, with what only a newer release knows of as it was.

    Who cannot name a field does not mean to loosen it.
    """
    found = nested(values)
    for section, held in (before or {}).items():
        if not isinstance(held, dict):
            found.setdefault(section, held)
            continue
        for key, value in held.items():
            if f"{section}.{key}" not in FIELDS:
                found.setdefault(section, {})[key] = value
    return found


def _shown(value: Any) -> str:
    if type(value) is bool:
        return "true" if value else "false"
    return f"{value:,}" if isinstance(value, int) else str(value)
