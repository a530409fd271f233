"""Turns in, proposals out: pure, no network, linear in the length of the text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date

from ..keys import canonical_key
from .dates import day_of, find_date
from .decisions import Choice, agreed, decision, instruction
from .events import event
from .grammar import Reading, normalised, read
from .person import first_person, others
from .sentences import Clause, clauses, lead_end, sentences
from .signal import filler, transient, turn_veto, veto
from .statements import key_parts
from .types import Category, Decision, Proposal, Turn, Type

__all__ = ["PROPOSALS_PER_TURN_MAX", "extract_rules"]

PROPOSALS_PER_TURN_MAX = 16
_MACHINES = frozenset(("assistant", "system", "developer", "tool", "function", "model", "ai"))
# Notes of an agent about the user it talks to, written as a turn.
_ABOUT_USER = re.compile(r"(?:the )?user(?:['\u2019]s)? ", re.IGNORECASE)
_YEAR = re.compile(r"\bin (?:19|20)[0-9]{2}\b")
_NO_DATE = re.compile(r"[\W_]+")


class _Talk:
    """What is known about the conversation a turn stands in."""

    def __init__(self, turns: Sequence[Turn], now_ms: int) -> None:
        self.now_ms = now_ms
        people = {turn.speaker for turn in turns if turn.role not in _MACHINES and turn.speaker}
        # Between people an imperative is talk; an assistant is told how to behave.
        self.to_assistant = len(people) < 2


class _Said:
    """One turn, and the subject of what it says."""

    def __init__(self, turn: Turn, talk: _Talk) -> None:
        self.turn = turn
        self.at_ms = talk.now_ms if turn.at_ms is None else turn.at_ms
        self.day: date = day_of(self.at_ms)
        speaker = (turn.speaker or "").strip()
        named = bool(speaker) and speaker.casefold() not in ("user", "human", "me")
        self.who = speaker if named else "The user"
        self.subject = speaker if named else "user"

    def proposal(
        self,
        category: Category,
        kind: Type,
        text: str,
        span: tuple[int, int],
        *,
        reason: str,
        key: str | None = None,
        keywords: str | None = None,
        confidence: float = 0.75,
        observed_at: int | None = None,
        value: str | None = None,
        polarity: bool = True,
        single: bool = False,
        decision: Decision = "created",
    ) -> Proposal:
        return Proposal(
            category=category,
            type=kind,
            text=text,
            extracted_key=key,
            confidence=confidence,
            seq=self.turn.seq,
            span=span,
            keywords=keywords,
            observed_at=self.at_ms if observed_at is None else observed_at,
            value=value,
            polarity=polarity,
            single=single and key is not None,
            decision=decision,
            reason=reason,
        )


def extract_rules(turns: Sequence[Turn], now_ms: int) -> list[Proposal]:
    """Return what the turns say about their speakers, in the order it was said.

    Guaranteed: pure, no network, time linear in the text, at most `PROPOSALS_PER_TURN_MAX` a
    turn. Only what a speaker says about themselves, states as so and means is proposed; a turn
    without content is answered as `discarded_low_signal`, a passing state as
    `discarded_transient`. A turn without `at_ms` was said at `now_ms`.
    """
    talk = _Talk(turns, now_ms)
    found: list[Proposal] = []
    for place, turn in enumerate(turns):
        said = _Said(turn, talk)
        if turn.role in _MACHINES:
            after = turns[place + 1] if place + 1 < len(turns) else None
            if turn.role == "assistant" and after is not None and agreed(after.text):
                found += _confirmed(said)
            continue
        told: set[str] = set()
        for proposal in _of_turn(said, talk):
            if proposal.text not in told:
                told.add(proposal.text)
                found.append(proposal)
            if len(told) == PROPOSALS_PER_TURN_MAX:
                break
    return found


def _of_turn(said: _Said, talk: _Talk) -> Iterator[Proposal]:
    text = said.turn.text
    empty = filler(text)
    if empty is not None:
        if text.strip():
            yield said.proposal(
                "none", "fact", text.strip()[:200], (0, len(text)),
                reason=empty, confidence=0.0, decision="discarded_low_signal",
            )  # fmt: skip
        return
    if turn_veto(text) is not None:
        return
    for start, end in sentences(text):
        yield from _of_sentence(said, talk, start, text[start:end])


def _of_sentence(said: _Said, talk: _Talk, start: int, sentence: str) -> Iterator[Proposal]:
    begin = lead_end(sentence)
    body = sentence[begin:]
    span = (start + begin, start + len(sentence))
    wish = instruction(body, said.who) if talk.to_assistant else None
    if wish is not None:
        yield _chosen(said, "instruction", wish, span, ("person", said.subject, *wish.key))
        return
    if veto(sentence) is not None:
        return
    choice = decision(body, said.who)
    if choice is not None:
        yield _chosen(said, "decision", choice, span, choice.key)
        return
    heard = False
    noted = first_person(body) if said.subject == "user" and _ABOUT_USER.match(body) else None
    parts = clauses(sentence) if noted is None else [Clause(noted[1], begin, "", joined=False)]
    if not parts or parts[0].preface:
        parts = [Clause(body, begin, "", joined=False), *parts]
    for part in parts:
        for proposal in _of_clause(said, start, part, len(sentence)):
            heard = True
            yield proposal
    if not heard and transient(sentence):
        yield said.proposal(
            "none", "fact", body[:200], span, reason="how somebody is at the moment",
            confidence=0.1, decision="discarded_transient",
        )  # fmt: skip


def _chosen(
    said: _Said, category: Category, choice: Choice, span: tuple[int, int], key: tuple[str, ...]
) -> Proposal:
    lasting = category == "instruction"
    return said.proposal(
        category,
        "instruction" if lasting else "fact",
        choice.text,
        span,
        reason="a standing instruction" if lasting else "a decision",
        key=canonical_key(*key) if key else None,
        keywords=category,
        confidence=0.85 if lasting else 0.75,
        value=choice.value,
        polarity=choice.polarity,
        single=bool(choice.key),
    )


def _of_clause(said: _Said, start: int, part: Clause, length: int) -> Iterator[Proposal]:
    text = normalised(part.text)
    end = min(part.start + len(part.text.rstrip()), length)
    span = (start + part.start, start + end)
    alone = part.joined or not part.preface.strip()
    found = read(text) if alone else []
    for reading in found:
        yield _read(said, reading, span, text)
    if found:
        return
    before = "" if alone else part.preface
    if before and _NO_DATE.sub("", before) and not _only_date(before, said.day):
        return
    happened = event(text, said.who, said.day, before)
    if happened is not None:
        yield said.proposal(
            "date", "event", happened.text, span, observed_at=happened.at_ms,
            reason="what happened on a day" if happened.past else "an appointment or a plan",
        )  # fmt: skip


def _only_date(before: str, said: date) -> bool:
    when = find_date(before, said, past=None)
    return when is not None and not _NO_DATE.sub("", before[: when.start] + before[when.end :])


def _read(said: _Said, reading: Reading, span: tuple[int, int], clause: str) -> Proposal:
    year = _YEAR.search(clause) if reading.past else None
    note = f" ({year[0]})" if year else ""
    slot = reading.slot.replace("_", " ")
    article = "an" if reading.value[:1].lower() in "aeiou" else "a"
    return said.proposal(
        reading.category,
        "fact",
        reading.says.format(who=said.who, value=others(reading.value), a=article) + note,
        span,
        reason=f"says so of themselves: {slot}",
        key=canonical_key(*key_parts(said.subject, reading)),
        keywords=slot,
        confidence=reading.confidence,
        value=reading.value,
        polarity=reading.polarity,
        # "No longer works at Acme" must not end working at Globex, which has the same key.
        single=reading.polarity or not reading.single,
    )


def _confirmed(said: _Said) -> Iterator[Proposal]:
    """Yield the decisions of an assistant's turn to which the next turn agreed."""
    for start, end in sentences(said.turn.text):
        body = start + lead_end(said.turn.text[start:end])
        if veto(said.turn.text[start:end]) is not None:
            continue
        choice = decision(said.turn.text[body:end], "The assistant", "The user and the assistant")
        if choice is not None:
            found = _chosen(said, "decision", choice, (body, end), choice.key)
            yield found._replace(reason="the assistant's, confirmed in the next turn")
