"""What can be read of a profile, as it is and as it was."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Unpack

import msgspec

from ...api import (
    Answered,
    Boundary,
    DocumentCollections,
    EmbeddedTexts,
    EmbedStatus,
    EmbedTexts,
    ExportSubject,
    FindMemories,
    FindTurns,
    FoundMemories,
    GetEmbedding,
    GetMemory,
    GetProposal,
    GotMemory,
    GotProposal,
    History,
    ListDocumentCollections,
    ListProposals,
    ListSessions,
    ListVectorCollections,
    Memory,
    MemoryPage,
    MemoryType,
    Proposal,
    ProposalPage,
    Recall,
    Rows,
    SessionInfo,
    SessionPage,
    SubjectPage,
    Sync,
    Target,
    Turns,
    VectorCollections,
    to_request,
)
from ...api.feedback import FeedbackSummary, SummarizeFeedback
from ...api.kv import SPACE_DEFAULT
from ...api.limits import K_DEFAULT, PAGE_MAX
from ...api.scores import ScoredMemories, ScoreMemories
from ...api.stats import GetStats, MemoryStats
from ...clock import Clock
from ...errors import NotFound
from ...points import Point
from ..fields import AskFields, IdLike, ListFields, ProposalFields, ReadFields, RecallFields
from ..inputs import (
    apart,
    ask_request,
    history_request,
    list_request,
    reading,
    recall_request,
    text_id,
)
from ..sql import Params, StatementLike, rows_of, sql_request
from .documents import AsyncDocumentsReading
from .kv import AsyncKeySpaceReading
from .session import AsyncTranscript
from .vectors import AsyncVectorsReading

if TYPE_CHECKING:
    from .client import AsyncClient
    from .relations import AsyncRelationsReading
    from .timeline import AsyncEventsReading

__all__ = ["AsyncPastProfile", "AsyncReading"]


class AsyncReading:
    """Every read of a profile; `Profile` adds the writes, `PastProfile` reads at a point.

    A value that holds nothing open: equal values are equal, hashable and safe to share.

    Reads of what changes take `min_txid=`: what is returned holds every write up to that txid; and
    `consistency=`: `primary` holds every write that was acknowledged before, `cached` may be some
    seconds old where several nodes share the store, and asks none but the one that is called.
    """

    __slots__ = ("branch_name", "client", "name", "namespace")

    def __init__(self, client: AsyncClient, namespace: str, name: str, branch: str) -> None:
        self.client = client
        self.namespace = namespace
        self.name = name
        self.branch_name = branch

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"

    def __str__(self) -> str:
        branch = "" if self.branch_name == "main" else f"@{self.branch_name}"
        return f"{self.namespace}--{self.name}{branch}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncReading) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    async def get(self, memory: IdLike, **how: Unpack[ReadFields]) -> Memory:
        """Return a memory, also a superseded one; `NotFound` where it is gone."""
        request = GetMemory(id=text_id(memory))
        found: GotMemory = await self.client.call(
            "memories.get", self.target, request, reading(how)
        )
        return found.memory

    async def find(
        self, handles: Iterable[int], *, deleted: bool = False, **how: Unpack[ReadFields]
    ) -> FoundMemories:
        """Return up to 1,000 memories by their `handle`, in that order; missing ones are left out.

        With `deleted`, which needs the scope `admin`, soft-deleted ones too.
        """
        fields = {"handles": tuple(handles), "deleted": deleted}
        request = to_request(FindMemories, fields, "find")
        found: FoundMemories = await self.client.call(
            "memories.find", self.target, request, reading(how)
        )
        return found

    async def list(self, **filters: Unpack[ListFields]) -> AsyncIterator[Memory]:
        """Iterate over all memories that match, newest first, page by page."""
        fields, how = apart(filters)
        request = list_request(fields)
        while True:
            page: MemoryPage = await self.client.call("memories.list", self.target, request, how)
            for memory in page.memories:
                yield memory
            if page.next_cursor is None:
                return
            request = msgspec.structs.replace(request, cursor=page.next_cursor)

    async def scores(self, memories: Iterable[IdLike], **how: Unpack[ReadFields]) -> ScoredMemories:
        """Compute what up to 1,000 memories are worth now: importance, decay, evidence."""
        request = ScoreMemories(ids=tuple(text_id(memory) for memory in memories))
        found: ScoredMemories = await self.client.call(
            "memories.scores", self.target, request, reading(how)
        )
        return found

    async def stats(self, *, project: str | None = None, **how: Unpack[ReadFields]) -> MemoryStats:
        """Count the memories by state, type, kind and trust, with averages of those that hold.

        With `project` only those of that project.
        """
        found: MemoryStats = await self.client.call(
            "memories.stats", self.target, GetStats(project=project), reading(how)
        )
        return found

    async def feedback_summary(self, **how: Unpack[ReadFields]) -> FeedbackSummary:
        """Count what was said of the memories, by signal and by the memories' trust."""
        found: FeedbackSummary = await self.client.call(
            "feedback.summary", self.target, SummarizeFeedback(), reading(how)
        )
        return found

    async def export_subject(
        self, folder: str | os.PathLike[str], *, session: str | None = None
    ) -> dict[str, int]:
        """Write everything that is held here, or of a session, as files that a person can read.

        Into a new folder: JSON lines of memories, turns, documents and values, each with where it
        came from, and one page of Markdown. All of one moment, of `at` if this is an earlier state.
        Returns how many there are of each. Needs the scope `admin`: what is deleted and not purged
        yet is part of it.
        """
        # Not before: few programs need it.
        from ..subject_archive import SubjectArchive

        target = self.target
        if target.at is None:
            with suppress(NotFound):
                reached: Boundary = await self.client.call("sync", target, Sync())
                target = msgspec.structs.replace(target, at=str(reached.point))
        archive: SubjectArchive = await self.client.aside(SubjectArchive, folder)
        try:
            request = ExportSubject(session=session, limit=PAGE_MAX)
            while True:
                page: SubjectPage = await self.client.call("subject.export", target, request)
                await self.client.aside(archive.add, page.records)
                if page.next_cursor is None:
                    break
                request = msgspec.structs.replace(request, cursor=page.next_cursor)
            now_ms = Clock().now_ms()
            await self.client.aside(archive.finish, str(self), session, page.txid, now_ms)
        finally:
            archive.close()
        return archive.counts

    async def history(
        self,
        memory: IdLike | None = None,
        *,
        topic: str | None = None,
        type: MemoryType | None = None,
        **how: Unpack[ReadFields],
    ) -> History:
        """Return all versions of a memory or of a topic, oldest first; `NotFound` where none is."""
        request = history_request(memory, topic, type)
        found: History = await self.client.call(
            "memories.history", self.target, request, reading(how)
        )
        return found

    async def recall(
        self, query: str | None = None, *, k: int = K_DEFAULT, **options: Unpack[RecallFields]
    ) -> Recall:
        """Return at most `k` memories that matter to `query`, best first, and say why.

        `query` can be any text. `embedding=` searches with a vector of your own, `topic=` by exact
        topic; one of the three is needed. Filters as in `list`; `min_score=` and `max_tokens=` cut,
        `window=` adds neighbouring events, `explain=True` adds what every signal was worth. A
        profile that was never written gives an empty result.
        """
        fields, how = apart(options)
        request = recall_request(query, k, fields)
        found: Recall = await self.client.call("recall", self.target, request, how)
        return found

    async def ask(
        self, query: str, *, k: int = K_DEFAULT, **options: Unpack[AskFields]
    ) -> Answered:
        """Have the node's language model answer from at most `k` recalled memories, and cite them.

        The answer is None where the memories do not hold it. Filters and `min_score=` as in
        `recall`; `max_tokens=` bounds what the model is shown. Raises `Unconfigured` where there is
        no language model, `Denied` where the policy keeps memories from it.
        """
        fields, how = apart(options)
        request = ask_request(query, k, fields)
        answered: Answered = await self.client.call("ask", self.target, request, how)
        return answered

    async def sql(self, query: str, params: Params = ()) -> Rows:
        """Run one statement that reads and return its rows: a sequence of tuples.

        `params` are values for `?` in order, or a mapping for `:name`. It reaches the tables that
        SQL has made, not the memories.
        """
        return (await self.sql_batch([(query, params)]))[0]

    async def sql_batch(self, statements: Iterable[StatementLike]) -> tuple[Rows, ...]:
        """Run 1 to 1,000 statements that read, on one state; return the rows of each.

        A statement is text, or a pair of text and its params.
        """
        request = sql_request(statements)
        return rows_of(await self.client.call("sql.run", self.target, request))

    async def embed_status(self) -> EmbedStatus:
        """Return which models the rows have vectors of, and how many still wait for one."""
        found: EmbedStatus = await self.client.call("embed.status", self.target, GetEmbedding())
        return found

    async def embed_texts(self, texts: Iterable[str], *, query: bool = False) -> EmbeddedTexts:
        """Return the vectors of 1 to 100 texts that the node's embedder makes; nothing is kept.

        With `query` vectors to search with. Raises what the embedder raises.
        """
        request = to_request(EmbedTexts, {"texts": tuple(texts), "query": query}, "embed_texts")
        found: EmbeddedTexts = await self.client.call("embed.texts", self.target, request)
        return found

    async def find_turns(self, handles: Iterable[int], **how: Unpack[ReadFields]) -> Turns:
        """Return up to 1,000 turns by their `handle`, in that order; missing ones are left out."""
        request = to_request(FindTurns, {"handles": tuple(handles)}, "find_turns")
        found: Turns = await self.client.call("sessions.find", self.target, request, reading(how))
        return found

    async def sessions(self, **how: Unpack[ReadFields]) -> AsyncIterator[SessionInfo]:
        """Iterate over the sessions, most recently active first."""
        cursor = None
        while True:
            page: SessionPage = await self.client.call(
                "sessions.list", self.target, ListSessions(cursor=cursor), reading(how)
            )
            for session in page.sessions:
                yield session
            cursor = page.next_cursor
            if cursor is None:
                return

    async def proposals(self, **filters: Unpack[ProposalFields]) -> AsyncIterator[Proposal]:
        """Iterate over what was proposed and decided, newest first; filters narrow it."""
        fields, how = apart(filters)
        request = to_request(ListProposals, fields, "proposals")
        while True:
            page: ProposalPage = await self.client.call("proposals.list", self.target, request, how)
            for proposal in page.proposals:
                yield proposal
            if page.next_cursor is None:
                return
            request = msgspec.structs.replace(request, cursor=page.next_cursor)

    async def proposal(self, proposal: IdLike) -> Proposal:
        """Return one proposal; `NotFound` where it never was, or went with what it was about."""
        request = GetProposal(id=text_id(proposal))
        found: GotProposal = await self.client.call("proposals.get", self.target, request)
        return found.proposal

    async def document_collections(self) -> DocumentCollections:
        """Return the collections of documents, by name, each with how many it holds."""
        found: DocumentCollections = await self.client.call(
            "documents.collections", self.target, ListDocumentCollections()
        )
        return found

    async def vector_collections(self) -> VectorCollections:
        """Return the collections of vectors, by name."""
        found: VectorCollections = await self.client.call(
            "vectors.collections", self.target, ListVectorCollections()
        )
        return found

    @property
    def target(self) -> Target:
        """What operations on this profile are aimed at."""
        return Target(self.namespace, self.name, self.branch_name)

    def _key(self) -> tuple[int, Target]:
        return (id(self.client), self.target)


class AsyncPastProfile(AsyncReading):
    """A profile as it was at a point of its history: every read of `Profile`, and no write.

    Nothing is read before the first call; a call raises `NotFound` where the checkpoint is unknown
    and `Invalid` where the point cannot be read, naming the nearest that can.
    """

    __slots__ = ("point",)

    def __init__(
        self, client: AsyncClient, namespace: str, name: str, branch: str, point: Point
    ) -> None:
        super().__init__(client, namespace, name, branch)
        self.point = point

    def __str__(self) -> str:
        return f"{super().__str__()} at {self.point}"

    def session(self, name: str) -> AsyncTranscript:
        """Return what can be read of a session; costs nothing."""
        return AsyncTranscript(self, name)

    def documents(self, collection: str) -> AsyncDocumentsReading:
        """Return what can be read of a collection of documents; costs nothing."""
        return AsyncDocumentsReading(self, collection)

    @property
    def kv(self) -> AsyncKeySpaceReading:
        """The keys and values as they were."""
        return AsyncKeySpaceReading(self, SPACE_DEFAULT)

    def vectors(self, collection: str) -> AsyncVectorsReading:
        """Return what can be read of a collection of vectors; costs nothing."""
        return AsyncVectorsReading(self, collection)

    @property
    def relations(self) -> AsyncRelationsReading:
        """How memories related to each other, and what they named."""
        from .relations import AsyncRelationsReading

        return AsyncRelationsReading(self)

    @property
    def timeline(self) -> AsyncEventsReading:
        """The events as they were."""
        from .timeline import AsyncEventsReading

        return AsyncEventsReading(self)

    @property
    def target(self) -> Target:
        """What operations on this profile are aimed at."""
        return Target(self.namespace, self.name, self.branch_name, str(self.point))
