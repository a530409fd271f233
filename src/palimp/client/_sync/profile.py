# Made from client/_async by scripts/unasync.py; change it there.
"""A profile: one memory store."""

from __future__ import annotations

from collections.abc import Iterator, Iterable
from typing import TYPE_CHECKING, Unpack

import msgspec

from ...api import (
    Forget,
    Forgotten,
    GetMemory,
    GotMemory,
    History,
    Ingested,
    ListSessions,
    Memory,
    MemoryPage,
    MemoryType,
    Recall,
    SessionInfo,
    SessionPage,
    Target,
    Written,
)
from ...api.limits import K_DEFAULT
from ..fields import IdLike, ListFields, MemoryFields, MemoryLike, RecallFields
from ..inputs import (
    history_request,
    ingest_request,
    list_request,
    recall_request,
    supersede_request,
    text_id,
)
from .session import Session

if TYPE_CHECKING:
    from .client import Client

__all__ = ["Profile"]


class Profile:
    """One memory store: a value of client, namespace, name and branch that holds nothing open.

    Equal values are equal, hashable and safe to share. Times may be datetimes (naive means UTC),
    milliseconds or RFC 3339 text; ids may be text or anything with an `id`.
    """

    __slots__ = ("branch", "client", "name", "namespace")

    def __init__(self, client: Client, namespace: str, name: str, branch: str) -> None:
        self.client = client
        self.namespace = namespace
        self.name = name
        self.branch = branch

    def __repr__(self) -> str:
        at = "" if self.branch == "main" else f"@{self.branch}"
        return f"<{type(self).__name__} {self.namespace}--{self.name}{at}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Profile) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def remember(self, text: str, **fields: Unpack[MemoryFields]) -> Written:
        """Write one memory; when this returns it survives the process and a power cut.

        It is a `fact` unless `type=` says otherwise. With `topic=` it supersedes, in the same
        transaction, the fact (or instruction) that held on that topic. The same memory again is a
        `duplicate` and writes nothing. Raises `Invalid` naming the field that does not fit.
        """
        request = ingest_request([{**fields, "text": text}], self.client.source)
        done: Ingested = self.client.call("memories.ingest", self.target, request)
        result = done.results[0]
        names = result.__struct_fields__
        return Written(**{name: getattr(result, name) for name in names}, txid=done.txid)

    def ingest(self, memories: Iterable[MemoryLike]) -> Ingested:
        """Write 1 to 1,000 memories in one transaction: all of them, or none and an error.

        Each is a mapping with `text` and any field `remember` takes, or a `MemoryInput`. The
        results stand in the order of the items. An error names the item (`details["index"]`).
        """
        request = ingest_request(memories, self.client.source)
        done: Ingested = self.client.call("memories.ingest", self.target, request)
        return done

    def supersede(self, memory: IdLike, text: str, **fields: Unpack[MemoryFields]) -> Written:
        """Replace a memory by a newer one, in one transaction; the old stays in its history.

        Type, kind, topic, tags, project, environment, session and agent are taken over unless
        given. Raises `NotFound`, or `Conflict` where it was superseded before (`details` names the
        newer one).
        """
        request = supersede_request(memory, text, dict(fields), self.client.source)
        done: Written = self.client.call("memories.supersede", self.target, request)
        return done

    def forget(self, memory: IdLike) -> bool:
        """Remove a memory from the present at once; False where there was none.

        Its row, its index entry and its vectors are gone from the file. Memories it had superseded
        stay superseded.
        """
        request = Forget(id=text_id(memory))
        done: Forgotten = self.client.call("memories.forget", self.target, request)
        return done.forgotten

    def get(self, memory: IdLike) -> Memory:
        """Return a memory, also a superseded one; `NotFound` where it is gone."""
        request = GetMemory(id=text_id(memory))
        found: GotMemory = self.client.call("memories.get", self.target, request)
        return found.memory

    def list(self, **filters: Unpack[ListFields]) -> Iterator[Memory]:
        """Iterate over all memories that match, newest first, page by page."""
        request = list_request(dict(filters))
        while True:
            page: MemoryPage = self.client.call("memories.list", self.target, request)
            for memory in page.memories:
                yield memory
            if page.next_cursor is None:
                return
            request = msgspec.structs.replace(request, cursor=page.next_cursor)

    def history(
        self,
        memory: IdLike | None = None,
        *,
        topic: str | None = None,
        type: MemoryType | None = None,
    ) -> History:
        """Return all versions of a memory or of a topic, oldest first; `NotFound` where none is."""
        request = history_request(memory, topic, type)
        found: History = self.client.call("memories.history", self.target, request)
        return found

    def recall(
        self, query: str | None = None, *, k: int = K_DEFAULT, **options: Unpack[RecallFields]
    ) -> Recall:
        """Return at most `k` memories that matter to `query`, best first, and say why.

        `query` can be any text. `embedding=` searches with a vector of your own, `topic=` by exact
        topic; one of the three is needed. Filters as in `list`; `min_score=` and `max_tokens=` cut,
        `window=` adds neighbouring events, `explain=True` adds what every signal was worth. A
        profile that was never written gives an empty result.
        """
        request = recall_request(query, k, dict(options))
        found: Recall = self.client.call("recall", self.target, request)
        return found

    def session(self, name: str) -> Session:
        """Return a session of this profile by name; costs nothing and creates nothing."""
        return Session(self, name)

    def sessions(self) -> Iterator[SessionInfo]:
        """Iterate over the sessions, most recently active first."""
        cursor = None
        while True:
            page: SessionPage = self.client.call(
                "sessions.list", self.target, ListSessions(cursor=cursor)
            )
            for session in page.sessions:
                yield session
            cursor = page.next_cursor
            if cursor is None:
                return

    @property
    def target(self) -> Target:
        """What operations on this profile are aimed at."""
        return Target(self.namespace, self.name, self.branch)

    def _key(self) -> tuple[int, str, str, str]:
        return (id(self.client), self.namespace, self.name, self.branch)
