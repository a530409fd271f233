"""Plugins of governance through every transport: signers, releases, bindings, events, and a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palimp.api import Target
from palimp.api.governance import RunGovernance
from palimp.errors import Conflict, Denied, Invalid, NotFound

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "governance" / "plugins"))

from packages import files, new_key, signed

KEY, OTHER = new_key(), new_key()
PLUGIN = "governance:calm:v1"
BUILT_IN = "governance:default:v1"


@pytest.fixture
def me(do: Any, tmp_path: Path) -> Iterator[Any]:
    """A node that knows a signer, and does what concerns it as a whole as often as it is asked."""
    client = do.open(tmp_path / "memory", embed_provider="none", control_rate=1_000)
    do(client.add_plugin_signer("me", KEY.public))
    yield client
    do.end(client)


def run(do: Any, client: Any, profile: str = "alice") -> Any:
    """Have a profile looked through, and return the report."""
    return do(
        client.call("governance.run", Target("default", profile), RunGovernance(task="daily"))
    )


def kinds(do: Any, client: Any, **wanted: Any) -> list[str]:
    return [one.type for one in do(client.plugin_events(**wanted))]


def test_from_a_signer_to_a_run(do: Any, me: Any, tmp_path: Path) -> None:
    do(me.profile("alice").remember("a wombat"))
    folder = tmp_path / "calm"
    folder.mkdir()
    for path, data in signed(KEY).items():
        (folder / path).write_bytes(data)
    made = do(me.publish_plugin(folder))
    assert (made.plugin_key, made.version, made.status, made.signer) == (
        PLUGIN, "1.0.0", "active", "me",
    )  # fmt: skip
    assert do(me.publish_plugin(signed(KEY))) == made
    bound = do(me.activate_plugin(PLUGIN, "^1.0"))
    assert (bound.binding, bound.subject, bound.version) == ("default", "*", "^1.0")
    found = do(me.plugins())
    assert list(found) == [made]
    assert found.bindings == (bound,)
    assert list(do(me.plugins(domain="trust"))) == []

    report = run(do, me)
    assert (report.strategy, report.status) == (f"{PLUGIN}@1.0.0", "success")
    assert report.warnings == (f"{PLUGIN}@1.0.0: calm saw 0",)
    assert kinds(do, me) == [
        "binding.loaded", "binding.rule_upserted", "package.published", "signer.added",
    ]  # fmt: skip
    assert kinds(do, me, plugin_key=PLUGIN, limit=2) == ["binding.loaded", "binding.rule_upserted"]
    assert kinds(do, me, binding="other") == []

    # A higher one of the range is asked from the next run on.
    do(me.publish_plugin(signed(KEY, version="1.1.0")))
    assert run(do, me).strategy == f"{PLUGIN}@1.1.0"
    do(me.activate_plugin(BUILT_IN))
    assert run(do, me).strategy == BUILT_IN


def test_what_cannot_be_published_or_bound_is_refused(do: Any, me: Any) -> None:
    do(me.publish_plugin(signed(KEY)))
    for made, error, says in (
        ({**signed(KEY), "calm.py": b""}, Invalid, "a file was changed after it was signed"),
        (signed(OTHER), Denied, "is not that of me"),
        (signed(KEY, signer="you"), Denied, "signed by 'you', who is no signer here"),
        (signed(KEY, b"def hook(given): return {}"), Conflict, "published with other content"),
        ({**signed(KEY), "../x.py": b""}, Invalid, "cannot be in a package"),
        ({**signed(KEY), "/x.py": b""}, Invalid, "cannot be in a package"),
        ({**signed(KEY), "x": bytes(1_100_000)}, Invalid, "too large"),
        (files(), Invalid, "integrity is missing"),
        ({}, Invalid, "has no manifest"),
    ):
        with pytest.raises(error, match=says):
            do(me.publish_plugin(made))
    for call, error, says in (
        (lambda: me.activate_plugin(PLUGIN, "2.0.0"), NotFound, "no release 2.0.0 of plugin"),
        (lambda: me.activate_plugin("governance:x:v1", "^1"), NotFound, "there is none"),
        (lambda: me.activate_plugin(PLUGIN, "soon"), Invalid, "no range of versions"),
        (lambda: me.activate_plugin(PLUGIN), Invalid, "needs a version"),
        (lambda: me.activate_plugin(BUILT_IN, "1.0.0"), Invalid, "takes no version"),
        (lambda: me.activate_plugin(PLUGIN, "^1", domain="trust"), Invalid, "takes no plugins"),
        (lambda: me.activate_plugin(PLUGIN, "^1", binding="a b"), Invalid, "is no name"),
        (lambda: me.add_plugin_signer("me", OTHER.public), Conflict, "remove it first"),
        (lambda: me.remove_plugin_signer("you"), NotFound, "no signer 'you'"),
        (lambda: me.plugin_events(limit=0), Invalid, "give 1 to 200"),
    ):
        with pytest.raises(error, match=says):
            do(call())
    assert len(do(me.plugins())) == 1
    assert do(me.plugins()).bindings == ()
