"""A node: settings turned into parts. It composes, and decides nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cached_property, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..api import API_VERSION, NO_OPTIONS, OPERATIONS, NodeInfo, Options, Target
from ..api.base import Request, Result
from ..clock import Clock
from ..engine import Address, Engine
from ..errors import Unavailable
from ..forks import importing
from ..ids import random_id
from ..observe import Metrics, logger
from ..operations import CALLER, OWNER, Access, Context, Principal, dispatch
from ..operations.embedding import Embedding
from ..operations.governing import Governing
from ..profile import Embedder
from ..store import ObjectStore
from ..version import __version__
from .background import Background
from .catalogued import catalog_of, catalogued_of
from .door import Door
from .folder import Folder
from .parts import (
    audit_of,
    engine_of,
    leases_of,
    models_of,
    policies_of,
    refuse_alone,
    store_of,
    strategies_of,
    tracing_of,
)
from .settings import Settings
from .timer import Timer

if TYPE_CHECKING:
    from ..catalog.sql_catalog import SqlCatalog
    from ..governance import Policies
    from ..lease import Leases
    from ..operations.usage import Catalog, Usage
    from ..security.keyring import Keys
    from ..security.keys import SigningKey
    from ..security.tokens import Claims, Tokens
    from .arc import Arcs
    from .cluster import Cluster
    from .pushing import Pushing
    from .rebalancing import Rebalancer
    from .task_runner import TaskRunner
    from .tracing import Tracing

__all__ = ["Node"]

_LOG = logger("node")
# Of one branch, before others have their turn.
_BACKGROUND_ROWS = 256
# Of the time for stopping, what may be spent on events that wait for Arcs: the disk has them.
_ARC_SHARE = 0.2


class Node:
    """Holds a folder and answers operations on it, from any thread, until `close`.

    Where `share` is given, other processes reach it by the folder's socket, which serves the ASGI
    app that `share` makes of this node. One that is `serving` may share its store with other nodes:
    it does from `join` to `leave`. `leases` are those of the settings unless they are given.
    """

    # Where there are others: from `join` on.
    pushing: Pushing | None = None
    _rebalancer: Rebalancer | None = None

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        embedder: Embedder | None = None,
        store: ObjectStore | None = None,
        share: Callable[[Node], Any] | None = None,
        serving: bool = False,
        leases: Leases | None = None,
    ) -> None:
        self.settings = settings
        self._process = os.getpid()
        self._closed = False
        self._close_lock = threading.Lock()
        clock, metrics = clock or Clock(), Metrics()
        # They are refused before anything is opened.
        self._models = models_of(settings, clock, metrics)
        self._strategies = strategies_of(settings)
        self._folder = Folder(settings.data_dir)
        self._door: Door | None = None
        catalog: SqlCatalog | None = None
        self.tracing: Tracing | None = None
        try:
            if not serving:
                refuse_alone(settings)
            self.tracing = tracing_of(settings, self._folder)
            if share is not None:
                self._door = _door(self._folder)
            opened, keys = store_of(settings, self._folder, clock, store, self.tracing)
            catalog = catalog_of(settings, self._folder.store_id, opened, clock)
            policies = policies_of(settings, opened, clock)
            leases = leases or leases_of(settings, self._folder, catalog, clock, metrics)
            engine = engine_of(
                settings, self._folder, clock, metrics, opened, policies, keys, leases
            )
        except BaseException:
            self._let_go(leases, catalog)
            raise
        self.cluster = None if leases is None else self._cluster(leases, engine, clock, metrics)
        self._background = Background(self._embed, metrics)
        self._timer = Timer(
            self._duties, 0.0 if settings.read_only else settings.maintenance_secs, metrics
        )
        self._usage = self._counting(catalog, engine, clock, metrics)
        self._tasks = self._task_runner(catalog, engine, metrics)
        self._kept = catalogued_of(catalog, settings, self._folder.path, engine.store, clock)
        self.arcs = self._arcs(clock, metrics)
        self.context = self._context(engine, embedder, policies, keys, clock, metrics)
        if self.arcs is not None:
            self.arcs.follow(self.context)
        if self._usage is not None and self.context.embedder is not None:
            self._usage.resume(self._resume)
        if self._door is not None and share is not None:
            self._door.open(partial(share, self))

    def _context(
        self,
        engine: Engine,
        embedder: Embedder | None,
        policies: Policies,
        keys: Keys | None,
        clock: Clock,
        metrics: Metrics,
    ) -> Context:
        """Return what every operation is handed."""
        settings = self.settings
        return Context(
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
            audit=audit_of(settings, engine, clock, metrics, policies),
            usage=self._usage,
            tasks=self._tasks,
            credentials=self._kept.credentials,
            bindings=self._kept.bindings,
            notes=self._kept.notes,
            recovery=self._kept.recovery,
            event_stores=self.arcs,
            strategies=self._strategies,
            governing=Governing(
                enabled=settings.governance_enabled and not settings.read_only,
                seconds=settings.governance_lock_ttl,
            ),
            embedding=Embedding(read_only=settings.read_only),
            extractor=self._models.extractor,
            assistant=self._models.assistant,
            owners=self.cluster,
            mine=lambda *name: self.cluster is None or self.cluster.mine(*name),
        )

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
        *,
        via: str | None = None,
    ) -> Result:
        """Carry out one operation for `principal`; else for the caller of this context, `CALLER`.

        Where several nodes share the store, at the one that has the profile; here, or not at all,
        what the node `via` sent on. Raises only errors of `palimp.errors`.
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
            return self._carry_out(operation, target, request, options, caller, via)
        with self.tracing.operation(operation, target):
            return self._carry_out(operation, target, request, options, caller, via)

    def _carry_out(
        self,
        operation: str,
        target: Target,
        request: Request,
        options: Options,
        caller: Principal,
        via: str | None,
    ) -> Result:
        """Carry it out where it belongs."""
        row = None if self.cluster is None or via is not None else OPERATIONS.get(operation)
        if row is None:
            return dispatch(self.context, operation, target, request, options, caller)
        assert self.cluster is not None
        here = partial(dispatch, self.context, operation, target, request, principal=caller)
        return self.cluster.route(row, target, request, options, caller, here)

    def join(self, listening: str) -> None:
        """Be one of the nodes that share the store, at the URL `listening` or the advertised one.

        Nothing where it is the only one. Raises `Invalid` for a URL that others cannot reach, and
        as `Leases.start`.
        """
        if self.cluster is None:
            return
        from ..lease import Peer
        from .leasing import advertised

        me = Peer(
            node=self.context.engine.node,
            address=advertised(self.settings, listening),
            release=__version__,
            api=API_VERSION,
            process=random_id("process"),
            home=self._folder.node,
        )
        self.cluster.join(me)
        from .pushing import Pushing

        self.pushing = Pushing(
            self.cluster,
            self.context.engine,
            self.context.clock,
            self.context.metrics,
            staleness=self.settings.staleness_secs,
            plain=not self.settings.seals,
        )
        from .rebalancing import Rebalancer

        engine, clock = self.context.engine, self.context.clock
        leases, seconds = self.cluster.leases, self.settings.rebalance_secs
        self._rebalancer = Rebalancer(leases, engine, clock, seconds)
        self._rebalancer.start()

    def leave(self, seconds: float) -> None:
        """Hand over what this node has; it goes on to answer, and sends on what is others'."""
        if self._rebalancer is not None:
            self._rebalancer.close()
        if self.cluster is not None:
            self.cluster.leave(seconds)

    def close(self) -> None:
        """Let visitors finish, ship what is local, let go of the folder, once."""
        with self._close_lock:
            if self._closed or os.getpid() != self._process:
                return
            self._closed = True
        if self._door is not None:
            self._door.close(self.settings.shutdown_timeout)
            self._door = None
        for part in (self.pushing, self._rebalancer):
            if part is not None:
                part.close()
        self._timer.close()
        if self._tasks is not None:
            self._tasks.close()
        self._background.close()
        if self.arcs is not None:
            self.arcs.close(self.settings.shutdown_timeout * _ARC_SHARE)
        if self.context.audit is not None:
            self.context.audit.close(self.settings.store_timeout)
        self.context.policies.close()
        if self._kept.credentials is not None:
            self._kept.credentials.close()
        if self._usage is not None:
            # It looks into databases a last time.
            self._usage.close()
        self.context.engine.close(self.settings.store_timeout)
        if self.cluster is not None:
            # Last: as long as something is here that was not shipped, it is this node's.
            self.cluster.close()
        for model in self._models:
            if model is not None:
                model.close()
        self._let_go()

    def _let_go(self, *parts: Leases | SqlCatalog | None) -> None:
        """Close the parts, then what other processes see of the folder."""
        for part in (*parts, self.tracing):
            if part is not None:
                part.close()
        if self._door is not None:
            self._door.close(0)
        self._folder.close()

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

    def _cluster(self, leases: Leases, engine: Engine, clock: Clock, metrics: Metrics) -> Cluster:
        from .cluster import Cluster
        from .peering import Peering, cluster_secret

        peering = Peering(cluster_secret(self.settings), engine.node)
        seconds = self.settings.request_timeout
        cluster = Cluster(leases, engine, peering, clock, metrics, seconds=seconds)
        if self.tracing is not None:
            cluster.sender.traced = self.tracing.headers
        return cluster

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

    def _task_runner(
        self, catalog: SqlCatalog | None, engine: Engine, metrics: Metrics
    ) -> TaskRunner | None:
        if catalog is None:
            return None
        from .task_runner import TaskRunner

        def call(operation: str, target: Target, request: Request, options: Options) -> Result:
            return self.call(operation, target, request, options, OWNER)

        works = not self.settings.read_only
        return TaskRunner(catalog, engine.node, call, engine.names, metrics, works=works)

    def _arcs(self, clock: Clock, metrics: Metrics) -> Arcs | None:
        if self._kept.bindings is None:
            return None
        from .arc import Arcs

        return Arcs(self.settings, self._folder.path, clock, metrics)

    def look_after_itself(self) -> None:
        """Do what is due from now on, every `maintenance_secs`; else the first write begins it.

        And tasks that are nobody's yet, of any node.
        """
        self._timer.start()
        if self._tasks is not None:
            self._tasks.start()
        if self.arcs is not None:
            self.arcs.start()

    def _duties(self) -> Callable[[Callable[[], bool]], Any]:
        from ..operations.duties import Duties

        return Duties(self.context).once

    def _wake(self, address: Address) -> None:
        if not self._timer.started:
            self._timer.start()
        if self.context.embedder is not None:
            self._background.wake(address)

    def _resume(self, namespace: str, profile: str) -> None:
        if self.context.mine(namespace, profile):
            self._wake(Address(namespace, profile))

    def _embed(self, address: Address) -> int:
        if not self.context.mine(address.namespace, address.profile):
            # Another node has it since, and finds what is left to do.
            return 0
        with importing():
            # In a thread that nobody knows of who may be about to fork.
            import_module("palimp.profile.vectors")
            from ..operations.naming import link_names
            from ..operations.relating import relate
            from ..operations.vectors import fill
        with self.context.engine.use(address, create=False) as branch:
            done = 0
            if branch is not None:
                pause = self._background.pause
                named = link_names(self.context, branch, _BACKGROUND_ROWS, pause=pause)
                filled = fill(self.context, branch, _BACKGROUND_ROWS, pause=pause)
                if filled.failure is not None:
                    raise filled.failure
                done = (
                    filled.stored
                    or relate(self.context, branch, _BACKGROUND_ROWS, pause=pause).rows
                    or named
                )
        if self._usage is not None:
            self._usage.look_again(address.namespace, address.profile)
        return done


def _door(folder: Folder) -> Door | None:
    try:
        return Door(folder.path)
    except OSError as error:
        # Not every file system has sockets. One process at a time can use the folder there.
        _LOG.warning("%s cannot be shared by several processes: %s", folder.path, error)
        return None


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
        leases=settings.lease_store,
    )
