"""Looking at memories that hang together: shown as they are, or concluded from by a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import apsw
import msgspec

from ..api import MemoryInput, Target
from ..api.governance import (
    ClusterMemory,
    GovernanceReport,
    MemoryCluster,
    Reflect,
    ReflectMode,
)
from ..errors import Error, Invalid, Unconfigured
from ..governance.rules import REFLECTION, Cluster, Decision, clusters, groups, young
from ..governance.rules.acting import deed
from ..profile import governed, memories
from ..sealing import PLACEHOLDER, Undecipherable
from .context import Context
from .egress import outgoing
from .governance_run import Run
from .governing import cooling, touch
from .memories import writer_of

if TYPE_CHECKING:
    from ..models.language import LanguageModel
    from ..models.reflect import Conclusion
    from .redacting import Seen

__all__ = ["duplicates", "reflect"]

# Shown of a consolidation: alike, and not so much that one takes the other's place.
_ALIKE_MIN = 0.9
_GROUPS_SHOWN = 20
_MEMORIES_SHOWN = 10
_CLUSTERS_MAX = 10


def reflect(context: Context, target: Target, request: Reflect) -> GovernanceReport:
    """Conclude something from each cluster, or show the clusters."""
    model = _model(context, request)
    address = context.address(target)
    wakes = model is not None and not request.dry_run
    if wakes and request.cooldown and not request.force:
        left = cooling(context, address, "reflect")
        if left:
            from .governance import skipped

            return skipped(context, "reflect", left)
    with context.engine.use(address, create=False) as branch:
        if branch is None:
            now_ms = context.clock.now_ms()
            return GovernanceReport(id="", task="reflect", status="success", at=now_ms)
        from .governance import done_before

        before = done_before(context, branch)
        if before is not None:
            return before
        with Run(context, branch, "reflect", dry_run=request.dry_run) as work:
            found = work.ask(lambda c: clusters(c, work.look))[:_CLUSTERS_MAX]
            shown = tuple(_shown(work, found))
            if model is not None and wakes and found:
                with outgoing(context, address, "extract", model.name) as spending:
                    for one, cluster in zip(found, shown, strict=True):
                        _conclude(work, model, one, cluster, spending)
            report = work.report(decisions=work.told())
            work.finish(report)
            report = msgspec.structs.replace(report, candidates=shown, txid=work.txid)
    if wakes and request.cooldown and found:
        touch(context, address, "reflect")
    return report


def duplicates(work: Run) -> tuple[MemoryCluster, ...]:
    """Return groups of memories that are much alike: what somebody may want to put into one."""
    found = []
    for rows in work.ask(lambda c: young(c, work.look)):
        for places in groups(rows, _ALIKE_MIN):
            some = sorted(places)[:_MEMORIES_SHOWN]
            handles, ids = [rows.handles[one] for one in some], [rows.ids[one] for one in some]
            found.append(Cluster("duplicates", 0.5, tuple(handles), tuple(ids)))
    found.sort(key=lambda one: (-len(one.handles), one.ids))
    return tuple(_shown(work, found[:_GROUPS_SHOWN]))


def _model(context: Context, request: Reflect) -> LanguageModel | None:
    if request.mode not in get_args(ReflectMode):
        raise Invalid(f"mode is {request.mode!r:.80}; give {', '.join(get_args(ReflectMode))}")
    if request.mode == "candidates":
        return None
    if context.extractor is None and request.mode == "model":
        raise Unconfigured(
            "no language model reflects here: set PALIMP_EXTRACT_API_KEY, or "
            "PALIMP_EXTRACT_BASE_URL for a server of your own; mode `candidates` shows what hangs "
            "together without one"
        )
    return context.extractor


def _shown(work: Run, found: Sequence[Cluster]) -> Iterator[MemoryCluster]:
    """Yield clusters with the texts of their memories."""
    for one in found:
        texts = work.ask(partial(_texts, cluster=one, sealer=work.look.sealer))
        yield MemoryCluster(
            signal=one.signal,
            importance=one.importance,
            memories=tuple(
                ClusterMemory(id=identity, text=text)
                for identity, text in zip(one.ids, texts, strict=True)
            ),
        )


def _texts(connection: apsw.Connection, *, cluster: Cluster, sealer: Any) -> list[str]:
    found = []
    for handle, identity in zip(cluster.handles, cluster.ids, strict=True):
        stored = connection.execute(
            "SELECT text FROM __palimp_memories WHERE handle = ?", (handle,)
        ).get
        try:
            text = (
                PLACEHOLDER
                if stored is None
                else sealer.unseal(stored, "memories", identity, "text")
            )
        except Undecipherable:
            text = PLACEHOLDER
        found.append(text)
    return found


def _conclude(
    work: Run, model: LanguageModel, cluster: Cluster, shown: MemoryCluster, spending: Any
) -> None:
    """Keep what a model concludes from one cluster; what fails is a warning."""
    from ..models.reflect import conclude

    texts = [one.text for one in shown.memories if one.text != PLACEHOLDER]
    work.tried += 1
    try:
        for one in conclude(model, texts, cluster.signal, spending):
            _keep(work, cluster, one)
    except Error as error:
        work.failures += 1
        work.warn(f"nothing was concluded from a cluster of {len(texts)}: {error}")


def _keep(work: Run, cluster: Cluster, conclusion: Conclusion) -> None:
    context, address = work.context, work.branch.address
    given = MemoryInput(
        text=conclusion.text,
        type="fact",
        kind="semantic",
        trust="T4",
        confidence=conclusion.confidence,
        importance=cluster.importance,
        tags=(REFLECTION,),
        derived_from=cluster.ids,
    )
    screen = context.screen(address)
    flags: tuple[str, ...] = ()
    if screen is not None:
        seen: Seen[MemoryInput] = screen.memory(given)
        given, flags = seen.item, seen.flags
    draft = memories.draft(given, flags)
    writer = writer_of(context, address)

    def write(connection: apsw.Connection) -> Decision | None:
        outcome = memories.ingest(connection, [draft], writer)
        if outcome.results[0].status == "duplicate":
            return None
        said = f"concluded from {len(cluster.ids)} memories ({cluster.signal})"
        made = Decision(
            "reflect", outcome.handles[0], outcome.results[0].id, said, conclusion.confidence
        )
        governed.note(connection, work.id, [deed(made, {}, {"state": "active"})])
        return made

    made = work.write(write)
    if screen is not None:
        screen.record()
    if made is not None:
        work.note("reflect", [made])
