"""The alert rules against the code: every metric, label and value in them is one of ours.

promtool is not asked, because it is not there. What is checked is what a renamed metric breaks in
silence: an expression over a name that nobody exposes is valid, and never fires.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from palimp.errors import CODES
from palimp.observe import METRICS

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "palimp"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
MONITORING = ROOT / "docs" / "operating" / "monitoring.md"

FUNCTIONS = {
    *("avg", "count", "histogram_quantile", "increase", "max", "min", "rate", "sum", "time"),
    *("and", "by", "on", "or", "unless", "ignoring"),
}
# What Prometheus adds to every series, or keeps of itself.
TARGETS = {"instance", "job", "le"}
OF_PROMETHEUS = {"up": frozenset({"instance", "job"})}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
# Labels whose values the text of the metric does not list.
VALUES = {"code": set(CODES), "status": {str(number) for number in range(600)}, "job": {"palimp"}}
SEVERITIES = {"page", "ticket"}


class Selector(NamedTuple):
    """A metric in an expression, and what its labels are compared with."""

    name: str
    matchers: dict[str, str]


def exposed() -> dict[str, frozenset[str]]:
    """Return every series there can be, with its labels."""
    found = dict(OF_PROMETHEUS)
    for name, metric in METRICS.items():
        for suffix in SUFFIXES[metric.kind]:
            found[f"palimp_{name}{suffix}"] = frozenset(metric.labels) | TARGETS
    return found


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def selectors(expression: str) -> list[Selector]:
    """Return the metrics of an expression; fails where it is not of the few forms used here."""
    assert expression.count("(") == expression.count(")"), expression
    found = []
    rest = re.sub(r"\b(?:by|on|ignoring) \(([\w, ]*)\)", " ", expression)
    for name, inner in re.findall(r"\b([a-z_][a-z0-9_]*)\b(\{[^}]*\})?", rest):
        if name in FUNCTIONS:
            assert not inner, expression
            continue
        matchers = {}
        for part in filter(None, inner.strip("{}").split(",")):
            matched = re.fullmatch(r'\s*(\w+)(=|!=|=~|!~)"([^"]*)"\s*', part)
            assert matched, f"{part!r} in {expression}"
            matchers[matched[1]] = matched[3]
        found.append(Selector(name, matchers))
    return found


def grouped(expression: str) -> set[str]:
    lists = re.findall(r"\b(?:by|on|ignoring) \(([\w, ]*)\)", expression)
    return {name.strip() for one in lists for name in one.split(",")}


def check(expression: str, series: dict[str, frozenset[str]]) -> None:
    """Fail where an expression could never have a value."""
    used = selectors(expression)
    assert used, f"{expression} names no metric"
    for one in used:
        assert one.name in series, f"no metric {one.name} in {expression}"
        for label, value in one.matchers.items():
            assert label in series[one.name], f"{one.name} has no label {label}"
            for word in re.split(r"\|", value):
                assert word in values(one.name, label), f"{one.name} is never {label}={word!r}"
        in_range = re.search(rf"{one.name}(?:{{[^}}]*}})?\[", expression) is not None
        # A counter says nothing by itself, a gauge has no rate.
        assert in_range == one.name.endswith(("_total", "_bucket", "_sum", "_count")), expression
    assert grouped(expression) <= {label for one in used for label in series[one.name]}, expression


def values(name: str, label: str) -> set[str]:
    if label in VALUES:
        return VALUES[label]
    stem = re.sub(r"_(total|bucket|sum|count)$", "", name.removeprefix("palimp_"))
    listed = set(re.findall(r"`([^`]+)`", METRICS[stem].help))
    # Where the text lists none it is the reason of an error.
    return listed or (reasons() if label == "reason" else set())


@cache
def reasons() -> set[str]:
    texts = (path.read_text("utf-8") for path in SOURCE.rglob("*.py"))
    return {reason for text in texts for reason in re.findall(r'reason="(\w+)"', text)}


@pytest.mark.parametrize("rule", rules(), ids=[rule["alert"] for rule in rules()])
def test_each_rule_is_about_what_is_exposed(rule: dict[str, Any]) -> None:
    check(rule["expr"], exposed())
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Palimp[A-Za-z]+", rule["alert"])
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"].keys() == {"summary", "action"}


@pytest.mark.parametrize("rule", rules(), ids=[rule["alert"] for rule in rules()])
def test_each_summary_shows_labels_that_its_value_has(rule: dict[str, Any]) -> None:
    series, expression = exposed(), rule["expr"]
    left = grouped(expression) or {
        label for one in selectors(expression) for label in series[one.name]
    }
    shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert shown <= left


def test_no_rule_stands_twice_and_the_page_on_monitoring_names_each() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    page = MONITORING.read_text("utf-8")
    assert set(re.findall(r"`(Palimp[A-Za-z]+)`", page)) == set(names)


@pytest.mark.parametrize(
    "expression",
    [
        "palimp_backlog_second > 300",
        "palimp_store_errors > 1",
        "palimp_backlog_seconds_total > 300",
        'increase(palimp_writes_shed_total{reason="disc"}[5m]) > 0',
        'increase(palimp_requests_forwarded_failed_total{reason="lonely"}[5m]) > 0',
        'increase(palimp_writes_shed_total{cause="disk"}[5m]) > 0',
        'increase(palimp_operations_failed_total{code="interna"}[5m]) > 0',
        "sum by (profile) (rate(palimp_writes_committed_total[5m])) > 1",
        "palimp_writes_committed_total > 1",
        "rate(palimp_backlog_seconds[5m]) > 1",
        "rate(palimp_http_request_seconds[5m]) > 1",
        "rate(palimp_writes_committed_total[5m] > 1",
    ],
)
def test_a_rule_that_could_never_fire_is_noticed(expression: str) -> None:
    with pytest.raises(AssertionError):
        check(expression, exposed())
