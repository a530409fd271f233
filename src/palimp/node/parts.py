"""The parts of a node, each made of its settings."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import apsw
import msgspec

from ..clock import Clock
from ..engine import Engine
from ..errors import Invalid
from ..governance import Policies
from ..ids import check_name
from ..observe import Metrics, logger
from ..operations.auditing import Audit
from ..operations.strategies import BoundPlugins
from ..profile import check_schema, complete, prepare
from ..store import CountingStore, ObjectStore, open_store, self_test
from ..store.identity import recognise
from .folder import Folder
from .settings import Settings

if TYPE_CHECKING:
    from ..lease import Leases
    from ..models.language import LanguageModel
    from ..models.lazy import LazyEmbedder
    from ..operations.usage import Catalog
    from ..security.keyring import Keys
    from .tracing import Tracing

__all__ = [
    "Models",
    "audit_of",
    "engine_of",
    "leases_of",
    "models_of",
    "policies_of",
    "refuse_alone",
    "store_of",
    "strategies_of",
    "tracing_of",
]

_LOG = logger("node")
_NODE_ID_CHARS_MAX = 64
# Without one of these there is no language model.
_LANGUAGES = ("extract_api_key", "extract_base_url", "assistant_api_key", "assistant_base_url")


class Models(NamedTuple):
    """The models that the settings name; each connects when it is asked for the first time."""

    embedder: LazyEmbedder | None
    extractor: LanguageModel | None
    assistant: LanguageModel | None


def refuse_alone(settings: Settings) -> None:
    """Refuse to own a folder whose databases other nodes may have; see `leasing.check_alone`."""
    if settings.lease_store != "single":
        from .leasing import check_alone

        check_alone(settings)


def leases_of(
    settings: Settings, folder: Folder, catalog: Catalog | None, clock: Clock, metrics: Metrics
) -> Leases | None:
    """Return the leases that the settings name; None where no other node writes to the store."""
    if settings.lease_store == "single":
        return None
    from .leasing import make_leases
    from .peering import cluster_secret

    # Refused before anything is opened.
    cluster_secret(settings)
    node = settings.node_id or folder.node
    return make_leases(settings, folder.store_id, node, catalog, clock, metrics)


def policies_of(settings: Settings, store: ObjectStore, clock: Clock) -> Policies:
    """Return the policies that the store has, within what this node allows."""
    ceiling, seconds = settings.policy_ceiling(), settings.policy_cache_secs
    return Policies(store, clock, ceiling=ceiling, cache_seconds=seconds)


def tracing_of(settings: Settings, folder: Folder) -> Tracing | None:
    """Return what makes spans; None where nobody collects them."""
    if settings.otel_endpoint is None:
        return None
    from .tracing import start_tracing

    return start_tracing(settings.otel_endpoint, settings.node_id or folder.node)


def store_of(
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
        self_test(store, clock)
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


def engine_of(
    settings: Settings,
    folder: Folder,
    clock: Clock,
    metrics: Metrics,
    store: ObjectStore,
    policies: Policies,
    keys: Keys | None,
    leases: Leases | None,
) -> Engine:
    """Return the engine on a store; with `leases` other nodes may write to it too."""
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
        leaser=leases,
    )
    if keys is not None:
        from .sealing import EngineDirectory

        keys.directory = EngineDirectory(engine)
    return engine


def audit_of(
    settings: Settings, engine: Engine, clock: Clock, metrics: Metrics, policies: Policies
) -> Audit | None:
    """Return what records the audit; None where nothing may be written."""
    if settings.read_only:
        return None
    seconds = settings.audit_flush_ms / 1000
    return Audit(engine.store, clock, policies, metrics, engine.node, flush_seconds=seconds)


def models_of(settings: Settings, clock: Clock, metrics: Metrics) -> Models:
    """Return the models that the settings name; `Invalid` where they do not fit each other."""
    return Models(
        _embedder(settings, clock, metrics),
        _language(settings, "extract", clock, metrics),
        _language(settings, "assistant", clock, metrics),
    )


def strategies_of(settings: Settings) -> BoundPlugins:
    """Return which plugin of governance is asked; `Invalid` where its folder holds none."""
    bound = BoundPlugins(
        settings.governance_plugin_dir,
        binding=settings.governance_plugin_binding,
        subject=settings.governance_plugin_subject,
        log_level=settings.log_level,
    )
    if settings.governance_plugin_dir is not None:
        bound.check()
    return bound


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
