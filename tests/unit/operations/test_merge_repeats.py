"""Merges asked for twice, after a restart, and of memories that come and give way at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.engine import Branch
from palimp.errors import Conflict
from palimp.node import Node, load_settings


def opened(path: Path) -> palimp.Client:
    given = {"data_dir": path, "embed_provider": "none"}
    return palimp.Client(Embedded(Node(load_settings(given, {}), clock=ManualClock())))


@pytest.fixture
def mem(tmp_path: Path) -> Iterator[palimp.Client]:
    found = opened(tmp_path / "m")
    found.profile("alice").remember("Lives in Lyon")
    found.profile("alice").fork("trial").remember("Speaks French")
    yield found
    found.close()


def test_a_repeat_is_answered_whatever_became_of_the_source(mem: palimp.Client) -> None:
    alice, trial = mem.profile("alice"), mem.profile("alice").branch("trial")
    tried = alice.merge(trial, dry_run=True)
    given: dict[str, Any] = {"expect_source_txid": tried.source_txid, "request_id": "r"}
    done = alice.merge(trial, **given)
    trial.remember("Plays chess")
    assert alice.merge(trial, **given) == done
    alice.delete_branch("trial")
    assert alice.merge(trial, **given) == done
    with pytest.raises(Conflict, match="different request"):
        alice.merge(trial, request_id="r")


def test_a_repeated_pick_names_what_was_missing_then(mem: palimp.Client) -> None:
    alice, trial = mem.profile("alice"), mem.profile("alice").branch("trial")
    missing = "mem_" + "0" * 32
    (french,) = [one.id for one in trial.list() if one.text == "Speaks French"]
    done = alice.pick(trial, [french, missing], request_id="r")
    assert [one.id for one in done.skipped] == [missing]
    trial.forget(french)
    assert alice.pick(trial, [french, missing], request_id="r") == done


def test_a_repeat_that_is_to_be_durable_waits_for_the_store(
    mem: palimp.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = mem.profile("alice")
    done = alice.merge("trial", request_id="r")
    waited: list[int] = []
    monkeypatch.setattr(Branch, "wait_shipped", lambda _, txid: waited.append(txid))
    assert alice.merge("trial", request_id="r", durability="durable") == done
    assert waited == [done.txid]


def test_what_is_expected_holds_in_a_folder_nobody_closed(
    mem: palimp.Client, tmp_path: Path
) -> None:
    mem.profile("alice").sync()
    # As a process that was killed leaves it: numbers go on from a higher one.
    shutil.copytree(tmp_path / "m", tmp_path / "left", ignore=shutil.ignore_patterns("socket"))
    left = opened(tmp_path / "left")
    alice = left.profile("alice")
    tried = alice.merge("trial", dry_run=True)
    done = alice.merge("trial", expect_txid=tried.txid)
    assert done.txid > tried.txid + 1
    left.close()


def test_what_comes_as_it_is_there_does_not_give_way_besides(mem: palimp.Client) -> None:
    alice = mem.profile("alice")
    first = alice.remember("Drinks tea")
    other = alice.fork("other")
    other.supersede(first, "Drinks milk")
    coffee = alice.supersede(first, "Drinks coffee")
    other.pick(alice, [coffee])
    other.lifecycle.archive(coffee)
    done = alice.merge(other, on_conflict="theirs")
    assert (done.removed, done.replaced) == ((coffee.id,), ())
    found = alice.get(coffee.id)
    assert found is not None
    assert (found.state, found.superseded_at, found.superseded_by) == ("archived", None, None)
