"""A node: settings turned into parts. It composes, and decides nothing."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import cached_property, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from ..api import API_VERSION, NO_OPTIONS, NodeInfo, Options, Target
from ..api.base import Request, Result
from ..clock import Clock
from ..engine import Address, Engine
from ..errors import Unavailable
from ..forks import importing
from ..governance import Policies
from ..ids import check_name
from ..observe import Metrics, logger
from ..operations import CALLER, Access, Context, Principal, dispatch
from ..operations.auditing import Audit
from ..operations.vectors import fill
from ..profile import Embedder, check_schema, complete, prepare
from ..store import CountingStore, ObjectStore, identify, open_store, self_test
from ..version import __version__
from .background import Background
from .door import Door
from .folder import Folder
from .settings import Settings

if TYPE_CHECKING:
    from ..operations.usage import Catalog, Usage
    from ..security import Claims, Tokens
    from .tracing import Tracing

__all__ = ["Node"]

_LOG = logger("node")
_BACKGROUND_ROWS = 1_024
_NODE_ID_CHARS_MAX = 64


class Node:
    """Holds a folder and answers operations on it, from any thread, until `close`.

    Where `share` is given, other processes reach it by the folder's socket, which serves the ASGI
    app that `share` makes of this node.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        embedder: Embedder | None = None,
        store: ObjectStore | None = None,
        share: Callable[[Node], Any] | None = None,
    ) -> None:
        self.settings = settings
        self._process = os.getpid()
        self._closed = False
        self._close_lock = threading.Lock()
        clock, metrics = clock or Clock(), Metrics()
        self._folder = Folder(settings.data_dir)
        self._door: Door | None = None
        catalog: Catalog | None = None
        self.tracing: Tracing | None = None
        try:
            self.tracing = _tracing(settings, self._folder)
            if share is not None:
                self._door = _door(self._folder)
            opened = _store(settings, self._folder, clock, store, self.tracing)
            if settings.catalog_url is not None:
                from ..catalog import start_catalog

                catalog = start_catalog(settings.catalog_url, clock)
            policies = Policies(
                opened,
                clock,
                ceiling=settings.policy_ceiling(),
                cache_seconds=settings.policy_cache_secs,
            )
            engine = _engine(settings, self._folder, clock, metrics, opened, policies)
        except BaseException:
            if self._door is not None:
                self._door.close(0)
            if catalog is not None:
                catalog.close()
            self._folder.close()
            if self.tracing is not None:
                self.tracing.close()
            raise
        self._background = Background(self._embed, metrics)
        self._usage = _usage(catalog, engine, clock, metrics)
        self.context = Context(
            engine=engine,
            clock=clock,
            embedder=embedder or _embedder(settings),
            metrics=metrics,
            wake=self._wake,
            about=_about(settings, self._folder, engine),
            access=self._access(engine, clock),
            tokens=lambda: self.tokens,
            durable=settings.durability == "durable",
            policies=policies,
            audit=_audit(settings, engine, clock, metrics, policies),
            usage=self._usage,
        )
        if self._door is not None and share is not None:
            self._door.open(partial(share, self))

    @property
    def closed(self) -> bool:
        """Whether it answers no more."""
        return self._closed

    def call(
        self,
        operation: str,
        target: Target,
        request: Request,
        options: Options = NO_OPTIONS,
        principal: Principal | None = None,
    ) -> Result:
        """Carry out one operation for `principal`; else for the caller of this context, `CALLER`.

        Raises only errors of `palimp.errors`.
        """
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
        caller = CALLER.get() if principal is None else principal
        if self.tracing is None:
            return dispatch(self.context, operation, target, request, options, caller)
        with self.tracing.operation(operation, target):
            return dispatch(self.context, operation, target, request, options, caller)

    def close(self) -> None:
        """Let visitors finish, ship what is local, let go of the folder, once."""
        with self._close_lock:
            if self._closed or os.getpid() != self._process:
                return
            self._closed = True
        if self._door is not None:
            self._door.close(self.settings.shutdown_timeout)
        self._background.close()
        if self.context.audit is not None:
            self.context.audit.close(self.settings.store_timeout)
        self.context.policies.close()
        if self._usage is not None:
            # It looks into databases a last time.
            self._usage.close()
        self.context.engine.close(self.settings.store_timeout)
        self._folder.close()
        if self.tracing is not None:
            self.tracing.close()

    @cached_property
    def tokens(self) -> Tokens:
        """What mints and verifies tokens; `Invalid` where there is no key."""
        # Cryptography takes 40 ms to import: only who has to do with tokens pays for it.
        from ..security import Tokens
        from .credentials import load_keys

        engine = self.context.engine
        return Tokens(load_keys(self.settings, self._folder.path, engine.store, self.context.clock))

    def _access(self, engine: Engine, clock: Clock) -> Access:
        def revoked_before(namespace: str, profile: str) -> int:
            name = engine.name(Address(namespace, profile))
            return 0 if name is None else name.revoked_before

        def verify(token: str, now_s: int) -> Claims:
            return self.tokens.verify(token, now_s)

        return Access(
            clock,
            platform_key=self.settings.platform_key,
            verify=verify if self.settings.auth == "on" else None,
            revoked_before=revoked_before,
        )

    def _wake(self, address: Address) -> None:
        if self.context.embedder is not None:
            self._background.wake(address)

    def _embed(self, address: Address) -> int:
        with importing():
            # In a thread that nobody knows of who may be about to fork.
            import_module("palimp.profile.vectors")
        with self.context.engine.use(address, create=False) as branch:
            return 0 if branch is None else fill(self.context, branch, _BACKGROUND_ROWS)


def _door(folder: Folder) -> Door | None:
    try:
        return Door(folder.path)
    except OSError as error:
        # Not every file system has sockets. One process at a time can use the folder there.
        _LOG.warning("%s cannot be shared by several processes: %s", folder.path, error)
        return None


def _tracing(settings: Settings, folder: Folder) -> Tracing | None:
    if settings.otel_endpoint is None:
        return None
    from .tracing import start_tracing

    return start_tracing(settings.otel_endpoint, settings.node_id or folder.node)


def _store(
    settings: Settings,
    folder: Folder,
    clock: Clock,
    store: ObjectStore | None,
    tracing: Tracing | None,
) -> ObjectStore:
    """Return the store that the folder is of, counted and traced, once it has shown what it is."""
    url = settings.object_store or (folder.path.absolute() / "objects").as_uri()
    if store is None:
        store = open_store(url, clock=clock)
    store = CountingStore(store if tracing is None else tracing.store(store), clock)
    if url.partition("://")[0] not in ("file", "mem"):
        # Of these two we know what they do.
        self_test(store)
    folder.bind(identify(store), store.name)
    return store


def _engine(
    settings: Settings,
    folder: Folder,
    clock: Clock,
    metrics: Metrics,
    store: ObjectStore,
    policies: Policies,
) -> Engine:
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
        complete=complete,
        node=node,
        clock=clock,
        options=msgspec.structs.replace(settings.engine_options(), retention=policies.history),
        metrics=metrics,
    )


def _usage(catalog: Catalog | None, engine: Engine, clock: Clock, metrics: Metrics) -> Usage | None:
    if catalog is None:
        return None
    from ..operations.usage import Usage, look_into

    return Usage(catalog, look_into(engine, clock), clock, metrics)


def _audit(
    settings: Settings, engine: Engine, clock: Clock, metrics: Metrics, policies: Policies
) -> Audit | None:
    if settings.read_only:
        return None
    seconds = settings.audit_flush_ms / 1000
    return Audit(engine.store, clock, policies, metrics, engine.node, flush_seconds=seconds)


def _about(settings: Settings, folder: Folder, engine: Engine) -> NodeInfo:
    return NodeInfo(
        release=__version__,
        api=API_VERSION,
        node=settings.node_id or folder.node,
        process=os.getpid(),
        folder=str(folder.path.absolute()),
        object_store=engine.store.name,
        store_id=folder.store_id,
        durability=settings.durability,
        settings=settings.shared(),
    )


def _embedder(settings: Settings) -> Embedder | None:
    if settings.embed_provider == "none":
        return None
    # Imports numpy, so it is put off to the first text that is embedded.
    from ..models.lazy import LazyEmbedder

    return LazyEmbedder()
