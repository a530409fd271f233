"""Pick: memories of a branch as they are there, chosen by id, by a range, or by a query."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from ....api import Checkpoints, ListCheckpoints
from ....api.compare import Chosen, Pick, PickCandidate, Picked, Resolution
from ....decoding import from_plain
from ....errors import Conflict, Invalid
from ....ids import MAIN
from . import snapshots
from .call import Call
from .places import branches_of, existing

__all__ = ["pick"]

_KEYS_MAX, _TOP_MAX, _SHOWN_MAX = 1_000, 100, 100
_PREVIEW_CHARS = 160
_NAMED = 10
_RESOLUTIONS: dict[str, Resolution] = {"fail": "abort", "skip": "ours", "accept": "theirs"}
_REASONS = {
    "apply": "new_or_updated_row",
    "skip": "conflict_skip",
    "conflict": "conflict_fail",
}


class _Keys(msgspec.Struct, frozen=True, tag_field="type", tag="key_list"):
    keys: tuple[str, ...]


class _Range(msgspec.Struct, frozen=True, tag_field="type", tag="snapshot_range"):
    from_snapshot: str
    to_snapshot: str


class _Query(msgspec.Struct, frozen=True, tag_field="type", tag="retrieve"):
    query: str
    top_k: Annotated[int, msgspec.Meta(ge=1, le=_TOP_MAX)] = 5
    min_score: Annotated[float, msgspec.Meta(ge=0)] | None = None


class _Trial(msgspec.Struct, frozen=True):
    """What is shown of a pick that is only tried."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=_SHOWN_MAX)] = 10
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0
    include_content_preview: bool = True
    include_scores: bool = True


class _Asked(msgspec.Struct, frozen=True):
    selector: _Keys | _Range | _Query
    strategy: Literal["fail", "skip", "accept"] = "fail"
    target: str = MAIN
    dry_run: _Trial | None = None


def pick(call: Call) -> Any:
    """Bring what was chosen into another branch, or show what would be."""
    title = call.values["name"]
    source = existing(call, title)
    asked = _read(call.fields)
    target = existing(call, asked.target)
    if target == source:
        raise Invalid(f"source and target are both '{title}'")
    request = Pick(
        source=source,
        choose=_choose(call, source, asked.selector),
        on_conflict=_RESOLUTIONS[asked.strategy],
    )
    if asked.dry_run is not None:
        return _tried(call, title, target, asked, request)
    try:
        done: Picked = call.do("branches.pick", request, target=call.place(target))
    except Conflict as error:
        raise _aborted(call, title, target, asked, request) from error
    return {"result": _told(title, asked, done)}


def _read(body: dict[str, Any]) -> _Asked:
    given = {name: value for name, value in body.items() if value is not None}
    try:
        asked = from_plain(given, _Asked)
    except msgspec.ValidationError as error:
        raise Invalid(str(error)) from error
    return asked


def _choose(call: Call, source: str, selector: _Keys | _Range | _Query) -> Chosen:
    if isinstance(selector, _Keys):
        keys = tuple({one.strip(): None for one in selector.keys if one.strip()})
        if not 1 <= len(keys) <= _KEYS_MAX:
            raise Invalid(f"{len(keys):,} keys; give 1 to {_KEYS_MAX:,}")
        return Chosen(ids=keys)
    if isinstance(selector, _Range):
        since = _point(call, source, selector.from_snapshot)
        return Chosen(since=since, until=_point(call, source, selector.to_snapshot))
    if not selector.query.strip():
        raise Invalid("the query of a retrieve selector is empty")
    return Chosen(query=selector.query, k=selector.top_k, min_score=selector.min_score or 0.0)


def _point(call: Call, source: str, title: str) -> str:
    """Return where the source was at a snapshot: each names what the branches of then held.

    A branch that came later begins with what main held when it was made.
    """
    snapshot = snapshots.find(call, title)
    request = ListCheckpoints()
    found: Checkpoints = call.do("checkpoints.list", request, target=call.place(source))
    if any(one.name == snapshot.checkpoint for one in found.checkpoints):
        return snapshot.checkpoint
    made = next((one for one in branches_of(call) if one.name == source), None)
    if made is None or made.parent_txid is None or snapshot.txid > made.parent_txid:
        raise Invalid(f"snapshot '{snapshot.name}' has nothing of this branch")
    return str(made.parent_txid)


def _tried(call: Call, title: str, target: str, asked: _Asked, request: Pick) -> Any:
    trial = asked.dry_run
    assert trial is not None
    request = msgspec.structs.replace(request, dry_run=True, limit=trial.limit, offset=trial.offset)
    found: Picked = call.do("branches.pick", request, target=call.place(target))
    aborts = asked.strategy == "fail" and found.conflict_count > 0
    skips = found.conflict_count if asked.strategy == "skip" else 0
    applies = 0 if aborts else found.candidate_count - skips
    shown = len(found.candidates)
    where = f"from branch '{title}' into '{asked.target}'"
    return {
        "dry_run": True,
        "result": f"Dry run: {applies} change(s) would be picked {where}",
        "source": title,
        "target": asked.target,
        "strategy": asked.strategy,
        "selector": msgspec.to_builtins(asked.selector),
        "summary": {
            "candidate_count": found.candidate_count,
            "shown_count": shown,
            "would_apply": applies,
            "would_skip": skips,
            "conflict_count": found.conflict_count,
            "would_abort": aborts,
        },
        "page": {
            "limit": trial.limit,
            "offset": trial.offset,
            "has_more": trial.offset + shown < found.candidate_count,
        },
        "candidates": [_candidate(one, asked.strategy, trial) for one in found.candidates],
    }


def _candidate(one: PickCandidate, strategy: str, trial: _Trial) -> dict[str, Any]:
    taken = one.exists and strategy == "accept"
    shown: dict[str, Any] = {"memory_id": one.memory.id}
    if trial.include_content_preview:
        shown["content_preview"] = one.memory.text[:_PREVIEW_CHARS]
    if trial.include_scores and one.score is not None:
        shown["score"] = one.score
    shown["status"] = "conflict" if one.outcome == "conflict" else f"would_{one.outcome}"
    shown["reason"] = "conflict_accept" if taken else _REASONS[one.outcome]
    return shown


def _aborted(call: Call, title: str, target: str, asked: _Asked, request: Pick) -> Conflict:
    """Say what stood in the way; nothing was applied."""
    trial = msgspec.structs.replace(request, dry_run=True, limit=_SHOWN_MAX)
    found: Picked = call.do("branches.pick", trial, target=call.place(target))
    ids = [one.memory.id for one in found.candidates if one.outcome == "conflict"]
    more = ", …" if len(ids) > _NAMED or found.conflict_count > len(ids) else ""
    text = (
        f"Conflict: pick from branch '{title}' into '{asked.target}' aborted for "
        f"{found.conflict_count} selected change(s): {', '.join(ids[:_NAMED])}{more}"
    )
    return Conflict(text, said=True)


def _told(title: str, asked: _Asked, done: Picked) -> str:
    count, selector = len(done.picked), asked.selector
    where = f"from branch '{title}' into '{asked.target}'"
    if not count and not done.skipped:
        if isinstance(selector, _Query):
            return f"No pickable changes matched query '{selector.query:.80}' in branch '{title}'."
        return f"No pickable changes found in branch '{title}'."
    if isinstance(selector, _Range):
        span = f"'{selector.from_snapshot}'..'{selector.to_snapshot}'"
        return f"Picked snapshot range {span} {where}."
    if isinstance(selector, _Query):
        return f"Picked {count} of top {selector.top_k} retrieved change(s) {where}"
    # Of the conflicts those that were left as they are; the other ids had nothing to bring.
    left = done.conflict_count if asked.strategy == "skip" else 0
    ignored = max(0, len(done.skipped) - left)
    return f"Picked {count} change(s) {where} ({left} skipped" + (
        f", {ignored} ignored)" if ignored else ")"
    )
