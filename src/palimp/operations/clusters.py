"""Memories that belong together, and summaries of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import apsw
import msgspec

from ..api import EntityInput, ItemResult, MemoryInput, Origin, Target
from ..api.clusters import (
    ClusterBy,
    ClusterPage,
    ListClusters,
    Summarize,
    Summarized,
    SummaryMethod,
)
from ..api.limits import BATCH_ITEMS_MAX, SUMMARY_BYTES_MAX
from ..engine import Address
from ..errors import Conflict, Error, Invalid, NotFound, Unconfigured
from ..models import summaries
from ..profile import Sealer, memories
from ..profile.checks import check_id
from ..profile.clusters import KIND, RELATION, check, members, summary_key
from ..profile.clusters import list_clusters as list_found
from ..profile.memories.rows import read_memories
from ..profile.relations import edges, entities
from ..profile.relations.pages import entities_of
from ..profile.relations.tables import present
from ..sealing import PLACEHOLDER
from .context import Context
from .egress import outgoing
from .embedding import embedded
from .memories import writer_of

__all__ = ["list_page", "summarize"]

_LEAST = 2
# Texts that are embedded in one call.
_BATCH = 64
Made = Literal["model", "extractive"]


class _Sources(NamedTuple):
    """The memories that are summed up, oldest first, and what they have in common."""

    handles: tuple[int, ...]
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    names: tuple[EntityInput, ...]
    project: str | None
    environment: str | None
    key: str
    unreadable: int


class _Text(NamedTuple):
    text: str
    method: Made
    note: str | None = None


def list_page(context: Context, target: Target, request: ListClusters) -> ClusterPage:
    """Read one page of clusters."""
    if request.by not in get_args(ClusterBy):
        raise Invalid(f"by is {request.by!r:.40}; give {' or '.join(get_args(ClusterBy))}")
    check(request)
    with context.reading(target) as database:
        if database is None:
            return ClusterPage(clusters=())
        now_ms, sealer = context.now_ms(database), context.sealer_of(target)
        found, txid, _ = database.read(lambda c: list_found(c, request, sealer, now_ms))
    return msgspec.structs.replace(found, txid=txid)


def summarize(context: Context, target: Target, request: Summarize) -> Summarized:
    """Sum memories up. They are read first: nothing is held while a model is asked."""
    _check(context, request)
    address = context.address(target)
    sealer = context.sealer_of(address)
    with context.writing(target, create=False) as branch:
        if branch is None:
            raise NotFound(f"nothing to sum up; profile {target.profile!r} is empty")
        now_ms = context.clock.now_ms()
        sources = branch.read(lambda c: _sources(c, request, sealer, now_ms)).value
    made = _made(context, address, request, sources)
    given = MemoryInput(
        text=made.text,
        type="fact",
        kind=KIND,
        project=sources.project,
        environment=sources.environment,
        extracted_key=sources.key,
        derived_from=sources.ids,
    )
    return _kept(context, target, given, sources, made)


def _check(context: Context, request: Summarize) -> None:
    if request.by not in get_args(ClusterBy):
        raise Invalid(f"by is {request.by!r:.40}; give {' or '.join(get_args(ClusterBy))}")
    if request.method not in get_args(SummaryMethod):
        words = ", ".join(get_args(SummaryMethod))
        raise Invalid(f"method is {request.method!r:.40}; give one of {words}")
    if bool(request.ids) == (request.cluster is not None):
        raise Invalid("give the ids of memories, or the id of a cluster")
    for identity in request.ids:
        check_id(identity)
    count = len(set(request.ids))
    if request.ids and not _LEAST <= count <= BATCH_ITEMS_MAX:
        raise Invalid(f"ids has {count:,} memories; give {_LEAST} to {BATCH_ITEMS_MAX:,}")
    if request.method == "model" and context.extractor is None:
        raise Unconfigured(
            "no language model sums up here: set PALIMP_EXTRACT_API_KEY, or "
            "PALIMP_EXTRACT_BASE_URL for a server of your own; method `extractive` needs none"
        )


# -- what is summed up ----------------------------------------------------------------------------


def _sources(
    connection: apsw.Connection, request: Summarize, sealer: Sealer, now_ms: int
) -> _Sources:
    if request.cluster is not None:
        handles, number = members(connection, request.cluster, request.by, now_ms)
        key = summary_key(request.by, number)
    else:
        handles = sorted({present(connection, one, now_ms) for one in request.ids})
        mark = hashlib.blake2b("\0".join(sorted(set(request.ids))).encode(), digest_size=8)
        key = summary_key("ids", mark.hexdigest())
    if len(handles) > BATCH_ITEMS_MAX:
        raise Invalid(
            f"the cluster has over {BATCH_ITEMS_MAX:,} memories; sum up some of them by their ids"
        )
    rows = read_memories(connection, handles, sealer)
    readable = [one for one in handles if not rows[one].get("decryption_failed")]
    if len(readable) < _LEAST:
        raise Conflict(
            f"of {len(handles)} memories {len(readable)} can be read, and a summary takes {_LEAST}"
        )
    texts = tuple(rows[one]["text"] for one in readable)
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    if size > SUMMARY_BYTES_MAX:
        raise Invalid(
            f"the memories have {size:,} bytes of text, at most {SUMMARY_BYTES_MAX:,} are summed "
            "up at once; sum up some of them by their ids",
            code="payload_too_large",
        )
    return _Sources(
        tuple(readable),
        tuple(rows[one]["id"] for one in readable),
        texts,
        tuple(_names(connection, readable, sealer)),
        _common([rows[one].get("project") for one in readable], "projects"),
        _common([rows[one].get("environment") for one in readable], "environments"),
        key,
        len(handles) - len(readable),
    )


def _names(
    connection: apsw.Connection, handles: Sequence[int], sealer: Sealer
) -> Sequence[EntityInput]:
    """Return what the memories name, each once."""
    found: dict[str, EntityInput] = {}
    for handle in handles:
        for one in entities_of(connection, handle, sealer):
            if one["name"] != PLACEHOLDER:
                canonical = entities.canonical(one["name"])
                found.setdefault(canonical, EntityInput(name=one["name"], type=one["type"]))
    return list(found.values())


def _common(values: Sequence[str | None], what: str) -> str | None:
    """Return the one value there is; what has none goes with any other."""
    there = sorted({value for value in values if value is not None})
    if len(there) > 1:
        # Who may see one of them might not see the other.
        raise Invalid(
            f"the memories are of several {what}, {there[0]!r:.60} and {there[1]!r:.60}; sum up "
            "those of one"
        )
    return there[0] if there else None


# -- how it is summed up --------------------------------------------------------------------------


def _made(context: Context, address: Address, request: Summarize, sources: _Sources) -> _Text:
    notes = []
    if sources.unreadable:
        notes.append(f"{sources.unreadable} memories cannot be decrypted and are left out")
    names = [one.name for one in sources.names]
    sentences = summaries.sentences_of(sources.texts)
    made: Made = "extractive"
    text = ""
    if request.method != "extractive" and context.extractor is not None:
        try:
            with outgoing(context, address, "extract", context.extractor.name) as spending:
                text = summaries.written(context.extractor, sources.texts, spending)
        except Error as error:
            if request.method == "model":
                raise
            notes.append(f"no model was of use: {error}")
    if text:
        made = "model"
        if request.lossless and summaries.lost(text, sentences, names):
            text = summaries.completed(text, sentences, names)
            notes.append("sentences were added that hold names or numbers the model left out")
    else:
        near, note = _centrality(context, address, sentences)
        notes += note
        text = summaries.extracted(sentences, near, names, lossless=request.lossless)
    return _Text(text, made, "; ".join(notes) or None)


def _centrality(
    context: Context, address: Address, sentences: Sequence[str]
) -> tuple[list[float], list[str]]:
    """Return how central each sentence is: by meaning, and by words where nothing embeds."""
    embedder = context.embedder_of(address.namespace, address.profile)
    if embedder is None:
        return summaries.centrality_of_words(sentences), []
    try:
        # Not before: it takes a while to be imported.
        import numpy as np

        batches = [sentences[n : n + _BATCH] for n in range(0, len(sentences), _BATCH)]
        with outgoing(context, address, "embed", embedder.name) as spending:
            rows = np.concatenate([embedded(embedder, batch, spending) for batch in batches])
    except Error as error:
        return summaries.centrality_of_words(sentences), [f"compared by words: {error}"]
    return summaries.centrality_of_vectors(rows), []


# -- what is kept ---------------------------------------------------------------------------------


def _kept(
    context: Context, target: Target, given: MemoryInput, sources: _Sources, made: _Text
) -> Summarized:
    """Write the summary with its relations and entities, in one transaction."""
    address = context.address(target)
    note = made.note
    flags: tuple[str, ...] = ()
    screen = context.screen(address)
    if screen is not None:
        given, flags, said = screen.memory(given)
        note = "; ".join(filter(None, (note, said))) or None
    draft = memories.draft(given, flags)
    writer = writer_of(context, address)
    now_ms = writer.now_ms

    def write(connection: apsw.Connection) -> ItemResult:
        outcome = memories.ingest(connection, [draft], writer)
        new = outcome.handles[0]
        there = read_memories(connection, sources.handles, writer.sealer)
        links = [edges.NewEdge(new, one, RELATION, 1.0) for one in there if one != new]
        origin: Origin = "model" if made.method == "model" else "rule"
        edges.add(connection, links, origin, now_ms)
        entities.link(connection, new, sources.names, origin, writer.sealer, writer.id_key, now_ms)
        return outcome.results[0]

    with context.writing(target, create=False) as branch:
        if branch is None:
            raise NotFound(f"nothing to sum up; profile {target.profile!r} is empty")
        result, txid, _ = context.commit(branch, write, ItemResult)
        if screen is not None:
            screen.record()
        context.metrics.add("memories_written")
        context.wake(branch.address)
        # Not what the write gives: that is kept for a repeat, and texts are not to be kept twice.
        memory = branch.read(
            lambda c: memories.get_memory(c, result.id, writer.sealer, now_ms)
        ).value
    return Summarized(
        memory=memory,
        memories=sources.ids,
        method=made.method,
        status=result.status,
        superseded=result.superseded,
        note=note,
        txid=txid,
    )
