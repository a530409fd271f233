"""What policies do to a profile: tasks, sweeps, history, embedding."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import palimp
from palimp.api import Policy, SetProfilePolicy, Target
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.errors import Conflict, Invalid, NotFound
from palimp.node import Node, load_settings

DAY = 86_400


@pytest.fixture
def alice(timed: palimp.Client) -> palimp.Profile:
    return timed.profile("alice", namespace="acme")


def texts(profile: palimp.Profile) -> list[str]:
    return sorted(memory.text for memory in profile.list(include_superseded=True))


def expires(profile: palimp.Profile, identity: str) -> int | None:
    return profile.get(identity).expires_at


# -- setting and reading ---------------------------------------------------------------------------


def test_a_namespace_has_none_until_it_is_set(timed: palimp.Client) -> None:
    with pytest.raises(NotFound, match="'acme' has no policy"):
        timed.policy("acme")
    policy = {"memory": {"task_ttl_max_secs": 60}}
    assert timed.set_policy("acme", policy).policy == policy
    assert timed.policy("acme").policy == policy
    assert timed.set_policy("acme", None).policy is None
    with pytest.raises(NotFound):
        timed.policy("acme")


def test_a_profile_shows_its_own_and_what_is_in_force(timed: palimp.Client) -> None:
    timed.set_policy("acme", {"memory": {"task_ttl_max_secs": 600}, "audit": {"enabled": True}})
    timed.set_policy("acme", {"memory": {"task_ttl_max_secs": 60}}, "nobody")
    found = timed.policy("acme", "nobody")
    assert found.override == {"memory": {"task_ttl_max_secs": 60}}
    assert found.effective == {
        "memory": {"task_ttl_max_secs": 60},
        "audit": {"enabled": True},
        # The node's.
        "retention": {"pitr_secs": DAY, "pitr_snapshot_secs": 30 * DAY},
    }
    assert timed.policy("acme", "other").override is None
    # Reading and setting it made no profile.
    assert list(timed.profiles(namespace="acme")) == []


def test_what_is_looser_or_unknown_is_refused(timed: palimp.Client) -> None:
    timed.set_policy("acme", {"memory": {"task_ttl_max_secs": 600}})
    with pytest.raises(Conflict, match=r"memory\.task_ttl_max_secs 700"):
        timed.set_policy("acme", {"memory": {"task_ttl_max_secs": 700}}, "alice")
    with pytest.raises(Invalid, match="unknown field 'memmory'"):
        timed.set_policy("acme", {"memmory": {}})
    with pytest.raises(Invalid, match="unknown field 'task_ttl' in memory"):
        timed.set_policy("acme", {"memory": {"task_ttl": 1}})
    with pytest.raises(Invalid, match="names a branch"):
        timed.call(
            "policy.set_profile",
            Target("acme", "alice", "trial"),
            SetProfilePolicy(policy=Policy()),
        )


# -- tasks -----------------------------------------------------------------------------------------


def test_a_task_lives_as_long_as_the_policy_lets_it(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock
) -> None:
    timed.set_policy("acme", {"memory": {"task_ttl_max_secs": 600}})
    now = clock.now_ms()
    done = alice.ingest(
        [
            {"text": "by default", "type": "task"},
            {"text": "for long", "type": "task", "ttl": 3_600},
            {"text": "for short", "type": "task", "ttl": 30},
            {"text": "a fact"},
        ]
    )
    lives = [expires(alice, one.id) for one in done]
    assert lives == [now + 600_000, now + 600_000, now + 30_000, None]
    notes = [one.note for one in done]
    assert notes[2:] == [None, None]
    assert all("ttl is 600 seconds, not" in note for note in notes[:2] if note is not None)
    assert notes[1] is not None
    assert "3,600" in notes[1]
    # Nothing was written, so nothing was shortened.
    (again,) = alice.ingest([{"text": "for long", "type": "task", "ttl": 3_600}])
    assert (again.status, again.note) == ("duplicate", None)
    clock.advance(601)
    revived = alice.remember("for long", type="task", ttl=3_600)
    assert revived.status == "revived"
    assert revived.note is not None
    assert expires(alice, revived.id) == clock.now_ms() + 600_000


def test_what_supersedes_a_task_is_one_and_lives_no_longer(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock
) -> None:
    timed.set_policy("acme", {"memory": {"task_ttl_max_secs": 600}})
    old = alice.remember("call them", type="task", ttl=60)
    new = alice.supersede(old.id, "write to them")
    assert expires(alice, new.id) == clock.now_ms() + 600_000
    assert new.note is not None


def test_an_override_clamps_one_profile_alone(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock
) -> None:
    timed.set_policy("acme", {"memory": {"task_ttl_max_secs": 600}}, "alice")
    bob = timed.profile("bob", namespace="acme")
    wanted = clock.now_ms() + 3_600_000
    assert expires(bob, bob.remember("x", type="task", ttl=3_600).id) == wanted
    assert expires(alice, alice.remember("x", type="task", ttl=3_600).id) == wanted - 3_000_000


# -- sweeps ----------------------------------------------------------------------------------------


def test_maintenance_removes_what_may_not_stay_from_every_branch(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock
) -> None:
    for number in range(3):
        alice.remember(f"event {number}", type="event")
        alice.remember(f"seat {number}", topic="seat")
    trial = alice.fork("trial")
    bob = timed.profile("bob", namespace="acme")
    bob.remember("an event of another profile", type="event")
    assert timed.maintain().swept == 0
    rules = {"event_max_age_secs": 3_600, "superseded_max_count": 1}
    timed.set_policy("acme", {"memory": rules}, "alice")
    clock.advance(1_800)
    alice.remember("a young event", type="event")
    clock.advance(1_800)
    done = timed.maintain()
    # Three events and one superseded of each branch.
    assert done.swept == 8
    assert texts(alice) == ["a young event", "seat 1", "seat 2"]
    assert texts(trial) == ["seat 1", "seat 2"]
    assert texts(bob) == ["an event of another profile"]
    assert timed.maintain().swept == 0


def test_more_than_one_pass_is_made_where_it_takes_more(
    timed: palimp.Client, alice: palimp.Profile, clock: ManualClock
) -> None:
    alice.ingest([{"text": f"event {n}", "type": "event"} for n in range(600)])
    timed.set_policy("acme", {"memory": {"event_max_age_secs": 60}})
    clock.advance(61)
    before = alice.remember("before").txid
    assert timed.maintain().swept == 600
    # Two passes of at most 500, each of them one commit.
    assert alice.remember("after").txid == before + 3


# -- history ---------------------------------------------------------------------------------------


def test_history_stays_no_longer_than_the_policy_lets_it(
    timed: palimp.Client, clock: ManualClock
) -> None:
    timed.set_policy("acme", {"retention": {"pitr_secs": 60}}, "alice")
    found = {}
    profiles = [timed.profile(name, namespace="acme") for name in ("alice", "bob")]
    for number in range(4):
        for profile in profiles:
            profile.remember(f"number {number}")
            profile.sync()
        clock.advance(100)
    for profile in profiles:
        profile.checkpoint("kept")
        profile.remember("after")
        profile.sync()
    clock.advance(100)
    timed.maintain()
    for profile in profiles:
        found[profile.name] = len(list(profile.points()))
    # The head, the checkpoint and the first snapshot of the one; all of the other.
    assert found == {"alice": 3, "bob": 5}
    assert texts(profiles[0]) == texts(profiles[1])


# -- embedding -------------------------------------------------------------------------------------


class Watched:
    """An embedder that says what it was given."""

    name = "watched"
    dimensions = 4

    def __init__(self, *, egress: str) -> None:
        self.local = egress == "none"
        self.egress = egress
        self.given: list[str] = []
        self._lock = threading.Lock()

    def embed(self, given: list[str], **_: object) -> object:
        import numpy as np

        with self._lock:
            self.given += given
        return np.ones((len(given), 4), np.float32) / 2


@pytest.fixture(params=["none", "self_hosted", "outside"])
def watched(request: pytest.FixtureRequest) -> Watched:
    return Watched(egress=request.param)


@pytest.fixture
def embedding(tmp_path: Path, watched: Watched) -> Iterator[palimp.Client]:
    node = Node(load_settings({"data_dir": tmp_path / "m"}), embedder=watched)  # type: ignore[arg-type]
    with palimp.Client(Embedded(node)) as client:
        yield client


@pytest.mark.parametrize("word", ["deny", "self_hosted_only"])
def test_no_text_of_a_profile_goes_where_it_may_not(
    embedding: palimp.Client, watched: Watched, word: str
) -> None:
    embedding.set_policy("acme", {"ai_egress": {"embed": word}}, "alice")
    alice = embedding.profile("alice", namespace="acme")
    bob = embedding.profile("bob", namespace="acme")
    alice.remember("the secret of alice")
    bob.remember("the word of bob")
    hits = alice.recall("secret of alice")
    bob.recall("word of bob")
    embedding.maintain()
    # It is found by its words all the same.
    assert [hit.text for hit in hits] == ["the secret of alice"]
    of_alice = [text for text in watched.given if "alice" in text]
    assert [text for text in watched.given if "bob" in text]
    assert bool(of_alice) == (word == "self_hosted_only" and watched.egress != "outside")
    if not of_alice:
        assert "vector" not in hits[0].channels
    elif watched.local:
        assert "vector" in hits[0].channels
