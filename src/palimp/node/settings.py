"""Settings: one frozen struct, read from keywords, then `PALIMP_*`, then a TOML file.

Each setting stands once, in `SETTINGS`; its environment name is `PALIMP_` and its name in capitals.
An unknown name stops the start and names the nearest known one, so that a misspelt setting is never
silently without effect.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..api.convert import nearest
from ..decoding import from_plain
from ..engine import Options
from ..errors import Invalid
from .aliases import aliased, implied

__all__ = [
    "CLIENT_ONLY",
    "ENVIRONMENT_ONLY",
    "PREFIX",
    "SETTINGS",
    "Settings",
    "client_environment",
    "load_settings",
]

PREFIX = "PALIMP_"
# Names that decide where the other settings come from, so they cannot stand among them.
ENVIRONMENT_ONLY = {
    "config": "Path of a TOML file with settings, lower-case names at its top level."
}
# Of `palimp.connect`, which takes its source from the environment too. They stand here so that one
# environment can serve for nodes and their clients, and a misspelt name is refused by both.
CLIENT_ONLY = {
    "url": "Of the node that `palimp.connect` reaches; else `http://127.0.0.1:8080`.",
    "token": "What `palimp.connect` shows that node as its credential.",
}


_ENGINE = Options()
# Never shown: not in a message, a log, or the text of the settings.
_LONG = "x" * 16
_LONG_SECRETS = ("platform_key", "api_key_secret", "cluster_key")
SECRETS = frozenset(
    {
        "platform_key",
        "api_key_secret",
        "cluster_key",
        "auth_key",
        "master_key",
        "master_key_command",
        "catalog_url",
        "etcd",
        "embed_api_key",
        "embed_endpoints",
        "embed_base_url",
        "extract_api_key",
        "extract_base_url",
        "assistant_api_key",
        "assistant_base_url",
        "memtrace_arc_url",
        "memtrace_arc_api_key",
    }
)
# Of models. A blank text is not set: that is how deployments leave a key out.
_OF_MODELS = ("embed_", "extract_", "assistant_")
_SHARED = (
    "object_store",
    "node_id",
    "embed_model",
    "embed_dim",
    "embed_version",
    "pitr_retention_secs",
    "pitr_snapshot_retention_secs",
)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that can be set."""

    data_dir: str = "./memory"
    read_only: bool = False
    source: str | None = None
    embed_provider: Literal["bundled", "onnx", "local", "openai", "voyage", "none"] | None = None
    embed_model: str | None = None
    embed_base_url: str | None = None
    embed_api_key: str | None = None
    embed_endpoints: str | None = None
    embed_dim: int = 0
    embed_version: str | None = None
    embed_timeout: float = 10.0
    embed_self_hosted_hosts: str | None = None
    embed_cache_bytes: int = 16 << 20
    extract_provider: Literal["anthropic", "openai"] | None = None
    extract_model: str | None = None
    extract_base_url: str | None = None
    extract_api_key: str | None = None
    extract_timeout: float = 60.0
    assistant_provider: Literal["anthropic", "openai"] | None = None
    assistant_model: str | None = None
    assistant_base_url: str | None = None
    assistant_api_key: str | None = None
    assistant_timeout: float = 60.0
    object_store: str | None = None
    node_id: str | None = None
    durability: Literal["local", "durable"] = "local"
    ship_interval: float = _ENGINE.ship_interval
    ship_backlog_bytes: int = _ENGINE.backlog_bytes
    write_queue_depth: int = _ENGINE.queue_depth
    store_timeout: float = _ENGINE.patience
    hot_cap: int = _ENGINE.hot_cap
    hot_idle_secs: float = _ENGINE.hot_idle
    warm_idle_secs: float = _ENGINE.warm_idle
    cache_bytes: int = 64 << 20
    past_cache_bytes: int = _ENGINE.past_budget
    disk_budget_bytes: int = _ENGINE.disk_budget
    disk_reserve_bytes: int = _ENGINE.disk_reserve
    pitr_retention_secs: int = _ENGINE.fine_ms // 1000
    pitr_snapshot_retention_secs: int = _ENGINE.snapshots_ms // 1000
    listen: str = "127.0.0.1:8080"
    request_timeout: float = 30.0
    read_timeout: float = 30.0
    write_timeout: float = 30.0
    shutdown_timeout: float = 30.0
    max_body_bytes: int = 32 << 20
    max_concurrency: int = 1_024
    control_rate: float = 10.0
    trusted_proxies: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    auth: Literal["off", "on"] = "off"
    platform_key: str | None = None
    api_key_secret: str | None = None
    cluster_key: str | None = None
    auth_key: str | None = None
    persist_auth_key: bool = False
    master_key: str | None = None
    master_key_file: str | None = None
    master_key_command: str | None = None
    single_node: bool = False
    leases: Literal["single", "sql", "etcd"] | None = None
    etcd: str | None = None
    lease_ttl: float = 10.0
    advertise: str | None = None
    staleness_secs: float = _ENGINE.staleness
    rebalance_secs: float = 30.0
    policy_cache_secs: float = 30.0
    audit_flush_ms: int = 2_000
    maintenance_secs: float = 60.0
    catalog_url: str | None = None
    rate_limit: float = 0.0
    key_rate_limit: str = "1000,60"
    auth_failure_rate: float = 10.0
    memorysync_strict_scope: bool = False
    metadata_max_bytes: int = 16_384
    memorysync_rate_tier: Literal["unlimited", "free", "pro", "enterprise"] = "unlimited"
    memtrace_host: str = "0.0.0.0"  # noqa: S104 - as that system does; keys are asked for
    memtrace_port: int = 9_100
    memtrace_db_path: str = "./data/memtrace.db"
    memtrace_auth: bool | None = None
    memtrace_dedup: bool = True
    memtrace_dedup_window_hours: float = 24.0
    memtrace_arc_url: str | None = None
    memtrace_arc_api_key: str | None = None
    memtrace_arc_database: str | None = None
    memtrace_arc_measurement: str | None = None
    arc_connect_timeout: float = 5.0
    arc_query_timeout: float = 30.0
    arc_write_batch_size: int = 100
    arc_write_flush_interval_ms: int = 1_000
    arc_spool_bytes: int = 256 << 20
    arc_settle_secs: float = 10.0
    governance_enabled: bool = False
    governance_lock_ttl: float = 120.0
    governance_plugin_dir: str | None = None
    governance_plugin_binding: str = "default"
    governance_plugin_subject: str = "system"
    otel_endpoint: str | None = None

    def __repr__(self) -> str:
        fields = ((name, getattr(self, name)) for name in self.__struct_fields__)
        said = (f"{n}={'***' if n in SECRETS and v else repr(v)}" for n, v in fields)
        return f"Settings({', '.join(said)})"

    @property
    def lease_store(self) -> Literal["single", "sql", "etcd"]:
        """Where leases are kept, where nothing says so as well."""
        return self.leases or ("etcd" if self.etcd else "single")

    @property
    def seals(self) -> bool:
        """Whether there is a master key, so that what is stored is encrypted."""
        return bool(self.master_key or self.master_key_file or self.master_key_command)

    @property
    def key_rate(self) -> tuple[int, int]:
        """How many requests one key of another system's has in how many seconds; 0: any number."""
        requests, _, seconds = self.key_rate_limit.partition(",")
        return int(requests), int(seconds)

    @property
    def embedder_provider(self) -> Literal["bundled", "onnx", "local", "openai", "voyage", "none"]:
        """What embeds, where nothing says so as well."""
        if self.embed_provider is not None:
            return self.embed_provider
        return "voyage" if self.embed_api_key or self.embed_endpoints else "bundled"

    def shared(self) -> dict[str, Any]:
        """Return what all processes on one folder must agree on: any may own it next."""
        found = {name: getattr(self, name) for name in _SHARED}
        found["embed_provider"] = self.embedder_provider
        found["embed_base_url"] = None
        if self.embedder_provider in ("openai", "voyage"):
            from .model_settings import embedding_choice

            urls = sorted(endpoint.url for endpoint in embedding_choice(self).endpoints)
            found["embed_base_url"] = " ".join(urls)
        if self.object_store is not None:
            found["object_store"] = self.object_store.rstrip("/")
        found["master_key"] = None
        if self.seals:
            from .sealing import shown

            found["master_key"] = shown(self)
        return found

    def policy_ceiling(self) -> dict[str, int]:
        """Return what this node limits of every policy."""
        return {
            "retention.pitr_secs": self.pitr_retention_secs,
            "retention.pitr_snapshot_secs": self.pitr_snapshot_retention_secs,
        }

    def engine_options(self) -> Options:
        """Return what concerns the engine, in its units."""
        return Options(
            ship_interval=self.ship_interval,
            backlog_bytes=self.ship_backlog_bytes,
            queue_depth=self.write_queue_depth,
            patience=self.store_timeout,
            hot_cap=self.hot_cap,
            hot_idle=self.hot_idle_secs,
            warm_idle=self.warm_idle_secs,
            past_budget=self.past_cache_bytes,
            disk_budget=self.disk_budget_bytes,
            disk_reserve=self.disk_reserve_bytes,
            fine_ms=self.pitr_retention_secs * 1000,
            snapshots_ms=self.pitr_snapshot_retention_secs * 1000,
            staleness=self.staleness_secs,
        )


# What each setting means, for `--help` and the reference.
SETTINGS: dict[str, str] = {
    "data_dir": "Folder that holds the memories; made when it does not exist.",
    "read_only": "Refuse every write, and open a folder that exists and may not be written.",
    "source": "Stamped on every memory this client writes that names no source of its own.",
    "embed_provider": "`bundled`: the static model in the package. `onnx`: a model of "
    "sentence-transformers on this machine (extra `onnx`); `local`: that where it can be, else "
    "`bundled`. `openai`: any server that speaks as OpenAI does; `voyage`. `none`: no vectors of "
    "ours. Not set: `voyage` where a key or endpoints are set, else `bundled`.",
    "embed_model": "The model. `onnx`: a folder, or a name on the hub. `openai`: else "
    "`text-embedding-3-small`. `voyage`: else `voyage-3.5`.",
    "embed_base_url": "Of the server that embeds, as `http://127.0.0.1:11434/v1`; else the "
    "provider's. A key in it is used and never shown.",
    "embed_api_key": "The key it is asked with; a secret.",
    "embed_endpoints": "Several servers of one model, asked in turn, instead of one: a JSON array "
    "of objects with `url` and `api_key`; a secret.",
    "embed_dim": "How many numbers their vectors have: asked for and checked. 0: as they come.",
    "embed_version": "Tells vectors apart where a model changed and its name did not.",
    "embed_timeout": "Seconds one of them has for an answer.",
    "embed_self_hosted_hosts": "Hosts, by comma, that are one's own where a policy says "
    "`self_hosted_only`, beside those that are by their names and addresses.",
    "embed_cache_bytes": "Memory for vectors of texts embedded lately. 0: none are kept.",
    "extract_provider": "What `extract_base_url` speaks: `anthropic` or `openai`. Not set: "
    "`openai` where that is set, else `anthropic`.",
    "extract_model": "The model that proposes memories; else `claude-opus-4-8` or `gpt-4o-mini`.",
    "extract_base_url": "Of its server; else the provider's. A key in it is used and never shown.",
    "extract_api_key": "The key it is asked with; a secret. A server of one's own may need none.",
    "extract_timeout": "Seconds it has for an answer.",
    "assistant_provider": "As `extract_provider`, for the model that answers questions.",
    "assistant_model": "The model that answers questions.",
    "assistant_base_url": "Of its server; else the provider's.",
    "assistant_api_key": "The key it is asked with; a secret. Where neither this nor the URL is "
    "set, the server of the model that proposes memories answers, with its key and timeout.",
    "assistant_timeout": "Seconds it has for an answer.",
    "object_store": "Where the history is: `file:///path`, `s3://`, `gs://`, `az://` (extra "
    "`cloud`) or `mem://` (tests). Without it: the folder `objects` in `data_dir`.",
    "node_id": "The name of this node in manifests and messages; else one made with the folder.",
    "durability": "What a write is that does not say: `local` survives the process and a power "
    "cut, `durable` also the loss of this machine.",
    "ship_interval": "Seconds after which what was written is stored in the object store.",
    "ship_backlog_bytes": "Above so many bytes that wait for the store, writes are refused.",
    "write_queue_depth": "How many writes may wait for one branch; one more is refused.",
    "store_timeout": "Seconds a call waits for an object store that does not answer.",
    "hot_cap": "How many branches are kept open; each takes 5 file descriptors.",
    "hot_idle_secs": "Seconds without use after which a branch is closed.",
    "warm_idle_secs": "Seconds without use after which its local file goes; the store has it.",
    "cache_bytes": "Memory for pages of all open branches together.",
    "past_cache_bytes": "Disk space for restored earlier states.",
    "disk_budget_bytes": "Disk space for local files; the longest unused go first. 0: no limit.",
    "disk_reserve_bytes": "With less free space than this, writes are refused.",
    "pitr_retention_secs": "Seconds for which every boundary can be read and returned to.",
    "pitr_snapshot_retention_secs": "Seconds for which the last snapshot of each day can be.",
    "listen": "Address and port of `palimp serve`.",
    "request_timeout": "Seconds one HTTP request may take.",
    "read_timeout": "Seconds within which a client has to send its headers, and its body.",
    "write_timeout": "Seconds within which a client has to take a piece of its answer.",
    "shutdown_timeout": "Seconds that a node which is told to stop gives requests under way, and "
    "then what is still to be shipped.",
    "max_body_bytes": "The largest body of an HTTP request that writes.",
    "max_concurrency": "How many HTTP requests may be under way; one more is refused.",
    "control_rate": "How often a second the node as a whole may be told to do something.",
    "trusted_proxies": "Addresses or networks of proxies, by comma, whose `X-Forwarded-For` and "
    "`X-Forwarded-Proto` are believed.",
    "log_level": "The least severe messages that `palimp serve` logs.",
    "log_format": "How it logs them: a line for people, or a JSON object, each.",
    "auth": "`on`: `palimp serve` asks every caller for a credential.",
    "platform_key": "The credential that reaches everything and mints tokens; a secret.",
    "api_key_secret": "Keys the hashes of the keys that other systems' clients show (Memoria's "
    "`sk-`); a secret. Not set: derived from the key that signs tokens. Another one makes all of "
    "them invalid.",
    "cluster_key": "What nodes show to each other; a secret, and not the platform key.",
    "auth_key": "Ed25519 keys that sign tokens, in base64 PKCS#8, by comma: the first signs, all "
    "verify; a secret.",
    "persist_auth_key": "Keep a signing key in the object store, for all nodes on it.",
    "master_key": "Encrypts the history: 32 bytes in base64, which `palimp keygen master` makes; a "
    "secret. Several by comma: the first wraps new keys, all of them open. Without one nothing is "
    "encrypted; once it was set, no start succeeds without it.",
    "master_key_file": "A file that holds it, instead.",
    "master_key_command": "A command that prints it, run once at every start; a secret.",
    "single_node": "This is the only node that writes to its object store.",
    "leases": "Who may write, where several nodes share an object store: `etcd`, `sql` (in the "
    "catalog's database, if that is no MySQL), or `single`: only this node does. Not set: `etcd` "
    "where that is, else `single`.",
    "etcd": "Endpoints of etcd, by comma, as `http://10.0.0.1:2379`.",
    "lease_ttl": "Seconds after which others take over what a node had that is not heard of.",
    "advertise": "The URL at which the other nodes reach this one; else that of `listen`.",
    "staleness_secs": "How old, in seconds, what a node reads may be of a branch it does not own.",
    "rebalance_secs": "Seconds for which the nodes have to be the same before databases move to "
    "where they should be. 0: they do not move.",
    "policy_cache_secs": "Seconds for which a node may go by a policy it has read.",
    "audit_flush_ms": "Milliseconds after which what was recorded for the audit is stored.",
    "maintenance_secs": "Seconds between two looks at what is due: erasures, expiry, policies. 0: "
    "only `palimp maintain` does it.",
    "catalog_url": "Where usage is counted, databases are listed, and tasks, locks and keys of "
    "other systems' clients are kept: `sqlite:////path/catalog.db`, "
    "`postgresql://user:password@host/database` or `mysql+pymysql://user:password@host/database` "
    "(extra `server`); a secret. Without it: "
    "`catalog.db` in `data_dir` for `palimp serve`, none for `palimp.open`.",
    "rate_limit": "Calls a second that one credential may make, or one address where `auth` is "
    "`off`; more are refused. 0: no limit.",
    "key_rate_limit": "Requests, and in how many seconds, that one key of another system's clients "
    "may make there; more are refused. 0 requests: no limit.",
    "auth_failure_rate": "Calls a minute that one address may make without a valid credential.",
    "memorysync_strict_scope": "Refuse a request of MemorySync's clients about memories that names "
    "no project where its tenant has some; else it spans them, and the audit says so.",
    "metadata_max_bytes": "Bytes, as JSON, of the metadata that MemorySync's clients may give one "
    "memory; more is refused.",
    "memorysync_rate_tier": "How often one key of MemorySync's clients may ask, in a second, a "
    "minute and an hour: `free` 2, 30, 100; `pro` 10, 200, 5,000; `enterprise` 50, 1,000, 50,000; "
    "`unlimited` does not count.",
    "memtrace_host": "Address on which `palimp memtrace` serves Memtrace's clients.",
    "memtrace_port": "And its port.",
    "memtrace_db_path": "The file in which that system would keep what it has: the folder of "
    "`palimp memtrace` is this path without its ending, unless `data_dir` is set.",
    "memtrace_auth": "Ask Memtrace's clients for a key; a first one is made and logged once. `0`: "
    "ask nobody, and serve `org_default`. Not set: ask at a port of their own and with `auth`, "
    "elsewhere once there is a key.",
    "memtrace_dedup": "Refuse an event that came before, by its own key or one made of what it is.",
    "memtrace_dedup_window_hours": "How long before, in hours.",
    "memtrace_arc_url": "The Arc of an older configuration of Memtrace: taken over once, as that "
    "of `org_default`, where no organisation has one; a secret.",
    "memtrace_arc_api_key": "Its key; a secret.",
    "memtrace_arc_database": "Its database; else `default`.",
    "memtrace_arc_measurement": "Its measurement; else `events`.",
    "arc_connect_timeout": "Seconds an Arc has to take a connection; so often it is looked for.",
    "arc_query_timeout": "Seconds it has for an answer, of a write too.",
    "arc_write_batch_size": "How many events are written to it at once.",
    "arc_write_flush_interval_ms": "Milliseconds after which those that wait are, if fewer.",
    "arc_spool_bytes": "Disk space for events that wait for Arcs; more are refused.",
    "arc_settle_secs": "Seconds after a write whose answer was lost in which an Arc may still not "
    "show what it has.",
    "governance_enabled": "Look through memories by a schedule: what is stale, doubled or in doubt "
    "is put aside, with a checkpoint before and a report after.",
    "governance_lock_ttl": "Seconds after which another node takes over such a run that is not "
    "heard of.",
    "governance_plugin_dir": "A folder with a plugin of governance under development: its "
    "signature is not asked for.",
    "governance_plugin_binding": "Which of the bindings says what plugin runs.",
    "governance_plugin_subject": "For whom that is looked up.",
    "otel_endpoint": "Where spans of operations and store requests are sent by OTLP/HTTP, as "
    "`http://127.0.0.1:4318` (extra `otel`). Without it: none are made.",
}
_NUMBERS: dict[str, tuple[float, float]] = {
    "embed_dim": (0, 8_192),
    "embed_timeout": (0.1, 3_600),
    "embed_cache_bytes": (0, 1 << 40),
    "extract_timeout": (0.1, 3_600),
    "assistant_timeout": (0.1, 3_600),
    "lease_ttl": (2, 3_600),
    "staleness_secs": (0, 3_600),
    "rebalance_secs": (0, 1 << 31),
    "ship_interval": (0.01, 3_600),
    "ship_backlog_bytes": (1 << 20, 1 << 50),
    "write_queue_depth": (1, 100_000),
    "store_timeout": (0.1, 3_600),
    "hot_cap": (1, 100_000),
    "hot_idle_secs": (0.1, 1 << 31),
    "warm_idle_secs": (0.1, 1 << 31),
    "cache_bytes": (1 << 20, 1 << 50),
    "past_cache_bytes": (0, 1 << 50),
    "disk_budget_bytes": (0, 1 << 60),
    "disk_reserve_bytes": (0, 1 << 60),
    "pitr_retention_secs": (0, 1 << 31),
    "pitr_snapshot_retention_secs": (0, 1 << 31),
    "request_timeout": (0.1, 86_400),
    "read_timeout": (0.1, 86_400),
    "write_timeout": (0.1, 86_400),
    "shutdown_timeout": (0.1, 86_400),
    "max_body_bytes": (1_024, 1 << 40),
    "max_concurrency": (1, 1_000_000),
    "control_rate": (0.1, 1_000_000),
    "policy_cache_secs": (0, 86_400),
    "audit_flush_ms": (10, 3_600_000),
    "maintenance_secs": (0, 86_400),
    "rate_limit": (0, 1_000_000),
    "auth_failure_rate": (1, 1_000_000),
    # What a memory may have at all, less what the dialect keeps beside it.
    "metadata_max_bytes": (256, 61_440),
    "memtrace_port": (0, 65_535),
    # The longest window that duplicates have.
    "memtrace_dedup_window_hours": (0.001, 87_600),
    "arc_connect_timeout": (0.1, 3_600),
    "arc_query_timeout": (0.1, 3_600),
    "arc_write_batch_size": (1, 100_000),
    "arc_write_flush_interval_ms": (1, 3_600_000),
    "arc_spool_bytes": (1 << 20, 1 << 50),
    "arc_settle_secs": (0, 3_600),
    "governance_lock_ttl": (2, 3_600),
}
# Of one key: requests, and the seconds they are counted in.
_KEY_RATE = ((0, 100_000), (1, 86_400))


def load_settings(
    keywords: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    below: Mapping[str, tuple[Any, str]] | None = None,
) -> Settings:
    """Return the settings; keywords win over the environment, that over the TOML file.

    That wins over what is `below`: values, and where they are from. Raises `Invalid` for an unknown
    name (naming the nearest) and for a value that does not fit.
    """
    variables = os.environ if environment is None else environment
    found: dict[str, tuple[Any, str]] = dict(below or {})
    from_environment = _environment(variables)
    config = from_environment.pop("config", None)
    for name in CLIENT_ONLY:
        from_environment.pop(name, None)
    if config is not None:
        found.update(_toml(Path(config[0])))
    found.update(from_environment)
    for name, value in (keywords or {}).items():
        _known(name, name, list(SETTINGS))
        found[name] = (value, f"setting {name}")
    return _checked(found)


def client_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what the environment says to a client of a node: `url`, `token` and `source`.

    Raises `Invalid` for an unknown name.
    """
    found = _environment(os.environ if environment is None else environment)
    return {name: found[name][0] for name in (*CLIENT_ONLY, "source") if name in found}


def _environment(variables: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return what is set, and under which name: ours, or that of a system this one replaces."""
    known = (*SETTINGS, *ENVIRONMENT_ONLY, *CLIENT_ONLY)
    names = {f"{PREFIX}{name.upper()}": name for name in known}
    found: dict[str, tuple[str, str]] = {}
    for variable, value in variables.items():
        if variable.startswith(PREFIX):
            _known(variable, variable, list(names))
            # Set but empty means not set: how one un-sets a variable in a compose file.
            if value:
                found[names[variable]] = (value, variable)
    for name, value, variable in aliased(variables):
        other = found.setdefault(name, (value, variable))
        if other[0] != value:
            raise Invalid(
                f"{other[1]} and {variable} mean the same and are set to different values; take "
                "one of them out"
            )
    for name, value, variable in implied(variables):
        found.setdefault(name, (value, variable))
    return found


def _toml(path: Path) -> dict[str, tuple[Any, str]]:
    import tomllib  # 8 ms that only a settings file should cost

    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{PREFIX}CONFIG: {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"{PREFIX}CONFIG: {path} is not TOML: {error}") from error
    for name in values:
        _known(name, f"{path}: {name}", list(SETTINGS))
    return {name: (value, f"{path}: {name}") for name, value in values.items()}


def _known(name: str, shown: str, known: list[str]) -> None:
    if name not in known:
        # All of them fill a page: who was near to one wants none of the others.
        hint = nearest(name, known) or f"; known are {', '.join(sorted(known))}"
        raise Invalid(f"unknown setting {shown}{hint}")


def _checked(found: Mapping[str, tuple[Any, str]]) -> Settings:
    values = {}
    for name, (value, shown) in found.items():
        plain = os.fspath(value) if isinstance(value, os.PathLike) else value
        if isinstance(plain, str) and name.startswith(_OF_MODELS):
            plain = plain.strip() or None
            if plain is None:
                continue
        try:
            # Not strict: an environment variable is text, also where a number is meant.
            one = from_plain({name: plain}, Settings, strict=False)
        except msgspec.ValidationError as error:
            reason = str(error).partition(" - at")[0]
            given = "a secret" if name in SECRETS else f"{value!r:.80}"
            raise Invalid(f"{shown} is {given}: {reason[:1].lower()}{reason[1:]}") from error
        values[name] = getattr(one, name)
        if name == "key_rate_limit":
            _check_rate(values[name], shown)
        if name in _LONG_SECRETS and len(values[name] or _LONG) < len(_LONG):
            raise Invalid(f"{shown} has fewer than {len(_LONG)} characters; use a longer secret")
        least, most = _NUMBERS.get(name, (None, None))
        if least is not None and most is not None and not least <= values[name] <= most:
            raise Invalid(f"{shown} is {values[name]:,}; give {least:,} to {most:,}")
    settings = Settings(**values)
    # Of the models, most callers name the one in the package, or none.
    named = {name for name in values if name.startswith(_OF_MODELS)} - {"embed_provider"}
    if named or settings.embedder_provider not in ("bundled", "none"):
        from .model_settings import check_models

        check_models(settings)
    return settings


def _check_rate(value: str, shown: str) -> None:
    parts = value.split(",")
    fits = len(parts) == len(_KEY_RATE) and all(
        part.isascii() and part.isdigit() and least <= int(part) <= most
        for part, (least, most) in zip(parts, _KEY_RATE, strict=True)
    )
    if not fits:
        raise Invalid(
            f"{shown} is {value!r:.80}; give requests and seconds, as 1000,60: 0 (no limit) to "
            f"{_KEY_RATE[0][1]:,} requests in 1 to {_KEY_RATE[1][1]:,} seconds"
        )
