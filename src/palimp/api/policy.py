"""Policy on the wire: what a namespace or a profile may keep, for how long, and who may see it."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from .base import Request, Result
from .operation import PROFILE, row

__all__ = [
    "PERSONAL_LABELS",
    "ROWS",
    "SECRET_LABELS",
    "AiEgress",
    "AuditRules",
    "EncryptionRules",
    "ErasureRules",
    "GetNamespacePolicy",
    "GetProfilePolicy",
    "GovernanceRules",
    "HistoryRetention",
    "LifecycleRules",
    "MemoryRules",
    "NamespacePolicy",
    "Policy",
    "ProfilePolicy",
    "RankingRules",
    "RedactionRules",
    "SetNamespacePolicy",
    "SetProfilePolicy",
]

# A policy as it is kept: sections, and the fields of each that are set, also those that only a
# newer release knows.
Sections: TypeAlias = dict[str, Any]

Redaction: TypeAlias = Literal["allow", "flag", "redact", "refuse"]

# What is looked for, in the order in which it is.
SECRET_LABELS = (
    "private_key",
    "url_credentials",
    "aws_key",
    "github_token",
    "slack_token",
    "stripe_key",
    "sk_key",
    "google_key",
    "jwt",
    "bearer_token",
    "password_assign",
    "key_assign",
)
PERSONAL_LABELS = ("email", "iban", "phone", "ssn", "card")


class HistoryRetention(Request, frozen=True, kw_only=True):
    """How long earlier states can be read, in seconds from 60.

    `pitr_secs`: every boundary. `pitr_snapshot_secs`: the last snapshot of each day; not fewer, and
    it caps `pitr_secs` too. Checkpoints stay.
    """

    pitr_secs: int | None = None
    pitr_snapshot_secs: int | None = None


class MemoryRules(Request, frozen=True, kw_only=True):
    """What of the memories stays, in seconds from 60, or rows from 1.

    `task_ttl_max_secs` shortens the life of a task when it is written; the task is never refused.
    Maintenance removes events written longer ago than `event_max_age_secs`, memories superseded
    longer ago than `superseded_max_age_secs`, and of each type and topic all but the last
    `superseded_max_count` superseded ones.

    Near duplicates are facts, and instructions, whose vectors have a cosine of
    `near_duplicate_min` (0.8 to 1, else 0.95) or more. They are proposed; with `near_duplicates`
    set to `supersede` the newer one takes the older one's place where both share all but the words.

    With `associations` facts and instructions are related to up to three others that are near to
    them, with `entities` memories are linked with what rules find named in them.

    With `summarize_at` (2 to 1,000, 0 for never) a memory that takes the place of another one under
    the same `extracted_key` has them summed up, without a model, once there are so many of them,
    then with each up to ten, then with every tenth. Of a profile and its namespace neither is
    stricter.

    `unscoped` says what becomes of filters that name neither `project` nor `project_or_none`, nor
    that `any_project` is meant: with `record` the audit says so, with `refuse` they are refused. It
    keeps one from forgetting it and is no wall: what nobody else may see is a profile of its own.
    """

    task_ttl_max_secs: int | None = None
    event_max_age_secs: int | None = None
    superseded_max_age_secs: int | None = None
    superseded_max_count: int | None = None
    near_duplicates: Literal["report", "supersede"] | None = None
    near_duplicate_min: float | None = None
    associations: bool | None = None
    entities: bool | None = None
    summarize_at: int | None = None
    unscoped: Literal["allow", "record", "refuse"] | None = None


class ErasureRules(Request, frozen=True, kw_only=True):
    """What becomes of history where something is forgotten or erased.

    With `purge_on_forget` every forgetting is an erasure, with a receipt. `grace_secs` is the
    longest that earlier states may wait before they are written anew.
    """

    purge_on_forget: bool | None = None
    grace_secs: int | None = None


class AuditRules(Request, frozen=True, kw_only=True):
    """Whether operations are recorded, and reads among them.

    `retention_secs`, of a namespace only: maintenance removes whole days older than that.
    """

    enabled: bool | None = None
    include_reads: bool | None = None
    retention_secs: int | None = None


class AiEgress(Request, frozen=True, kw_only=True):
    """What may be given to models; decided before a byte leaves this host.

    `embed`: with `deny` nothing is embedded, with `self_hosted_only` by a model in this process or
    on hosts of one's own (`PALIMP_EMBED_SELF_HOSTED_HOSTS`); recall goes on by words and topics.
    `extract` and `ask`: with `deny` those operations answer `forbidden` wherever they would need a
    language model, wherever that is.
    """

    extract: Literal["allow", "deny"] | None = None
    ask: Literal["allow", "deny"] | None = None
    embed: Literal["allow", "self_hosted_only", "deny"] | None = None


class RedactionRules(Request, frozen=True, kw_only=True):
    """What becomes of secrets and of personal data in what is written.

    `flag`: it is kept, and the memory says so. `redact`: it is replaced by `[email]` and the like
    before anything of it is kept. `refuse`: the write is refused. Looked at is what users say, on
    every way in; what was there before stays as it is.

    `rules`, of a namespace only, says what counts as either: `standard`, or `memoria` for what the
    service of that name looks for. That set looks at texts alone, and at no name and no number.
    """

    secrets: Redaction | None = None
    personal: Redaction | None = None
    rules: Literal["standard", "memoria"] | None = None


class LifecycleRules(Request, frozen=True, kw_only=True):
    """How long memories live, in days from 1; what is left out does not end.

    `active_days` after it was written or restored a memory is archived, or deleted softly where
    `archive` is false. `archived_days` after it was archived it is deleted softly, and `grace_days`
    (0 or more, else 7) after that purged. With `soft_delete` to forget a memory deletes it softly.
    Maintenance does what is due.

    What was not used for `warm_days` is warm, and after `cold_days` more cold: recall puts it
    behind, and finds it last. What is read is hot again.
    """

    active_days: int | None = None
    archive: bool | None = None
    archived_days: int | None = None
    soft_delete: bool | None = None
    grace_days: int | None = None
    warm_days: int | None = None
    cold_days: int | None = None


class RankingRules(Request, frozen=True, kw_only=True):
    """What recall weighs where a request does not say: the name of a set, or factors and weights.

    A profile's own holds instead of its namespace's; neither is stricter.
    """

    weights: str | dict[str, float] | None = None


class GovernanceRules(Request, frozen=True, kw_only=True):
    """Whether a node with `PALIMP_GOVERNANCE_ENABLED` looks through the memories by itself.

    What is asked for is done in any case.
    """

    enabled: bool | None = None


class EncryptionRules(Request, frozen=True, kw_only=True):
    """With `fields` what users say is sealed row by row, under a key of the profile.

    It needs a master key. What was written before stays as it was, and readable, until
    `palimp keys seal-fields`. Names, topics, tags, times and vectors are not sealed.
    """

    fields: bool | None = None


class Policy(Request, frozen=True, kw_only=True):
    """The rules of a namespace, or what a profile has beyond those of its namespace.

    What is left out is not limited here. In force is, field by field, the strictest of the node's
    settings, the namespace and the profile.
    """

    retention: HistoryRetention | None = None
    memory: MemoryRules | None = None
    erasure: ErasureRules | None = None
    audit: AuditRules | None = None
    ai_egress: AiEgress | None = None
    redaction: RedactionRules | None = None
    encryption: EncryptionRules | None = None
    lifecycle: LifecycleRules | None = None
    ranking: RankingRules | None = None
    governance: GovernanceRules | None = None


class GetNamespacePolicy(Request, frozen=True, kw_only=True):
    """Read the policy of a namespace."""


class SetNamespacePolicy(Request, frozen=True, kw_only=True):
    """Replace the policy of a namespace; None takes it away. The profiles' own stay."""

    policy: Policy | None


class NamespacePolicy(Result, frozen=True, kw_only=True):
    """The policy of a namespace as it is kept; None where it was taken away."""

    namespace: str
    policy: Sections | None


class GetProfilePolicy(Request, frozen=True, kw_only=True):
    """Read what is in force for a profile, which need not exist yet."""


class SetProfilePolicy(Request, frozen=True, kw_only=True):
    """Replace what a profile has beyond its namespace's policy; None takes it away.

    The profile need not exist yet.
    """

    policy: Policy | None


class ProfilePolicy(Result, frozen=True, kw_only=True):
    """What was set for the profile alone (None: nothing), and what is in force."""

    override: Sections | None
    effective: Sections


_NAMESPACE = "/v1/namespaces/{namespace}/policy"

ROWS = (
    row(
        "policy.get_namespace",
        f"GET {_NAMESPACE}",
        GetNamespacePolicy,
        NamespacePolicy,
        "read platform",
        "Read the policy of a namespace.",
    ),
    row(
        "policy.set_namespace",
        f"PUT {_NAMESPACE}",
        SetNamespacePolicy,
        NamespacePolicy,
        "admin writes idempotent platform",
        "Replace the policy of a namespace, or take it away.",
    ),
    row(
        "policy.get_profile",
        f"GET {PROFILE}/policy",
        GetProfilePolicy,
        ProfilePolicy,
        "read",
        "Read the policy of a profile: what was set for it, and what is in force.",
    ),
    row(
        "policy.set_profile",
        f"PUT {PROFILE}/policy",
        SetProfilePolicy,
        ProfilePolicy,
        "admin writes idempotent",
        "Make the policy of a profile stricter than its namespace's, or take that away.",
    ),
)
