"""How often the second of two sentences takes the place of the first, rightly and wrongly.

    .venv/bin/python bench/supersession.py [--half dev|test] [--onnx FOLDER] [--show]

250 pairs, written for this (bench/data/supersession.jsonl): the second says the same again, says
what is new, denies the first, speaks of somebody or something else, or of another time. In the
first three classes it should take over, in the last two it must not. The rules were made looking at
the half `dev` alone. Without --half, both are measured and bench/results/supersession.json is
written.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from harness import Row
from machine import ROOT, commit, folder, machine

import palimp
from palimp.models.rules import Turn, contradiction, extract_rules, statement

DATA = ROOT / "bench" / "data" / "supersession.jsonl"
RELATIONS = ("restatement", "update", "negation", "other subject", "other time")
HALVES = ("dev", "test")
COSINE_LEAST = 0.95
WRONG_BUDGET_PERCENT = 2.0
# 5 January 2026, and a quarter of a year later.
_AT_MS = (1_767_600_000_000, 1_775_376_000_000)


class Pair(NamedTuple):
    """Two sentences, who said them (None: the user), and whether the second should take over."""

    id: str
    half: str
    relation: str
    texts: tuple[str, str]
    speakers: tuple[str | None, str | None]
    supersedes: bool


Answer = Callable[[Pair], bool]


def pairs() -> list[Pair]:
    """Return the set in the order of the file."""
    found = []
    for line in DATA.read_text("utf-8").splitlines():
        row = json.loads(line)
        found.append(
            Pair(
                row["id"],
                row["half"],
                row["relation"],
                (row["first"], row["second"]),
                tuple(row.get("speakers", (None, None))),
                row["supersedes"],
            )
        )
    return found


def measure(*, quick: bool, onnx: Path | None = None) -> list[Row]:
    """Measure every way on both halves; a quick run leaves out what needs a model's folder."""
    everything = pairs()
    rows: list[Row] = []
    with folder() as base, palimp.open(base / "memory", embed_provider="none") as mem:
        ways: list[tuple[str, Answer]] = [
            ("rules", lambda pair: _by_rules(mem, pair)),
            ("topic given by hand", lambda pair: _by_hand(mem, pair)),
            ("cosine >= 0.95, bundled", _by_cosine(_bundled(), everything)),
        ]
        if onnx is not None and not quick:
            ways.append((f"cosine >= 0.95, {onnx.name}", _by_cosine(_folder(onnx), everything)))
        for name, way in ways:
            answers = {pair.id: way(pair) for pair in everything}
            for half in HALVES:
                rows += _rows(
                    name, half, [pair for pair in everything if pair.half == half], answers
                )
    noticed = {pair.id: _noticed(pair) for pair in everything}
    for half in HALVES:
        rows.append(_reported(half, [pair for pair in everything if pair.half == half], noticed))
    return rows


def _by_rules(mem: palimp.Palimpsest, pair: Pair) -> bool:
    """Let `extract` read both, one after the other, and see whether the first still holds.

    Where both give the very same sentence there is one memory, which is as good as taking over.
    """
    profile = mem.profile(f"rules-{pair.id}")
    found = []
    for text, speaker, at_ms in zip(pair.texts, pair.speakers, _AT_MS, strict=True):
        turn = {"role": "user", "content": text, "speaker": speaker, "at": at_ms}
        turn = {name: value for name, value in turn.items() if value is not None}
        found.append(profile.extract([turn], method="rules").proposals)
    first = {one.memory for one in found[0] if one.decision == "created"}
    if any(one.decision == "discarded_redundant" and one.other in first for one in found[1]):
        return True
    return any(profile.get(id).superseded_by is not None for id in first)


def _by_hand(mem: palimp.Palimpsest, pair: Pair) -> bool:
    """Write both with the topics a careful person would give: nothing but the product can fail."""
    profile = mem.profile(f"hand-{pair.id}")
    first = profile.remember(pair.texts[0], topic="one")
    second = profile.remember(pair.texts[1], topic="one" if pair.supersedes else "another")
    return first.id in second.superseded


def _by_cosine(embed: Callable[[list[str]], Any], everything: list[Pair]) -> Answer:
    """Return a way that lets the second take over where it is near enough, whatever it says.

    Both are sentences of one subject to it: whoever spoke is written in front.
    """
    texts = [
        f"{who}: {text}" if who else text
        for p in everything
        for who, text in zip(p.speakers, p.texts, strict=True)
    ]
    vectors = embed(texts)
    near = {
        pair.id: float(vectors[2 * at] @ vectors[2 * at + 1]) >= COSINE_LEAST
        for at, pair in enumerate(everything)
    }
    return lambda pair: near[pair.id]


def _bundled() -> Callable[[list[str]], Any]:
    from palimp.models.bundled import BundledEmbedder

    return BundledEmbedder().embed


def _folder(path: Path) -> Callable[[list[str]], Any]:
    from palimp.models.onnx import OnnxEmbedder

    return OnnxEmbedder(str(path)).embed


def _noticed(pair: Pair) -> bool:
    """Return whether two stored sentences would be reported as a contradiction."""
    told = []
    for text, who in zip(pair.texts, pair.speakers, strict=True):
        found = extract_rules([Turn(1, "user", text, who, _AT_MS[0])], _AT_MS[0])
        stored = next((one.text for one in found if one.decision == "created"), text)
        told.append(statement(stored))
    first, second = told
    return first is not None and second is not None and contradiction(first, second) is not None


def _rows(name: str, half: str, chosen: list[Pair], answers: dict[str, bool]) -> list[Row]:
    wrong = [pair.id for pair in chosen if answers[pair.id] and not pair.supersedes]
    missed = [pair.id for pair in chosen if pair.supersedes and not answers[pair.id]]
    taken = sum(answers[pair.id] for pair in chosen)
    must_not = sum(not pair.supersedes for pair in chosen)
    classes = {
        relation: _share([answers[pair.id] for pair in chosen if pair.relation == relation])
        for relation in RELATIONS
    }
    budget = WRONG_BUDGET_PERCENT if name == "rules" and half == "test" else None
    note = f"{taken} taken over in all"
    must = len(chosen) - must_not
    return [
        _row(f"{name}, {half}: wrong supersessions", wrong, must_not, classes, note, budget),
        _row(f"{name}, {half}: missed supersessions", missed, must, {}),
    ]


def _reported(half: str, chosen: list[Pair], noticed: dict[str, bool]) -> Row:
    apart = [pair for pair in chosen if pair.relation not in ("update", "negation")]
    wrong = [pair.id for pair in apart if noticed[pair.id]]
    classes = {
        relation: _share([noticed[pair.id] for pair in chosen if pair.relation == relation])
        for relation in RELATIONS
    }
    return _row(f"contradictions reported wrongly, {half}", wrong, len(apart), classes)


def _row(
    what: str,
    ids: list[str],
    of: int,
    classes: dict[str, str],
    note: str = "",
    budget: float | None = None,
) -> Row:
    low, high = wilson(len(ids), of)
    said = f"{len(ids)} of {of}, 95 %: {low:.1f} to {high:.1f} %"
    return Row(
        what,
        100 * len(ids) / of,
        "%",
        budget=budget,
        note=f"{said}; {note}" if note else said,
        detail={"ids": " ".join(ids), "answered_by_class": classes},
    )


def _share(answers: list[bool]) -> str:
    low, high = wilson(sum(answers), len(answers))
    return f"{sum(answers)} of {len(answers)} ({low:.0f} to {high:.0f} %)"


def wilson(count: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share in percent."""
    z = 1.96
    share = count / of
    middle = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    low, high = (middle - half, middle + half)
    return 100 * max(0.0, low / (1 + z * z / of)), 100 * min(1.0, high / (1 + z * z / of))


def main() -> int:
    """Measure one half or both, print, and write the results of both."""
    parser = argparse.ArgumentParser(description="Measure supersession on the set of pairs.")
    parser.add_argument("--half", choices=HALVES, help="measure this half alone; writes nothing")
    parser.add_argument("--onnx", type=Path, help="a sentence-transformers folder to compare with")
    parser.add_argument("--show", action="store_true", help="print the ids that went wrong")
    options = parser.parse_args()
    rows = measure(quick=False, onnx=options.onnx)
    for row in rows:
        if options.half is None or f", {options.half}" in row.what:
            print(f"{row.what:58} {row.measured:5.1f} %  {row.note}  {row.verdict}")
            for relation, share in row.detail.get("answered_by_class", {}).items():
                print(f"    {relation:14} {share}")
            if options.show:
                print(f"    {row.detail['ids']}")
    if options.half is None:
        about = {"name": "supersession", "commit": commit(), "machine": machine()}
        about["date"] = datetime.now(UTC).isoformat(timespec="seconds")
        document = {**about, "rows": [row.as_json() for row in rows]}
        path = ROOT / "bench" / "results" / "supersession.json"
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return 1 if any(row.verdict == "MISSED" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
