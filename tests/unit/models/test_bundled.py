"""The bundled embedder: its guarantees, its data files, and how near it is to the float model."""

import hashlib
import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import palimp.models
from palimp.models import bundled
from palimp.models.bundled import BundledEmbedder

DATA = Path(palimp.models.__file__).parent / "data"
FLOAT_VECTORS = Path(__file__).parent / "data" / "float_vectors.json"

COSINE_TO_FLOAT_MIN = 0.9998
WHEEL_BYTES_MAX = 10_000_000

AISLE = "The user likes aisle seats on planes."


@pytest.fixture(scope="module")
def embedder() -> BundledEmbedder:
    return BundledEmbedder()


def cosine(embedder: BundledEmbedder, one: str, other: str) -> float:
    left, right = embedder.embed([one, other])
    return float(left @ right)


def test_describes_itself(embedder: BundledEmbedder) -> None:
    assert embedder.name == "palimp-minilm-static-256.1"
    assert embedder.dimensions == 256
    assert embedder.local is True


def test_shape_and_type(embedder: BundledEmbedder) -> None:
    rows = embedder.embed(["one text", "another"])
    assert rows.shape == (2, 256)
    assert rows.dtype == np.float32
    assert embedder.embed([]).shape == (0, 256)


def test_a_single_text_is_refused(embedder: BundledEmbedder) -> None:
    with pytest.raises(TypeError, match="put a single text into a list"):
        embedder.embed("one text")


@pytest.mark.parametrize("text", ["", " \t\n", "\x00\u200b", "\ud800", "𐎀𐎁", "x" * 101])
def test_a_text_without_known_tokens_is_zero(embedder: BundledEmbedder, text: str) -> None:
    assert not embedder.embed([text]).any()


@pytest.mark.parametrize(
    "text",
    [
        "lone \ud83d surrogate",
        "NUL\x00inside",
        "👩\u200d🚀 in space",
        "שלום עולם",
        "日本",
        "\x1b[31mred",
    ],
)
def test_odd_texts_have_unit_length(embedder: BundledEmbedder, text: str) -> None:
    assert np.linalg.norm(embedder.embed([text])[0]) == pytest.approx(1, abs=1e-6)


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(st.text(st.characters(), max_size=40), max_size=6))
def test_any_text_gives_a_unit_row_or_zeros(embedder: BundledEmbedder, texts: list[str]) -> None:
    rows = embedder.embed(texts)
    assert np.isfinite(rows).all()
    for row in rows:
        assert not row.any() or np.linalg.norm(row) == pytest.approx(1, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(max_size=40), max_size=6))
def test_a_vector_does_not_depend_on_the_batch(embedder: BundledEmbedder, texts: list[str]) -> None:
    together = embedder.embed(texts)
    for row, text in zip(together, texts, strict=True):
        assert row.tobytes() == embedder.embed([text])[0].tobytes()


def test_word_order_does_not_change_a_vector(embedder: BundledEmbedder) -> None:
    words = [f"{word}{number}" for number in range(300) for word in ("cat", "of", "zebra")]
    forward, backward = embedder.embed([" ".join(words), " ".join(reversed(words))])
    assert forward.tobytes() == backward.tobytes()


@pytest.mark.parametrize(
    ("near", "far"),
    [
        ("When flying she wants to sit by the aisle.", "The migration finished at midnight."),
        ("Window or aisle seat on the airplane?", "My cat is ill and needs a vet."),
    ],
)
def test_similar_sentences_are_closer(embedder: BundledEmbedder, near: str, far: str) -> None:
    assert cosine(embedder, AISLE, near) > cosine(embedder, AISLE, far) + 0.2


def test_case_and_accents_do_not_matter(embedder: BundledEmbedder) -> None:
    assert cosine(embedder, "CAFÉ in ZÜRICH", "cafe in zurich") == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "golden"),
    [
        (
            "Prefers an aisle seat on long flights.",
            [-0.08984, -0.127465, 0.072985, -0.055023, -0.00257],
        ),
        ("the", [0.074059, -0.027978, 0.0, -0.078996, 0.102037]),
        ("Zürich, 8. März 2024", [0.046221, 0.09037, 0.470978, -0.021726, 0.006117]),
    ],
)
def test_golden_values(embedder: BundledEmbedder, text: str, golden: list[float]) -> None:
    # When this fails, stored vectors no longer fit: change the embedder's name with the values.
    row = embedder.embed([text])[0]
    assert row[[0, 1, 2, 100, 255]].tolist() == pytest.approx(golden, abs=1e-6)


def test_is_near_the_float_model(embedder: BundledEmbedder) -> None:
    expected = json.loads(FLOAT_VECTORS.read_text(encoding="utf-8"))
    for row, (text, vector) in zip(embedder.embed(list(expected)), expected.items(), strict=True):
        assert float(row @ np.array(vector)) > COSINE_TO_FLOAT_MIN, text


def test_a_long_text_is_bounded(embedder: BundledEmbedder) -> None:
    kept = "seat " * (bundled.TOKENS_EMBEDDED_MAX // 2) + "cat " * bundled.TOKENS_EMBEDDED_MAX
    beyond = kept[: bundled.CHARACTERS_EMBEDDED_MAX] + "unseen words about lawyers " * 10_000
    numbers = ["seat"] * (bundled.TOKENS_EMBEDDED_MAX // 2)
    numbers += ["cat"] * (bundled.TOKENS_EMBEDDED_MAX // 2)
    first, second, third = embedder.embed([kept, beyond, " ".join(numbers)])
    assert first.tobytes() == second.tobytes() == third.tobytes()


def test_never_opens_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise AssertionError("the embedder touched the network")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(bundled, "_model", None)
    assert BundledEmbedder().embed(["seat"]).any()


def test_threads_load_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = BundledEmbedder().embed([AISLE])
    monkeypatch.setattr(bundled, "_model", None)
    loads: list[str] = []
    mapped = bundled._mapped

    def counted(name: str) -> NDArray[Any]:
        loads.append(name)
        return mapped(name)

    monkeypatch.setattr(bundled, "_mapped", counted)
    barrier = threading.Barrier(8)
    rows: list[bytes] = []

    def work() -> None:
        barrier.wait()
        rows.append(BundledEmbedder().embed([AISLE]).tobytes())

    threads = [threading.Thread(target=work) for _ in range(barrier.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows == [expected.tobytes()] * barrier.parties
    assert sorted(loads) == ["scales.npy", "vectors.npy"]


def test_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, palimp.models, palimp.models.wordpiece;"
        "print(sorted({'numpy', 'tokenizers', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_data_files_are_those_of_the_provenance() -> None:
    provenance = (DATA / "PROVENANCE.md").read_text(encoding="utf-8")
    assert provenance.startswith(f"# {bundled.NAME}\n")
    rows = re.findall(r"^\| (\S+) \| (\d+) \| ([0-9a-f]{64}) \|$", provenance, re.MULTILINE)
    described = {name: (int(size), digest) for name, size, digest in rows}
    actual = {
        path.name: (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in DATA.iterdir()
        if path.suffix in {".npy", ".txt"} and not path.name.startswith("LICENSE")
    }
    assert described == actual


def test_fits_into_the_wheel() -> None:
    assert sum(path.stat().st_size for path in DATA.iterdir()) < WHEEL_BYTES_MAX


def test_vectors_and_vocabulary_fit_together() -> None:
    model = bundled._load()
    vocabulary = (DATA / "vocabulary.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert model.vectors.shape == (len(vocabulary), bundled.DIMENSIONS)
    assert model.scales.shape == (len(vocabulary),)
    assert len(set(vocabulary)) == len(vocabulary)
    assert model.scales.min() >= 1
    # The exactness of `_total` rests on this.
    assert 127 * model.scales.max() * bundled.TOKENS_EMBEDDED_MAX < 2**53
