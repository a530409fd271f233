"""What the client asks about policies and the audit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from ...api import (
    NO_OPTIONS,
    AuditEvent,
    AuditPage,
    AuditVerification,
    GetNamespacePolicy,
    GetProfilePolicy,
    NamespacePolicy,
    Options,
    Policy,
    ProfilePolicy,
    QueryAudit,
    SetNamespacePolicy,
    SetProfilePolicy,
    Target,
    VerifyAudit,
    to_request,
)
from ...api.base import Request
from ...api.limits import PAGE_MAX
from ...clock import parse_ms
from ..fields import Time

__all__ = ["Governance"]


class Governance:
    """The part of a client that is about what may be kept and what was done."""

    if TYPE_CHECKING:

        async def call(
            self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
        ) -> Any: ...

    async def policy(
        self, namespace: str, profile: str | None = None
    ) -> NamespacePolicy | ProfilePolicy:
        """Return the policy of a namespace, or with `profile` its own and what is in force for it.

        Raises `NotFound` where a namespace has none.
        """
        found: NamespacePolicy | ProfilePolicy
        if profile is None:
            found = await self.call("policy.get_namespace", Target(namespace), GetNamespacePolicy())
        else:
            target = Target(namespace, profile)
            found = await self.call("policy.get_profile", target, GetProfilePolicy())
        return found

    async def set_policy(
        self,
        namespace: str,
        policy: Policy | Mapping[str, Any] | None,
        profile: str | None = None,
    ) -> NamespacePolicy | ProfilePolicy:
        """Replace the policy of a namespace, or with `profile` what that has beyond it.

        For example `{"memory": {"event_max_age_secs": 86_400}}`; None takes it away. Raises
        `Conflict` naming every field that would be looser than what holds anyway. Other nodes
        follow within `PALIMP_POLICY_CACHE_SECS`.
        """
        found: NamespacePolicy | ProfilePolicy
        wanted = None if policy is None else to_request(Policy, policy, "policy")
        if profile is None:
            request = SetNamespacePolicy(policy=wanted)
            found = await self.call("policy.set_namespace", Target(namespace), request)
        else:
            override = SetProfilePolicy(policy=wanted)
            found = await self.call("policy.set_profile", Target(namespace, profile), override)
        return found

    async def audit(
        self,
        namespace: str,
        *,
        since: Time | None = None,
        until: Time | None = None,
        action: str | None = None,
        profile: str | None = None,
        outcome: str | None = None,
    ) -> AsyncIterator[AuditEvent]:
        """Iterate over what was recorded of a namespace, oldest first.

        `action` is a name such as `memory.ingest`, or the beginning of names with its dot, such as
        `memory.`; `outcome` is `ok`, `denied` or `error`.
        """
        begin = None if since is None else parse_ms(since, "since")
        end = None if until is None else parse_ms(until, "until")
        cursor = None
        while True:
            fields = {
                "from": begin,
                "to": end,
                "action": action,
                "profile": profile,
                "outcome": outcome,
                "limit": PAGE_MAX,
                "cursor": cursor,
            }
            request = to_request(QueryAudit, fields, "audit")
            page: AuditPage = await self.call("audit.query", Target(namespace), request)
            for event in page.events:
                yield event
            cursor = page.next_cursor
            if cursor is None:
                return

    async def verify_audit(self, namespace: str) -> AuditVerification:
        """Check that nothing recorded of a namespace was altered or taken out.

        `broken` is the first place that does not hold, or None. `chains` are the last lines of
        every node, to be kept elsewhere and compared later.
        """
        objects = events = 0
        cursor = None
        while True:
            part: AuditVerification = await self.call(
                "audit.verify", Target(namespace), VerifyAudit(cursor=cursor)
            )
            objects += part.objects
            events += part.events
            cursor = part.next_cursor
            if cursor is None:
                return AuditVerification(
                    objects=objects,
                    events=events,
                    chains=part.chains,
                    broken=part.broken,
                    next_cursor=None,
                )
