"""Counters, and the one table of what they are called."""

from __future__ import annotations

import ast
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from palimp.observe import BUCKETS, METRICS, Metrics

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "palimp"
KINDS = {"add": "counter", "observe": "histogram"}


def counted(tree: ast.AST) -> Iterator[tuple[int, str, str | None, tuple[str, ...]]]:
    """Yield line, kind, name and labels of every `...metrics.add(...)` and `.observe(...)`."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = ast.unparse(node.func.value).rpartition(".")[2].lstrip("_")
        if owner == "metrics" and node.func.attr in KINDS:
            name = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
            labels = tuple(sorted(str(one.arg) for one in node.keywords))
            yield node.lineno, KINDS[node.func.attr], name, labels


def test_every_counter_of_the_source_is_in_the_table_with_its_labels() -> None:
    seen = set()
    for path in SOURCE.rglob("*.py"):
        for line, kind, name, labels in counted(ast.parse(path.read_text("utf-8"))):
            where = f"{path.relative_to(ROOT)}:{line}"
            assert name is not None, f"{where} counts under a name that is not written out"
            assert name in METRICS, f"{where} counts {name}, which METRICS lacks"
            row = METRICS[name]
            assert (row.kind, tuple(sorted(row.labels))) == (kind, labels), where
            seen.add(name)
    # The rest is read off when somebody looks.
    looked = (SOURCE / "http" / "metrics.py").read_text("utf-8")
    for name in set(METRICS) - seen:
        assert f'"{name}"' in looked or f"'{name}{{" in looked, f"nothing counts {name}"


def test_the_scan_sees_what_it_should() -> None:
    text = 'self._metrics.add("a", 2, b="c")\nmetrics.observe(name, 1)\nparts.metrics.add("d")'
    assert list(counted(ast.parse(text))) == [
        (1, "counter", "a", ("b",)),
        (2, "histogram", None, ()),
        (3, "counter", "d", ()),
    ]


def test_every_row_says_what_it_is() -> None:
    for name, row in METRICS.items():
        assert row.help.endswith("."), name
        assert len(row.labels) == len(set(row.labels)), name
        assert row.kind != "histogram" or name.endswith("_seconds"), name


def test_the_page_has_every_row() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from reference_metrics import page
    finally:
        sys.path.remove(str(ROOT / "scripts"))
    text = page()
    for name, row in METRICS.items():
        suffix = "_total" if row.kind == "counter" else ""
        assert f"| `palimp_{name}{suffix}` | {row.kind} |" in text
        assert row.help in text


def test_labels_part_the_counts_in_any_order() -> None:
    metrics = Metrics()
    metrics.add("x", a="1", b="2")
    metrics.add("x", 2, b="2", a="1")
    metrics.add("x", a="2", b="2")
    metrics.add("y")
    assert metrics.snapshot() == {'x{a="1",b="2"}': 3, 'x{a="2",b="2"}': 1, "y": 1}


def test_a_duration_falls_into_the_first_bucket_that_holds_it() -> None:
    metrics = Metrics()
    for seconds in (BUCKETS[0], BUCKETS[0] * 1.01, BUCKETS[-1] + 1):
        metrics.observe("x_seconds", seconds)
    (counts,) = metrics.durations().values()
    *buckets, total = counts
    assert buckets[:2] == [1, 1]
    assert buckets[-1] == 1
    assert sum(buckets) == 3
    assert abs(total - (BUCKETS[0] * 2.01 + BUCKETS[-1] + 1)) < 1e-9


def test_no_count_is_lost_between_threads() -> None:
    metrics = Metrics()

    def count() -> None:
        for _ in range(2_000):
            metrics.add("x", a="1")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert metrics.snapshot() == {'x{a="1"}': 16_000}
