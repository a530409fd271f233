"""Which operations may be sent again, and what the repeat's error says of the attempt before it.

For everything whose calls to a node can go unanswered: clients, gateways, other nodes. A repeat is
safe where the first attempt is recognised, or where doing it twice is as once:

    by its request id           every write to a profile, rewind and fork: a repeat is given the
                                first one's answer
    by nature                   sync, wake, maintain, policies, tokens, embedding anew, keys,
                                plugins
    a name that is gone         deletes of branches, checkpoints, databases, namespaces: that a
                                repeat finds nothing is what was wanted
    a name that is there        a checkpoint, a database: nobody can tell whether the first attempt
                                made it: `Conflict`, `in_doubt`
    not                         import: while the first is still under way a second could begin,
                                and would replace what was written between the two. Where the
                                first's node is dead it is repeated, as with a name that is there
                                ask, reflect: a model that answers already would be paid for twice
                                rotation of a client's key: the new one was in the lost answer
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import Conflict, Error, Invalid, NotFound
from .arcs import ArcRemoved
from .base import Request, Result
from .branches import CheckpointDropped, DeletedBranch
from .control import DeletedDatabase, DeletedNamespace
from .credentials import CredentialRevoked
from .operation import Target
from .tenants import TenantDeleted

__all__ = ["NO_REPEAT", "WITHOUT_ID", "done_before", "doubtful"]

NO_REPEAT = {"import", "ask", "credentials.rotate", "governance.reflect"}
# Where a repeat may meet the name that the first attempt made, finished or not.
_MAKES = {"branches.fork", "checkpoints.create", "databases.create", "import", "arc.bind"}
# Where a repeat finds nothing: the code that says so, and the result.
_REMOVES: dict[str, tuple[str, Callable[[Target, Any], Result]]] = {
    "branches.delete": (
        "branch_not_found",
        lambda target, _: DeletedBranch(name=target.branch),
    ),
    "checkpoints.delete": (
        "not_found",
        lambda _, request: CheckpointDropped(name=request.name),
    ),
    "databases.delete": (
        "database_not_found",
        lambda target, _: DeletedDatabase(name=f"{target.namespace}--{target.profile}"),
    ),
    "credentials.revoke": (
        "not_found",
        lambda _, request: CredentialRevoked(id=request.id),
    ),
    "tenants.delete": (
        "not_found",
        lambda _, request: TenantDeleted(name=request.name, keys=0, databases=0),
    ),
    "arc.remove": (
        "not_found",
        lambda _, request: ArcRemoved(org=request.org, spooled=0),
    ),
    # How many they were, only the answer that was lost has said.
    "namespaces.delete": (
        "database_not_found",
        lambda target, _: DeletedNamespace(namespace=target.namespace or "", databases=0),
    ),
}
WITHOUT_ID = {"checkpoints.create", "databases.create", "embed.reembed", "maintain", "sync", "wake"}
# A token that nobody saw is one too many, and harms nobody.
WITHOUT_ID |= {"tokens.mint_database", "tokens.mint_namespace"}
WITHOUT_ID |= {"credentials.create", "tenants.create"}
WITHOUT_ID |= {"catalog.recover"}
WITHOUT_ID |= {"arc.bind", "arc.retry", "arc.drop"}
WITHOUT_ID |= {"policy.set_namespace", "policy.set_profile"}
WITHOUT_ID |= {"erasures.run", "erasures.cancel"}
# A version of a key that nobody saw is one more, which seals as well as any.
WITHOUT_ID |= {"keys.rotate", "keys.retire", "keys.retire_masters", "keys.reencrypt"}
WITHOUT_ID |= {"keys.seal_fields"}
WITHOUT_ID |= {"tasks.cancel", "tasks.retry", "lifecycle.run"}
WITHOUT_ID |= {"plugins.add_signer", "plugins.remove_signer"}
WITHOUT_ID |= {"plugins.publish", "plugins.activate"}
WITHOUT_ID |= NO_REPEAT | _REMOVES.keys()


def done_before(operation: str, target: Target, request: Request, error: Error) -> Result | None:
    """Return the result where the error of a repeat shows that the attempt before it was done."""
    code, result = _REMOVES.get(operation, (None, None))
    return result(target, request) if result is not None and error.code == code else None


def doubtful(operation: str, error: Error) -> Error:
    """Return the error of a write of which an attempt before may have been carried out."""
    if isinstance(error, Conflict) and operation in _MAKES:
        place = "an attempt before this got no answer and may be what made it; look"
        return error.located(place, in_doubt=True)
    # The node looked for what was done before, and says what it found.
    settled = isinstance(error, (Invalid, NotFound, Conflict))
    return error if settled else error.located("", in_doubt=True)
