"""`palimp serve --workers`: what is acknowledged stays, whoever of the processes dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from crew import wait
from serves import PALIMP, Command, Workers, Writers, gone, turns

import palimp
from palimp.cli import workers as supervising
from palimp.cli.workers import for_workers
from palimp.clock import Clock
from palimp.errors import Invalid, Unavailable
from palimp.node import Node, load_settings
from palimp.node.folder import was_left_open

pytest.importorskip("uvicorn")
pytest.importorskip("sqlalchemy")

Serve = Callable[..., Workers]
PROFILES = 50


@pytest.fixture
def serve(folder: Path) -> Iterator[Serve]:
    started: list[Workers] = []

    def make(count: int, *words: str, **settings: Any) -> Workers:
        started.append(Workers(folder, count, *words, **settings))
        return started[-1]

    yield make
    for one in started:
        if one.running:
            one.kill()
    for one in started:
        gone(one.pids())


def check(writers: Writers, client: palimp.Client, *, stopped: bool) -> None:
    """Check that what was acknowledged is there once.

    What was only on the disk of a worker that was killed is there, or on a branch that is named
    so, once all have `stopped`: until then another may have the database.
    """
    wanted: dict[str, list[tuple[str, str]]] = {}
    for profile, text, level in writers.done:
        wanted.setdefault(profile, []).append((text, level))
    for profile, written in wanted.items():
        there = turns(client, profile)
        twice = [text for text, count in Counter(there).items() if count > 1]
        assert not twice, (profile, twice)
        lost = {text for text, _ in written} - set(there)
        assert not [one for one in written if one[1] == "durable" and one[0] in lost], profile
        if stopped:
            assert lost <= recovered(client, profile), (profile, lost)


def recovered(client: palimp.Client, profile: str) -> set[str]:
    """Return the texts on the branches made of commits that another owner came before."""
    names = [one.name for one in client.profile(profile).branches()]
    saved = [name for name in names if name.startswith("recovered-")]
    return {text for name in saved for text in turns(client, profile, name)}


@contextmanager
def elsewhere(folder: Path) -> Iterator[palimp.Client]:
    """Open the store of a folder from another one, which has nothing but what is in it."""
    store = (folder / "objects").as_uri()
    place = folder.parent / "elsewhere"
    with palimp.open(place, object_store=store, embed_provider="none") as client:
        yield client


def test_a_worker_that_is_killed_costs_no_acknowledged_write(serve: Serve, folder: Path) -> None:
    served = serve(2)
    place = served.place
    before = served.pids()
    writers = Writers(place, PROFILES, 4)
    wait(lambda: len(writers.done) > 150 or bool(writers.errors), "they do not write")
    os.kill(before[0], signal.SIGKILL)
    wait(lambda: served.pid(0) not in (0, before[0]), "it is not started again")
    killed_at = len(writers.done)
    wait(lambda: len(writers.done) > killed_at + 200 or not served.running, "they stopped writing")
    writers.finish()
    assert not writers.errors
    assert len({profile for profile, _, _ in writers.done}) == PROFILES
    with palimp.connect(place) as client:
        check(writers, client, stopped=False)
    assert served.pid(1) == before[1]
    assert "worker 0 ended with status -9; it is started again" in served.log
    pids = served.pids()
    assert served.stop() == 0, served.log
    gone(pids)
    with elsewhere(folder) as client:
        check(writers, client, stopped=True)
    # One process has all of it again.
    with palimp.open(folder, embed_provider="none") as client:
        check(writers, client, stopped=True)


def test_workers_whose_parent_is_killed_end_and_the_next_have_everything(
    serve: Serve, folder: Path
) -> None:
    served = serve(2)
    place = served.place
    with palimp.connect(place) as client:
        for i in range(8):
            client.profile(f"p{i}").remember(f"memory {i}")
    pids = served.pids()
    served.kill()
    again = serve(2)
    gone(pids)
    with palimp.connect(again.place) as client:
        assert [[m.text for m in client.profile(f"p{i}").list()] for i in range(8)] == [
            [f"memory {i}"] for i in range(8)
        ]
    assert again.stop() == 0, again.log
    with elsewhere(folder) as client:
        assert all(len(list(client.profile(f"p{i}").list())) == 1 for i in range(8))


@pytest.mark.parametrize("then", ["fewer workers", "one process"])
def test_what_killed_workers_left_is_stored_by_whoever_comes(
    serve: Serve, folder: Path, then: str
) -> None:
    # Nothing is shipped unless it has to be.
    served = serve(3, ship_interval=3600)
    with palimp.connect(served.place) as client:
        for i in range(60):
            client.profile(f"p{i}").remember(f"memory {i}")
    pids = served.pids()
    for pid in (*pids, served.process.pid):
        os.kill(pid, signal.SIGSTOP)
    for pid in (served.process.pid, *pids):
        os.kill(pid, signal.SIGKILL)
    served.process.wait(30)
    gone(pids)
    assert all(was_left_open(folder / "workers" / str(i)) for i in range(3))
    if then == "fewer workers":
        again: Command = serve(2)
        place = again.place  # type: ignore[attr-defined]
    else:
        words = ("serve", "--port", "0", "--data", str(folder))
        again = Command(folder.parent / "log-alone", *words)
        place = again.url("serving")
    with palimp.connect(place) as client:
        for i in range(60):
            assert [m.text for m in client.profile(f"p{i}").list()] == [f"memory {i}"]
    assert again.stop() == 0, again.log
    with elsewhere(folder) as client:
        assert all(len(list(client.profile(f"p{i}").list())) == 1 for i in range(60))


def test_what_one_process_left_is_stored_before_the_workers_start(
    serve: Serve, folder: Path
) -> None:
    code = (
        "import os, sys, palimp\n"
        "mem = palimp.open(sys.argv[1], embed_provider='none', ship_interval=3600)\n"
        "mem.profile('alice').remember('written alone')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], timeout=60)
    assert was_left_open(folder)
    served = serve(2)
    with palimp.connect(served.place) as client:
        assert [m.text for m in client.profile("alice").list()] == ["written alone"]
    assert not was_left_open(folder)


def test_others_who_open_the_folder_are_told_where_it_is_served(serve: Serve) -> None:
    served = serve(2)
    place = served.place
    for command in (["memory", "list", "alice"], ["serve", "--port", "0"]):
        done = subprocess.run(
            [*PALIMP, *command, "--data", str(served.folder)],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PALIMP_EMBED_PROVIDER": "none"},
        )
        assert done.returncode == 1
        assert f"is served by several workers of process {served.process.pid} at {place}" in (
            done.stderr
        )


def test_dialects_tools_and_tokens_work_at_every_worker(serve: Serve, folder: Path) -> None:
    pytest.importorskip("mcp")
    served = serve(2, "--dialect", "memoturn=0", auth="on", platform_key="p" * 20, single_node=1)
    place = served.place
    platform = {"authorization": "Bearer " + "p" * 20}
    minted = ask(f"{place}/v1/namespaces/acme/tokens", platform, {"scope": "write"})["token"]
    token = {"authorization": f"Bearer {minted}"}
    # The ids of the workers are random, and so is who owns what: that one of them owns all 40 does not
    # happen (of 8 it does, once in 128 times).
    for i in range(40):
        ask(f"{place}/v1/memory/acme/p{i}/memories", token, {"memories": [{"text": f"m{i}"}]})
    owners = [name for name in ("0", "1") if any((folder / "workers" / name / "hot").iterdir())]
    assert owners == ["0", "1"]
    dialect = served.url("speaking memoturn at")
    for i in range(40):
        found = ask(f"{dialect}/v1/memory/acme/p{i}/recall", token, {"query": f"m{i}"})
        assert f"m{i}" in json.dumps(found)
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "memory_recall", "arguments": {"query": "m3"}},
    }
    wants = {"accept": "application/json, text/event-stream"}
    assert "m3" in json.dumps(ask(f"{place}/mcp/acme/p3", {**token, **wants}, hello))
    # One key signs, whoever mints: that of the folder.
    assert not list((folder / "workers").glob("*/keys/signing.json"))


def ask(url: str, headers: dict[str, str], body: Any) -> Any:
    data = json.dumps(body).encode()
    given = {"content-type": "application/json", **headers}
    with urllib.request.urlopen(urllib.request.Request(url, data, given), timeout=30) as answer:
        return json.load(answer)


def test_a_worker_that_dies_all_the_time_ends_it(
    folder: Path, monkeypatch: Any, caplog: Any
) -> None:
    monkeypatch.setattr(supervising, "_BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(supervising, "_QUICK_DEATHS_MAX", 3)
    Node(load_settings({"data_dir": folder, "embed_provider": "none"})).close()
    (folder / "workers").mkdir()
    (folder / "workers" / "0").write_text("in the way")
    settings = for_workers(
        load_settings(
            {"data_dir": folder, "catalog_url": f"sqlite:///{folder}/c.db"}, environment={}
        )
    )
    crew = supervising._Crew(settings, folder, 1, Clock())
    wait(lambda: not crew.look(), "it goes on for ever", 60)
    assert "worker 0 ended 3 times" in caplog.text
    assert crew.stop()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"etcd": "http://127.0.0.1:1"}, "for one machine"),
        ({"advertise": "http://10.0.0.1:1"}, "for one machine"),
        ({"read_only": True}, "READ_ONLY"),
        ({"object_store": "mem://"}, "processes share"),
    ],
)
def test_settings_that_workers_cannot_have_are_refused(given: dict[str, Any], said: str) -> None:
    settings = load_settings({"catalog_url": "sqlite:////c.db", **given}, environment={})
    with pytest.raises(Invalid, match=said):
        for_workers(settings)


def test_without_a_catalog_there_are_no_workers() -> None:
    with pytest.raises(palimp.Unconfigured, match="palimp\\[server\\]"):
        for_workers(load_settings({}, environment={}))


def test_a_worker_is_told_every_setting_by_our_names_alone(monkeypatch: Any) -> None:
    monkeypatch.setenv("PALIMP_CONFIG", "/nowhere.toml")
    monkeypatch.setenv("MEMOTURN_NODE_ID", "theirs")
    monkeypatch.setenv("HOME", "/home/me")
    settings = for_workers(
        load_settings(
            {
                "catalog_url": "sqlite:////c.db",
                "listen": "0.0.0.0:1",
                "persist_auth_key": True,
                "node_id": "box",
                "hot_cap": 7,
            },
            environment={},
        )
    )
    made = supervising._environment(settings, {"node_id": "box-1", "auth_key": None})
    assert made["HOME"] == "/home/me"
    ours = {name for name in made if name.startswith(("PALIMP_", "MEMOTURN_"))}
    assert ours == {
        "PALIMP_CATALOG_URL",
        "PALIMP_CLUSTER_KEY",
        "PALIMP_HOT_CAP",
        "PALIMP_LEASES",
        "PALIMP_NODE_ID",
        "PALIMP_OBJECT_STORE",
        "PALIMP_PERSIST_AUTH_KEY",
        "PALIMP_TRUSTED_PROXIES",
    }
    assert load_settings({}, made).hot_cap == 7
    assert load_settings({}, made).persist_auth_key
    assert made["PALIMP_NODE_ID"] == "box-1"


def test_nodes_of_another_folder_keep_workers_from_starting(tmp_path: Path) -> None:
    store, catalog = (tmp_path / "store").as_uri(), f"sqlite:///{tmp_path}/catalog.db"
    shared = {"object_store": store, "catalog_url": catalog, "leases": "sql", "lease_ttl": 2}
    words = ("serve", "--port", "0", "--data", str(tmp_path / "other"))
    other = Command(tmp_path / "log-other", *words, cluster_key="c" * 20, **shared)
    other.url("serving")
    served = Workers(tmp_path / "memory", 2, cluster_key="c" * 20, **shared)
    assert served.process.wait(60) == 1
    assert "is alive on file://" in served.log
    assert other.stop() == 0


def test_a_folder_that_somebody_keeps_is_not_waited_for_for_ever(folder: Path) -> None:
    settings = load_settings(
        {"data_dir": folder, "shutdown_timeout": 0.1, "embed_provider": "none"}, environment={}
    )
    node = Node(settings)
    with pytest.raises(Unavailable, match="is open in process"):
        supervising.ship_what_is_left(settings, [folder], Clock())
    node.close()
    supervising.ship_what_is_left(settings, [folder], Clock())
