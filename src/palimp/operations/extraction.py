"""Extract: turns in, memories proposed, decided and written in one transaction.

The model is asked while no branch is held; what came of it is decided where it is written, against
what holds then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import apsw
import msgspec

from ..api import RecallRequest, Target
from ..api import Turn as StoredTurn
from ..api.extraction import Extract, Extracted, Proposal, ShowReview
from ..api.limits import (
    BATCH_ITEMS_MAX,
    EXTRACT_BYTES_MAX,
    EXTRACT_LABEL_BYTES_MAX,
)
from ..api.sessions import Window
from ..engine import Address, Branch
from ..errors import Error, Invalid, NotFound, Unavailable, Unconfigured, in_batch
from ..profile import prepare, sessions
from ..profile.checks import check_integer, check_label, check_share
from ..profile.extracted import Candidate, settle
from ..profile.indexing import turn_text
from ..profile.proposals import NewProposal, add, bare, proposal_id, worded
from ..profile.reviews import note
from . import reviews
from .context import Context
from .drafting import Origin, candidates_of
from .egress import outgoing
from .memories import embed_written, writer_of
from .nearness import with_near
from .recall import recall
from .relating import relate_now

if TYPE_CHECKING:
    from ..models.extract import Found, Known
    from ..models.language import LanguageModel, Malformed
    from ..models.rules import Turn
    from .redacting import Screen

__all__ = ["extract"]

_KNOWN_MAX = 20
# Of the turns, with what memories are looked for that are there already.
_QUERY_CHARS_MAX = 4_000
_RAW_CHARS_MAX = 65_536
_SEQ_MAX = 1 << 62
# By what rules something may not be kept.
_KEPT_OUT = ("redact", "refuse")


class _Extraction(NamedTuple):
    """What was found in the turns, and what that took."""

    found: Sequence[Found]
    tokens: int = 0
    notes: tuple[str, ...] = ()


class _Undone(Exception):
    """Takes back what a dry run wrote, and brings out what it would have answered."""

    def __init__(self, done: list[Proposal]) -> None:
        super().__init__("a dry run")
        self.done = done


class _NotDone(Exception):
    """There is no answer of an earlier call."""


def extract(context: Context, target: Target, request: Extract) -> Extracted:
    """Find memories in turns; write those that are worth it, and a proposal for each."""
    address = context.address(target)
    screen = context.screen(address)
    if screen is not None:
        request = _screened(screen, request)
        context = screen.settled("extract", request)
    _check(request)
    model = _model(context, request)
    review = reviews.name_of(context) if request.review else None
    earlier = _earlier(context, address if review is None else address._replace(branch=review))
    if earlier is not None:
        return _answer(context, target, request, review, *earlier)
    turns = _turns(context, target, request, screen)
    done = _find(context, target, request, model, turns, screen)
    origin = Origin(request, None if model is None else model.name, turns)
    candidates = candidates_of(done.found, origin, writer_of(context, address), screen)
    candidates = with_near(context, target, candidates)
    notes = done.notes
    if request.dry_run or not turns:
        # Of turns without a word nothing can come: no profile is made, no review begun.
        review = None
        proposals, txid = _try(context, target, candidates)
    else:
        place = address if review is None else reviews.begin(context, target, review)
        proposals, txid, note = _write(context, place, candidates, request)
        notes = (*notes, *filter(None, (note,)))
        if screen is not None:
            screen.record()
    answer = _answer(context, target, request, review, proposals, txid)
    return msgspec.structs.replace(answer, tokens=done.tokens, notes=notes)


def _screened(screen: Screen, request: Extract) -> Extract:
    """Return a request as it may be kept and read: what a policy refuses no model sees either."""
    for field in ("session", "source", "project", "environment"):
        screen.label(getattr(request, field), field)
    seen = screen.each(screen.turn, request.turns, "turns")
    return msgspec.structs.replace(request, turns=tuple(one.item for one in seen))


def _answer(
    context: Context,
    target: Target,
    request: Extract,
    review: str | None,
    proposals: list[Proposal],
    txid: int,
) -> Extracted:
    shown = None
    if review is not None:
        shown = reviews.show(context, target, ShowReview(review=review))
    model = context.extractor if request.method == "model" else None
    return Extracted(
        proposals=tuple(proposals),
        txid=txid,
        review=shown,
        model=None if model is None else model.name,
    )


def _check(request: Extract) -> None:
    """Raise `Invalid` for what cannot be asked, before anything is opened."""
    check_share(request.min_confidence, "min_confidence")
    # They stand in the lineage of what is written, behind a word.
    check_label(request.session, "session", EXTRACT_LABEL_BYTES_MAX)
    check_label(request.source, "source", EXTRACT_LABEL_BYTES_MAX)
    check_label(request.project, "project")
    check_label(request.environment, "environment")
    for field in ("from_seq", "to_seq"):
        value = getattr(request, field)
        if value is not None:
            check_integer(value, field, 1, _SEQ_MAX)
            if request.turns:
                raise Invalid(f"{field} is about stored turns; leave it out, or leave turns out")
    if not request.turns and request.session is None:
        raise Invalid("extract needs turns, or the session whose stored turns are meant")
    if len(request.turns) > BATCH_ITEMS_MAX:
        raise Invalid(
            f"extract has {len(request.turns):,} turns; give up to {BATCH_ITEMS_MAX:,} at once",
            code="payload_too_large",
        )
    if request.dry_run and request.review:
        raise Invalid("a dry run writes nothing, a review a branch of its own; ask for one of them")


def _model(context: Context, request: Extract) -> LanguageModel | None:
    if request.method == "rules":
        return None
    if context.extractor is None:
        raise Unconfigured(
            "no language model extracts memories here: set PALIMP_EXTRACT_API_KEY, or "
            "PALIMP_EXTRACT_BASE_URL for a server of your own; or give method='rules', which finds "
            "dates, preferences, decisions and identities; or write memories yourself with ingest"
        )
    return context.extractor


def _earlier(context: Context, place: Address) -> tuple[list[Proposal], int] | None:
    """Return what the call with this request id wrote before: no model is asked again."""
    if context.options.request_id is None:
        return None

    def missing(_: apsw.Connection) -> list[Proposal]:
        raise _NotDone

    try:
        with context.engine.use(place, create=False) as branch:
            if branch is None:
                return None
            done, txid, _ = context.commit(branch, missing, list[Proposal])
            return _worded(context, branch, done), txid
    except (_NotDone, NotFound):
        return None


def _turns(context: Context, target: Target, request: Extract, screen: Screen | None) -> list[Turn]:
    """Return the turns that are meant, those without a word left out."""
    from ..models.rules import Turn

    if request.turns:
        count = len(request.turns)
        found = []
        for index, given in enumerate(request.turns):
            try:
                draft = sessions.draft_turn(given)
            except Error as error:
                raise in_batch(error, "turns", index, count) from error
            text = turn_text(given.content)
            found.append(Turn(index + 1, given.role, text, given.speaker, draft.at))
    else:
        found = [
            Turn(one.seq, one.role, turn_text(one.content), one.speaker, one.at or one.created_at)
            for one in _stored(context, target, request)
        ]
        if screen is not None:
            # They may have been stored before there was the policy.
            found = [turn._replace(text=_cleared(screen, turn.text)) for turn in found]
    size = sum(len(turn.text.encode("utf-8", "replace")) for turn in found)
    if size > EXTRACT_BYTES_MAX:
        raise Invalid(
            f"the turns have {size:,} bytes, at most {EXTRACT_BYTES_MAX:,} are read at once; give "
            + ("fewer of them" if request.turns else "from_seq and to_seq"),
            code="payload_too_large",
        )
    return [turn for turn in found if turn.text.strip()]


def _cleared(screen: Screen, text: str) -> str:
    """Return a text without what may not be kept: where nobody is there to leave it out."""
    from ..security.redaction import replaced

    found = screen.scan(text)
    return replaced(text, [one for one in found if screen.words[one.label] in _KEPT_OUT])


def _stored(context: Context, target: Target, request: Extract) -> Sequence[StoredTurn]:
    session, first = request.session, request.from_seq or 1
    assert session is not None
    before = None if request.to_seq is None else request.to_seq + 1
    window = Window(session=session, last=BATCH_ITEMS_MAX + 1, before=before)
    with context.reading(target) as database:
        if database is None:
            raise NotFound(f"no session {session!r:.80}; profile {target.profile!r} is empty")
        sealer = context.sealer_of(target)
        found = database.read(lambda c: sessions.window(c, window, sealer)).value
    found = tuple(turn for turn in found if turn.seq >= first and not turn.decryption_failed)
    if len(found) > BATCH_ITEMS_MAX:
        raise Invalid(
            f"session {session!r:.80} has more than {BATCH_ITEMS_MAX:,} turns there; give from_seq "
            "and to_seq, and extract them piece by piece",
            code="payload_too_large",
        )
    if not found:
        raise NotFound(
            f"session {session!r:.80} has no turns there that can be read; append some, or give "
            "turns"
        )
    return found


def _find(
    context: Context,
    target: Target,
    request: Extract,
    model: LanguageModel | None,
    turns: Sequence[Turn],
    screen: Screen | None,
) -> _Extraction:
    from ..models import extract as extracting

    if model is None or not turns:
        return _Extraction(extracting.extract_with_rules(turns, context.clock.now_ms()))
    from ..models.language import Malformed

    address = context.address(target)
    # The policy comes first: what it denies is denied before anything is looked for.
    with outgoing(context, address, "extract", model.name) as spending:
        known = _known(context, target, turns)
        try:
            found, more = extracting.extract_with_model(model, turns, known, spending)
        except Malformed as error:
            raw = "\n\n".join(error.answers)[-_RAW_CHARS_MAX:]
            raw = raw if screen is None else _cleared(screen, raw)
            letter = _dead_letter(context, address, request, turns, model.name, str(error), raw)
            if not request.dry_run:
                _keep(context, address, letter)
            raise _unusable(error, letter.id, kept=not request.dry_run) from error
    notes: tuple[str, ...] = ()
    if more:
        notes = (f"{more:,} more were proposed than the {extracting.FOUND_MAX} that are read",)
    return _Extraction(found, spending.tokens_in + spending.tokens_out, notes)


def _known(context: Context, target: Target, turns: Sequence[Turn]) -> list[Known]:
    """Return the memories that a model is shown, so that it can say what replaces which."""
    from ..models.extract import Known

    query = "\n".join(turn.text for turn in turns)[-_QUERY_CHARS_MAX:]
    hits = recall(context, target, RecallRequest(query=query, k=_KNOWN_MAX)).memories
    readable = [hit for hit in hits if not hit.decryption_failed]
    return [Known(hit.id, hit.type, hit.topic, hit.text) for hit in readable]


def _dead_letter(
    context: Context,
    address: Address,
    request: Extract,
    turns: Sequence[Turn],
    model: str,
    reason: str,
    raw: str,
) -> NewProposal:
    """Return what keeps the answers of a model that nothing could be made of."""
    texts = [text for turn in turns for text in (turn.role, turn.text)]
    return NewProposal(
        proposal_id(context.id_key_of(address), "failed", request.session, request.source, *texts),
        "failed",
        "pending",
        text=raw.encode("utf-8", "replace").decode() or None,
        reason=reason,
        source=request.source,
        session=request.session,
        model=model,
    )


def _keep(context: Context, address: Address, letter: NewProposal) -> None:
    now_ms = context.clock.now_ms()
    with context.engine.use(address, create=True) as branch:
        assert branch is not None
        branch.write(lambda c: add(c, [letter], context.sealer_of(address), now_ms))


def _unusable(error: Malformed, identity: str, *, kept: bool) -> Unavailable:
    where = f"; what it answered is kept as proposal {identity}" if kept else ""
    return Unavailable(
        f"{error}{where}",
        reason=error.details.get("reason"),
        proposal=identity if kept else None,
    )


def _try(
    context: Context, target: Target, candidates: Sequence[Candidate]
) -> tuple[list[Proposal], int]:
    """Return what would be written; what that takes is taken back."""
    writer, txid = writer_of(context, context.address(target)), 0

    def write(connection: apsw.Connection) -> NoReturn:
        raise _Undone(settle(connection, candidates, writer))

    try:
        with context.writing(target, create=False) as branch:
            if branch is not None:
                txid = branch.read(lambda _: None).txid
                branch.write(write)
        nothing = apsw.Connection(":memory:")
        try:
            prepare(nothing)
            write(nothing)
        finally:
            nothing.close()
    except _Undone as undone:
        return undone.done, txid


def _write(
    context: Context, place: Address, candidates: Sequence[Candidate], request: Extract
) -> tuple[list[Proposal], int, str | None]:
    """Write what is new; return the proposals, the txid and what was not done as asked."""
    writer = writer_of(context, place)

    def write(connection: apsw.Connection) -> list[Proposal]:
        done = settle(connection, candidates, writer)
        if request.review:
            note(connection, [one.id for one in done])
        return done

    with context.engine.use(place, create=not request.review) as branch:
        assert branch is not None
        done, txid, repeated = context.commit(branch, write, list[Proposal], kept=_bare)
        if repeated:
            done = _worded(context, branch, done)
        written = [one.memory for one in done if one.decision == "created" and one.memory]
        context.metrics.add("memories_written", len(written))
        late = None
        if request.wait is not None and written:
            late = embed_written(context, branch, written)
            if late is None and request.wait == "related":
                late = relate_now(context, branch, written).note
        context.wake(place)
    return done, txid, late


def _bare(done: Sequence[Proposal]) -> list[Proposal]:
    # An answer is kept for a day, whatever is forgotten meanwhile.
    return [bare(one) for one in done]


def _worded(context: Context, branch: Branch, done: Sequence[Proposal]) -> list[Proposal]:
    sealer = context.sealer_of(branch.address)
    return branch.read(lambda c: [worded(c, one, sealer) for one in done]).value
