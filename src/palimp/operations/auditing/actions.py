"""Which operation is recorded as what: one table, and who is left out of it and why."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["ACTIONS", "DROPPED", "EXEMPT", "EXPIRED", "SWEPT", "Action", "counts"]


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
    "memories.forget": Action("memory.forget"),
    "memories.get": Action("memory.get", read=True),
    "memories.list": Action("memory.list", read=True),
    "memories.history": Action("memory.history", read=True),
    "recall": Action("memory.recall", read=True),
    "sessions.end": Action("memory.session_end"),
    "sessions.append": Action("session.append"),
    "sessions.list": Action("session.list", read=True),
    "sessions.window": Action("session.window", read=True),
    "sessions.search": Action("session.search", read=True),
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
    "branches.list": Action("branch.list", read=True),
    "rewind": Action("branch.rewind"),
    "checkpoints.create": Action("checkpoint.create"),
    "checkpoints.delete": Action("checkpoint.delete"),
    "checkpoints.list": Action("checkpoint.list", read=True),
    "points.list": Action("branch.points", read=True),
    "manifest": Action("branch.manifest", read=True),
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
    "audit.query": Action("audit.query", read=True),
    "audit.verify": Action("audit.verify", read=True),
    "usage.database": Action("usage.get", read=True),
    "usage.namespace": Action("usage.get", read=True),
}
# Of what the node does by itself.
SWEPT = "memory.sweep"
EXPIRED = "audit.expire"
DROPPED = "audit.dropped"

_NO_NAMESPACE = "it is about the whole store, and an event belongs to one namespace"
EXEMPT: dict[str, str] = {
    "databases.list": _NO_NAMESPACE,
    "namespaces.list": _NO_NAMESPACE,
    "names.list": _NO_NAMESPACE,
    "node.info": _NO_NAMESPACE,
    "maintain": f"{_NO_NAMESPACE}; what it removes by policy is recorded as {SWEPT} and {EXPIRED}",
    "sync": "it stores what was recorded when it was written, and changes nothing",
    "wake": "it restores a local file, and changes and shows nothing",
}

# What a request brings, what a result says how often.
_BROUGHT = ("memories", "turns", "documents", "vectors")
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
