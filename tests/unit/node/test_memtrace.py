"""How `palimp memtrace` is set: its file, where that is looked for, its defaults, its master key."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from palimp.errors import Invalid
from palimp.node.memtrace import at_a_port, memtrace_settings, unread_in_file

GOOD = base64.b64encode(b"k" * 32).decode()
# Of the table of that system: how it is called there, its default, and what another value means.
TABLE = {
    ("server", "host"): ("memtrace_host", "0.0.0.0", '"127.0.0.1"', "127.0.0.1"),
    ("server", "port"): ("memtrace_port", 9_100, "9200", 9_200),
    ("server", "read_timeout"): ("read_timeout", 30.0, "31", 31.0),
    ("server", "write_timeout"): ("write_timeout", 30.0, "32", 32.0),
    ("server", "shutdown_timeout"): ("shutdown_timeout", 30.0, "33", 33.0),
    ("log", "level"): ("log_level", "info", '"warn"', "warning"),
    ("log", "format"): ("log_format", "console", '"json"', "json"),
    ("arc", "connect_timeout"): ("arc_connect_timeout", 5.0, "6", 6.0),
    ("arc", "query_timeout"): ("arc_query_timeout", 30.0, "40", 40.0),
    ("arc", "write_batch_size"): ("arc_write_batch_size", 100, "200", 200),
    ("arc", "write_flush_interval_ms"): ("arc_write_flush_interval_ms", 1_000, "500", 500),
    ("auth", "enabled"): ("memtrace_auth", None, "false", False),
    ("auth", "db_path"): ("memtrace_db_path", "./data/memtrace.db", '"./d/m.db"', "./d/m.db"),
    ("dedup", "enabled"): ("memtrace_dedup", True, "false", False),
    ("dedup", "window_hours"): ("memtrace_dedup_window_hours", 24.0, "48", 48.0),
    ("arc", "url"): ("memtrace_arc_url", None, '"http://arc:8000"', "http://arc:8000"),
    ("arc", "api_key"): ("memtrace_arc_api_key", None, '"secret"', "secret"),
    ("arc", "database"): ("memtrace_arc_database", None, '"memory"', "memory"),
    ("arc", "measurement"): ("memtrace_arc_measurement", None, '"seen"', "seen"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_default_is_that_of_the_table() -> None:
    found = memtrace_settings({}, {})
    for setting, default, _, _ in TABLE.values():
        assert getattr(found, setting) == default, setting
    # Keys are asked for at its port, whatever is not said.
    assert at_a_port(memtrace_settings({"master_key": GOOD}, {}), "M", "m").memtrace_auth is True
    assert (found.single_node, found.listen) == (True, "")
    assert found.data_dir == "data/memtrace"


@pytest.mark.parametrize(("section", "key"), TABLE)
def test_each_word_of_the_file_and_each_name_of_the_environment_is_read(
    folder: Path, section: str, key: str
) -> None:
    setting, _, given, meant = TABLE[section, key]
    (folder / "memtrace.toml").write_text(f"[{section}]\n{key} = {given}\n")
    assert getattr(memtrace_settings({}, {}), setting) == meant
    (folder / "memtrace.toml").unlink()
    variable = f"MEMTRACE_{section}_{key}".upper()
    assert getattr(memtrace_settings({}, {variable: given.strip('"')}), setting) == meant


def test_the_first_file_there_is_counts_and_the_environment_wins_over_it(folder: Path) -> None:
    home = folder / "home"
    (home / ".memtrace").mkdir(parents=True)
    (home / ".memtrace" / "memtrace.toml").write_text("[server]\nport = 1\n")
    variables = {"HOME": str(home)}
    assert memtrace_settings({}, variables).memtrace_port == 1
    (folder / "memtrace.toml").write_text("[server]\nport = 2\n")
    assert memtrace_settings({}, variables).memtrace_port == 2
    config = folder / "ours.toml"
    config.write_text("memtrace_port = 3\n")
    variables["PALIMP_CONFIG"] = str(config)
    assert memtrace_settings({}, variables).memtrace_port == 3
    variables["MEMTRACE_SERVER_PORT"] = "4"
    assert memtrace_settings({}, variables).memtrace_port == 4
    assert memtrace_settings({"memtrace_port": 5}, variables).memtrace_port == 5


def test_the_folder_is_named_by_the_file_that_system_would_have() -> None:
    named = {"MEMTRACE_AUTH_DB_PATH": "/var/lib/memtrace/memtrace.db"}
    assert memtrace_settings({}, named).data_dir == "/var/lib/memtrace/memtrace"
    assert memtrace_settings({}, {**named, "PALIMP_DATA_DIR": "x"}).data_dir == "x"


def test_what_is_not_read_is_named_and_what_is_wrong_says_where(folder: Path) -> None:
    path = folder / "memtrace.toml"
    path.write_text('title = "x"\n[server]\nport = 1\ntls = true\n')
    assert unread_in_file({}) == ["memtrace.toml: server.tls", "memtrace.toml: title"]
    path.write_text('[server]\nport = "many"\n')
    with pytest.raises(Invalid, match=r"memtrace\.toml: server\.port is 'many'"):
        memtrace_settings({}, {})
    path.write_text("[server\n")
    with pytest.raises(Invalid, match=r"memtrace\.toml is not TOML"):
        memtrace_settings({}, {})
    path.write_text("[server]\nport = [1]\n")
    with pytest.raises(Invalid, match=r"memtrace\.toml: server\.port is \[1\]; give text"):
        memtrace_settings({}, {})
    path.write_text(f'master_key = "{GOOD}"\n')
    with pytest.raises(Invalid, match="read from MEMTRACE_MASTER_KEY only; take it out") as caught:
        memtrace_settings({}, {})
    assert GOOD not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "MEMTRACE_MASTER_KEY is not set; generate one with `memtrace keygen master`"),
        ({"MEMTRACE_MASTER_KEY": "not base64!"}, "MEMTRACE_MASTER_KEY is not valid base64: "),
        ({"PALIMP_MASTER_KEY": "a2tr"}, "master key must be 32 bytes, got 3"),
    ],
)
def test_a_start_at_its_port_needs_a_master_key(given: dict[str, str], said: str) -> None:
    with pytest.raises(Invalid) as caught:
        at_a_port(memtrace_settings({}, given), "MEMTRACE_MASTER_KEY", "memtrace")
    assert str(caught.value).startswith(said)


def test_a_master_key_from_a_file_or_of_several_is_one() -> None:
    for given in ({"PALIMP_MASTER_KEY_FILE": "k"}, {"MEMTRACE_MASTER_KEY": f"{GOOD}, {GOOD}"}):
        found = at_a_port(memtrace_settings({}, given), "MEMTRACE_MASTER_KEY", "memtrace")
        assert found.memtrace_auth is True
    off = {"MEMTRACE_MASTER_KEY": GOOD, "MEMTRACE_AUTH_ENABLED": "false"}
    assert at_a_port(memtrace_settings({}, off), "M", "m").memtrace_auth is False
