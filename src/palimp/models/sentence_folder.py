"""What a sentence-transformers folder says about its model: its files, and how tokens become one.

Whatever this reads changes the vectors, therefore all of it is in `digest`. What a folder asks for
and we cannot do is refused: vectors that are nearly right would be stored for years.
"""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from ..decoding import from_json
from ..errors import Unconfigured

__all__ = ["TOKENS_EMBEDDED_MAX", "SentenceFolder", "read_folder"]

TOKENS_EMBEDDED_MAX = 2_048
"""Of a text with more tokens the rest is not embedded, whatever the model allows."""

_TOKENS_UNSAID = 512
_MODEL_FILES = ("onnx/model.onnx", "model.onnx")
_POOLING_MODES = {"mean_tokens": "mean", "cls_token": "cls", "max_tokens": "max"}
_HARMLESS_MODULES = ("Normalize",)  # our rows have unit length in any case
_DOCUMENT_PROMPTS = ("document", "passage")
_QUERY_PROMPTS = ("query",)
# An operator that scales activations by the greatest number of the whole batch.
_BATCH_WIDE = b"DynamicQuantize"
_DIGEST_HEX = 8

_T = TypeVar("_T")


class SentenceFolder(NamedTuple):
    """A model's files and what is to be done around it.

    `batch_free`: a text's vector does not depend on the others of its batch. `digest` changes with
    everything that changes a vector.
    """

    model: Path
    tokenizer: Path
    pooling: str
    tokens_max: int
    lower_case: bool
    document_prompt: str
    query_prompt: str
    batch_free: bool
    digest: str


class _Module(msgspec.Struct):
    type: str
    path: str = ""


class _Sentence(msgspec.Struct):
    max_seq_length: int | None = None
    do_lower_case: bool | None = None


class _Prompts(msgspec.Struct):
    prompts: dict[str, str] | None = None


def read_folder(folder: Path) -> SentenceFolder:
    """Return what the folder says; raises `Unconfigured` naming what is missing or not supported.

    Reads the whole model file once, for its digest.
    """
    transformer, pooling = _modules(folder)
    base = folder / transformer.path
    tokenizer = base / "tokenizer.json"
    if not tokenizer.is_file():
        raise Unconfigured(
            f"{folder} has no tokenizer: {tokenizer.relative_to(folder)} is missing; "
            "save the model with its fast tokenizer"
        )
    model = _model_file(folder, base)
    sentence = _decode(base / "sentence_bert_config.json", _Sentence, _Sentence())
    told = _decode(folder / "config_sentence_transformers.json", _Prompts, _Prompts())
    prompts = told.prompts or {}
    tokens_max = _TOKENS_UNSAID if sentence.max_seq_length is None else sentence.max_seq_length
    if tokens_max < 1:
        raise Unconfigured(f"{folder}: max_seq_length is {tokens_max}; it has to be 1 or more")
    settings = (
        _pooling(folder, pooling),
        min(tokens_max, TOKENS_EMBEDDED_MAX),
        bool(sentence.do_lower_case),
        _prompt(prompts, _DOCUMENT_PROMPTS),
        _prompt(prompts, _QUERY_PROMPTS),
    )
    files = [*sorted(model.parent.glob(f"{model.name}*")), tokenizer]
    digest = _digest(files, settings)
    return SentenceFolder(
        model, tokenizer, *settings, batch_free=not _contains(model, _BATCH_WIDE), digest=digest
    )


def _modules(folder: Path) -> tuple[_Module, _Module]:
    none: list[_Module] = []
    modules = _decode(folder / "modules.json", list[_Module], none)
    if not modules:
        raise Unconfigured(
            f"{folder} is no sentence-transformers folder: it has no modules.json, which says how "
            "the vectors of tokens become one; name the folder or repository it was exported from"
        )
    kinds = {module.type.rpartition(".")[2]: module for module in modules}
    strange = [name for name in kinds if name not in ("Transformer", "Pooling", *_HARMLESS_MODULES)]
    lacking = [name for name in ("Transformer", "Pooling") if name not in kinds]
    if strange or lacking:
        what = f"has the module {strange[0]}" if strange else f"has no module {lacking[0]}"
        raise Unconfigured(
            f"{folder} {what}: an onnx embedder is a Transformer, a Pooling and at most a "
            "Normalize; choose another model"
        )
    return kinds["Transformer"], kinds["Pooling"]


def _pooling(folder: Path, module: _Module) -> str:
    path = folder / module.path / "config.json"
    none: dict[str, Any] = {}
    config = _decode(path, dict[str, Any], none)
    prefix = "pooling_mode_"
    modes = [name.removeprefix(prefix) for name in config if name.startswith(prefix)]
    chosen = [mode for mode in modes if config[prefix + mode]]
    if not modes:
        # Newer versions write one word for it.
        chosen = [str(config["pooling_mode"])] if "pooling_mode" in config else []
    known = {**_POOLING_MODES, **{word: word for word in _POOLING_MODES.values()}}
    if len(chosen) != 1 or chosen[0] not in known:
        raise Unconfigured(
            f"{path.relative_to(folder)} of {folder} asks for the pooling "
            f"{' and '.join(chosen) or '(none)'}: one of mean, cls and max is supported; choose "
            "another model"
        )
    if config.get("include_prompt") is False:
        raise Unconfigured(
            f"{path.relative_to(folder)} of {folder} leaves prompts out of the pooling "
            "(include_prompt false), which is not supported; choose another model"
        )
    return known[chosen[0]]


def _model_file(folder: Path, base: Path) -> Path:
    for place in (base, folder):
        for name in _MODEL_FILES:
            if (place / name).is_file():
                return place / name
    raise Unconfigured(
        f"{folder} has no onnx file (looked for {' and '.join(_MODEL_FILES)}): export the model to "
        "ONNX into that place, or name a model that comes with one"
    )


def _prompt(prompts: dict[str, str], names: tuple[str, ...]) -> str:
    return next((prompts[name] for name in names if prompts.get(name)), "")


def _decode(path: Path, kind: type[_T], absent: _T) -> _T:
    try:
        return from_json(path.read_bytes(), kind)
    except FileNotFoundError:
        return absent
    except (OSError, msgspec.MsgspecError) as error:
        raise Unconfigured(f"{path} cannot be read: {error}; repair the model's folder") from error


def _digest(files: list[Path], settings: tuple[object, ...]) -> str:
    found = hashlib.blake2b(repr(settings).encode())
    for path in files:
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "blake2b").digest())
    return found.hexdigest()[:_DIGEST_HEX]


def _contains(path: Path, needle: bytes) -> bool:
    with path.open("rb") as file:
        if not path.stat().st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(needle) >= 0
