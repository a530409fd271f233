"""Which operation is recorded as what: one table, and who is left out of it and why."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = [
    "ACTIONS",
    "AGED",
    "ARCS",
    "DROPPED",
    "EXEMPT",
    "EXPIRED",
    "GOVERNED",
    "ISSUED",
    "NAMED",
    "REDACTION",
    "RELATED",
    "SENT",
    "SWEPT",
    "TENANT_DELETED",
    "UNASKED",
    "UNREADABLE",
    "UNSCOPED",
    "Action",
    "counts",
]


class Action(NamedTuple):
    """What an operation is recorded as.

    `read`: only where the policy includes reads. `always`: where it succeeded, also under a policy
    that records nothing, as which the last change would leave no trace.
    """

    name: str
    read: bool = False
    always: bool = False


ACTIONS: dict[str, Action] = {
    "memories.ingest": Action("memory.ingest"),
    "memories.supersede": Action("memory.supersede"),
    "memories.annotate": Action("memory.annotate"),
    "memories.annotate_all": Action("memory.annotate"),
    "memories.tier": Action("memory.tier"),
    "memories.reassign": Action("memory.reassign"),
    "memories.forget": Action("memory.forget"),
    "memories.feedback": Action("memory.feedback"),
    "governance.run": Action("governance.run"),
    "governance.consolidate": Action("governance.consolidate"),
    "governance.reflect": Action("governance.reflect"),
    "governance.undo": Action("governance.undo"),
    "governance.reports": Action("governance.reports", read=True),
    "governance.report": Action("governance.report", read=True),
    "governance.status": Action("governance.status", read=True),
    "memories.get": Action("memory.get", read=True),
    "memories.scores": Action("memory.scores", read=True),
    "memories.stats": Action("memory.stats", read=True),
    "feedback.summary": Action("memory.feedback_summary", read=True),
    "memories.find": Action("memory.find", read=True),
    "memories.list": Action("memory.list", read=True),
    "memories.history": Action("memory.history", read=True),
    "memories.archive": Action("memory.archive"),
    "memories.restore": Action("memory.restore"),
    "memories.delete": Action("memory.delete"),
    "memories.hold": Action("memory.hold"),
    "memories.release": Action("memory.release"),
    "memories.move": Action("memory.move"),
    "lifecycle.run": Action("memory.lifecycle_run"),
    "memories.events": Action("memory.events", read=True),
    "events.list": Action("memory.all_events", read=True),
    "memories.lineage": Action("memory.lineage", read=True),
    "relations.add": Action("relation.add"),
    "relations.remove": Action("relation.remove"),
    "relations.list": Action("relation.list", read=True),
    "entities.link": Action("entity.link"),
    "entities.list": Action("entity.list", read=True),
    "entities.unlinked": Action("entity.unlinked", read=True),
    "clusters.list": Action("cluster.list", read=True),
    "clusters.summarize": Action("memory.summarize"),
    "recall": Action("memory.recall", read=True),
    "ask": Action("memory.ask", read=True),
    "sessions.end": Action("memory.session_end"),
    "sessions.append": Action("session.append"),
    "sessions.remove": Action("session.remove"),
    "sessions.find": Action("session.find", read=True),
    "sessions.list": Action("session.list", read=True),
    "sessions.window": Action("session.window", read=True),
    "sessions.search": Action("session.search", read=True),
    "sessions.context": Action("session.context", read=True),
    "timeline.append": Action("timeline.append"),
    "timeline.list": Action("timeline.list", read=True),
    "timeline.stats": Action("timeline.stats", read=True),
    "extract": Action("memory.extract"),
    "proposals.list": Action("proposal.list", read=True),
    "proposals.get": Action("proposal.get", read=True),
    "proposals.decide": Action("proposal.decide"),
    "reviews.show": Action("review.show", read=True),
    "reviews.merge": Action("review.merge"),
    "lineage.forget": Action("lineage.forget"),
    "documents.insert": Action("documents.insert"),
    "documents.update": Action("documents.update"),
    "documents.delete": Action("documents.delete"),
    "documents.index": Action("documents.index"),
    "documents.drop": Action("documents.drop"),
    "documents.find": Action("documents.find", read=True),
    "documents.count": Action("documents.count", read=True),
    "documents.indexes": Action("documents.indexes", read=True),
    "documents.collections": Action("documents.collections", read=True),
    "kv.put": Action("kv.put"),
    "kv.delete": Action("kv.delete"),
    "kv.get": Action("kv.get", read=True),
    "kv.list": Action("kv.list", read=True),
    "vectors.upsert": Action("vectors.upsert"),
    "vectors.delete": Action("vectors.delete"),
    "vectors.drop": Action("vectors.drop"),
    "vectors.get": Action("vectors.get", read=True),
    "vectors.info": Action("vectors.info", read=True),
    "vectors.list": Action("vectors.list", read=True),
    "vectors.search": Action("vectors.search", read=True),
    "vectors.collections": Action("vectors.collections", read=True),
    "sql.run": Action("sql.run"),
    "branches.fork": Action("branch.fork"),
    "branches.delete": Action("branch.delete"),
    "branches.diff": Action("branch.diff", read=True),
    "branches.merge": Action("branch.merge"),
    "branches.apply": Action("branch.apply"),
    "branches.pick": Action("branch.pick"),
    "branches.revert": Action("branch.revert"),
    "branches.list": Action("branch.list", read=True),
    "rewind": Action("branch.rewind"),
    "checkpoints.create": Action("checkpoint.create"),
    "checkpoints.delete": Action("checkpoint.delete"),
    "checkpoints.list": Action("checkpoint.list", read=True),
    "points.list": Action("branch.points", read=True),
    "manifest": Action("branch.manifest", read=True),
    "erasures.create": Action("erasure.requested", always=True),
    "erasures.cancel": Action("erasure.cancelled", always=True),
    "erasures.run": Action("erasure.run"),
    "erasures.list": Action("erasure.list", read=True),
    "erasures.get": Action("erasure.get", read=True),
    "subject.export": Action("subject.export", always=True),
    # A read, but everything there is leaves with it.
    "export": Action("profile.export"),
    "import": Action("profile.import"),
    "verify": Action("profile.verify", read=True),
    "profiles.list": Action("profile.list", read=True),
    "databases.create": Action("db.create"),
    "databases.delete": Action("db.delete"),
    "namespaces.delete": Action("namespace.delete"),
    "tokens.mint_database": Action("token.mint"),
    "tokens.mint_namespace": Action("token.mint"),
    "policy.set_namespace": Action("policy.update", always=True),
    "policy.set_profile": Action("policy.update", always=True),
    "policy.get_namespace": Action("policy.get", read=True),
    "policy.get_profile": Action("policy.get", read=True),
    "embed.reembed": Action("embed.reembed"),
    "embed.texts": Action("embed.texts", read=True),
    "embed.status": Action("embed.status", read=True),
    "keys.profiles": Action("keys.list", read=True),
    "keys.rotate": Action("keys.rotate", always=True),
    "keys.retire": Action("keys.retire", always=True),
    "keys.reencrypt": Action("keys.reencrypt"),
    "keys.seal_fields": Action("keys.seal_fields"),
    "audit.query": Action("audit.query", read=True),
    "audit.verify": Action("audit.verify", read=True),
    "usage.database": Action("usage.get", read=True),
    "usage.namespace": Action("usage.get", read=True),
}
# Of what the node does by itself.
SWEPT = "memory.sweep"
AGED = "memory.lifecycle"
# Of governance, for each kind of decision that a run carried out.
GOVERNED = "governance.decision."
# A run went on without the strategy that was to be asked.
UNASKED = "governance.degraded"
RELATED = "memory.relate"
NAMED = "memory.name"
EXPIRED = "audit.expire"
DROPPED = "audit.dropped"
# What a policy found in what came in: labels, fields and how often, nothing of it.
REDACTION = "redaction"
# A row that was sealed could not be read; once for each row and version of the key.
UNREADABLE = "fields.unreadable"
# A client of MemorySync named no project, and its tenant has some.
UNSCOPED = "scope.missing_project"
# What left for a model, by what it was given for.
SENT = {"embed": "egress.embed", "extract": "egress.extract", "ask": "egress.ask"}
# What lets a client of another system in, in the namespace that has its profile.
ISSUED = {
    "create": "credential.create",
    "rotate": "credential.rotate",
    "revoke": "credential.revoke",
}
# Where an organisation keeps its events, in its namespace.
ARCS = {what: f"arc.{what}" for what in ("bind", "remove", "retry", "drop")}

# A tenant of another system with all that was theirs, in each of its namespaces.
TENANT_DELETED = "tenant.delete"

_NO_NAMESPACE = "it is about the whole store, and an event belongs to one namespace"
EXEMPT: dict[str, str] = {
    "databases.list": _NO_NAMESPACE,
    "namespaces.list": _NO_NAMESPACE,
    "names.list": _NO_NAMESPACE,
    "keys.status": _NO_NAMESPACE,
    "keys.retire_masters": _NO_NAMESPACE,
    "node.info": _NO_NAMESPACE,
    "catalog.recover": _NO_NAMESPACE,
    **dict.fromkeys(("tasks.list", "tasks.get", "tasks.cancel", "tasks.retry"), _NO_NAMESPACE),
    "tasks.create": f"{_NO_NAMESPACE}; what it does to each profile is recorded there",
    **dict.fromkeys(("credentials.list", "credentials.get"), _NO_NAMESPACE),
    **dict.fromkeys(("tenants.create", "tenants.list"), _NO_NAMESPACE),
    **dict.fromkeys(("arc.get", "arc.parked"), _NO_NAMESPACE),
    **{
        f"arc.{what}": f"{_NO_NAMESPACE}; it is recorded as {name} in the organisation's"
        for what, name in ARCS.items()
    },
    "tenants.delete": f"{_NO_NAMESPACE}; it is recorded as tenant.delete where its databases were",
    **{
        f"credentials.{what}": f"{_NO_NAMESPACE}; it is recorded as {name} where the key reaches"
        for what, name in ISSUED.items()
    },
    **{
        f"plugins.{what}": f"{_NO_NAMESPACE}; what is changed is in `plugins.events`"
        for what in (
            "signers",
            "add_signer",
            "remove_signer",
            "publish",
            "list",
            "activate",
            "events",
        )
    },
    "maintain": f"{_NO_NAMESPACE}; what it removes by policy is recorded as {SWEPT} and {EXPIRED}",
    "sync": "it stores what was recorded when it was written, and changes nothing",
    "wake": "it restores a local file, and changes and shows nothing",
}

# What a request brings, what a result says how often.
_BROUGHT = ("memories", "turns", "documents", "vectors", "relations", "links")
_SAID = ("tasks", "turns", "matched", "modified", "deleted", "inserted", "databases")


def counts(request: Any, result: Any) -> dict[str, int]:
    """Return how much an operation was about: items, bytes, and what its result counts."""
    found: dict[str, int] = {}
    for name in _BROUGHT:
        brought = getattr(request, name, None)
        if isinstance(brought, tuple | list):
            found["items"] = len(brought)
    data = getattr(request, "data", None)
    if not isinstance(data, bytes):
        data = getattr(result, "data", None)
    if isinstance(data, bytes):
        found["bytes"] = len(data)
    if "items" not in found and hasattr(result, "__len__"):
        found["items"] = len(result)
    for name in _SAID:
        said = getattr(result, name, None)
        if type(said) is int:
            found[name] = said
    return found
