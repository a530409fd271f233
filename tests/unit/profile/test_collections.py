"""Every vector is compared: what is found is what is nearest, in an order that never varies."""

import itertools

import apsw
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimp.api import Metric, SearchVectors, VectorInput
from palimp.api.limits import COLLECTIONS_MAX
from palimp.errors import Invalid
from palimp.profile import collections
from palimp.profile.distances import nearest, packed
from palimp.profile.protocols import PlainSealer

METRICS: tuple[Metric, ...] = ("cosine", "l2", "dot")


@pytest.fixture
def connection() -> apsw.Connection:
    return apsw.Connection(":memory:")


def by_hand(rows: np.ndarray, query: np.ndarray, metric: Metric) -> np.ndarray:
    """Return the distances, with the precision of float64 and the formulas of a textbook."""
    if metric == "l2":
        return np.linalg.norm(rows - query, axis=1)
    product = rows @ query
    if metric == "dot":
        return -product
    return 1 - product / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("count", "dimensions"), [(1, 1), (700, 3), (3_000, 768), (2, 8_192)])
def test_the_nearest_are_found(metric: Metric, count: int, dimensions: int) -> None:
    rng = np.random.default_rng(count)
    rows = rng.standard_normal((count, dimensions)) + 0.5
    query = rng.standard_normal(dimensions)
    stored = [(n, packed(row.tolist(), metric, "row").tobytes()) for n, row in enumerate(rows)]
    expected = by_hand(rows, query, metric)
    for k in (1, 10, count):
        found = nearest(stored, packed(query.tolist(), metric, "query"), metric, k)
        assert len(found) == min(k, count)
        order = np.sort(expected)[:k]
        assert [distance for _, distance in found] == pytest.approx(order, rel=1e-4, abs=1e-4)
        for handle, distance in found:
            assert distance == pytest.approx(expected[handle], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_of_equally_near_ones_the_first_comes_first(metric: Metric) -> None:
    # Equal rows, far apart and in different blocks: rounded alike wherever they stand.
    rng = np.random.default_rng(7)
    kinds = [packed(row.tolist(), metric, "row").tobytes() for row in rng.standard_normal((5, 333))]
    stored = [(n, kinds[n % 5]) for n in range(4_001)]
    query = packed(rng.standard_normal(333).tolist(), metric, "query")
    found = nearest(stored, query, metric, 1_000)
    groups = [
        (distance, [handle for handle, _ in group])
        for distance, group in itertools.groupby(found, key=lambda hit: hit[1])
    ]
    assert len(groups) == 2
    for _, handles in groups:
        assert handles == list(range(handles[0], 4_001, 5))[: len(handles)]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=2, max_size=2), min_size=1, max_size=12),
    st.lists(st.integers(-2, 2), min_size=2, max_size=2),
    st.integers(1, 12),
)
def test_small_places_are_ordered_as_by_hand(
    rows: list[list[int]], query: list[int], k: int
) -> None:
    for metric in ("l2", "dot"):
        stored = [(n, packed(row, metric, "row").tobytes()) for n, row in enumerate(rows)]
        found = nearest(stored, packed(query, metric, "query"), metric, k)
        expected = by_hand(np.array(rows, float), np.array(query, float), metric)
        order = sorted(range(len(rows)), key=lambda n: (np.float32(expected[n]), n))
        assert [handle for handle, _ in found] == order[:k]


def test_metadata_is_sealed_and_unsealed_also_for_a_filter(connection: apsw.Connection) -> None:
    class Backwards(PlainSealer):
        def seal(self, text: str, *_place: str) -> str:
            return text[::-1]

        def unseal(self, stored: str | bytes, *_place: str) -> str:
            assert isinstance(stored, str)
            return stored[::-1]

    item = VectorInput(id="a", embedding=(1.0,), metadata={"word": "secret"})
    collections.upsert(connection, "docs", collections.draft_all([item]), None, Backwards())
    stored = connection.execute('SELECT metadata FROM "__palimp_vectors_docs"').get
    assert stored == '{"word":"secret"}'[::-1]
    request = SearchVectors(collection="docs", vector=(1.0,), filter={"word": "secret"})
    (hit,) = collections.search(connection, request, Backwards())
    assert hit.metadata == {"word": "secret"}


def test_there_are_only_so_many_collections(connection: apsw.Connection) -> None:
    drafts = collections.draft_all([VectorInput(id="a", embedding=(1.0,))])
    collections.upsert(connection, "first", drafts, None, PlainSealer())
    connection.executemany(
        "INSERT INTO __palimp_vectors VALUES (?, 'l2', 1)",
        [(f"c{n}",) for n in range(COLLECTIONS_MAX - 1)],
    )
    with pytest.raises(Invalid, match="there are 1,000 collections of vectors, 'more' would be"):
        collections.upsert(connection, "more", drafts, None, PlainSealer())
    collections.upsert(connection, "first", drafts, None, PlainSealer())
