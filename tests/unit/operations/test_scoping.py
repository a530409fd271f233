"""Filters that name no project are let through, recorded or refused, as the policy says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.errors import Conflict, Invalid


@pytest.fixture
def client(tmp_path: Path) -> Iterator[palimp.Client]:
    with palimp.open(tmp_path / "memory", embed_provider="none") as client:
        alice = client.profile("alice")
        alice.remember("The keel of ship A is oak", project="A", topic="a")
        alice.remember("The keel of ship B is iron", project="B")
        alice.remember("Keels are at the bottom")
        yield client


@pytest.fixture
def alice(client: palimp.Client) -> palimp.Profile:
    return client.profile("alice")


ASKED: dict[str, Callable[..., Any]] = {
    "recall": lambda alice, **fields: list(alice.recall("keel", **fields)),
    "list": lambda alice, **fields: list(alice.list(**fields)),
    "clusters": lambda alice, **fields: list(alice.relations.clusters(**fields)),
    "move": lambda alice, **fields: alice.lifecycle.move(
        "archive", source="nobody", dry_run=True, **fields
    ),
}


def warned(client: palimp.Client) -> int:
    return len(list(client.audit("default", action="scope.missing_project")))


@pytest.mark.parametrize("name", ASKED)
def test_what_names_no_project_is_refused_unless_all_are_meant(
    client: palimp.Client, alice: palimp.Profile, name: str
) -> None:
    ask = ASKED[name]
    everything = ask(alice)
    client.set_policy("default", {"memory": {"unscoped": "refuse"}})
    with pytest.raises(Invalid, match=r"name no project.*default--alice.*any_project"):
        ask(alice)
    assert ask(alice, any_project=True) == everything
    ask(alice, project="A")
    ask(alice, project_or_none="A")
    with pytest.raises(Invalid, match="any_project, which means all of them, or name a project"):
        ask(alice, any_project=True, project="A")


@pytest.mark.parametrize("name", ASKED)
def test_it_is_recorded_once_for_each_that_was_done(
    client: palimp.Client, alice: palimp.Profile, name: str
) -> None:
    client.set_policy("default", {"memory": {"unscoped": "record"}, "audit": {"enabled": True}})
    ask = ASKED[name]
    ask(alice, project="A")
    ask(alice, any_project=True)
    assert warned(client) == 0
    ask(alice)
    assert warned(client) == 1
    (event,) = client.audit("default", action="scope.missing_project")
    assert (event.profile, event.actor) == ("alice", "owner")


def test_a_profile_can_be_stricter_and_not_looser(
    client: palimp.Client, alice: palimp.Profile
) -> None:
    client.set_policy("default", {"memory": {"unscoped": "record"}})
    client.set_policy("default", {"memory": {"unscoped": "refuse"}}, "alice")
    with pytest.raises(Invalid, match="name no project"):
        alice.recall("keel")
    bob = client.profile("bob")
    bob.recall("keel")
    with pytest.raises(Conflict, match=r"memory\.unscoped allow"):
        client.set_policy("default", {"memory": {"unscoped": "allow"}}, "bob")


def test_that_all_are_meant_is_no_filter_to_move_by(alice: palimp.Profile) -> None:
    with pytest.raises(Invalid, match="needs a filter"):
        alice.lifecycle.move("archive", any_project=True)


# -- summaries with a write ------------------------------------------------------------------------


def employed(alice: palimp.Profile, *names: str, **options: Any) -> list[palimp.Written]:
    return [
        alice.remember(f"Works at {name}", extracted_key="person:alice/employer", **options)
        for name in names
    ]


def summaries(alice: palimp.Profile) -> list[palimp.Memory]:
    return list(alice.list(kind="summary"))


def test_the_write_that_makes_it_enough_has_a_key_summed_up(
    client: palimp.Client, alice: palimp.Profile
) -> None:
    client.set_policy("default", {"memory": {"summarize_at": 3}, "audit": {"enabled": True}})
    first, second = employed(alice, "Acme", "Initech")
    assert summaries(alice) == []
    # The answer to a repeat is that of the write, whatever was summed up with it.
    (third,) = employed(alice, "Hooli", request_id="r")
    assert employed(alice, "Hooli", request_id="r") == [third]
    (summary,) = summaries(alice)
    assert set(summary.derived_from) == {first.id, second.id, third.id}
    assert summary.text == "Works at Acme. Works at Initech. Works at Hooli."
    assert third.superseded == (second.id,)
    actions = [one.action for one in client.audit("default")]
    assert actions.count("memory.summarize") == 2
    employed(alice, "Globex")
    (anew,) = summaries(alice)
    assert len(anew.derived_from) == 4
    employed(alice, *(f"Company {number}" for number in range(8)))
    (anew,) = summaries(alice)
    assert len(anew.derived_from) == 10, "from then on with every tenth"


def test_nothing_is_summed_up_unless_a_policy_says_so(
    client: palimp.Client, alice: palimp.Profile
) -> None:
    employed(alice, "Acme", "Initech", "Hooli")
    client.set_policy("default", {"memory": {"summarize_at": 2}})
    client.set_policy("default", {"memory": {"summarize_at": 0}}, "alice")
    employed(alice, "Globex")
    assert summaries(alice) == []
    client.set_policy("default", {"memory": {"summarize_at": 5}}, "alice")
    employed(alice, "Umbrella")
    assert len(summaries(alice)) == 1


def test_a_batch_and_a_supersession_count_too(client: palimp.Client, alice: palimp.Profile) -> None:
    client.set_policy("default", {"memory": {"summarize_at": 2}})
    key = {"extracted_key": "person:alice/home"}
    done = alice.ingest([{"text": "Lives in Porto", **key}, {"text": "Lives in Lyon", **key}])
    assert len(summaries(alice)) == 1
    alice.supersede(done.results[1].id, "Lives in Nice", **key)
    (summary,) = summaries(alice)
    assert "Nice" in summary.text


def test_what_cannot_be_summed_up_fails_no_write(
    client: palimp.Client, alice: palimp.Profile
) -> None:
    client.set_policy("default", {"memory": {"summarize_at": 2}})
    long = "word " * 30_000
    for number in range(3):
        alice.remember(f"{number} {long}", extracted_key="k")
    assert summaries(alice) == []
