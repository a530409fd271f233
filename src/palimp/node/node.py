"""A node: settings turned into parts. It composes, and decides nothing."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from functools import cached_property, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import apsw
import msgspec

from ..api import API_VERSION, NO_OPTIONS, NodeInfo, Options, Target
from ..api.base import Request, Result
from ..clock import Clock
from ..engine import Address, Engine
from ..errors import Invalid, Unavailable
from ..forks import importing
from ..governance import Policies
from ..ids import check_name
from ..observe import Metrics, logger
from ..operations import CALLER, Access, Context, Principal, dispatch
from ..operations.auditing import Audit
from ..operations.embedding import Embedding
from ..profile import Embedder, check_schema, complete, prepare
from ..store import CountingStore, ObjectStore, open_store, self_test
from ..store.identity import recognise
from ..version import __version__
from .background import Background
from .door import Door
from .folder import Folder
from .settings import Settings
from .timer import Timer

if TYPE_CHECKING:
    from ..models.language import LanguageModel
    from ..models.lazy import LazyEmbedder
    from ..operations.usage import Catalog, Usage
    from ..security.keyring import Keys
    from ..security.keys import SigningKey
    from ..security.tokens import Claims, Tokens
    from .tracing import Tracing

__all__ = ["Node"]

_LOG = logger("node")
# Of one branch, before others have their turn.
_BACKGROUND_ROWS = 256
_NODE_ID_CHARS_MAX = 64
# Without one of these there is no language model.
_LANGUAGES = ("extract_api_key", "extract_base_url", "assistant_api_key", "assistant_base_url")


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
        # They are refused before anything is opened.
        self._models = _models(settings, clock, metrics)
        self._folder = Folder(settings.data_dir)
        self._door: Door | None = None
        catalog: Catalog | None = None
        self.tracing: Tracing | None = None
        try:
            self.tracing = _tracing(settings, self._folder)
            if share is not None:
                self._door = _door(self._folder)
            opened, keys = _store(settings, self._folder, clock, store, self.tracing)
            if settings.catalog_url is not None:
                from ..catalog import start_catalog

                catalog = start_catalog(settings.catalog_url, clock)
            policies = _policies(settings, opened, clock)
            engine = _engine(settings, self._folder, clock, metrics, opened, policies, keys)
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
        self._timer = Timer(
            self._duties, 0.0 if settings.read_only else settings.maintenance_secs, metrics
        )
        self._usage = self._counting(catalog, engine, clock, metrics)
        self.context = Context(
            engine=engine,
            clock=clock,
            embedder=embedder or self._models.embedder,
            metrics=metrics,
            wake=self._wake,
            about=_about(settings, self._folder, engine),
            access=self._access(engine, clock),
            tokens=lambda: self.tokens,
            receipt_key=lambda: self.receipt_key,
            durable=settings.durability == "durable",
            policies=policies,
            keys=keys,
            audit=_audit(settings, engine, clock, metrics, policies),
            usage=self._usage,
            embedding=Embedding(read_only=settings.read_only),
            extractor=self._models.extractor,
            assistant=self._models.assistant,
        )
        if self._usage is not None and self.context.embedder is not None:
            self._usage.resume(lambda *names: self._wake(Address(*names)))
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
        self._timer.close()
        self._background.close()
        if self.context.audit is not None:
            self.context.audit.close(self.settings.store_timeout)
        self.context.policies.close()
        if self._usage is not None:
            # It looks into databases a last time.
            self._usage.close()
        self.context.engine.close(self.settings.store_timeout)
        for model in self._models:
            if model is not None:
                model.close()
        self._folder.close()
        if self.tracing is not None:
            self.tracing.close()

    @cached_property
    def tokens(self) -> Tokens:
        """What mints and verifies tokens; `Invalid` where there is no key."""
        # Cryptography takes 40 ms to import: only who has to do with tokens pays for it.
        from ..security.tokens import Tokens
        from .credentials import load_keys

        engine = self.context.engine
        return Tokens(load_keys(self.settings, self._folder.path, engine.store, self.context.clock))

    @cached_property
    def receipt_key(self) -> SigningKey:
        """What signs receipts of erasures: the key of tokens, else one of this folder."""
        from .credentials import receipt_key

        return receipt_key(
            self.settings, self._folder.path, self.context.engine.store, self.context.clock
        )

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

    def _counting(
        self, catalog: Catalog | None, engine: Engine, clock: Clock, metrics: Metrics
    ) -> Usage | None:
        if catalog is None:
            return None
        from ..operations.usage import Usage, look_into

        def embeds(namespace: str, profile: str) -> bool | None:
            if self.context.embedder is None:
                return None
            return self.context.embedder_of(namespace, profile) is not None

        return Usage(catalog, look_into(engine, clock, embeds), clock, metrics, engine.node)

    def look_after_itself(self) -> None:
        """Do what is due from now on, every `maintenance_secs`; else the first write begins it."""
        self._timer.start()

    def _duties(self) -> Callable[[Callable[[], bool]], Any]:
        from ..operations.duties import Duties

        return Duties(self.context).once

    def _wake(self, address: Address) -> None:
        if not self._timer.started:
            self._timer.start()
        if self.context.embedder is not None:
            self._background.wake(address)

    def _embed(self, address: Address) -> int:
        with importing():
            # In a thread that nobody knows of who may be about to fork.
            import_module("palimp.profile.vectors")
            from ..operations.relating import relate
            from ..operations.vectors import fill
        with self.context.engine.use(address, create=False) as branch:
            done = 0
            if branch is not None:
                pause = self._background.pause
                filled = fill(self.context, branch, _BACKGROUND_ROWS, pause=pause)
                if filled.failure is not None:
                    raise filled.failure
                done = (
                    filled.stored
                    or relate(self.context, branch, _BACKGROUND_ROWS, pause=pause).rows
                )
        if self._usage is not None:
            self._usage.look_again(address.namespace, address.profile)
        return done


class _Models(NamedTuple):
    """The models that the settings name; each connects when it is asked for the first time."""

    embedder: LazyEmbedder | None
    extractor: LanguageModel | None
    assistant: LanguageModel | None


def _door(folder: Folder) -> Door | None:
    try:
        return Door(folder.path)
    except OSError as error:
        # Not every file system has sockets. One process at a time can use the folder there.
        _LOG.warning("%s cannot be shared by several processes: %s", folder.path, error)
        return None


def _policies(settings: Settings, store: ObjectStore, clock: Clock) -> Policies:
    ceiling, seconds = settings.policy_ceiling(), settings.policy_cache_secs
    return Policies(store, clock, ceiling=ceiling, cache_seconds=seconds)


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
) -> tuple[ObjectStore, Keys | None]:
    """Return the store that the folder is of, counted and traced, once it has shown what it is.

    With a master key: sealed under its keys. Raises `Invalid` where it is not that of the store.
    """
    url = settings.object_store or (folder.path.absolute() / "objects").as_uri()
    if store is None:
        store = open_store(url, clock=clock)
    store, keys = store if tracing is None else tracing.store(store), None
    if settings.seals:
        # Cryptography takes 40 ms to import.
        from ..store.sealed import SealedStore
        from .sealing import keys_of

        keys = keys_of(settings, store, clock)
        store = SealedStore(store, keys)
    store = CountingStore(store, clock)
    if url.partition("://")[0] not in ("file", "mem"):
        # Of these two we know what they do.
        self_test(store)
    known = recognise(store)
    if keys is not None:
        from .sealing import start

        start(keys, store, known, may_write=not settings.read_only)
    elif known.sealed:
        raise Invalid(
            f"{store.name} holds values sealed under a master key, and none is set: set "
            "PALIMP_MASTER_KEY, PALIMP_MASTER_KEY_FILE or PALIMP_MASTER_KEY_COMMAND to it"
        )
    folder.bind(known.id, store.name)
    return store, keys


def _engine(
    settings: Settings,
    folder: Folder,
    clock: Clock,
    metrics: Metrics,
    store: ObjectStore,
    policies: Policies,
    keys: Keys | None,
) -> Engine:
    if settings.object_store is None:
        level = logging.WARNING if settings.durability == "durable" else logging.INFO
        message = "history is kept in %s: a durable write does not survive this disk"
        _LOG.log(level, message, store.name)
    node = settings.node_id or folder.node
    check_name(node, "node_id", chars_max=_NODE_ID_CHARS_MAX)

    def erasures(db_id: str, ids: tuple[str, ...] | None) -> Any:
        # Not before one is met: opening a folder does not wait for it.
        from ..operations.erasing import Erasures
        from ..operations.fields import sealer_of_database

        return Erasures(store, sealer_of_database(keys, db_id))(db_id, ids)

    # Of this process, whoever opened what: SQLite has one limit.
    apsw.soft_heap_limit(settings.cache_bytes)
    engine = Engine(
        folder.databases,
        folder.path / "cache",
        store,
        prepare=prepare,
        check=check_schema,
        complete=complete,
        node=node,
        clock=clock,
        options=msgspec.structs.replace(
            settings.engine_options(), retention=policies.history, erasures=erasures
        ),
        metrics=metrics,
    )
    if keys is not None:
        from .sealing import EngineDirectory

        keys.directory = EngineDirectory(engine)
    return engine


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


def _models(settings: Settings, clock: Clock, metrics: Metrics) -> _Models:
    return _Models(
        _embedder(settings, clock, metrics),
        _language(settings, "extract", clock, metrics),
        _language(settings, "assistant", clock, metrics),
    )


def _embedder(settings: Settings, clock: Clock, metrics: Metrics) -> LazyEmbedder | None:
    """Return the embedder that is configured; it is made when the first text is embedded."""
    if settings.embedder_provider == "none":
        return None
    from ..models.choose import bundled, choose

    if settings.embedder_provider == "bundled":
        return bundled()
    from .model_settings import embedding_choice

    chosen = embedding_choice(settings)._asdict()
    return choose(**chosen, clock=clock, metrics=metrics)


def _language(
    settings: Settings, family: Literal["extract", "assistant"], clock: Clock, metrics: Metrics
) -> LanguageModel | None:
    """Return the model that is configured; nothing of it is imported where none is."""
    if not any(getattr(settings, name) for name in _LANGUAGES):
        return None
    from ..models.languages import language_model, own_endpoint
    from ..models.pool import Pool
    from .model_settings import assistant_choice, extraction_choice

    choice = (extraction_choice if family == "extract" else assistant_choice)(settings)
    if choice is None:
        return None
    endpoint = choice.endpoint or own_endpoint(choice.provider, choice.api_key)
    pool = Pool((endpoint,), clock, metrics, timeout=choice.timeout, what=choice.family)
    return language_model(choice.provider, choice.model, pool)
