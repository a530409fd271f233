"""A node: settings turned into parts. It composes, and decides nothing."""

from __future__ import annotations

import os
import threading

from ..api import Target
from ..api.base import Request, Result
from ..clock import Clock
from ..engine import LocalEngine
from ..errors import Unavailable
from ..observe import Metrics
from ..operations import Context, dispatch
from ..operations.vectors import fill
from ..profile import Embedder, check_schema, prepare
from .background import Background
from .folder import Folder
from .settings import Settings

__all__ = ["Node"]

_BACKGROUND_ROWS = 1_024


class Node:
    """Holds a folder and answers operations on it, from any thread, until `close`."""

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, embedder: Embedder | None = None
    ) -> None:
        self.settings = settings
        self._process = os.getpid()
        self._closed = False
        self._close_lock = threading.Lock()
        self._folder = Folder(settings.data_dir)
        metrics = Metrics()
        engine = LocalEngine(
            self._folder.databases, prepare, check=check_schema, hot_cap=settings.hot_cap
        )
        self._background = Background(self._embed, metrics)
        self.context = Context(
            engine=engine,
            clock=clock or Clock(),
            embedder=embedder or _embedder(settings),
            metrics=metrics,
            wake=self._wake,
        )

    def call(self, operation: str, target: Target, request: Request) -> Result:
        """Carry out one operation. Raises only errors of `palimp.errors`."""
        if self._closed:
            raise Unavailable("this client is closed; open the folder again", reason="closed")
        if os.getpid() != self._process:
            # After fork the child shares file descriptors with its parent; two writers through one
            # handle corrupt the file, and the parent's lock does not stop the child.
            raise Unavailable(
                f"this client was opened by process {self._process} before a fork; "
                "open the folder in one process only",
                reason="forked",
            )
        return dispatch(self.context, operation, target, request)

    def close(self) -> None:
        """Stop the background work and let go of the folder; a second call does nothing."""
        with self._close_lock:
            if self._closed or os.getpid() != self._process:
                return
            self._closed = True
        self._background.close()
        self.context.engine.close()
        self._folder.close()

    def _wake(self, name: str) -> None:
        if self.context.embedder is not None:
            self._background.wake(name)

    def _embed(self, name: str) -> int:
        with self.context.engine.use(name, create=False) as database:
            return 0 if database is None else fill(self.context, database, _BACKGROUND_ROWS)


def _embedder(settings: Settings) -> Embedder | None:
    if settings.embed_provider == "none":
        return None
    # Imports numpy, so it is put off to the first text that is embedded.
    from ..models.lazy import LazyEmbedder

    return LazyEmbedder()
