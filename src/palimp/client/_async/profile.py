"""A profile: one memory store."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack

from ...api import (
    Boundary,
    Branches,
    CheckpointInfo,
    Checkpoints,
    CreateCheckpoint,
    Decided,
    DecideProposal,
    DeleteBranch,
    DropCheckpoint,
    Durability,
    Erasure,
    ErasurePage,
    Export,
    Exported,
    Extracted,
    FeedbackGiven,
    FieldsSealed,
    Forget,
    ForgetLineage,
    Forgotten,
    Forked,
    GetErasure,
    GiveFeedback,
    Imported,
    Ingested,
    LineageForgotten,
    ListBranches,
    ListCheckpoints,
    ListErasures,
    ListPoints,
    MemoryType,
    PointPage,
    Reembed,
    Reembedded,
    Reencrypt,
    Reencrypted,
    Rewind,
    Rewound,
    Rows,
    SealFields,
    Sync,
    TurnInput,
    Verification,
    Verify,
    Wait,
    Written,
    to_request,
)
from ...api.feedback import Signal
from ...api.kv import SPACE_DEFAULT
from ...api.limits import PAGE_MAX
from ...ids import check_name
from ...points import Point
from ..fields import ExtractFields, IdLike, MemoryFields, MemoryLike, PointLike
from ..inputs import (
    check_free,
    erase_request,
    extract_request,
    fork_request,
    import_request,
    ingest_request,
    point,
    save,
    supersede_request,
    text_id,
    written,
)
from ..sql import Params, StatementLike, rows_of, sql_request
from .documents import AsyncDocuments
from .erasure import AsyncErasureJob
from .kv import AsyncKeySpace
from .lifecycle import AsyncLifecycle
from .merging import AsyncMerging
from .past import AsyncPastProfile
from .review import AsyncReviewBranch
from .session import AsyncSession
from .vectors import AsyncVectors

if TYPE_CHECKING:
    from .governing import AsyncProfileGovernance
    from .relations import AsyncRelations
    from .timeline import AsyncEvents

__all__ = ["AsyncProfile"]


class AsyncProfile(AsyncMerging):
    """One memory store: a value of client, namespace, name and branch that holds nothing open.

    Equal values are equal, hashable and safe to share. Times may be datetimes (naive means UTC),
    milliseconds or RFC 3339 text; ids may be text or anything with an `id`; a point is a `Point`, a
    checkpoint's name, or a datetime.

    Writes take `durability=`: when the call returns, `local` survives the process and a power cut,
    `durable` the loss of the machine too (without it the setting `durability` decides); and
    `request_id=`: a repeat with the same one changes nothing and gets the answer of the first.
    """

    __slots__ = ()

    async def remember(
        self,
        text: str,
        *,
        wait: Wait | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
        **fields: Unpack[MemoryFields],
    ) -> Written:
        """Write one memory; when this returns it survives the process and a power cut.

        It is a `fact` unless `type=` says otherwise. With `topic=` it supersedes, in the same
        transaction, the fact (or instruction) that held on that topic. The same memory again is a
        `duplicate` and writes nothing. Raises `Invalid` naming the field that does not fit.

        With `wait="embedded"` it returns when the memory has its vector; where the embedder fails
        it is written all the same, `embedded` is False and `note` says why.
        """
        done = await self.ingest(
            [{**fields, "text": text}], wait=wait, durability=durability, request_id=request_id
        )
        return written(done)

    async def ingest(
        self,
        memories: Iterable[MemoryLike],
        *,
        wait: Wait | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Ingested:
        """Write 1 to 1,000 memories in one transaction: all of them, or none and an error.

        Each is a mapping with `text` and any field `remember` takes, or a `MemoryInput`. The
        results stand in the order of the items. An error names the item (`details["index"]`).
        `wait` as in `remember`.
        """
        request = ingest_request(memories, self.client.source, wait)
        done: Ingested = await self._write("memories.ingest", request, durability, request_id)
        return done

    async def supersede(
        self,
        memory: IdLike,
        text: str,
        *,
        wait: Wait | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
        **fields: Unpack[MemoryFields],
    ) -> Written:
        """Replace a memory by a newer one, in one transaction; the old stays in its history.

        Type, kind, topic, tags, project, environment, session and agent are taken over unless
        given; `wait` as in `remember`. Raises `NotFound`, or `Conflict` where it was superseded
        before (`details` names the newer one).
        """
        request = supersede_request(memory, text, dict(fields), self.client.source, wait)
        done: Written = await self._write("memories.supersede", request, durability, request_id)
        return done

    async def forget(
        self,
        memory: IdLike,
        *,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> bool:
        """Remove a memory from the present at once; False where there was none.

        Its row, its index entry and its vectors are gone from the file. Memories it had superseded
        stay superseded. Earlier points of the history still hold it.
        """
        request = Forget(id=text_id(memory))
        done: Forgotten = await self._write("memories.forget", request, durability, request_id)
        return done.forgotten

    async def feedback(
        self,
        memory: IdLike,
        signal: Signal,
        query: str | None = None,
        *,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> FeedbackGiven:
        """Say of a memory that it was `useful`, `irrelevant`, `outdated` or `wrong`.

        Recall ranks it higher or lower from then on, within bounds; with `query` for that question
        only. Raises `NotFound` where there is no such memory.
        """
        fields = {"id": text_id(memory), "signal": signal, "query": query}
        request = to_request(GiveFeedback, fields, "feedback")
        done: FeedbackGiven = await self._write(
            "memories.feedback", request, durability, request_id
        )
        return done

    async def extract(
        self,
        turns: Iterable[Mapping[str, Any] | TurnInput] | None = None,
        *,
        durability: Durability | None = None,
        request_id: str | None = None,
        **fields: Unpack[ExtractFields],
    ) -> Extracted:
        """Find memories in turns and write those that are worth it, in one transaction.

        The turns are mappings with `role` and `content` (and `speaker`, `at`), or those stored in
        `session=`, from `from_seq=` to `to_seq=`. The same turns again duplicate nothing. `method=`
        is `model`, or `rules` where no model is to be asked. With `dry_run=True` nothing is
        written, with `review=True` it is written to a branch of its own: `review(name).merge()`.
        Raises `Unconfigured` where there is no language model, `Denied` where the policy keeps
        turns from it.
        """
        if self.client.source is not None:
            fields.setdefault("source", self.client.source)
        request = extract_request(turns, fields)
        done: Extracted = await self._write("extract", request, durability, request_id)
        return done

    async def accept(
        self, proposal: IdLike, *, keep: IdLike | None = None, request_id: str | None = None
    ) -> Decided:
        """Do what a proposal says: write its memory, or let one of two take the other's place.

        Of two memories the newer one stays, unless `keep` names the older. Accepted before, it
        changes nothing. Raises `NotFound` where the proposal went with what it was about.
        """
        kept = None if keep is None else text_id(keep, "keep")
        request = DecideProposal(id=text_id(proposal), decision="accept", keep=kept)
        done: Decided = await self._write("proposals.decide", request, None, request_id)
        return done

    async def dismiss(self, proposal: IdLike, *, request_id: str | None = None) -> Decided:
        """Note that nothing is to come of a proposal: it is not made again."""
        request = DecideProposal(id=text_id(proposal), decision="dismiss")
        done: Decided = await self._write("proposals.decide", request, None, request_id)
        return done

    def review(self, name: str) -> AsyncReviewBranch:
        """Return a review of this profile by name; costs nothing and creates nothing."""
        return AsyncReviewBranch(self, name)

    async def forget_derived(
        self,
        *,
        session: str | None = None,
        source: str | None = None,
        memory: IdLike | None = None,
        dry_run: bool = False,
        request_id: str | None = None,
    ) -> LineageForgotten:
        """Forget what was derived from a session, a source or a memory, and from that in turn.

        Up to 1,000 in one transaction; `remaining` says how many are left for another call. What
        was written by hand stays. With `dry_run` nothing is forgotten.
        """
        fields = {
            "session": session,
            "source": source,
            "memory": None if memory is None else text_id(memory),
            "dry_run": dry_run,
        }
        request = to_request(ForgetLineage, fields, "forget_derived")
        done: LineageForgotten = await self._write("lineage.forget", request, None, request_id)
        return done

    def session(self, name: str) -> AsyncSession:
        """Return a session of this profile by name; costs nothing and creates nothing."""
        return AsyncSession(self, name)

    def documents(self, collection: str) -> AsyncDocuments:
        """Return a collection of documents by name; costs nothing and creates nothing."""
        return AsyncDocuments(self, collection)

    @property
    def kv(self) -> AsyncKeySpace:
        """The keys and values of this profile; `kv.space(name)` is another space of them."""
        return AsyncKeySpace(self, SPACE_DEFAULT)

    @property
    def lifecycle(self) -> AsyncLifecycle:
        """The states of the memories of this profile: archive, delete, restore, hold."""
        return AsyncLifecycle(self)

    @property
    def governance(self) -> AsyncProfileGovernance:
        """The rules that look through the memories of this profile, and what they did."""
        from .governing import AsyncProfileGovernance

        return AsyncProfileGovernance(self)

    @property
    def relations(self) -> AsyncRelations:
        """How the memories of this profile relate to each other, and what they name."""
        # Not before: most programs never ask.
        from .relations import AsyncRelations

        return AsyncRelations(self)

    @property
    def timeline(self) -> AsyncEvents:
        """The events of this profile in the order of time: what agents did and saw."""
        from .timeline import AsyncEvents

        return AsyncEvents(self)

    def vectors(self, collection: str) -> AsyncVectors:
        """Return a collection of vectors by name; costs nothing and creates nothing."""
        return AsyncVectors(self, collection)

    async def sql(
        self,
        query: str,
        params: Params = (),
        *,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Rows:
        """Run one SQL statement and return its rows: a sequence of tuples.

        `params` are values for `?` in order, or a mapping for `:name`. It reaches the tables that
        SQL has made, not the memories. Raises `Invalid` where SQLite refuses it, and for what would
        leave the profile, the transaction or its limits.
        """
        done = await self.sql_batch([(query, params)], durability=durability, request_id=request_id)
        return done[0]

    async def sql_batch(
        self,
        statements: Iterable[StatementLike],
        *,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> tuple[Rows, ...]:
        """Run 1 to 1,000 statements in one transaction: all of them, or none and an error.

        A statement is text, or a pair of text and its params. Returns the rows of each.
        """
        request = sql_request(statements)
        return rows_of(await self._write("sql.run", request, durability, request_id))

    def at(self, when: PointLike) -> AsyncPastProfile:
        """Return this branch as it was at a point: every read, no write; costs nothing.

        A checkpoint's name, a time (the last boundary before it) or a `Point`.
        """
        return AsyncPastProfile(
            self.client, self.namespace, self.name, self.branch_name, point(when)
        )

    async def checkpoint(
        self,
        name: str | None = None,
        *,
        before: str | None = None,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Point:
        """Name what the branch holds now and return that point; it stays readable from then on.

        `name` begins with a letter. With `before`, a word of a-z and _ for what comes next, it is
        named `pre_{before}_` and 8 hex digits; the newest 20 of those stay. Doing it again with
        nothing written in between changes nothing; raises `Conflict` where the name stands for
        something else, `NotFound` for a profile that was never written.
        """
        fields = {"name": name, "before": before}
        request = to_request(CreateCheckpoint, fields, "checkpoint")
        made: CheckpointInfo = await self._write(
            "checkpoints.create", request, durability, request_id
        )
        return made.point

    async def checkpoints(self) -> Checkpoints:
        """Return the checkpoints of this branch, oldest first."""
        found: Checkpoints = await self.client.call(
            "checkpoints.list", self.target, ListCheckpoints()
        )
        return found

    async def drop_checkpoint(self, name: str) -> None:
        """Remove the name of a checkpoint; `NotFound` where there is none of that name.

        What it named may go with it: it is kept no longer than other history.
        """
        await self.client.call("checkpoints.delete", self.target, DropCheckpoint(name=name))

    async def points(self) -> AsyncIterator[Boundary]:
        """Iterate over what can be read, forked from and returned to, newest first."""
        cursor = None
        while True:
            page: PointPage = await self.client.call(
                "points.list", self.target, ListPoints(limit=PAGE_MAX, cursor=cursor)
            )
            for boundary in page.points:
                yield boundary
            cursor = page.next_cursor
            if cursor is None:
                return

    async def rewind(
        self,
        to: PointLike,
        *,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> Rewound:
        """Make the branch hold again what it held at a point, in one commit.

        Nothing of the history goes: `rewind(done.undo)` takes it back. Checkpoints stay.
        """
        request = Rewind(to=str(point(to)))
        done: Rewound = await self._write("rewind", request, durability, request_id)
        return done

    async def fork(
        self, name: str, *, at: PointLike | None = None, ttl: timedelta | float | None = None
    ) -> AsyncProfile:
        """Make a branch of what this one holds, or held at a point, and return it.

        It costs no copy of the data. Writes to either are not seen by the other. With `ttl` it is
        removed by itself after that time. Raises `Conflict` where the name is taken.
        """
        made: Forked = await self.client.call(
            "branches.fork", self.target, fork_request(name, at, ttl)
        )
        return self.branch(made.name)

    def branch(self, name: str) -> AsyncProfile:
        """Return a branch of this profile by name; costs nothing and creates nothing."""
        branch = check_name(name, "branch")
        return AsyncProfile(self.client, self.namespace, self.name, branch)

    async def branches(self) -> Branches:
        """Return the branches of this profile, `main` among them."""
        found: Branches = await self.client.call("branches.list", self.target, ListBranches())
        return found

    async def delete_branch(self, name: str) -> None:
        """Remove a branch and what only it holds; branches forked from it stay.

        Raises `NotFound` where there is none of that name, `Invalid` for `main`.
        """
        await self.client.call("branches.delete", self.branch(name).target, DeleteBranch())

    async def reembed(self, limit: int | None = None) -> Reembedded:
        """Embed rows that the embedder's model has no vector of; the vectors of older models go.

        Takes at most `limit` rows, oldest first, and a few seconds: repeat it until nothing
        remains. Ended anywhere it goes on where it was. Raises what the embedder raises.
        """
        request = to_request(Reembed, {"limit": limit}, "reembed")
        done: Reembedded = await self.client.call("embed.reembed", self.target, request)
        return done

    async def reencrypt(self, limit: int | None = None) -> Reencrypted:
        """Store segments again that an older key sealed, or none; every boundary stays.

        Takes at most `limit`, in every branch: repeat it until none remains.
        """
        request = to_request(Reencrypt, {"limit": limit}, "reencrypt")
        done: Reencrypted = await self.client.call("keys.reencrypt", self.target, request)
        return done

    async def seal_fields(self, limit: int | None = None) -> FieldsSealed:
        """Seal rows that stand in plain or under an older key, in every branch.

        Takes at most `limit`, in every branch: repeat it until none remains. With 0 it only counts.
        What no key opens stays as it is. History keeps rows as they were.
        """
        request = to_request(SealFields, {"limit": limit}, "seal_fields")
        done: FieldsSealed = await self.client.call("keys.seal_fields", self.target, request)
        return done

    async def sync(self) -> Point:
        """Return when all that was acknowledged so far survives this machine, and that point."""
        reached: Boundary = await self.client.call("sync", self.target, Sync())
        return reached.point

    async def erase(
        self,
        *memories: IdLike,
        topic: str | None = None,
        session: str | None = None,
        source: str | None = None,
        profile: bool = False,
        type: MemoryType | None = None,
        turns: bool = True,
        include_derived: bool = False,
        grace: float | timedelta | None = None,
        reason: str | None = None,
        dry_run: bool = False,
        request_id: str | None = None,
    ) -> AsyncErasureJob:
        """Erase memories, or all of a topic, a session or a source, or this whole profile.

        When it returns, what is meant is gone from the present of every branch, and no earlier
        state shows it any more. After `grace` seconds (else what the policy says, else a day)
        history is written anew: of earlier states only checkpoints and fork points stay. `wait()`
        on what is returned ends with a signed receipt. With `dry_run` it says what it would come
        to, and does nothing. `type` narrows a topic to one of its types; with `turns` False the
        transcript of a session stays.
        """
        request = erase_request(
            memories,
            topic=topic,
            session=session,
            source=source,
            profile=profile,
            type=type,
            turns=turns,
            include_derived=include_derived,
            grace=grace,
            reason=reason,
            dry_run=dry_run,
        )
        state: Erasure = await self._write("erasures.create", request, None, request_id)
        return AsyncErasureJob(self, state)

    async def erasure(self, id: str | AsyncErasureJob) -> AsyncErasureJob:
        """Return an erasure of this profile; `NotFound` where there is none."""
        request = GetErasure(id=id if isinstance(id, str) else id.id)
        return AsyncErasureJob(self, await self.client.call("erasures.get", self.target, request))

    async def erasures(self) -> AsyncIterator[AsyncErasureJob]:
        """Iterate over the erasures of this profile, the oldest first."""
        cursor = None
        while True:
            page: ErasurePage = await self.client.call(
                "erasures.list", self.target, ListErasures(limit=PAGE_MAX, cursor=cursor)
            )
            for one in page.erasures:
                yield AsyncErasureJob(self, one)
            cursor = page.next_cursor
            if cursor is None:
                return

    async def export(
        self,
        path: str | os.PathLike[str],
        *,
        at: PointLike | None = None,
        overwrite: bool = False,
    ) -> int:
        """Write the branch, as it is or was at a point, as a plain SQLite file; return its txid.

        The file appears whole or not at all. Raises `Conflict` where there is one already, unless
        `overwrite`.
        """
        check_free(path, overwrite)
        target = self.target if at is None else self.at(at).target
        file: Exported = await self.client.call("export", target, Export())
        await self.client.aside(save, path, file.data, overwrite)
        return file.txid

    async def import_(self, path: str | os.PathLike[str]) -> int:
        """Fill this profile with an exported file and return the txid that holds it.

        Raises `Conflict` unless the profile was never written, and `Invalid` for a file that is
        damaged or was not made by `export`.
        """
        request = await self.client.aside(import_request, path)
        done: Imported = await self.client.call("import", self.target, request)
        return done.txid

    async def verify(self) -> Verification:
        """Read every object of the profile's history and return what is not sound."""
        found: Verification = await self.client.call("verify", self.target, Verify())
        return found
