"""A node: settings turned into parts. It composes, and decides nothing."""

from __future__ import annotations

import logging
import os
import threading

import apsw

from ..api import NO_OPTIONS, Options, Target
from ..api.base import Request, Result
from ..clock import Clock
from ..engine import Address, Engine
from ..errors import Unavailable
from ..ids import check_name
from ..observe import Metrics, logger
from ..operations import Context, dispatch
from ..operations.vectors import fill
from ..profile import Embedder, check_schema, prepare
from ..store import ObjectStore, identify, open_store, self_test
from .background import Background
from .folder import Folder
from .settings import Settings

__all__ = ["Node"]

_LOG = logger("node")
_BACKGROUND_ROWS = 1_024
_NODE_ID_CHARS_MAX = 64


class Node:
    """Holds a folder and answers operations on it, from any thread, until `close`."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        embedder: Embedder | None = None,
        store: ObjectStore | None = None,
    ) -> None:
        self.settings = settings
        self._process = os.getpid()
        self._closed = False
        self._close_lock = threading.Lock()
        clock, metrics = clock or Clock(), Metrics()
        self._folder = Folder(settings.data_dir)
        try:
            engine = _engine(settings, self._folder, clock, metrics, store)
        except BaseException:
            self._folder.close()
            raise
        self._background = Background(self._embed, metrics)
        self.context = Context(
            engine=engine,
            clock=clock,
            embedder=embedder or _embedder(settings),
            metrics=metrics,
            wake=self._wake,
            durable=settings.durability == "durable",
        )

    def call(
        self, operation: str, target: Target, request: Request, options: Options = NO_OPTIONS
    ) -> Result:
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
        return dispatch(self.context, operation, target, request, options)

    def close(self) -> None:
        """Ship what is local, stop the background work and let go of the folder, once."""
        with self._close_lock:
            if self._closed or os.getpid() != self._process:
                return
            self._closed = True
        self._background.close()
        self.context.engine.close(self.settings.store_timeout)
        self._folder.close()

    def _wake(self, address: Address) -> None:
        if self.context.embedder is not None:
            self._background.wake(address)

    def _embed(self, address: Address) -> int:
        with self.context.engine.use(address, create=False) as branch:
            return 0 if branch is None else fill(self.context, branch, _BACKGROUND_ROWS)


def _engine(
    settings: Settings,
    folder: Folder,
    clock: Clock,
    metrics: Metrics,
    store: ObjectStore | None,
) -> Engine:
    url = settings.object_store or (folder.path.absolute() / "objects").as_uri()
    if store is None:
        store = open_store(url, clock=clock)
    if url.partition("://")[0] not in ("file", "mem"):
        # Of these two we know what they do.
        self_test(store)
    folder.bind(identify(store), store.name)
    if settings.object_store is None:
        level = logging.WARNING if settings.durability == "durable" else logging.INFO
        message = "history is kept in %s: a durable write does not survive this disk"
        _LOG.log(level, message, store.name)
    node = settings.node_id or folder.node
    check_name(node, "node_id", chars_max=_NODE_ID_CHARS_MAX)
    # Of this process, whoever opened what: SQLite has one limit.
    apsw.soft_heap_limit(settings.cache_bytes)
    return Engine(
        folder.databases,
        folder.path / "cache",
        store,
        prepare=prepare,
        check=check_schema,
        node=node,
        clock=clock,
        options=settings.engine_options(),
        metrics=metrics,
    )


def _embedder(settings: Settings) -> Embedder | None:
    if settings.embed_provider == "none":
        return None
    # Imports numpy, so it is put off to the first text that is embedded.
    from ..models.lazy import LazyEmbedder

    return LazyEmbedder()
