"""Ask: a recall, and a language model that answers from what it found."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..api import (
    Answered,
    Ask,
    Hit,
    RecallRequest,
    Target,
    estimate_tokens,
)
from ..api.limits import ASK_TOKENS_MAX, K_MAX, QUESTION_BYTES_MAX
from ..errors import Invalid, Unconfigured
from ..profile.checks import check_integer, check_share
from ..profile.memories import conditions
from .context import Context
from .egress import outgoing
from .recall import recall

__all__ = ["ask"]


def ask(context: Context, target: Target, request: Ask) -> Answered:
    """Answer a question from the memories that a recall finds; nothing is written."""
    address = context.address(target)
    _check(request)
    model = context.assistant
    if model is None:
        raise Unconfigured(
            "no language model answers questions here: set PALIMP_ASSISTANT_API_KEY (or "
            "PALIMP_EXTRACT_API_KEY), or PALIMP_ASSISTANT_BASE_URL for a server of your own; "
            "`recall` finds the memories without one"
        )
    # The policy comes first: what it denies is denied also where nothing would have been found.
    with outgoing(context, address, "ask", model.name) as spending:
        found = recall(context, target, _recall(request))
        readable = [hit for hit in found.memories if not hit.decryption_failed]
        shown = _within(readable, request.max_tokens)
        if not shown:
            return Answered(
                answer=None,
                citations=(),
                memories=(),
                model=model.name,
                tokens=0,
                txid=found.txid,
                notes=_too_large(readable, request.max_tokens),
            )
        # The branch is not held meanwhile: a model takes seconds.
        from ..models.answer import answer

        given = answer(
            model,
            request.query,
            msgspec.structs.replace(found, memories=shown).as_context(),
            len(shown),
            _now_ms(context, target),
            spending,
        )
    return Answered(
        answer=given.text,
        citations=tuple(shown[number - 1].id for number in given.citations),
        memories=shown,
        model=model.name,
        tokens=spending.tokens_in + spending.tokens_out,
        txid=found.txid,
        notes=() if given.note is None else (given.note,),
    )


def _check(request: Ask) -> None:
    """Raise `Invalid` for what cannot be asked, before anything is opened."""
    size = len(request.query.encode("utf-8", "replace"))
    if size > QUESTION_BYTES_MAX:
        raise Invalid(
            f"query has {size:,} bytes, at most {QUESTION_BYTES_MAX:,} are allowed in a question",
            code="payload_too_large",
        )
    if not request.query.strip():
        raise Invalid("query is empty; ask something")
    check_integer(request.k, "k", 1, K_MAX)
    check_integer(request.max_tokens, "max_tokens", 1, ASK_TOKENS_MAX)
    check_share(request.min_score, "min_score")
    conditions(request, 0)


def _recall(request: Ask) -> RecallRequest:
    # Not with `max_tokens`: its result would not tell what is too large from what is not there.
    fields = {n: getattr(request, n) for n in request.__struct_fields__ if n != "max_tokens"}
    return RecallRequest(**fields)


def _within(hits: Sequence[Hit], max_tokens: int) -> tuple[Hit, ...]:
    """Return the best hits whose texts fit; the first that does not ends it, as in a recall."""
    kept = []
    for hit in hits:
        max_tokens -= estimate_tokens(hit.text)
        if max_tokens < 0:
            break
        kept.append(hit)
    return tuple(kept)


def _too_large(found: Sequence[Hit], max_tokens: int) -> tuple[str, ...]:
    if not found:
        return ()
    tokens = estimate_tokens(found[0].text)
    note = (
        f"the best of {len(found)} memories has {tokens:,} tokens, which is more than max_tokens "
        f"({max_tokens:,}): the model was not asked"
    )
    return (note,)


def _now_ms(context: Context, target: Target) -> int:
    """Return the day of an earlier state, where one is asked."""
    if target.at is None:
        return context.clock.now_ms()
    with context.reading(target) as readable:
        return context.now_ms(readable)
