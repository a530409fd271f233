"""What a fork's request says of where it begins."""

import pytest

import palimp
from palimp.api import Fork, Options, Target
from palimp.errors import Conflict, Invalid, NotFound


def texts(profile: palimp.Profile) -> list[str]:
    return sorted(memory.text for memory in profile.list())


def test_from_names_the_branch_and_checkpoint_the_point(
    mem: palimp.Client, profile: palimp.Profile
) -> None:
    profile.remember("one")
    trial = profile.fork("trial")
    trial.remember("two")
    trial.checkpoint("then")
    trial.remember("three")
    mem.call("branches.fork", profile.target, Fork(name="a", from_="trial"))
    mem.call("branches.fork", profile.target, Fork(name="b", from_="trial", checkpoint="then"))
    mem.call("branches.fork", trial.target, Fork(name="c", from_="trial", at="then"))
    assert texts(profile.branch("a")) == ["one", "three", "two"]
    assert texts(profile.branch("b")) == texts(profile.branch("c")) == ["one", "two"]


def test_what_contradicts_itself_is_refused(mem: palimp.Client, profile: palimp.Profile) -> None:
    profile.remember("one")
    profile.fork("trial")
    there = Target("default", "alice", "trial")
    with pytest.raises(Invalid, match="from branch 'trial' and from 'other'"):
        mem.call("branches.fork", there, Fork(name="a", from_="other"))
    with pytest.raises(Invalid, match="not both"):
        mem.call("branches.fork", profile.target, Fork(name="a", at="x", checkpoint="x"))
    with pytest.raises(NotFound):
        mem.call("branches.fork", profile.target, Fork(name="a", from_="nobody"))


def test_a_repeat_by_request_id_gets_the_first_answer(
    mem: palimp.Client, profile: palimp.Profile
) -> None:
    profile.remember("one")
    once = Options(request_id="r-1")
    made = mem.call("branches.fork", profile.target, Fork(name="trial"), once)
    profile.remember("two")
    assert mem.call("branches.fork", profile.target, Fork(name="trial"), once) == made
    with pytest.raises(Conflict):
        mem.call("branches.fork", profile.target, Fork(name="trial"), Options(request_id="r-2"))
    # The same id with another request is another request.
    with pytest.raises(Conflict):
        mem.call("branches.fork", profile.target, Fork(name="trial", at="1"), once)
