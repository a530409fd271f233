"""An embedder behind endpoints that speak as OpenAI's do, or Voyage's.

What comes back is checked before anybody sees it: one vector for each text, all of one dimension,
every number finite; it is scaled to unit length here.

A text that an endpoint will not take must not keep the others waiting for ever. A batch that is
refused (400, 413, 422) is sent in halves; a text that is refused alone is cut, and given a row of
zeros in the end. The same for a text whose numbers are none, and for one that a server breaks on:
some answer 500 to what they cannot embed, and to all that came with it. Before any of this a plain
text is tried: where that fares no better, the fault is not the text's, and nothing is given up.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from ..clock import Clock
from ..errors import Error, Invalid, Unavailable, Unconfigured
from ..observe import Metrics, logger
from ..spending import Spending
from .embeddings import DIMENSIONS_MAX, Floats, read_embeddings, unit
from .pool import Endpoint, Pool, Unusable

__all__ = ["EndpointEmbedder"]

TEXT_CHARS_MAX = 32_768
"""Of a longer text only the beginning is sent, as with the bundled embedder."""

_BATCH_TEXTS_MAX = 128
_BATCH_BYTES_MAX = 256 << 10
# A text is cut that often: to 512 characters, which every model takes.
_CUTS_MAX = 6
_REFUSED = frozenset({400, 413, 422})
_BROKEN = 500
_PLAIN = "memory"
# How long an endpoint that did not tell its dimension is not asked again, at least and at most.
_SILENCE_SECONDS_MIN = 5.0
_SILENCE_SECONDS_MAX = 60.0
_OTHERS_MAX = 32
_NAME = re.compile(r"(?P<model>.+)/(?P<dimensions>[1-9][0-9]{0,4})(#(?P<version>[^#/]+))?")
_LOG = logger("models")


class _Dialect(NamedTuple):
    """How the two differ: what a dimension is called, and whether a question is said to be one."""

    dimensions: str
    typed: bool


_DIALECTS = {
    "openai": _Dialect("dimensions", typed=False),
    "voyage": _Dialect("output_dimension", typed=True),
}


class _Task:
    """One call of `embed`, and what became of its requests so far."""

    def __init__(self, query: bool, spending: Spending | None = None) -> None:
        self.query = query
        self.spending = spending
        self.refusal: Invalid | None = None
        self.refused_alone = 0
        self.taken_max = 0


class EndpointEmbedder:
    """Embeds texts with one model that all endpoints of a pool serve. Safe between threads.

    `dimensions` 0: as they come; the first answer decides, and an endpoint that serves others is
    left alone. Asking for the name or the dimension before anything was embedded asks an endpoint.
    """

    local = False

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        metrics: Metrics,
        *,
        provider: Literal["openai", "voyage"],
        model: str,
        dimensions: int = 0,
        version: str | None = None,
        egress: Literal["self_hosted", "outside"] = "outside",
        generation: bool = False,
    ) -> None:
        self.egress: Literal["self_hosted", "outside"] = egress
        self._pool = pool
        self._clock = clock
        self._metrics = metrics
        self._provider = provider
        self._dialect = _DIALECTS[provider]
        self._model = model
        self._version = version
        # An older generation's, which must not spoil the endpoints for the current one.
        self._generation = generation
        self._dimensions = dimensions
        self._ask_dimensions = dimensions > 0
        self._texts_max = _BATCH_TEXTS_MAX
        self._lock = threading.Lock()
        self._learning = threading.Lock()
        self._silent: Error | None = None
        self._silent_until = 0.0
        self._said = False
        self._others: dict[str, EndpointEmbedder] = {}

    @property
    def name(self) -> str:
        """Provider, model, dimension, and the version where one is set."""
        version = f"#{self._version}" if self._version else ""
        return f"{self._provider}:{self._model}/{self.dimensions}{version}"

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        if not self._dimensions:
            self._learn()
        return self._dimensions

    def embed(
        self, texts: Sequence[str], *, query: bool = False, spending: Spending | None = None
    ) -> Floats:
        """Return one row of unit length per text; zeros for one that is blank or refused."""
        if isinstance(texts, str):
            raise TypeError("embed takes a sequence of texts; put a single text into a list")
        # JSON has no half characters, and some servers no texts without a word.
        whole = [t[:TEXT_CHARS_MAX].encode("utf-8", "replace").decode() for t in texts]
        places = [place for place, text in enumerate(whole) if text.strip()]
        task = _Task(query, spending)
        parts = [
            self._rows(batch, task) for batch in self._batches([whole[place] for place in places])
        ]
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        if places:
            rows[places] = unit(np.concatenate(parts))
        return rows

    def of(self, name: str) -> EndpointEmbedder | None:
        """Return what embeds with another model of this provider, by the same endpoints."""
        provider, _, rest = name.partition(":")
        found = _NAME.fullmatch(rest)
        if provider != self._provider or found is None:
            return None
        model, dimensions, version = found["model"], int(found["dimensions"]), found["version"]
        if version not in (None, self._version) or dimensions > DIMENSIONS_MAX:
            return None
        if model == self._model:
            if version != self._version:
                return None
            if dimensions == self._dimensions:
                return self
        with self._lock:
            if len(self._others) >= _OTHERS_MAX:
                self._others.clear()
            if name not in self._others:
                self._others[name] = self._other(model, dimensions, version)
            return self._others[name]

    def _other(self, model: str, dimensions: int, version: str | None) -> EndpointEmbedder:
        return EndpointEmbedder(
            self._pool,
            self._clock,
            self._metrics,
            provider=self._provider,
            model=model,
            dimensions=dimensions,
            version=version,
            egress=self.egress,
            generation=True,
        )

    def _learn(self) -> None:
        """Find out the dimension; an endpoint that is away is not asked again for each caller."""
        with self._learning:
            if self._dimensions:
                return
            if self._silent is not None and self._clock.monotonic() < self._silent_until:
                raise self._silent.located("")
            try:
                self._takes_plain(_Task(query=False))
            except Error as error:
                rest = max(error.retry_after or 0.0, _SILENCE_SECONDS_MIN)
                self._silent = error
                self._silent_until = self._clock.monotonic() + min(rest, _SILENCE_SECONDS_MAX)
                raise
            self._silent = None

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        batch: list[str] = []
        size = 0
        for text in texts:
            length = len(text.encode())
            if batch and (len(batch) >= self._texts_max or size + length > _BATCH_BYTES_MAX):
                yield batch
                batch, size = [], 0
            batch.append(text)
            size += length
        if batch:
            yield batch

    def _rows(self, texts: list[str], task: _Task) -> Floats:
        """Return the rows of one batch; NaN in none of them."""
        task.refused_alone = task.taken_max = 0
        rows = self._halved(texts, task)
        if task.taken_max < len(texts) and not task.refused_alone:
            # It was the size of the batch.
            self._texts_max = max(1, min(self._texts_max, task.taken_max))
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1)).tolist()
        # With the plain text beside them it may not become a larger batch than was taken.
        at_once = max(1, len(texts) // 2)
        for start in range(0, len(bad), at_once):
            places = bad[start : start + at_once]
            rows[places] = self._again([texts[place] for place in places], task)
        return rows

    def _again(self, texts: list[str], task: _Task) -> Floats:
        """Return the rows of texts whose numbers were none; zeros where they are so again.

        Beside a plain text: is it these texts, or the endpoint?
        """
        try:
            rows = self._asked([*texts, _PLAIN], task, plain_last=True)[:-1]
        except Invalid as error:
            raise Unavailable(f"numbers of vectors are none; asked again: {error}") from error
        for row in rows:
            if not np.isfinite(row).all():
                row[:] = 0
                self._give_up("gives numbers that are none for")
        return rows

    def _halved(self, texts: list[str], task: _Task) -> Floats:
        rows = self._taken(texts, task)
        if rows is not None:
            return rows
        if len(texts) == 1:
            return self._cut(texts[0], task)
        half = len(texts) // 2
        return np.concatenate((self._halved(texts[:half], task), self._halved(texts[half:], task)))

    def _cut(self, text: str, task: _Task) -> Floats:
        """Return the row of a text that was refused alone."""
        if not self._takes_plain(task):
            # It was the dimension that was asked for.
            return self._halved([text], task)
        # A server that fails now and then is not to cost half a text.
        rows = self._taken([text], task) if task.refusal is None else None
        if rows is not None:
            return rows
        task.refused_alone += 1
        for _ in range(_CUTS_MAX):
            text = text[: len(text) // 2]
            if not text.strip():
                break
            rows = self._taken([text], task)
            if rows is not None:
                return rows
        self._give_up("refuses")
        return np.zeros((1, self.dimensions), np.float32)

    def _takes_plain(self, task: _Task) -> bool:
        """Return whether a text that nobody refuses is taken; False: now it is.

        Raises `Unconfigured` where it is refused whatever is asked.
        """
        if self._taken([_PLAIN], task) is not None:
            return True
        if self._ask_dimensions:
            # Older models have one dimension and refuse to be asked for it. It is checked anyway.
            self._ask_dimensions = False
            if self._taken([_PLAIN], task) is not None:
                return False
            self._ask_dimensions = True
        raise Unconfigured(
            f"every text is refused: {task.refusal}; check PALIMP_EMBED_MODEL and PALIMP_EMBED_DIM",
            status=None if task.refusal is None else task.refusal.details.get("status"),
        )

    def _taken(self, texts: list[str], task: _Task) -> Floats | None:
        """Return the rows of the texts; None where the endpoint refuses them."""
        try:
            rows = self._asked(texts, task)
        except Invalid as error:
            if error.details.get("status") not in _REFUSED:
                raise
            task.refusal = error
            return None
        except Unavailable as error:
            # Who asks a question does not wait for this.
            if task.query or texts == [_PLAIN] or error.details.get("status") != _BROKEN:
                raise
            if not self._works(task):
                raise
            task.refusal = None
            return None
        task.taken_max = max(task.taken_max, len(texts))
        return rows

    def _works(self, task: _Task) -> bool:
        """Return whether an endpoint that broke on something embeds a plain text."""
        try:
            self._asked([_PLAIN], task)
        except Error:
            return False
        return True

    def _asked(self, texts: list[str], task: _Task, *, plain_last: bool = False) -> Floats:
        """Return a row for each text; its numbers may be none, but for the last if that is plain.

        This is one request, however often it has to be made.
        """
        body: dict[str, Any] = {"input": texts, "model": self._model}
        if self._ask_dimensions:
            body[self._dialect.dimensions] = self._dimensions
        if self._dialect.typed:
            body["input_type"] = "query" if task.query else "document"

        def read(content: bytes) -> tuple[Floats, int | None]:
            rows, tokens = read_embeddings(content, len(texts))
            self._check_dimensions(rows.shape[1])
            if plain_last and not np.isfinite(rows[-1]).all():
                raise Unusable("numbers that are none")
            return rows, tokens

        encoded = msgspec.json.encode(body)
        rows, tokens = self._pool.ask(
            "/embeddings", encoded, _headers, read, task.spending, texts=len(texts)
        )
        if rows.shape[1] != self._dimensions:
            raise Unavailable(
                f"{self._model} has {rows.shape[1]:,} dimensions now, not {self._dimensions:,}: "
                "vectors of the older generation are not searched with it"
            )
        if task.spending is not None:
            counted = sum(map(len, map(str.encode, texts))) // 4 if tokens is None else tokens
            task.spending.tokens_in += counted
        return rows

    def _check_dimensions(self, found: int) -> None:
        if self._generation:
            return
        with self._lock:
            # Of several first answers one decides.
            self._dimensions = self._dimensions or found
        if found != self._dimensions:
            raise Unusable(
                f"vectors of {found:,} dimensions, not {self._dimensions:,}", lasting=True
            )

    def _give_up(self, what_it_does: str) -> None:
        self._metrics.add("embeddings_given_up")
        if not self._said:
            self._said = True
            _LOG.warning(
                "%s %s some texts: they are found by their words only. The metric "
                "embeddings_given_up counts them",
                self._model,
                what_it_does,
            )


def _headers(endpoint: Endpoint) -> dict[str, str]:
    return {} if endpoint.api_key is None else {"authorization": f"Bearer {endpoint.api_key}"}
