"""What every operation is handed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..api import Target
from ..clock import Clock
from ..engine import Database, LocalEngine
from ..errors import Invalid, NotFound
from ..ids import MAIN, NAMESPACE_CHARS_MAX, PUBLIC_ID_KEY, DatabaseName, check_name
from ..observe import Metrics
from ..profile import Embedder, PlainSealer, Sealer

__all__ = ["Context", "database_name"]


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of a node. `wake` is told the name of a database that has rows to embed."""

    engine: LocalEngine
    clock: Clock
    embedder: Embedder | None
    metrics: Metrics
    wake: Callable[[str], None]
    sealer: Sealer = field(default_factory=PlainSealer)
    id_key: bytes = PUBLIC_ID_KEY

    @contextmanager
    def writing(self, target: Target) -> Iterator[Database]:
        """Yield the target's database, made if this is its first write."""
        with self.engine.use(str(database_name(target)), create=True) as database:
            assert database is not None
            yield database

    @contextmanager
    def reading(self, target: Target) -> Iterator[Database | None]:
        """Yield the target's database, or None where nothing was written: reads create none."""
        with self.engine.use(str(database_name(target)), create=False) as database:
            yield database


def database_name(target: Target) -> DatabaseName:
    """Return the checked names of a target; raises `Invalid`, or `NotFound` for another branch."""
    if target.namespace is None or target.profile is None:
        raise Invalid("this operation needs a namespace and a profile")
    name = DatabaseName(
        check_name(target.namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX),
        check_name(target.profile, "profile"),
    )
    if target.branch != MAIN:
        raise NotFound(
            f"branch not found: {target.branch!r} of profile "
            f"{target.profile!r}; it has only 'main'",
            code="branch_not_found",
        )
    return name
