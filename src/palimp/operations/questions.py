"""The vectors a question is searched by: one of each model that rows have vectors of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..api import Dropped
from ..engine import Address, Branch
from ..errors import Error
from ..profile.generations import behind, has_missing, unreached
from ..profile.indexing import GIVEN_MODEL, MEMORIES, TURNS
from .context import Context, Readable
from .egress import outgoing
from .embedding import embedded
from .vectors import fill_in_passing

if TYPE_CHECKING:
    from ..profile import Embedder
    from ..profile.vectors import QueryVector

__all__ = ["Asked", "Question", "question_vectors"]

_CHANNEL = "channel vector of the query"


class Question(NamedTuple):
    """What is asked, by words or by a caller's own vector, and of what it is asked.

    With `explain` it is counted what cannot be found by meaning.
    """

    query: str | None
    embedding: tuple[float, ...] | None
    turns: bool
    explain: bool


class Asked(NamedTuple):
    """The vectors to search with, the embedder's before older ones, and what is left out.

    `degraded` is whether there would be more if the embedder had not failed.
    """

    vectors: tuple[QueryVector, ...]
    dropped: tuple[Dropped, ...] = ()
    degraded: bool = False


def question_vectors(
    context: Context, address: Address, database: Readable, question: Question
) -> Asked:
    """Return what there is to search by meaning with.

    A caller's own is compared with callers' own only. Words and topics still find what they find: a
    model is never needed to read.
    """
    from ..profile.vectors import QueryVector, unit

    vectors: list[QueryVector] = []
    if question.embedding is not None:
        vectors.append(QueryVector(GIVEN_MODEL, unit(question.embedding)))
    query = question.query
    if query is None or not query.strip():
        return Asked(tuple(vectors))
    embedder = context.embedder_of(address.namespace, address.profile)
    if embedder is None:
        return Asked(tuple(vectors), (Dropped(what=_CHANNEL, reason="no embedder here"),))
    asking = _Asking(context, address, query)
    name = asking.ask(embedder)
    older, missing = database.read(lambda c: (behind(c, name), has_missing(c))).value
    if missing and isinstance(database, Branch) and not context.embedding.read_only:
        if embedder.local:
            fill_in_passing(context, database)
        else:
            # What was left before this process began, nobody may have written since.
            context.wake(database.address)
    for generation in older:
        asking.ask_older(embedder, generation.name)
    vectors += asking.vectors
    if older and question.explain:
        reached = [vector.model for vector in asking.vectors]
        corpora = (MEMORIES, TURNS) if question.turns else (MEMORIES,)
        count = database.read(lambda c: sum(unreached(c, one, reached) for one in corpora)).value
        if count:
            names = ", ".join(one.name for one in older if one.name not in reached)
            asking.leave_out(
                f"found by words only: their vectors are of {names or name}, which cannot be asked "
                "here; `palimp embed reembed` gives them vectors of the model in use",
                count,
            )
    return Asked(tuple(vectors), tuple(asking.dropped), asking.failed)


class _Asking:
    def __init__(self, context: Context, address: Address, query: str) -> None:
        self.vectors: list[QueryVector] = []
        self.dropped: list[Dropped] = []
        self.failed = False
        self._context = context
        self._address = address
        self._query = query

    def ask(self, embedder: Embedder) -> str | None:
        """Embed the question; return the model's name, None where even that is not known."""
        name = None
        try:
            name = embedder.name
            self._add(embedder, name)
        except Error as error:
            self._context.embedding.failed(error, self._context.clock.now_ms())
            self.failed = True
            self._context.metrics.add("recalls_without_embedder", code=error.code)
            self.leave_out(str(error))
        else:
            self._context.embedding.succeeded()
        return name

    def ask_older(self, embedder: Embedder, model: str) -> None:
        """Embed the question for vectors of an older model, where something here can."""
        try:
            found = embedder.of(model) or _bundled(model)
            if found is not None and self._may(found):
                self._add(found, model)
        except Error as error:
            self.leave_out(f"{model}: {error}")

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Say that a part of what there is cannot be found by meaning."""
        self.dropped.append(Dropped(what=_CHANNEL, reason=reason, count=count))

    def _add(self, embedder: Embedder, model: str) -> None:
        from ..profile.vectors import QueryVector, unit

        with outgoing(self._context, self._address, "embed", model) as spending:
            row = embedded(embedder, [self._query], spending, query=True)[0]
        self.vectors.append(QueryVector(model, unit(row)))

    def _may(self, embedder: Embedder) -> bool:
        return self._context.policies.may_embed(
            self._address.namespace, self._address.profile, egress=embedder.egress
        )


def _bundled(model: str) -> Embedder | None:
    """Return the embedder in the package, which is always at hand, for its own vectors."""
    from ..models.bundled import NAME, BundledEmbedder

    return BundledEmbedder() if model == NAME else None
