"""From an operation's name to its function."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, get_args

import msgspec

from ..api import NO_OPTIONS, OPERATIONS, Operation, Options, Target
from ..api.base import Request, Result
from ..api.operation import Consistency, Durability
from ..engine import check_request_id
from ..errors import Error, Invalid, Unavailable
from . import scoping
from .access import OWNER, Principal
from .context import Context

__all__ = ["HANDLERS", "dispatch", "handler_of"]

# The room of each is imported with its first use: most programs need few of them.
HANDLERS: dict[str, str] = {
    "memories.ingest": "memories.ingest",
    "memories.get": "memories.get",
    "memories.find": "memories.find",
    "memories.list": "memories.list_page",
    "memories.supersede": "memories.supersede",
    "memories.annotate": "annotating.annotate",
    "memories.annotate_all": "annotating.annotate_all",
    "memories.tier": "annotating.set_tier",
    "memories.reassign": "annotating.reassign",
    "memories.forget": "memories.forget",
    "memories.history": "memories.history",
    "memories.archive": "lifecycle.archive",
    "memories.restore": "lifecycle.restore",
    "memories.delete": "lifecycle.delete",
    "memories.hold": "lifecycle.hold",
    "memories.release": "lifecycle.release",
    "memories.move": "lifecycle.move",
    "memories.events": "lifecycle.list_events",
    "events.list": "lifecycle.list_happened",
    "memories.lineage": "lifecycle.lineage",
    "memories.scores": "scores.scores",
    "memories.stats": "stats.stats",
    "memories.feedback": "feedback.give",
    "governance.run": "governance.run",
    "governance.consolidate": "governance.consolidate",
    "governance.reflect": "reflecting.reflect",
    "governance.reports": "governance.list_reports",
    "governance.report": "governance.get_report",
    "governance.undo": "governance.undo",
    "governance.status": "governance.status",
    "feedback.summary": "feedback.summary",
    "relations.add": "relations.add",
    "relations.list": "relations.list_page",
    "relations.remove": "relations.remove",
    "entities.list": "relations.list_entities",
    "entities.link": "relations.link",
    "entities.unlinked": "relations.list_unlinked",
    "clusters.list": "clusters.list_page",
    "clusters.summarize": "clusters.summarize",
    "recall": "recall.recall",
    "ask": "ask.ask",
    "sessions.list": "sessions.list_page",
    "sessions.append": "sessions.append",
    "sessions.window": "sessions.window",
    "sessions.find": "sessions.find",
    "sessions.remove": "sessions.remove",
    "sessions.search": "recall.search",
    "sessions.end": "sessions.end",
    "sessions.context": "events.sum_up",
    "timeline.append": "events.append",
    "timeline.list": "events.list_events",
    "timeline.stats": "events.stats",
    "extract": "extraction.extract",
    "proposals.list": "proposals.list_page",
    "proposals.get": "proposals.get",
    "proposals.decide": "proposals.decide",
    "reviews.show": "reviews.show",
    "reviews.merge": "reviews.merge",
    "lineage.forget": "lineage.forget",
    "documents.insert": "documents.insert",
    "documents.find": "documents.find",
    "documents.count": "documents.count",
    "documents.update": "documents.update",
    "documents.delete": "documents.delete",
    "documents.index": "documents.create_index",
    "documents.indexes": "documents.indexes",
    "documents.collections": "documents.collections",
    "documents.drop": "documents.drop",
    "kv.list": "kv.list_page",
    "kv.get": "kv.get",
    "kv.put": "kv.put",
    "kv.delete": "kv.delete",
    "vectors.collections": "collections.list_collections",
    "vectors.upsert": "collections.upsert",
    "vectors.search": "collections.search",
    "vectors.info": "collections.info",
    "vectors.list": "collections.list_ids",
    "vectors.get": "collections.get",
    "vectors.delete": "collections.delete",
    "vectors.drop": "collections.drop",
    "sql.run": "sql.run",
    "branches.list": "branches.list_branches",
    "branches.fork": "branches.fork",
    "branches.delete": "branches.delete",
    "branches.diff": "compare.diff",
    "branches.merge": "compare.merge",
    "branches.apply": "compare.apply",
    "branches.pick": "picking.pick",
    "branches.revert": "compare.revert",
    "checkpoints.create": "branches.checkpoint",
    "checkpoints.list": "branches.checkpoints",
    "checkpoints.delete": "branches.drop_checkpoint",
    "points.list": "branches.points",
    "rewind": "branches.rewind",
    "erasures.create": "erasure.create",
    "erasures.list": "erasure.list_page",
    "erasures.get": "erasure.get",
    "erasures.run": "erasure.run",
    "erasures.cancel": "erasure.call_off",
    "subject.export": "subject.export",
    "sync": "branches.sync",
    "export": "branches.export",
    "import": "branches.import_",
    "verify": "branches.verify",
    "manifest": "branches.manifest",
    "wake": "branches.wake",
    "profiles.list": "node.list_profiles",
    "names.list": "branches.names",
    "node.info": "node.info",
    "databases.create": "control.create_database",
    "databases.list": "control.list_databases",
    "databases.delete": "control.delete_database",
    "namespaces.list": "control.list_namespaces",
    "namespaces.delete": "control.delete_namespace",
    "tokens.mint_database": "control.mint",
    "tokens.mint_namespace": "control.mint",
    "policy.get_namespace": "policy.get_namespace",
    "policy.set_namespace": "policy.set_namespace",
    "policy.get_profile": "policy.get_profile",
    "policy.set_profile": "policy.set_profile",
    "embed.status": "vectors.status",
    "embed.texts": "vectors.embed_texts",
    "embed.reembed": "vectors.reembed",
    "keys.status": "keys.status",
    "keys.profiles": "keys.list_profiles",
    "keys.rotate": "keys.rotate",
    "keys.retire": "keys.retire",
    "keys.retire_masters": "keys.retire_masters",
    "keys.reencrypt": "keys.reencrypt",
    "keys.seal_fields": "sealing.seal_fields",
    "audit.query": "audit.query_audit",
    "audit.verify": "audit.verify_audit",
    "usage.database": "usage.database",
    "usage.namespace": "usage.namespace",
    "tasks.create": "tasks.create",
    "tasks.list": "tasks.list_page",
    "tasks.get": "tasks.get",
    "tasks.cancel": "tasks.cancel",
    "tasks.retry": "tasks.retry",
    "lifecycle.run": "tasks.run_lifecycle",
    "tenants.create": "tenants.create",
    "tenants.list": "tenants.list_page",
    "tenants.delete": "tenants.delete",
    "arc.bind": "arcs.bind",
    "arc.get": "arcs.get",
    "arc.remove": "arcs.remove",
    "arc.parked": "arcs.parked",
    "arc.retry": "arcs.retry",
    "arc.drop": "arcs.drop",
    "catalog.recover": "catalog.recover",
    "credentials.create": "credentials.create",
    "credentials.list": "credentials.list_page",
    "credentials.get": "credentials.get",
    "credentials.rotate": "credentials.rotate",
    "credentials.revoke": "credentials.revoke",
    "plugins.signers": "plugins.list_signers",
    "plugins.add_signer": "plugins.add_signer",
    "plugins.remove_signer": "plugins.remove_signer",
    "plugins.publish": "plugins.publish",
    "plugins.list": "plugins.list_plugins",
    "plugins.activate": "plugins.activate",
    "plugins.events": "plugins.list_events",
    "maintain": "node.maintain",
}

# Why a write is refused before anything was done: it may be repeated.
_SHED = ("queue", "backlog", "disk")


def dispatch(
    context: Context,
    name: str,
    target: Target,
    request: Request,
    options: Options = NO_OPTIONS,
    principal: Principal = OWNER,
) -> Result:
    """Carry out one operation of the table for somebody who may.

    Raises only errors of `palimp.errors`.
    """
    operation = OPERATIONS.get(name)
    if operation is None:
        raise Invalid(f"no operation {name!r}")
    assert isinstance(request, operation.request), f"{name} takes a {operation.request.__name__}"
    try:
        if principal is not OWNER:
            context.access.authorize(principal, operation, target, operation.scope)
            context = msgspec.structs.replace(context, principal=principal)
        if target.at is not None and not operation.past:
            raise Invalid(
                f"{name} would write to the past, at {target.at!r:.80}, which never changes; "
                "fork a branch from that point, or rewind to it, and write there"
            )
        if options is not NO_OPTIONS:
            context = context.with_options(_checked(options), name, request)
        if context.owners is not None and (operation.writes or options.consistency != "cached"):
            context.hold(target)
        unscoped = scoping.check(context, target, request)
        grant = _grant(context, operation)
        result = handler_of(name)(context, target, request)
        _check_floor(options.min_txid, result)
        if grant and context.engine.claims is not None:
            context.engine.claims.confirm(grant)
    except Error as error:
        context.metrics.add("operations_failed", operation=name, code=error.code)
        reason = error.details.get("reason")
        if operation.writes and reason in _SHED:
            context.metrics.add("writes_shed", reason=reason)
        if context.audit is not None:
            context.audit.note(operation, target, request, options, principal, error)
        raise
    context.metrics.add("operations_done", operation=name)
    if context.usage is not None:
        context.usage.count(operation, target, request)
    if context.audit is not None:
        context.audit.note(operation, target, request, options, principal, result)
        if unscoped:
            scoping.record(context, target, principal)
    return result


@cache
def handler_of(operation: str) -> Callable[[Context, Target, Any], Result]:
    """Return the function of an operation."""
    module, _, name = HANDLERS[operation].partition(".")
    found: Callable[[Context, Target, Any], Result]
    found = getattr(import_module(f".{module}", __package__), name)
    return found


def _checked(options: Options) -> Options:
    """Return the options if they can be meant."""
    if options.durability not in (None, *get_args(Durability)):
        raise Invalid(f"durability is {options.durability!r:.80}; give 'local' or 'durable'")
    if options.request_id is not None:
        if not isinstance(options.request_id, str):
            raise Invalid(f"request_id must be text, not {type(options.request_id).__name__}")
        check_request_id(options.request_id)
    if options.consistency not in (None, *get_args(Consistency)):
        raise Invalid(f"consistency is {options.consistency!r:.80}; give 'primary' or 'cached'")
    floor = options.min_txid
    if floor is not None and (type(floor) is not int or floor < 0):
        raise Invalid(f"min_txid is {floor!r:.40}; give a txid, a whole number from 0")
    return options


def _grant(context: Context, operation: Operation) -> int:
    """Return the lease under which a write is made that only this machine has when it returns."""
    claims = context.engine.claims
    durability = context.options.durability or ("durable" if context.durable else "local")
    if claims is None or not operation.writes or durability == "durable":
        return 0
    return claims.grant


def _check_floor(floor: int | None, result: Result) -> None:
    """Refuse to answer from a state that is older than the caller has seen."""
    txid = getattr(result, "txid", None)
    if floor is not None and txid is not None and txid < floor:
        raise Unavailable(
            f"this node has txid {txid}, not yet {floor}; repeat it, or ask the node that wrote it",
            reason="behind",
            txid=txid,
            retry_after=0.5,
        )
