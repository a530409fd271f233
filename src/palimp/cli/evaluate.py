"""`palimp eval`: recall quality on public data."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import click

from ..errors import Unavailable
from ..evaluation import Report

_SHOWN = ("recall@1", "recall@3", "recall@5", "recall@10", "recall@20", "hit@10", "nDCG@10", "MRR")


@click.group("eval")
def command() -> None:
    """Measure recall on public data."""


@command.command("locomo")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "out", type=click.Path(path_type=Path), help="Write all figures there.")
def locomo(file: Path, out: Path | None) -> None:
    """Ingest every turn of a LoCoMo FILE and ask every question, at turn level.

    Uses the shipped weights and a temporary folder; nothing is tuned. The data is not part of this
    package (CC BY-NC 4.0). Scores are percentages; `overall` is categories 1 to 4.
    """
    import palimp

    from ..evaluation import evaluate, load_samples

    samples = load_samples(file)
    folder = Path(tempfile.mkdtemp(prefix="palimp-eval-"))
    try:
        with palimp.open(folder / "memory") as mem:
            report = evaluate(mem, samples, progress=lambda text: click.echo(text, err=True))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if out is not None:
        try:
            out.write_text(json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise Unavailable(f"{out} cannot be written: {error.strerror}") from error
    _print(report)


def _print(report: Report) -> None:
    click.echo(f"{'':12}{'questions':>10}" + "".join(f"{name:>11}" for name in _SHOWN))
    rows = {"overall 1-4": report.overall}
    rows.update({f"category {name}": scores for name, scores in report.categories.items()})
    for name, scores in rows.items():
        figures = "".join(f"{scores[metric]:>11.1f}" for metric in _SHOWN)
        click.echo(f"{name:12}{int(scores['questions']):>10}{figures}")
    speed = report.speed
    click.echo(
        f"{report.counts['turns']} turns: ingest {speed['ingest_turns_per_second']:,.0f}/s, embed "
        f"{speed['embed_turns_per_second']:,.0f}/s; recall p50 {speed['recall_ms_p50']:.1f} ms, "
        f"p95 {speed['recall_ms_p95']:.1f} ms"
    )
