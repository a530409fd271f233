"""Policy on the wire: what a namespace or a profile may keep, for how long, and who may see it."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from .base import Request, Result
from .operation import PROFILE, row

__all__ = [
    "ROWS",
    "AiEgress",
    "AuditRules",
    "ErasureRules",
    "GetNamespacePolicy",
    "GetProfilePolicy",
    "HistoryRetention",
    "MemoryRules",
    "NamespacePolicy",
    "Policy",
    "ProfilePolicy",
    "SetNamespacePolicy",
    "SetProfilePolicy",
]

# A policy as it is kept: sections, and the fields of each that are set, also those that only a
# newer release knows.
Sections: TypeAlias = dict[str, Any]


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
    """

    task_ttl_max_secs: int | None = None
    event_max_age_secs: int | None = None
    superseded_max_age_secs: int | None = None
    superseded_max_count: int | None = None


class ErasureRules(Request, frozen=True, kw_only=True):
    """Kept and checked; nothing of this release acts on them, because erasure is not in it yet."""

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
    """What may be given to models.

    `embed`: with `deny` nothing is embedded, with `self_hosted_only` by the model in this process
    alone; recall goes on by words and topics. `extract` and `ask` are kept and checked; nothing of
    this release acts on them, because it calls no language model.
    """

    extract: Literal["allow", "deny"] | None = None
    ask: Literal["allow", "deny"] | None = None
    embed: Literal["allow", "self_hosted_only", "deny"] | None = None


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
