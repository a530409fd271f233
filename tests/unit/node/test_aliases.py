"""The names of other systems: what each sets, what its values mean, and what two names may say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from palimp.errors import Invalid
from palimp.node import Settings, load_settings
from palimp.node.aliases import ALIASES, DIALECTS, unread
from palimp.node.settings import CLIENT_ONLY, PREFIX, SECRETS, client_environment

ROOT = Path(__file__).resolve().parents[3]
# What each name is given, and what it then means.
SAMPLES: dict[str, tuple[str, Any]] = {
    "MEMOTURN_DATA_DIR": ("./data", "./data"),
    "MEMOTURN_LISTEN": ("127.0.0.1:9000", "127.0.0.1:9000"),
    "MEMOTURN_OBJECT_STORE": ("s3://bucket", "s3://bucket"),
    "MEMOTURN_NODE_ID": ("node-7", "node-7"),
    "MEMOTURN_SINGLE_NODE": ("1", True),
    "MEMOTURN_AUTH": ("on", "on"),
    "MEMOTURN_PLATFORM_KEY": ("p" * 20, "p" * 20),
    "MEMOTURN_CLUSTER_KEY": ("c" * 20, "c" * 20),
    "MEMOTURN_AUTH_KEY": ("MC4CAQ==", "MC4CAQ=="),
    "MEMOTURN_PERSIST_AUTH_KEY": ("1", True),
    "MEMOTURN_ETCD": ("http://127.0.0.1:2379", "http://127.0.0.1:2379"),
    "MEMOTURN_ADVERTISE": ("http://10.0.0.1:8080", "http://10.0.0.1:8080"),
    "MEMOTURN_HOT_CAP": ("50000", 50_000),
    "MEMOTURN_REQUEST_TIMEOUT": ("10", 10.0),
    "MEMOTURN_MAX_BODY_BYTES": ("1048576", 1 << 20),
    "MEMOTURN_MAX_CONCURRENCY": ("64", 64),
    "MEMOTURN_CONTROL_RATE": ("5", 5.0),
    "MEMOTURN_WRITE_QUEUE_DEPTH": ("512", 512),
    "MEMOTURN_DURABILITY": ("durable", "durable"),
    "MEMOTURN_PITR_RETENTION_SECS": ("3600", 3_600),
    "MEMOTURN_PITR_SNAPSHOT_RETENTION_SECS": ("7200", 7_200),
    "MEMOTURN_POLICY_CACHE_SECS": ("10", 10.0),
    "MEMOTURN_AUDIT_FLUSH_MS": ("500", 500),
    "MEMOTURN_EMBED_PROVIDER": ("none", "none"),
    "MEMOTURN_EMBED_MODEL": ("voyage-3-lite", "voyage-3-lite"),
    "MEMOTURN_EMBED_BASE_URL": ("http://127.0.0.1/v1", "http://127.0.0.1/v1"),
    "MEMOTURN_EMBED_API_KEY": ("pa-secret", "pa-secret"),
    "MEMOTURN_EMBED_SELF_HOSTED_HOSTS": ("a.example.com", "a.example.com"),
    "MEMOTURN_EXTRACT_API_KEY": ("sk-ant-secret", "sk-ant-secret"),
    "MEMOTURN_EXTRACT_MODEL": ("claude-sonnet", "claude-sonnet"),
    "MEMOTURN_ASSISTANT_API_KEY": ("sk-ant-secret", "sk-ant-secret"),
    "MEMOTURN_ASSISTANT_MODEL": ("claude-haiku", "claude-haiku"),
    "MEMOTURN_URL": ("http://10.0.0.7:8080", "http://10.0.0.7:8080"),
    "MEMOTURN_TOKEN": ("token", "token"),
    "MEMOTURN_SOURCE": ("planner", "planner"),
    "MEMORIA_EMBEDDING_PROVIDER": ("none", "none"),
    "MEMORIA_EMBEDDING_MODEL": ("BAAI/bge-m3", "BAAI/bge-m3"),
    "MEMORIA_EMBEDDING_DIM": ("1024", 1_024),
    "MEMORIA_EMBEDDING_API_KEY": ("sk-secret", "sk-secret"),
    "MEMORIA_EMBEDDING_BASE_URL": ("http://127.0.0.1/v1", "http://127.0.0.1/v1"),
    "MEMORIA_EMBEDDING_ENDPOINTS": ('[{"url": "http://a/v1"}]', '[{"url": "http://a/v1"}]'),
    "MEMORIA_MASTER_KEY": ("m" * 20, "m" * 20),
    "MEMORIA_API_KEY_SECRET": ("s" * 20, "s" * 20),
    "MEMORIA_RATE_LIMIT_AUTH_KEYS": ("500,30", "500,30"),
    "MEMORIA_INSTANCE_ID": ("memoria-0", "memoria-0"),
    "MEMORIA_LOCK_TTL_SECS": ("60", 60.0),
    "MEMORIA_GOVERNANCE_ENABLED": ("true", True),
    "MEMORIA_GOVERNANCE_PLUGIN_DIR": ("./plugin", "./plugin"),
    "MEMORIA_GOVERNANCE_PLUGIN_BINDING": ("nightly", "nightly"),
    "MEMORIA_GOVERNANCE_PLUGIN_SUBJECT": ("alice", "alice"),
    "MEMORIA_LLM_API_KEY": ("sk-secret", "sk-secret"),
    "MEMORIA_LLM_BASE_URL": ("http://127.0.0.1/v1", "http://127.0.0.1/v1"),
    "MEMORIA_LLM_MODEL": ("qwen3", "qwen3"),
    "LLM_API_KEY": ("sk-secret", "sk-secret"),
    "LLM_BASE_URL": ("http://127.0.0.1/v1", "http://127.0.0.1/v1"),
    "LLM_MODEL": ("qwen3", "qwen3"),
    "MEMTRACE_SERVER_HOST": ("127.0.0.1", "127.0.0.1"),
    "MEMTRACE_SERVER_PORT": ("9200", 9_200),
    "MEMTRACE_SERVER_READ_TIMEOUT": ("31", 31.0),
    "MEMTRACE_SERVER_WRITE_TIMEOUT": ("32", 32.0),
    "MEMTRACE_SERVER_SHUTDOWN_TIMEOUT": ("33", 33.0),
    "MEMTRACE_LOG_LEVEL": ("debug", "debug"),
    "MEMTRACE_LOG_FORMAT": ("json", "json"),
    "MEMTRACE_ARC_CONNECT_TIMEOUT": ("6", 6.0),
    "MEMTRACE_ARC_QUERY_TIMEOUT": ("40", 40.0),
    "MEMTRACE_ARC_WRITE_BATCH_SIZE": ("200", 200),
    "MEMTRACE_ARC_WRITE_FLUSH_INTERVAL_MS": ("500", 500),
    "MEMTRACE_AUTH_ENABLED": ("false", False),
    "MEMTRACE_AUTH_DB_PATH": ("./d/m.db", "./d/m.db"),
    "MEMTRACE_DEDUP_ENABLED": ("false", False),
    "MEMTRACE_DEDUP_WINDOW_HOURS": ("48", 48.0),
    "MEMTRACE_MASTER_KEY": ("a2tra2tra2s=", "a2tra2tra2s="),
    "MEMTRACE_ARC_URL": ("http://arc:8000", "http://arc:8000"),
    "MEMTRACE_ARC_API_KEY": ("arc-secret", "arc-secret"),
    "MEMTRACE_ARC_DATABASE": ("memory", "memory"),
    "MEMTRACE_ARC_MEASUREMENT": ("happened", "happened"),
}
# What has to be set as well for a name to be that system's, or for its value to be of use.
BESIDE: dict[str, dict[str, str]] = {
    "MEMOTURN_EMBED_BASE_URL": {"PALIMP_EMBED_PROVIDER": "openai"},
    "MEMORIA_EMBEDDING_BASE_URL": {"PALIMP_EMBED_PROVIDER": "openai"},
    "LLM_API_KEY": {"MEMORIA_DB_NAME": "memoria"},
    "LLM_BASE_URL": {"MEMORIA_DB_NAME": "memoria"},
    "LLM_MODEL": {"MEMORIA_DB_NAME": "memoria"},
}


def test_every_name_is_once_in_the_table_and_sets_what_exists() -> None:
    names = [alias.variable for alias in ALIASES]
    assert sorted(names) == sorted(SAMPLES)
    known = {field.name for field in msgspec.structs.fields(Settings)} | set(CLIENT_ONLY)
    for alias in ALIASES:
        assert alias.setting in known, alias.variable
        assert alias.variable.startswith((DIALECTS[alias.dialect], "LLM_"))


@pytest.mark.parametrize("variable", SAMPLES)
def test_each_name_sets_what_it_means(variable: str) -> None:
    given, meant = SAMPLES[variable]
    (setting,) = [alias.setting for alias in ALIASES if alias.variable == variable]
    beside = BESIDE.get(variable, {})
    if setting in (*CLIENT_ONLY, "source"):
        assert client_environment({variable: given}) == {setting: meant}
    if setting not in CLIENT_ONLY:
        assert getattr(load_settings({}, {variable: given, **beside}), setting) == meant
    ours = f"{PREFIX}{setting.upper()}"
    # Both names, one value: nothing to refuse.
    both = {variable: given, ours: str(meant) if isinstance(meant, str) else given, **beside}
    if setting not in CLIENT_ONLY:
        assert getattr(load_settings({}, both), setting) == meant
    with pytest.raises(Invalid) as caught:
        load_settings({}, {variable: given, ours: "something else", **beside})
    assert variable in str(caught.value)
    assert ours in str(caught.value)
    assert setting not in SECRETS or given not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "given", "setting", "meant"),
    [
        ("MEMOTURN_DURABILITY", "standard", "durability", "local"),
        ("MEMOTURN_WRITE_QUEUE_DEPTH", "0", "write_queue_depth", 256),
        ("MEMOTURN_WRITE_QUEUE_DEPTH", "000", "write_queue_depth", 256),
        ("MEMOTURN_WRITE_QUEUE_DEPTH", "many", "write_queue_depth", 256),
        ("MEMOTURN_WRITE_QUEUE_DEPTH", "-1", "write_queue_depth", 256),
        ("MEMOTURN_WRITE_QUEUE_DEPTH", "0512", "write_queue_depth", 512),
        # Nothing is given up for its age: 0 would mean that everything is.
        ("MEMOTURN_PITR_RETENTION_SECS", "0", "pitr_retention_secs", 1 << 31),
        ("MEMOTURN_PLATFORM_KEY", "", "platform_key", None),
        ("MEMOTURN_DATA_DIR", "", "data_dir", "./memory"),
        ("MEMORIA_EMBEDDING_PROVIDER", "mock", "embed_provider", "bundled"),
        ("MEMORIA_EMBEDDING_PROVIDER", "", "embed_provider", None),
        ("MEMORIA_EMBEDDING_DIM", "0", "embed_dim", 0),
        ("MEMTRACE_LOG_LEVEL", "warn", "log_level", "warning"),
        ("MEMTRACE_MASTER_KEY", "", "master_key", None),
    ],
)
def test_values_that_are_called_otherwise(
    variable: str, given: str, setting: str, meant: Any
) -> None:
    assert getattr(load_settings({}, {variable: given}), setting) == meant


def test_two_names_may_say_the_same_in_the_words_of_each() -> None:
    environment = {"MEMOTURN_DURABILITY": "standard", "PALIMP_DURABILITY": "local"}
    assert load_settings({}, environment).durability == "local"


def test_a_keyword_wins_over_both_and_both_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "palimp.toml"
    path.write_text("hot_cap = 7\nmax_concurrency = 9\n")
    environment = {"PALIMP_CONFIG": str(path), "MEMOTURN_HOT_CAP": "11", "MEMOTURN_NODE_ID": "a"}
    settings = load_settings({"node_id": "b"}, environment)
    assert (settings.hot_cap, settings.max_concurrency, settings.node_id) == (11, 9, "b")


def test_a_value_that_does_not_fit_is_told_under_the_name_it_was_given() -> None:
    with pytest.raises(Invalid, match=r"^MEMOTURN_HOT_CAP is '?x'?"):
        load_settings({}, {"MEMOTURN_HOT_CAP": "x"})
    with pytest.raises(Invalid) as caught:
        load_settings({}, {"MEMOTURN_PLATFORM_KEY": "short-secret"})
    assert "MEMOTURN_PLATFORM_KEY" in str(caught.value)
    assert "short-secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["LLM_API_KEY", "MEMORIA_LLM_API_KEY"])
def test_a_model_of_memoria_speaks_as_openai_does_unless_it_is_said_otherwise(name: str) -> None:
    environment = {name: "sk-secret", "MEMORIA_DB_NAME": "memoria"}
    assert load_settings({}, environment).extract_provider == "openai"
    said = environment | {"PALIMP_EXTRACT_PROVIDER": "anthropic"}
    assert load_settings({}, said).extract_provider == "anthropic"
    assert load_settings({}, {"MEMOTURN_EXTRACT_API_KEY": "sk-ant"}).extract_provider is None


def test_a_name_that_anybody_might_use_is_read_beside_names_of_its_system_only() -> None:
    alone = {"LLM_API_KEY": "of something else", "LLM_BASE_URL": "http://elsewhere/v1"}
    assert load_settings({}, alone) == Settings()
    assert load_settings({}, alone | {"MEMOTURN_HOT_CAP": "7"}).extract_api_key is None


def test_what_means_nothing_here_stops_nothing_and_is_named() -> None:
    environment = {
        "MEMOTURN_GC_GRACE_SECS": "600",
        "MEMOTURN_HOT_CAP": "12",
        "MEMORIA_DB_HOST": "matrixone",
        "MEMORIA_EMBEDDING_DIM": "0",
        "HOME": "/nowhere",
    }
    assert load_settings({}, environment).hot_cap == 12
    assert unread(environment) == [
        "MEMORIA_DB_HOST",
        "MEMOTURN_GC_GRACE_SECS",
    ]


def test_the_example_is_up_to_date_and_sets_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "env_example.py"), "--check"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    assert all(not line or line.startswith("#") for line in lines)
    named = {line[2:].partition("=")[0] for line in lines if line.startswith("# ") and "=" in line}
    fields = {f"{PREFIX}{field.name.upper()}" for field in msgspec.structs.fields(Settings)}
    assert fields | {alias.variable for alias in ALIASES} <= named


def test_what_the_example_shows_can_be_loaded() -> None:
    shown = {}
    for line in (ROOT / ".env.example").read_text("utf-8").splitlines():
        name, equals, value = line[2:].partition("=")
        if equals and name.isupper() and " " not in name and name.startswith(PREFIX):
            shown[name] = value
    assert load_settings({}, shown) == Settings()
