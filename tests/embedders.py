"""Embedders for tests: real vectors that can be read, and every way to fail.

From tests: `from ...embedders import Words` (as many dots as folders up).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.node import Node, load_settings
from palimp.profile.vectors import unit


class Words:
    """One dimension per known word; it answers for the models in `others` too.

    `failing` is what every call raises, `spoil` changes what it gives.
    """

    def __init__(
        self,
        name: str,
        words: Sequence[str],
        *others: Words,
        local: bool = True,
        egress: str | None = None,
    ) -> None:
        self._name = name
        self.words = list(words)
        self.others = others
        self.local = local
        self.egress = egress or ("none" if local else "outside")
        self.failing: palimp.Error | None = None
        self.unnamed: palimp.Error | None = None
        self.spoil: Callable[[Any], Any] = lambda rows: rows
        self.before: Callable[[Sequence[str]], None] = lambda texts: None
        self.asked: list[str] = []
        self.queries: list[str] = []
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        if self.unnamed is not None:
            raise self.unnamed
        return self._name

    @property
    def dimensions(self) -> int:
        if self.unnamed is not None:
            raise self.unnamed
        return len(self.words)

    def embed(self, texts: Sequence[str], *, query: bool = False, spending: Any = None) -> Any:
        if self.failing is not None:
            raise self.failing
        self.before(texts)
        with self._lock:
            (self.queries if query else self.asked).extend(texts)
        if spending is not None and self.egress != "none":
            size = sum(len(text.encode()) for text in texts)
            spending.add("model.test", texts=len(texts), bytes=size, tokens_in=size // 4)
        rows = [[float(word in text.lower().split()) for word in self.words] for text in texts]
        return self.spoil(np.array([unit(row) for row in rows], np.float32).reshape(len(texts), -1))

    def of(self, name: str) -> Words | None:
        return next((one for one in (self, *self.others) if one._name == name), None)


def open_with(folder: Path, embedder: Any, **settings: Any) -> palimp.Client:
    """Open a folder with an embedder of a test's own."""
    chosen = load_settings({"data_dir": folder, **settings}, {})
    return palimp.Client(Embedded(Node(chosen, embedder=embedder)))
