"""The page docs/reference/metrics.md, from `palimp.observe.METRICS`; written by reference.py."""

from __future__ import annotations

from palimp.observe import BUCKETS, METRICS


def page() -> str:
    """Every metric."""
    lines = [
        "# Metrics",
        "",
        "`GET /metrics` of `palimp serve` shows these in the text format of Prometheus (extra",
        "`server`; with `PALIMP_AUTH=on` it needs the platform key). Counters begin at 0 with the",
        "process. What to watch: [monitoring](../operating/monitoring.md).",
        "",
        "| metric | kind | labels | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for name, row in sorted(METRICS.items()):
        shown = f"palimp_{name}_total" if row.kind == "counter" else f"palimp_{name}"
        labels = ", ".join(f"`{label}`" for label in row.labels)
        lines.append(f"| `{shown}` | {row.kind} | {labels} | {row.help} |")
    ends = ", ".join(f"{end:g}" for end in BUCKETS)
    lines += ["", f"Buckets of histograms end at {ends} seconds."]
    return "\n".join(lines)
