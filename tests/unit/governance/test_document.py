"""Policies as values: valid or not, stricter or looser, and what survives a change."""

import json

import msgspec
import pytest

from palimp.api import AuditRules, HistoryRetention, MemoryRules, Policy
from palimp.errors import Internal, Invalid, Unavailable
from palimp.governance.document import (
    FIELDS,
    OVERRIDES_MAX,
    Effective,
    checked,
    decode,
    effective,
    loosened,
    nested,
    strictest,
    with_override,
    with_policy,
)


def stored(**fields: object) -> bytes:
    return json.dumps({"format": 1, **fields}).encode()


def test_every_field_of_the_wire_is_known_and_has_an_effective_value() -> None:
    wire = {
        f"{section.name}.{field.name}"
        for section in msgspec.structs.fields(Policy)
        for field in msgspec.structs.fields(section.type.__args__[0])
    }
    assert wire == set(FIELDS)
    assert {name.replace(".", "_") for name in FIELDS} == set(Effective.__struct_fields__)


def test_the_strictest_of_several_is_taken_field_by_field() -> None:
    found = strictest(
        {"memory.event_max_age_secs": 300, "audit.enabled": True, "ai_egress.embed": "allow"},
        {"memory.event_max_age_secs": 100, "audit.enabled": False},
        {"memory.event_max_age_secs": 200, "ai_egress.embed": "self_hosted_only"},
        {"erasure.grace_secs": 5},
    )
    assert found == {
        "memory.event_max_age_secs": 100,
        "audit.enabled": True,
        "ai_egress.embed": "self_hosted_only",
        "erasure.grace_secs": 5,
    }
    assert effective(found).memory_event_max_age_secs == 100
    assert effective({}) == Effective()


@pytest.mark.parametrize(
    ("name", "value", "above", "looser"),
    [
        ("memory.superseded_max_count", 4, 3, True),
        ("memory.superseded_max_count", 3, 3, False),
        ("memory.superseded_max_count", 2, 3, False),
        ("audit.enabled", False, True, True),
        ("audit.enabled", True, False, False),
        ("ai_egress.embed", "self_hosted_only", "deny", True),
        ("ai_egress.embed", "deny", "self_hosted_only", False),
        ("memory.unscoped", "allow", "record", True),
        ("memory.unscoped", "refuse", "record", False),
        ("memory.summarize_at", 9, 3, False),
        ("memory.summarize_at", 0, 3, False),
    ],
)
def test_looser_is_named(name: str, value: object, above: object, looser: bool) -> None:
    found = loosened({name: value, "erasure.grace_secs": 1}, {name: above})
    assert [phrase.split(" ")[0] for phrase in found] == ([name] if looser else [])


def test_what_cannot_be_meant_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match=r"memory\.task_ttl_max_secs is 59; give 60 to"):
        checked(Policy(memory=MemoryRules(task_ttl_max_secs=59)), of_profile=False)
    with pytest.raises(Invalid, match=r"memory\.superseded_max_count is 0; give 1 to"):
        checked(Policy(memory=MemoryRules(superseded_max_count=0)), of_profile=False)
    for number in (1, 1_001, -1):
        with pytest.raises(Invalid, match=r"summarize_at is .*; give 2 to 1,000, or 0 for never"):
            checked(Policy(memory=MemoryRules(summarize_at=number)), of_profile=False)
    assert checked(Policy(memory=MemoryRules(summarize_at=0)), of_profile=True)
    with pytest.raises(Invalid, match=r"fewer than retention\.pitr_secs"):
        checked(
            Policy(retention=HistoryRetention(pitr_secs=120, pitr_snapshot_secs=60)),
            of_profile=False,
        )
    limit = Policy(audit=AuditRules(retention_secs=86_400))
    with pytest.raises(Invalid, match="for a namespace as a whole"):
        checked(limit, of_profile=True)
    assert checked(limit, of_profile=False) == {"audit.retention_secs": 86_400}
    # Built by hand, without the wire's checks.
    wrong = Policy(audit=AuditRules(enabled="yes"))  # type: ignore[arg-type]
    with pytest.raises(Invalid, match="give true or false"):
        checked(wrong, of_profile=False)


def test_a_cap_of_the_snapshots_caps_the_boundaries_too() -> None:
    document = decode(stored(policy={"retention": {"pitr_snapshot_secs": 90}}), "here")
    assert document.policy["retention.pitr_secs"] == 90
    # A node that keeps no snapshots of days keeps its boundaries nevertheless.
    ceiling = {"retention.pitr_secs": 86_400, "retention.pitr_snapshot_secs": 0}
    assert strictest(ceiling)["retention.pitr_secs"] == 86_400


def test_what_a_newer_release_set_survives_a_change() -> None:
    before = stored(
        policy={"memory": {"later": 1, "event_max_age_secs": 60}, "new": {"a": 1}, "odd": 7},
        profiles={"alice": {"memory": {"later": 2}}, "bob": {"later": {}}},
        top="stays",
        version=4,
        nonce="n_1",
    )
    document = decode(before, "here")
    changed = json.loads(with_policy(document, {"audit.enabled": True}, "n_2"))
    assert changed["policy"] == {
        "memory": {"later": 1},
        "new": {"a": 1},
        "odd": 7,
        "audit": {"enabled": True},
    }
    assert changed["profiles"] == json.loads(before)["profiles"]
    assert (changed["top"], changed["version"], changed["nonce"]) == ("stays", 5, "n_2")
    values = {"memory.event_max_age_secs": 90}
    changed = json.loads(with_override(document, "alice", values, "n_2"))
    assert changed["profiles"] == {
        "alice": {"memory": {"later": 2, "event_max_age_secs": 90}},
        "bob": {"later": {}},
    }
    assert changed["policy"] == json.loads(before)["policy"]


def test_taking_away_leaves_the_rest() -> None:
    document = decode(stored(policy={"audit": {"enabled": True}}, profiles={"a": {}}), "here")
    gone = decode(with_policy(document, None, "n"), "here")
    assert not gone.is_set
    assert gone.policy == {}
    assert gone.override("a") == {}
    assert decode(with_override(document, "a", None, "n"), "here").override("a") is None


def test_what_this_release_cannot_read_is_refused() -> None:
    with pytest.raises(Internal, match="here is damaged"):
        decode(b"{", "here")
    with pytest.raises(Unavailable, match="here has format 2"):
        decode(json.dumps({"format": 2}).encode(), "here")
    with pytest.raises(Unavailable, match="format None"):
        decode(b"{}", "here")
    with pytest.raises(Unavailable, match=r"memory\.event_max_age_secs is 'a while'"):
        decode(stored(policy={"memory": {"event_max_age_secs": "a while"}}), "here")
    newer = decode(stored(writer=2), "here")
    with pytest.raises(Unavailable, match="from writer 2"):
        with_policy(newer, {}, "n")


def test_the_overrides_of_a_namespace_are_bounded() -> None:
    document = decode(stored(profiles={f"p{n}": {} for n in range(OVERRIDES_MAX)}), "here")
    with pytest.raises(Invalid, match="10,000 profiles"):
        with_override(document, "one-more", {}, "n")
    with_override(document, "p1", {"audit.enabled": True}, "n")


def test_values_travel_in_sections() -> None:
    assert nested({"audit.enabled": True, "audit.include_reads": False}) == {
        "audit": {"enabled": True, "include_reads": False}
    }
