"""Sealed objects: what is in them, what is not, and what is found out about altered ones."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from palimp.errors import Internal, NotFound, Unconfigured
from palimp.store import CountingStore, VolatileStore
from palimp.store.sealed import ObjectKey, SealedStore, sealed_size, version_of

KEY = "v1/db/n_a/main/0000000000000001-0000000000000009-00000001-n_x.ltx"
OTHER = "v1/db/n_a/main/0000000000000001-0000000000000009-00000001-n_y.ltx"
CHUNK = 64 << 10
HEADER = 32
SEALED_CHUNK = CHUNK + 16


class Versions:
    """Keys by version; the highest seals. Without any they were destroyed."""

    def __init__(self, **versions: bytes) -> None:
        self.versions = {int(name[1:]): key for name, key in versions.items()}

    def sealing(self, db_id: str) -> ObjectKey:
        if not self.versions:
            raise NotFound(f"database {db_id} was erased", code="database_not_found")
        version = max(self.versions)
        return ObjectKey(version, self.versions[version])

    def opening(self, db_id: str, version: int) -> bytes | None:
        return self.versions.get(version)


@pytest.fixture
def below() -> VolatileStore:
    return VolatileStore()


@pytest.fixture
def keys() -> Versions:
    return Versions(v1=b"1" * 32)


@pytest.fixture
def store(below: VolatileStore, keys: Versions) -> SealedStore:
    return SealedStore(below, keys)


def raw(below: VolatileStore, key: str = KEY) -> bytes:
    found = below.get(key)
    assert found is not None
    return found.data


def put(below: VolatileStore, data: bytes, key: str = KEY) -> None:
    below.delete(key)
    below.create(key, data)


def opened(store: SealedStore, key: str = KEY) -> bytes:
    found = store.get(key)
    assert found is not None
    return found.data


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17]


@pytest.mark.parametrize("size", SIZES)
def test_a_segment_is_sealed_and_comes_back(
    store: SealedStore, below: VolatileStore, size: int
) -> None:
    data = content(size)
    store.create(KEY, data)
    assert opened(store) == data
    sealed = raw(below)
    assert len(sealed) == sealed_size(size)
    assert sealed.startswith(b"PALSEAL\x01")
    assert size < 16 or data[:16] not in sealed


def test_only_segments_of_databases_are_sealed(store: SealedStore, below: VolatileStore) -> None:
    plain = [
        "v1/db/n_a/main/manifest.json",
        "v1/db/n_a/main/history-0-1-1-n.json",
        "v1/names/acme/alice.json",
        "v1/db/n_a.ltx",
        "v1/other/n_a/x.ltx",
    ]
    for key in plain:
        store.create(key, b"readable")
        assert raw(below, key) == b"readable"


def test_what_was_written_without_a_key_is_handed_on(
    store: SealedStore, below: VolatileStore
) -> None:
    data = b"LTX1" + content(100_000)
    below.create(KEY, data)
    assert opened(store) == data
    assert store.get_range(KEY, 70_000, 10) == data[70_000:70_010]
    assert version_of(below, KEY) is None


def test_the_same_object_is_never_sealed_the_same(store: SealedStore, below: VolatileStore) -> None:
    store.create(KEY, b"same")
    store.create(OTHER, b"same")
    assert raw(below)[HEADER:] != raw(below, OTHER)[HEADER:]


@pytest.mark.parametrize("size", SIZES)
def test_ranges_are_those_of_the_plain_object(store: SealedStore, size: int) -> None:
    data = content(size)
    store.create(KEY, data)
    places = {0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, size - 1, size, size + 1, size + CHUNK}
    for offset in places - {-1}:
        for length in (0, 1, 100, CHUNK, CHUNK + 1, 10 * CHUNK):
            found = store.get_range(KEY, offset, length)
            assert found == data[offset : offset + length], (offset, length)
    assert store.get_range(OTHER, 0, 1) is None


def test_a_range_reads_only_the_chunks_it_lies_in(below: VolatileStore, keys: Versions) -> None:
    counting = CountingStore(below)
    store = SealedStore(counting, keys)
    store.create(KEY, content(20 * CHUNK))
    counting.reset()
    store.get_range(KEY, 5 * CHUNK + 10, 10)
    tally = counting.tallies()["get_range"]
    assert (tally.requests, tally.bytes_received) == (2, HEADER + SEALED_CHUNK + 1)
    assert "get" not in counting.tallies()


def flip(place: int) -> Callable[[bytes], bytes]:
    def altered(sealed: bytes) -> bytes:
        place_ = place % len(sealed)
        return sealed[:place_] + bytes([sealed[place_] ^ 1]) + sealed[place_ + 1 :]

    return altered


def swap_chunks(sealed: bytes) -> bytes:
    first, second = (
        sealed[HEADER + n * SEALED_CHUNK : HEADER + (n + 1) * SEALED_CHUNK] for n in (0, 1)
    )
    return sealed[:HEADER] + second + first + sealed[HEADER + 2 * SEALED_CHUNK :]


ALTERED: dict[str, Callable[[bytes], bytes]] = {
    "format": flip(7),
    "key id": flip(12),
    "nonce": flip(HEADER - 1),
    "first byte": flip(HEADER),
    "a middle chunk": flip(HEADER + SEALED_CHUNK + 5),
    "last byte": flip(-1),
    "cut by a byte": lambda sealed: sealed[:-1],
    "cut by a chunk": lambda sealed: sealed[: HEADER + 2 * SEALED_CHUNK],
    "cut to its header": lambda sealed: sealed[:HEADER],
    "cut in its header": lambda sealed: sealed[:20],
    "longer": lambda sealed: sealed + b"x",
    "chunks in another order": swap_chunks,
    "a chunk twice": lambda s: s[: HEADER + SEALED_CHUNK] + s[HEADER:],
}


@pytest.mark.parametrize("how", ALTERED)
def test_an_altered_object_is_never_given_out(
    store: SealedStore, below: VolatileStore, how: str
) -> None:
    store.create(KEY, content(2 * CHUNK + 100))
    put(below, ALTERED[how](raw(below)))
    with pytest.raises(Internal, match=KEY) as caught:
        store.get(KEY)
    assert caught.value.details["key"] == KEY


def test_every_byte_counts(store: SealedStore, below: VolatileStore) -> None:
    store.create(KEY, b"a short object")
    sealed = raw(below)
    # Without the magic it is not a sealed object, which whoever knows its digest finds out.
    for place in range(7, len(sealed)):
        put(below, flip(place)(sealed))
        with pytest.raises((Internal, Unconfigured)):
            store.get(KEY)


def test_an_object_in_the_place_of_another_is_found_out(
    store: SealedStore, below: VolatileStore
) -> None:
    store.create(KEY, b"one")
    store.create(OTHER, b"two")
    put(below, raw(below, OTHER))
    with pytest.raises(Internal, match="altered, moved or cut off"):
        store.get(KEY)


def test_a_range_finds_out_what_was_cut_off_behind_it(
    store: SealedStore, below: VolatileStore
) -> None:
    store.create(KEY, content(3 * CHUNK))
    put(below, raw(below)[: HEADER + 2 * SEALED_CHUNK])
    assert len(store.get_range(KEY, 10, 10) or b"") == 10
    for offset, length in ((CHUNK, 1), (CHUNK, 2 * CHUNK), (2 * CHUNK, 1), (9 * CHUNK, 1)):
        with pytest.raises(Internal):
            store.get_range(KEY, offset, length)


def test_the_newest_key_seals_and_older_ones_open(
    store: SealedStore, below: VolatileStore, keys: Versions
) -> None:
    store.create(KEY, b"old")
    keys.versions[2] = b"2" * 32
    store.create(OTHER, b"new")
    assert (version_of(below, KEY), version_of(below, OTHER)) == (1, 2)
    assert (opened(store), opened(store, OTHER)) == (b"old", b"new")
    del keys.versions[1]
    with pytest.raises(Unconfigured, match="version 1 of the key of database n_a") as caught:
        store.get(KEY)
    assert caught.value.details["reason"] == "key"
    keys.versions[1] = b"3" * 32
    with pytest.raises(Internal, match="another key"):
        store.get(KEY)


def test_nothing_is_written_once_the_keys_are_destroyed(
    store: SealedStore, below: VolatileStore, keys: Versions
) -> None:
    keys.versions.clear()
    with pytest.raises(NotFound):
        store.create(KEY, b"late")
    assert below.get(KEY) is None
