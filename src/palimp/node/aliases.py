"""The names under which other memory systems were set, and what of ours each of them means.

A table, not a prefix: some of their values mean something else here, and some of their names have
nothing here that they would set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

__all__ = ["ALIASES", "DIALECTS", "Alias", "aliased", "implied", "unread"]

# Of each dialect, with what its names begin.
DIALECTS = {"memoturn": "MEMOTURN_", "memoria": "MEMORIA_", "memtrace": "MEMTRACE_"}
# 68 years.
_FOR_GOOD = str(1 << 31)


class Alias(NamedTuple):
    """A name of another system and the setting it means, where that is not all: how its values do.

    `values` are those that are called otherwise here; None: as if it were not set. `number` is
    whether whatever is no number counts as not set, as it does there. `implies` is a setting and
    its value where nothing else sets it.
    """

    dialect: str
    variable: str
    setting: str
    values: Mapping[str, str | None] = {}
    number: bool = False
    implies: tuple[str, str] | None = None

    def meant(self, value: str) -> str | None:
        """Return a value in our words; None where it says nothing."""
        if self.number:
            if not (value.isascii() and value.isdigit()):
                return None
            value = value.lstrip("0") or "0"
        return self.values.get(value, value) or None


def _memoturn(
    setting: str, values: Mapping[str, str | None] = {}, *, number: bool = False
) -> Alias:
    return Alias("memoturn", DIALECTS["memoturn"] + setting.upper(), setting, values, number)


def _memoria(name: str, setting: str) -> Alias:
    return Alias("memoria", DIALECTS["memoria"] + name, setting)


def _embedding(setting: str, values: Mapping[str, str | None] = {}) -> Alias:
    name = setting.removeprefix("embed_").upper()
    return Alias("memoria", f"MEMORIA_EMBEDDING_{name}", setting, values)


def _llm(prefix: str, setting: str) -> Alias:
    # There it is always a server that speaks as OpenAI does.
    name = setting.removeprefix("extract_").upper()
    implies = ("extract_provider", "openai")
    return Alias("memoria", f"{prefix}LLM_{name}", setting, implies=implies)


def _memtrace(name: str, setting: str, values: Mapping[str, str | None] = {}) -> Alias:
    return Alias("memtrace", DIALECTS["memtrace"] + name, setting, values)


def _arc(setting: str) -> Alias:
    return _memtrace(setting.upper(), setting)


def _old_arc(name: str) -> Alias:
    return _memtrace(f"ARC_{name}", f"memtrace_arc_{name.lower()}")


ALIASES: tuple[Alias, ...] = (
    _memoturn("data_dir"),
    _memoturn("listen"),
    _memoturn("object_store"),
    _memoturn("node_id"),
    _memoturn("single_node"),
    _memoturn("etcd"),
    _memoturn("advertise"),
    _memoturn("auth"),
    _memoturn("platform_key"),
    _memoturn("cluster_key"),
    _memoturn("auth_key"),
    _memoturn("persist_auth_key"),
    _memoturn("hot_cap"),
    _memoturn("request_timeout"),
    _memoturn("max_body_bytes"),
    _memoturn("max_concurrency"),
    _memoturn("control_rate"),
    _memoturn("write_queue_depth", {"0": None}, number=True),
    _memoturn("durability", {"standard": "local"}),
    # There 0 means that nothing is given up for its age, here that everything is.
    _memoturn("pitr_retention_secs", {"0": _FOR_GOOD}),
    _memoturn("pitr_snapshot_retention_secs"),
    _memoturn("policy_cache_secs"),
    _memoturn("audit_flush_ms"),
    _memoturn("embed_provider"),
    _memoturn("embed_model"),
    _memoturn("embed_base_url"),
    _memoturn("embed_api_key"),
    _memoturn("embed_self_hosted_hosts"),
    _memoturn("extract_api_key"),
    _memoturn("extract_model"),
    _memoturn("assistant_api_key"),
    _memoturn("assistant_model"),
    # Of clients.
    _memoturn("url"),
    _memoturn("token"),
    _memoturn("source"),
    _embedding("embed_provider", {"mock": "bundled"}),
    _embedding("embed_model"),
    _embedding("embed_base_url"),
    _embedding("embed_api_key"),
    _embedding("embed_endpoints"),
    _embedding("embed_dim"),
    _llm("MEMORIA_", "extract_api_key"),
    _llm("MEMORIA_", "extract_base_url"),
    _llm("MEMORIA_", "extract_model"),
    _llm("", "extract_api_key"),
    _llm("", "extract_base_url"),
    _llm("", "extract_model"),
    # There the master key is the administrator's; ours encrypts.
    _memoria("MASTER_KEY", "platform_key"),
    _memoria("API_KEY_SECRET", "api_key_secret"),
    _memoria("RATE_LIMIT_AUTH_KEYS", "key_rate_limit"),
    _memoria("INSTANCE_ID", "node_id"),
    _memoria("LOCK_TTL_SECS", "governance_lock_ttl"),
    _memoria("GOVERNANCE_ENABLED", "governance_enabled"),
    _memoria("GOVERNANCE_PLUGIN_DIR", "governance_plugin_dir"),
    _memoria("GOVERNANCE_PLUGIN_BINDING", "governance_plugin_binding"),
    _memoria("GOVERNANCE_PLUGIN_SUBJECT", "governance_plugin_subject"),
    _memtrace("SERVER_HOST", "memtrace_host"),
    _memtrace("SERVER_PORT", "memtrace_port"),
    _memtrace("SERVER_READ_TIMEOUT", "read_timeout"),
    _memtrace("SERVER_WRITE_TIMEOUT", "write_timeout"),
    _memtrace("SERVER_SHUTDOWN_TIMEOUT", "shutdown_timeout"),
    _memtrace("LOG_LEVEL", "log_level", {"warn": "warning"}),
    _memtrace("LOG_FORMAT", "log_format"),
    _arc("arc_connect_timeout"),
    _arc("arc_query_timeout"),
    _arc("arc_write_batch_size"),
    _arc("arc_write_flush_interval_ms"),
    _memtrace("AUTH_ENABLED", "memtrace_auth"),
    _memtrace("AUTH_DB_PATH", "memtrace_db_path"),
    _memtrace("DEDUP_ENABLED", "memtrace_dedup"),
    _memtrace("DEDUP_WINDOW_HOURS", "memtrace_dedup_window_hours"),
    _memtrace("MASTER_KEY", "master_key"),
    _old_arc("URL"),
    _old_arc("API_KEY"),
    _old_arc("DATABASE"),
    _old_arc("MEASUREMENT"),
)


def aliased(variables: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield what an environment says under the names of others: setting, value, variable."""
    for alias, value in _said(variables):
        yield alias.setting, value, alias.variable


def implied(variables: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield, in the same way, what those names say of settings that nothing else sets."""
    for alias, _ in _said(variables):
        if alias.implies is not None:
            yield *alias.implies, alias.variable


def unread(variables: Mapping[str, str]) -> list[str]:
    """Return the names of another system that are set and mean nothing here."""
    known = {alias.variable for alias in ALIASES}
    prefixes = tuple(DIALECTS.values())
    return sorted(name for name in variables if name.startswith(prefixes) and name not in known)


def _said(variables: Mapping[str, str]) -> Iterator[tuple[Alias, str]]:
    # A name that anybody might use is that system's where others of its names are set: a key
    # that is meant for something else must not be sent anywhere.
    there = {
        dialect
        for dialect, prefix in DIALECTS.items()
        if any(name.startswith(prefix) for name in variables)
    }
    for alias in ALIASES:
        value = alias.meant(variables.get(alias.variable, ""))
        if value is not None and alias.dialect in there:
            yield alias, value
