"""The audit of a namespace: read it, check it, let go of what is too old."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..api import AuditPage, AuditVerification, QueryAudit, Target, VerifyAudit
from ..errors import Error, Invalid
from ..ids import NAMESPACE_CHARS_MAX, check_name
from ..observe import logger
from .auditing.reading import query
from .auditing.retiring import retire
from .auditing.verifying import verify
from .context import Context

if TYPE_CHECKING:
    from ..catalog.locks import Held

__all__ = ["query_audit", "retire_audits", "verify_audit"]

_LOG = logger("audit")
_FLUSH_SECONDS = 2.0


def query_audit(context: Context, target: Target, request: QueryAudit) -> AuditPage:
    """Read one page; what this node did before is in it, if the store takes it now."""
    namespace = _namespace(target)
    if context.audit is not None and request.cursor is None:
        context.audit.flush(_FLUSH_SECONDS)
    return query(context.engine.store, namespace, request)


def verify_audit(context: Context, target: Target, request: VerifyAudit) -> AuditVerification:
    """Check a part of the chains."""
    namespace = _namespace(target)
    if context.audit is not None and request.cursor is None:
        context.audit.flush(_FLUSH_SECONDS)
    return verify(context.engine.store, namespace, request.cursor)


def retire_audits(context: Context, held: Held) -> int:
    """Remove, of every namespace, the days its policy does not keep; return how many objects.

    Ends where the lock that is `held` was lost: another goes on with it.
    """
    removed = 0
    if context.audit is None:
        return removed
    for namespace in context.policies.namespaces():
        if held.lost:
            break
        try:
            seconds = context.policies.effective(namespace).audit_retention_secs
            if seconds is not None:
                removed += retire(
                    context.engine.store,
                    context.audit,
                    namespace,
                    seconds,
                    context.clock.now_ms(),
                )
        except Error as error:
            _LOG.warning("the audit of %s is left as it is: %s", namespace, error)
    return removed


def _namespace(target: Target) -> str:
    if target.namespace is None:
        raise Invalid("this operation needs a namespace")
    return check_name(target.namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX)
