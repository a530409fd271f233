"""Policies and the audit over every transport."""

from typing import Any

import pytest

from palimp.errors import Conflict, Invalid, NotFound


def test_a_policy_is_set_read_and_taken_away(do: Any, client: Any) -> None:
    with pytest.raises(NotFound):
        do(client.policy("default"))
    policy = {"memory": {"event_max_age_secs": 600}}
    assert do(client.set_policy("default", policy)).policy == policy
    assert do(client.policy("default")).policy == policy
    stricter = {"memory": {"event_max_age_secs": 60}}
    done = do(client.set_policy("default", stricter, "alice"))
    assert done.override == stricter
    assert done.effective["memory"] == {"event_max_age_secs": 60}
    assert do(client.policy("default", "alice")) == done
    assert do(client.set_policy("default", None, "alice")).override is None
    assert do(client.set_policy("default", None)).policy is None
    with pytest.raises(NotFound):
        do(client.policy("default"))


def test_looser_and_unknown_are_refused_alike(do: Any, client: Any) -> None:
    do(client.set_policy("default", {"audit": {"enabled": True}}))
    with pytest.raises(Conflict) as caught:
        do(client.set_policy("default", {"audit": {"enabled": False}}, "alice"))
    assert caught.value.details["fields"] == ["audit.enabled"]
    for wrong in ({"audits": {}}, {"audit": {"enabled": "yes"}}, {"audit": {"retention_secs": 1}}):
        with pytest.raises(Invalid):
            do(client.set_policy("default", wrong))


def test_a_task_says_that_its_life_was_shortened(do: Any, client: Any, alice: Any) -> None:
    do(client.set_policy("default", {"memory": {"task_ttl_max_secs": 60}}))
    done = do(alice.remember("call them", type="task"))
    assert "task_ttl_max_secs" in done.note


def test_what_was_done_is_read_and_checked(do: Any, client: Any, alice: Any) -> None:
    assert do.all(client.audit("default")) == []
    do(client.set_policy("default", {"audit": {"enabled": True}}))
    done = do(alice.remember("x"))
    do(alice.forget(done.id))
    events = do.all(client.audit("default"))
    actions = [event.action for event in events]
    assert actions == ["policy.update", "memory.ingest", "memory.forget"]
    assert do.all(client.audit("default", action="memory.", profile="alice")) == events[1:]
    assert do.all(client.audit("default", since=events[2].ts, outcome="denied")) == []
    assert do.all(client.audit("default", until="2026-01-01T00:00:00Z")) == []
    found = do(client.verify_audit("default"))
    assert (found.events, found.broken) == (3, None)
    assert [chain.seq for chain in found.chains] == [3]
