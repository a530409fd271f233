"""Small real models: ONNX files written field by field, tokenizers made of a list of words.

The package `onnx` would write them too, for 20 MB more in every environment that runs the tests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = [*SPECIAL, *"a bad cat chased dog far question slept text the too".split(), ":", "[", "]"]
FLOAT, INT64 = 1, 7
NUMBERS = {"input_ids": INT64, "attention_mask": INT64}


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _node(operator: str, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    named = [_field(1, name) for name in inputs] + [_field(2, name) for name in outputs]
    return b"".join([*named, _field(4, operator)])


def _value(name: str, kind: int, axes: Sequence[str | int]) -> bytes:
    shape = b"".join(_field(1, _field(1 if isinstance(axis, int) else 2, axis)) for axis in axes)
    return _field(1, name) + _field(2, _field(1, _field(1, kind) + _field(2, shape)))


def _model(nodes: Sequence[bytes], table: NDArray[np.float32], inputs: Any, output: bytes) -> bytes:
    weights = b"".join(_field(1, size) for size in table.shape)
    weights += _field(2, FLOAT) + _field(8, "table") + _field(9, table.tobytes())
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, "tiny") + _field(5, weights)
    for name, kind in inputs.items():
        graph += _field(11, _value(name, kind, ["texts", "tokens"]))
    graph += _field(12, output)
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 13))


def token_vectors(table: NDArray[np.float32], inputs: dict[str, int] = NUMBERS) -> bytes:
    """Each token's vector is its row of the table."""
    output = _value("last_hidden_state", FLOAT, ["texts", "tokens", table.shape[1]])
    nodes = [_node("Gather", ["table", "input_ids"], ["last_hidden_state"])]
    return _model(nodes, table, inputs, output)


def rounded_token_vectors(table: NDArray[np.float32]) -> bytes:
    """The same, rounded to 8 bits by the greatest number of the whole batch."""
    output = _value("last_hidden_state", FLOAT, ["texts", "tokens", table.shape[1]])
    parts = ["rounded", "scale", "zero"]
    nodes = [
        _node("Gather", ["table", "input_ids"], ["exact"]),
        _node("DynamicQuantizeLinear", ["exact"], parts),
        _node("DequantizeLinear", parts, ["last_hidden_state"]),
    ]
    return _model(nodes, table, NUMBERS, output)


def no_token_vectors(table: NDArray[np.float32]) -> bytes:
    """A model whose only output is no vector of tokens."""
    nodes = [_node("Shape", ["input_ids"], ["sentence_embedding"])]
    return _model(nodes, table, NUMBERS, _value("sentence_embedding", INT64, [2]))


def tokenizer(words: Sequence[str] = WORDS) -> Tokenizer:
    made = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, "[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(SPECIAL)
    made.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[(name, words.index(name)) for name in ("[CLS]", "[SEP]")]
    )
    # As the published folders have it: to be undone by whoever makes his own batches.
    made.enable_padding(length=16, pad_id=0, pad_token="[PAD]")
    made.enable_truncation(16)
    return made


def table(dimensions: int = 8) -> NDArray[np.float32]:
    """Random rows, the same at every call, of very different lengths."""
    random = np.random.default_rng(6)
    rows = random.normal(size=(len(WORDS), dimensions))
    return (rows * 10.0 ** np.linspace(-2, 1, len(WORDS))[:, None]).astype(np.float32)


def folder(
    path: Path,
    model: bytes | None = None,
    *,
    at: str = "onnx/model.onnx",
    pooling: Any = None,
    modules: Sequence[str] = ("Transformer", "Pooling", "Normalize"),
    sentence: Any = None,
    prompts: Any = None,
) -> Path:
    """Write a sentence-transformers folder as the library lays it out."""
    listed = [
        {"idx": place, "path": f"{place}_{name}" if place else "", "type": f"models.{name}"}
        for place, name in enumerate(modules)
    ]
    files = {
        "modules.json": listed,
        "1_Pooling/config.json": {"pooling_mode_mean_tokens": True} if pooling is None else pooling,
        "sentence_bert_config.json": {"max_seq_length": 12} if sentence is None else sentence,
    }
    if prompts is not None:
        files["config_sentence_transformers.json"] = {"prompts": prompts}
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(json.dumps(content), "utf-8")
    (path / at).parent.mkdir(exist_ok=True)
    (path / at).write_bytes(token_vectors(table()) if model is None else model)
    tokenizer().save(str(path / "tokenizer.json"))
    return path
