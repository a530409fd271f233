"""Sentence-transformers models as ONNX files, in this process: the extra `onnx`.

A folder of the machine, or a repository of a model hub that is fetched once. No text leaves the
host. `docs/internals/embedder.md` says what it costs and how near it is to the original.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from ..clock import Clock
from ..errors import Error, Kept, Unavailable, Unconfigured
from ..forks import importing
from ..observe import logger
from ..spending import Spending
from .sentence_folder import SentenceFolder, read_folder

__all__ = ["OnnxEmbedder"]

_LOG = logger("models")

CHARACTERS_EMBEDDED_MAX = 32_768
"""Of a longer text, the rest is not embedded: tokenising it would take long, for nothing."""

# Tokens of one run, padding counted. Measured on two cores with texts of 40 tokens: runs of 8 to 16
# texts are the fastest, runs of 64 a fifth slower, and memory grows with the run.
_TOKENS_A_RUN = 512

# A model is loaded by one thread while others wait so long; fetching one may take minutes.
_LOAD_PATIENCE_SECONDS = 5.0
# How long a hub that gave no model is not asked again: a read may be waiting for its question.
_HUB_RETRY_SECONDS = 60.0
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HUB_FILES = ("*.json", "onnx/model.onnx*", "model.onnx*")
_NUMBER_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class OnnxEmbedder:
    """Embeds texts with a model of the user's choice: the same text gives the same vector.

    A vector does not depend on the other texts of a batch by more than 1e-5. Rows have unit length;
    an empty text, one without any known word, and one for which the model gives a number that is
    none (NaN) gives a row of zeros: it is found by its words, and holds nobody up. Construction is
    free; the model is loaded at the first use, once per process, and given back when its last
    embedder is gone. Safe to share between threads, which run beside each other: one run takes one
    processor.

    `source` is a sentence-transformers folder with an ONNX file (`model.onnx` or
    `onnx/model.onnx`), or the name of a hub's repository, `organisation/model`; what was fetched
    before is used without asking the hub. Every member but `local` and `egress` raises
    `Unconfigured` where the extra, the folder or a part of it is missing, and `Unavailable` where
    the hub does not answer.
    """

    local: bool = False
    egress: Literal["none"] = "none"

    def __init__(self, source: str, clock: Clock | None = None) -> None:
        self._source = source
        self._clock = clock or Clock()
        self._loaded: _Model | None = None
        self._refused: tuple[Error, float] | None = None

    @property
    def name(self) -> str:
        """`onnx:`, the model's name, a digest of all that decides a vector, and the dimensions."""
        return self._model().name

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        return self._model().dimensions

    def embed(
        self,
        texts: Sequence[str],
        *,
        query: bool = False,
        spending: Spending | None = None,  # noqa: ARG002 - nothing leaves
    ) -> NDArray[np.float32]:
        """Return one row of unit length per text, in order.

        `query` puts the model's own prompt for questions before each text, if it has one.
        """
        if isinstance(texts, str):
            raise TypeError("embed takes a sequence of texts; put a single text into a list")
        return self._model().embed(texts, query=query)

    def of(self, name: str) -> Self | None:
        """Return itself for its own name; a folder holds one model."""
        return self if name == self.name else None

    def _model(self) -> _Model:
        if self._loaded is None:
            if not _loading.acquire(timeout=_LOAD_PATIENCE_SECONDS):
                raise Unavailable(
                    f"onnx model {self._source} is being loaded by another thread; repeat this",
                    retry_after=_LOAD_PATIENCE_SECONDS,
                )
            try:
                self._loaded = self._loaded or self._load()
            finally:
                _loading.release()
        return self._loaded

    def _load(self) -> _Model:
        folder = Path(self._source).expanduser()
        if folder.is_dir():
            key = str(folder.resolve())
            return _models.get(key) or _load(key, folder.resolve().name, read_folder(folder))
        if not _HUB_NAME.fullmatch(self._source):
            raise Unconfigured(
                f"there is no folder {folder} with an onnx model, and it is no hub's name "
                "(organisation/model); name a sentence-transformers folder"
            )
        if self._refused is not None and self._clock.monotonic() < self._refused[1]:
            raise self._refused[0]
        try:
            return _models.get(self._source) or _load(
                self._source, self._source.partition("/")[2], _fetched(self._source)
            )
        except Error as error:
            self._refused = (error, self._clock.monotonic() + _HUB_RETRY_SECONDS)
            raise


class _Encoded(NamedTuple):
    """A text's place in the call, and its tokens."""

    place: int
    numbers: list[int]


class _Model:
    """A loaded model; immutable, shared by threads."""

    def __init__(self, base: str, folder: SentenceFolder, session: Any, tokenizer: Any) -> None:
        self._base = base
        self._has_given_up = False
        self._folder = folder
        self._session = session
        self._tokenizer = tokenizer
        # What ignores the mask, as position numbers of some models do, goes by this number.
        self._padding = int((tokenizer.padding or {}).get("pad_id", 0))
        tokenizer.no_padding()
        tokenizer.enable_truncation(folder.tokens_max)
        # A text is data: "[SEP]" in it is five characters.
        tokenizer.encode_special_tokens = True
        unknown = getattr(tokenizer.model, "unk_token", None)
        self._unknown = None if unknown is None else tokenizer.token_to_id(unknown)
        self._inputs = {entry.name: _number_type(base, entry) for entry in session.get_inputs()}
        self._output = _output(base, session)
        # Only a run tells how many numbers come out, and whether the model runs at all.
        pooled = self._pooled([_Encoded(0, tokenizer.encode("a").ids)])
        if not np.isfinite(pooled).all():
            raise Unconfigured(
                f"onnx model {base} gives numbers that are none (NaN) for a plain text; use a "
                "model file of full precision"
            )
        self.dimensions = int(pooled.shape[1])
        clean = re.sub(r"[^\w.-]+", "-", base)
        self.name = f"onnx:{clean}#{folder.digest}/{self.dimensions}"

    def embed(self, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        prompt = self._folder.query_prompt if query else self._folder.document_prompt
        encoded = [
            _Encoded(place, numbers)
            for place, text in enumerate(texts)
            if (numbers := self._numbers(prompt, text))
        ]
        # Texts of one length need no padding; the place makes the order of equal ones the same.
        encoded.sort(key=lambda text: (len(text.numbers), text.place))
        rows = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for run in self._runs(encoded):
            pooled = self._pooled(run)
            finite = np.isfinite(pooled).all(axis=1)
            if not finite.all():
                pooled[~finite] = 0
                self._give_up(int((~finite).sum()))
            lengths = np.linalg.norm(pooled, axis=1, keepdims=True)
            places = [text.place for text in run]
            rows[places] = np.divide(pooled, lengths, out=np.zeros_like(pooled), where=lengths > 0)
        return rows

    def _numbers(self, prompt: str, text: str) -> list[int]:
        """Return the tokens of a text; none where it has no known word."""
        # A lone surrogate is no character: the tokenizer takes none.
        cut = text[:CHARACTERS_EMBEDDED_MAX].encode("utf-8", "ignore").decode("utf-8")
        if not cut.strip():
            return []
        encoding = self._tokenizer.encode(
            prompt + (cut.lower() if self._folder.lower_case else cut)
        )
        for number, (_, end), special in zip(
            encoding.ids, encoding.offsets, encoding.special_tokens_mask, strict=True
        ):
            if end > len(prompt) and number != self._unknown and not special:
                return list(encoding.ids)
        return []

    def _runs(self, encoded: list[_Encoded]) -> Iterator[list[_Encoded]]:
        run: list[_Encoded] = []
        for text in encoded:  # in order of length, so that the newest is the longest
            full = (len(run) + 1) * len(text.numbers) > _TOKENS_A_RUN
            if run and (full or not self._folder.batch_free):
                yield run
                run = []
            run.append(text)
        if run:
            yield run

    def _pooled(self, run: list[_Encoded]) -> NDArray[np.float32]:
        """Run the model; raises `Unavailable` where it fails."""
        shape = (len(run), len(run[-1].numbers))
        numbers = np.full(shape, self._padding, np.int64)
        mask = np.zeros(shape, bool)
        for row, text in enumerate(run):
            numbers[row, : len(text.numbers)] = text.numbers
            mask[row, : len(text.numbers)] = True
        given = {
            "input_ids": numbers,
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(numbers),
        }
        inputs = {name: given[name].astype(kind) for name, kind in self._inputs.items()}
        with Kept() as kept:
            tokens = self._session.run([self._output], inputs)[0].astype(np.float32, copy=False)
        if kept.error is not None:
            raise Unavailable(
                f"onnx model {self._base} failed on {shape[0]} texts of up to {shape[1]} tokens: "
                f"{_first_line(kept.error)}; their rows stay without vectors"
            ) from kept.error
        return _POOLINGS[self._folder.pooling](tokens, mask)

    def _give_up(self, count: int) -> None:
        if not self._has_given_up:
            self._has_given_up = True
            _LOG.warning(
                "onnx model %s gave numbers that are none (NaN) for %d texts, which are found by "
                "their words only; use a model file of full precision",
                self._base,
                count,
            )


def _mean(tokens: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    total: NDArray[np.float32] = np.where(mask[..., None], tokens, 0).sum(axis=1)
    counts: NDArray[np.float32] = mask.sum(axis=1, keepdims=True, dtype=np.float32)
    return total / counts


def _first(tokens: NDArray[np.float32], _: NDArray[np.bool_]) -> NDArray[np.float32]:
    return tokens[:, 0]


def _greatest(tokens: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    greatest: NDArray[np.float32] = np.where(mask[..., None], tokens, -np.inf).max(axis=1)
    return greatest


_POOLINGS = {"mean": _mean, "cls": _first, "max": _greatest}

# One model per source for all embedders of the process: it has hundreds of megabytes.
_models: WeakValueDictionary[str, _Model] = WeakValueDictionary()
_loading = threading.Lock()


def _load(key: str, base: str, folder: SentenceFolder) -> _Model:
    # From 1.29 on the runtime tells its maker of every session, unless this is set before it is
    # imported; and a forked child then waits for the thread that tells, for ever, when it ends.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        with importing():
            import onnxruntime  # type: ignore[import-untyped, unused-ignore]
            import tokenizers
    except ImportError as error:
        raise _lacking(error) from error
    onnxruntime.disable_telemetry_events()  # where the program had imported it before
    options = onnxruntime.SessionOptions()
    # One thread: runs of several threads go beside each other, a background pass leaves the other
    # processors alone, and no pool of threads is lost in a fork.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Without it, memory returns after a run; measured, it makes nothing faster on one thread.
    options.enable_cpu_mem_arena = False
    with Kept() as kept:
        # Both libraries raise their own kinds of errors, one for each way to be damaged.
        tokenizer = tokenizers.Tokenizer.from_file(str(folder.tokenizer))
        session = onnxruntime.InferenceSession(
            str(folder.model), options, providers=["CPUExecutionProvider"]
        )
    if kept.error is not None:
        raise Unconfigured(
            f"onnx model {base} cannot be loaded from {folder.model.parent}: "
            f"{_first_line(kept.error)}; export or fetch it again"
        ) from kept.error
    model = _models[key] = _Model(base, folder, session, tokenizer)
    return model


def _number_type(base: str, entry: Any) -> Any:
    if entry.name not in _KNOWN_INPUTS or entry.type not in _NUMBER_TYPES:
        raise Unconfigured(
            f"onnx model {base} asks for the input {entry.name} of {entry.type}; known are "
            f"{', '.join(_KNOWN_INPUTS)} of {' or '.join(_NUMBER_TYPES)}: export it for feature "
            "extraction"
        )
    return _NUMBER_TYPES[entry.type]


def _output(base: str, session: Any) -> str:
    outputs = session.get_outputs()
    for entry in outputs:
        # Texts by tokens by numbers; what a model pools itself has one axis less.
        if len(entry.shape) == 3:
            return str(entry.name)
    raise Unconfigured(
        f"onnx model {base} gives no vectors of tokens (its outputs: "
        f"{', '.join(entry.name for entry in outputs)}): export it for feature extraction"
    )


def _fetched(name: str) -> SentenceFolder:
    """Return the folder of a hub's repository, fetched only where it is not here yet, complete."""
    try:
        with importing():
            from huggingface_hub import snapshot_download
            from huggingface_hub.errors import RepositoryNotFoundError
    except ImportError as error:
        raise _lacking(error) from error
    for here_only in (True, False):
        # The client raises errors of three libraries, by its release.
        with Kept() as kept:
            found = snapshot_download(
                name, allow_patterns=list(_HUB_FILES), local_files_only=here_only
            )
            return read_folder(Path(found))
    assert kept.error is not None
    if isinstance(kept.error, Unconfigured):
        raise kept.error
    if isinstance(kept.error, RepositoryNotFoundError):
        raise Unconfigured(
            f"the hub has no model {name}, or not for this machine's credential; check the name"
        ) from kept.error
    raise Unavailable(
        f"onnx model {name} is not on this machine and cannot be fetched from the hub: "
        f"{_first_line(kept.error)}; fetch it where there is a network and name its folder",
        retry_after=_HUB_RETRY_SECONDS,
    ) from kept.error


def _lacking(error: ImportError) -> Unconfigured:
    return Unconfigured(
        f"an onnx embedder needs {error.name}, which is not installed: pip install 'palimp[onnx]'"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
