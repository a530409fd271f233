"""Counters and durations of a node in the text format of Prometheus (extra `server`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate, chain, groupby
from typing import TYPE_CHECKING

from ..errors import Unconfigured
from ..node import Node
from ..observe import BUCKETS, METRICS, Metric, Metrics
from ..store import CountingStore, ObjectStore
from .api import Api

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

    from .gateway_peers import View

__all__ = ["METRICS_TYPE", "exposition", "gateway_exposition"]

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "palimp_"
# Of a node that never had an Arc they are zero.
_SPOOL = ("arc_spool_events", "arc_spool_bytes", "arc_spool_parked", "arc_spool_seconds")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


def exposition(node: Node, api: Api) -> bytes:
    """Return all metrics of a node; `Unconfigured` where the library is missing."""
    return _exposition(
        lambda: chain(_counters(node), _histograms(node.context.metrics), _gauges(node, api))
    )


def gateway_exposition(metrics: Metrics, in_flight: int, view: View) -> bytes:
    """Return all metrics of a gateway; `Unconfigured` where the library is missing."""
    return _exposition(
        lambda: chain(
            _families(metrics.snapshot()), _histograms(metrics), _of_gateway(in_flight, view)
        )
    )


def _exposition(collect: Callable[[], Iterator[Family]]) -> bytes:
    try:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.registry import Collector
    except ImportError as error:
        raise Unconfigured(
            "/metrics needs the extra `server`; install it with: pip install 'palimp[server]'"
        ) from error

    class Collected(Collector):
        def collect(self) -> Iterator[Family]:
            return collect()

    # One of its own: what other parts of the process count is not ours to show.
    registry = CollectorRegistry()
    registry.register(Collected())
    return generate_latest(registry)


def _counters(node: Node) -> Iterator[Family]:
    counts = {name: 0.0 for name, one in METRICS.items() if _is_plain_counter(one)}
    counts.update(node.context.metrics.snapshot())
    counts.update(_store_counts(node.context.engine.store))
    return _families(counts)


def _families(counts: Mapping[str, float]) -> Iterator[Family]:
    from prometheus_client.core import CounterMetricFamily

    for name, rows in groupby(sorted(counts.items()), lambda row: _name(row[0])):
        row = METRICS[name]
        family = CounterMetricFamily(_PREFIX + name, row.help, labels=row.labels)
        for key, value in rows:
            family.add_metric(_values(row, key), value)
        yield family


def _is_plain_counter(metric: Metric) -> bool:
    """Whether it has one series, which is there from the start: alerts compare with that 0."""
    return metric.kind == "counter" and not metric.labels


def _store_counts(store: ObjectStore) -> Iterator[tuple[str, float]]:
    """Yield what the store was asked for, under names as `Metrics` makes them."""
    tallies = store.tallies() if isinstance(store, CountingStore) else {}
    for kind, tally in tallies.items():
        yield f'store_requests{{kind="{kind}"}}', tally.requests
        yield f'store_errors{{kind="{kind}"}}', tally.errors
        yield f'store_lost_races{{kind="{kind}"}}', tally.lost_races
        yield f'store_seconds{{kind="{kind}"}}', tally.seconds
    yield "store_bytes_sent", sum(tally.bytes_sent for tally in tallies.values())
    yield "store_bytes_received", sum(tally.bytes_received for tally in tallies.values())


def _histograms(metrics: Metrics) -> Iterator[Family]:
    from prometheus_client.core import HistogramMetricFamily

    ends = [*map(str, BUCKETS), "+Inf"]
    # One series without labels is there from the start, as a counter is.
    plain = (n for n, one in METRICS.items() if one.kind == "histogram" and not one.labels)
    found = {**dict.fromkeys(plain, (0.0,) * (len(ends) + 1)), **metrics.durations()}
    for name, rows in groupby(sorted(found.items()), lambda row: _name(row[0])):
        row = METRICS[name]
        family = HistogramMetricFamily(_PREFIX + name, row.help, labels=row.labels)
        for key, counts in rows:
            *each, seconds = counts
            buckets = list(zip(ends, accumulate(each), strict=True))
            family.add_metric(_values(row, key), buckets, seconds)
        yield family


def _gauges(node: Node, api: Api) -> Iterator[Family]:
    from prometheus_client.core import GaugeMetricFamily

    engine, usage = node.context.engine, node.context.usage
    found = engine.gauges()
    values = {
        "http_requests_in_flight": api.in_flight,
        "http_requests_waiting": api.waiting,
        "branches_resident": found.resident,
        "branches_open": found.open,
        "writes_waiting": found.writes_waiting,
        "backlog_bytes": found.backlog_bytes,
        "backlog_seconds": found.backlog_seconds,
        "writes_refused": engine.pressure is not None,
        "pending_embeddings": 0 if usage is None else usage.unembedded,
        **dict.fromkeys(_SPOOL, 0.0),
        **({} if node.arcs is None else node.arcs.gauges()),
    }
    for name, value in values.items():
        yield GaugeMetricFamily(_PREFIX + name, METRICS[name].help, value)


def _of_gateway(in_flight: int, view: View) -> Iterator[Family]:
    from prometheus_client.core import GaugeMetricFamily

    row = METRICS["gateway_holds"]
    family = GaugeMetricFamily(_PREFIX + "gateway_holds", row.help, labels=row.labels)
    values = {"requests": in_flight, "nodes": view.nodes, "databases": view.databases}
    for what, value in values.items():
        family.add_metric([what], value)
    yield family


def _name(key: str) -> str:
    return key.partition("{")[0]


def _values(metric: Metric, key: str) -> list[str]:
    labels = dict(_LABEL.findall(key))
    return [labels[name] for name in metric.labels]
