"""Which plugin a node asks, what comes of one that fails, and one under development."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp import Client
from palimp.api import Target
from palimp.api.governance import RunGovernance
from palimp.errors import Denied, Invalid

sys.path.insert(0, str(Path(__file__).parents[1] / "governance" / "plugins"))

from packages import CALM, files, new_key, signed

KEY = new_key()
PLUGIN = "governance:calm:v1"
BUILT_IN = "governance:default:v1"


def opened(path: Path, **settings: Any) -> Client:
    client = palimp.open(path / "memory", embed_provider="none", **settings)
    client.profile("alice").remember("a wombat")
    return client


@pytest.fixture
def mem(tmp_path: Path) -> Iterator[Client]:
    """A node that knows a signer."""
    with opened(tmp_path) as client:
        client.add_plugin_signer("me", KEY.public)
        yield client


def run(mem: Client) -> Any:
    return mem.call("governance.run", Target("default", "alice"), RunGovernance(task="daily"))


def kinds(mem: Client) -> list[str]:
    return [one.type for one in mem.plugin_events()]


def test_without_its_signer_a_plugin_is_not_asked(mem: Client) -> None:
    mem.publish_plugin(signed(KEY))
    mem.activate_plugin(PLUGIN, "1.0.0")
    assert run(mem).strategy == f"{PLUGIN}@1.0.0"
    gone = mem.remove_plugin_signer("me")
    assert (gone.active, gone.algorithm) == (False, "ed25519")
    assert list(mem.plugin_signers()) == [gone]
    assert [one.status for one in mem.plugins()] == ["unsigned"]
    for _ in range(2):
        report = run(mem)
        assert (report.strategy, report.status) == (BUILT_IN, "degraded")
        assert "who is no signer here any more" in report.warnings[0]
    assert kinds(mem)[:2] == ["binding.load_failed", "signer.removed"], "said once"
    with pytest.raises(Denied):
        mem.publish_plugin(signed(KEY))


def test_one_that_fails_three_times_is_left_alone(mem: Client) -> None:
    # Never in time.
    source = b"def hook(given):\n while True: pass"
    mem.publish_plugin(signed(KEY, source, limits={"timeout_ms": 60}))
    mem.activate_plugin(PLUGIN, "1.0.0")
    for _ in range(3):
        report = run(mem)
        assert report.status == "degraded"
        assert "it took more than its 60 ms" in report.warnings[0]
    report = run(mem)
    assert report.status == "degraded"
    assert report.metrics["governance.circuit_open"] == 1
    assert "failed too often and is left alone" in report.warnings[0]
    assert kinds(mem)[:2] == ["governance.degraded", "binding.loaded"]
    # Another version has failed at nothing yet.
    mem.publish_plugin(signed(KEY, CALM, version="1.0.1"))
    mem.activate_plugin(PLUGIN, "1.0.1")
    assert run(mem).status == "success"


def test_one_whose_second_hook_fails_has_had_its_say_in_the_plan(mem: Client) -> None:
    assert "pollution" in run(mem).metrics
    source = (
        b"def hook(given):\n if given['phase'] == 'plan': return {'actions': ['quarantine']}\n"
        b" raise ValueError('no')"
    )
    mem.publish_plugin(signed(KEY, source))
    mem.activate_plugin(PLUGIN, "1.0.0")
    report = run(mem)
    assert (report.status, report.metrics["plugin.runtime.degraded"]) == ("degraded", 1)
    assert "pollution" not in report.metrics, "the other steps were left out"
    assert "ValueError: no (calm.py, line 3)" in report.warnings[0]


def test_only_the_hooks_it_names_are_called(mem: Client) -> None:
    source = b"def hook(given):\n assert given['phase'] == 'execute'\n return {'warnings': ['x']}"
    mem.publish_plugin(signed(KEY, source, capabilities=["governance.execute"]))
    mem.activate_plugin(PLUGIN, "1.0.0")
    report = run(mem)
    assert (report.status, report.warnings) == ("success", (f"{PLUGIN}@1.0.0: x",))


def test_a_plugin_sees_no_text_of_a_memory(mem: Client, tmp_path: Path) -> None:
    # Gives back all it is given, in a place where it is shown.
    source = (
        b"import json\ndef hook(given):\n return {'warnings': [json.dumps(given)]} if "
        b"given['phase'] == 'execute' else {}"
    )
    mem.publish_plugin(signed(KEY, source))
    mem.activate_plugin(PLUGIN, "1.0.0")
    alice = mem.profile("alice")
    alice.remember("MarkedText", topic="MarkedTopic", kind="working", metadata={"a": "MarkedText"})
    alice.remember("MarkedText of a doubt", confidence=0.01, trust="T4", source="MarkedSource")
    report = run(mem)
    assert report.decisions, "something was decided"
    (said,) = (one for one in report.warnings if "phase" in one)
    assert report.decisions[0].memory in said
    assert "Marked" not in said
    assert "wombat" not in said


def test_an_installed_plugin_is_bound_by_its_version(
    mem: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "copy-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: copy\nVersion: 1.2\n")
    # What every installation has, and gives back no patch.
    (info / "entry_points.txt").write_text("[palimp.governance]\ncopy = msgspec:to_builtins\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (one,) = mem.plugins()
    assert (one.plugin_key, one.version, one.source) == ("governance:copy:v1", "1.2", "installed")
    mem.activate_plugin("governance:copy:v1", "1.2")
    report = run(mem)
    assert report.status == "degraded"
    assert "answers plan with what is no patch" in report.warnings[0]
    monkeypatch.undo()
    assert "no release 1.2 of plugin governance:copy:v1" in run(mem).warnings[0]


def test_the_subject_of_the_node_comes_before_everybody(tmp_path: Path) -> None:
    with opened(tmp_path, governance_plugin_binding="trial") as mem:
        mem.add_plugin_signer("me", KEY.public)
        for version in ("1.0.0", "1.1.0"):
            mem.publish_plugin(signed(KEY, version=version))
        mem.activate_plugin(PLUGIN, "1.1.0")
        assert run(mem).strategy == BUILT_IN
        mem.activate_plugin(PLUGIN, "1.1.0", binding="trial")
        mem.activate_plugin(PLUGIN, "1.0.0", binding="trial", subject="system")
        assert run(mem).strategy == f"{PLUGIN}@1.0.0"
        mem.activate_plugin(BUILT_IN, binding="trial", subject="system")
        assert run(mem).strategy == BUILT_IN


def test_a_folder_under_development_needs_no_signature(tmp_path: Path) -> None:
    folder = tmp_path / "calm"
    folder.mkdir()
    for path, data in files().items():
        (folder / path).write_bytes(data)
    with opened(tmp_path, governance_plugin_dir=str(folder)) as mem:
        assert run(mem).strategy == f"{PLUGIN}@1.0.0"
        # As it is now, without a start.
        (folder / "manifest.json").write_bytes(files(version="1.0.1")["manifest.json"])
        assert run(mem).strategy == f"{PLUGIN}@1.0.1"
        # What states a digest has to have it.
        plain = {**json.loads(files()["manifest.json"]), "integrity": {"sha256": "0"}}
        (folder / "manifest.json").write_text(json.dumps(plain))
        report = run(mem)
        assert (report.status, report.strategy) == ("degraded", BUILT_IN)


def test_a_folder_without_a_plugin_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="has no manifest"):
        opened(tmp_path, governance_plugin_dir=str(tmp_path))


def test_nothing_of_plugins_is_imported_where_there_are_none(tmp_path: Path) -> None:
    import subprocess

    code = (
        "import sys, palimp\n"
        "with palimp.open(sys.argv[1], embed_provider='none') as mem:\n"
        "    mem.profile('a').remember('b')\n"
        "print([one for one in sys.modules if one.startswith('palimp.governance.plugins')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
