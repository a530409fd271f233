"""What is repeated and what is not, over real connections that are cut, slow, or wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

import palimp
from palimp.api import (
    API_VERSION,
    CreateDatabase,
    DeleteDatabase,
    DeletedDatabase,
    DeletedNamespace,
    DeleteNamespace,
    Target,
)

from .conftest import Pauses
from .gate import (
    Action,
    Gate,
    House,
    answer,
    error,
    forward,
    garbage,
    half,
    reset_after,
    reset_before,
    silent_after,
    silent_before,
)

Connect = Callable[..., palimp.Client]


def texts(profile: palimp.Profile) -> list[str]:
    return sorted(memory.text for memory in profile.list())


# What is repeated

REPEATED: dict[str, Action] = {
    "502": answer(502, b"<html>bad gateway</html>"),
    "503": answer(503, b"no upstream"),
    "504": answer(504),
    "429": answer(429, retry_after="1"),
    "unavailable": error(503, "unavailable"),
    "stopping": error(503, "unavailable", details={"reason": "closed"}, retry_after=1.0),
    "in doubt": error(503, "unavailable", details={"in_doubt": True, "txid": 7}),
    "overloaded": error(429, "overloaded", retry_after=0.5),
    "cut before": reset_before,
    "cut after": reset_after,
    "half an answer": half,
    "not HTTP": garbage,
}


@pytest.mark.parametrize("case", REPEATED)
def test_what_passes_is_repeated(gate: Gate, alice: palimp.Profile, case: str) -> None:
    gate.script = [REPEATED[case]] * 2
    written = alice.remember("one")
    assert written.status == "created"
    first, second, third = gate.seen
    assert first == second == third
    assert first.headers["palimp-request-id"].startswith("req_")
    gate.script = [REPEATED[case]]
    assert [memory.text for memory in alice.list()] == ["one"]
    assert len(gate.seen) == 5


@pytest.mark.parametrize("case", [silent_before, silent_after])
def test_a_silent_node_is_asked_again(
    gate: Gate, connect: Connect, alice: palimp.Profile, case: Action
) -> None:
    hasty = connect(timeout=0.3).profile(alice.name)
    gate.script = [case]
    assert hasty.session("s").append("user", "once").seq == 1
    assert len(gate.seen) == 2
    assert [turn.content for turn in alice.session("s").window()] == ["once"]


def test_a_node_that_is_started_again_is_reached(
    gate: Gate, alice: palimp.Profile, pauses: Pauses
) -> None:
    alice.remember("before")
    gate.script = [reset_before]
    # The connection that exists is cut, and a new one refused until the second pause.
    gate.pull_down()
    pauses.meanwhile = lambda: len(pauses.all) == 2 and gate.put_up()
    assert alice.remember("after").txid == 2
    assert len(pauses.all) == 2


def test_every_request_id_is_another(gate: Gate, alice: palimp.Profile) -> None:
    alice.remember("one")
    alice.remember("two")
    alice.remember("three", request_id="mine")
    alice.get(alice.remember("four").id)
    ids = [seen.headers.get("palimp-request-id") for seen in gate.seen]
    assert len(set(ids)) == 5
    assert ids[2] == "mine"
    assert ids[4] is None


# What is not repeated

FINAL: dict[str, tuple[Action, type[palimp.Error], str]] = {
    "unconfigured": (error(503, "unconfigured"), palimp.Unconfigured, "unconfigured"),
    "internal": (error(500, "internal"), palimp.Internal, "internal"),
    "a foreign 500": (answer(500, b"oops"), palimp.Internal, "internal"),
    "a foreign 501": (answer(501), palimp.Internal, "internal"),
    "invalid": (error(400, "invalid_request"), palimp.Invalid, "invalid_request"),
    "too large": (answer(413), palimp.Invalid, "payload_too_large"),
    "unauthorized": (error(401, "unauthorized"), palimp.Denied, "unauthorized"),
    "a foreign 403": (answer(403, b"go away"), palimp.Denied, "forbidden"),
    "not found": (error(404, "not_found"), palimp.NotFound, "not_found"),
    "a foreign 404": (answer(404, b"nothing here"), palimp.NotFound, "not_found"),
    "conflict": (error(409, "conflict"), palimp.Conflict, "conflict"),
    "too slow": (error(408, "request_timeout"), palimp.Unavailable, "request_timeout"),
    "a foreign 418": (answer(418, b"teapot"), palimp.Invalid, "invalid_request"),
    "fenced": (
        error(503, "unavailable", details={"reason": "fenced"}, retry_after=1.0),
        palimp.Unavailable,
        "unavailable",
    ),
}


@pytest.mark.parametrize("case", FINAL)
def test_what_does_not_pass_is_raised_at_once(
    gate: Gate, alice: palimp.Profile, pauses: Pauses, case: str
) -> None:
    act, kind, code = FINAL[case]
    gate.script = [act]
    with pytest.raises(palimp.Error) as caught:
        alice.remember("one")
    assert (type(caught.value), caught.value.code) == (kind, code)
    assert len(gate.seen) == 1
    assert pauses.all == []


@pytest.mark.parametrize("case", [reset_after, silent_after, half])
def test_a_question_that_a_model_may_be_answering_is_not_asked_again(
    gate: Gate, connect: Connect, alice: palimp.Profile, case: Action
) -> None:
    hasty = connect(timeout=0.3).profile(alice.name)
    gate.script = [case]
    with pytest.raises(palimp.Unavailable, match="ask"):
        hasty.ask("which seat?")
    assert len(gate.seen) == 1
    gate.script = [error(503, "unavailable", details={"reason": "malformed"})]
    with pytest.raises(palimp.Unavailable):
        alice.ask("which seat?")
    assert len(gate.seen) == 2
    # What never reached a model is.
    gate.script = [error(429, "overloaded")]
    with pytest.raises(palimp.Unconfigured):
        alice.ask("which seat?")
    assert len(gate.seen) == 4


def test_a_write_that_took_too_long_can_be_asked_for_by_its_id(
    gate: Gate, alice: palimp.Profile
) -> None:
    gate.script = [error(408, "request_timeout", details={"in_doubt": True})]
    with pytest.raises(palimp.Unavailable) as caught:
        alice.remember("one")
    assert caught.value.details["in_doubt"] is True
    assert caught.value.details["request_id"] == gate.seen[0].headers["palimp-request-id"]


def test_no_retries(gate: Gate, connect: Connect, alice: palimp.Profile) -> None:
    once = connect(retries=0).profile(alice.name)
    gate.script = [reset_after]
    with pytest.raises(palimp.Unavailable, match=r"is `palimp serve` running there\?") as caught:
        once.remember("one")
    details = caught.value.details
    assert (caught.value.code, details["reason"], details["in_doubt"]) == (
        "unavailable",
        "network",
        True,
    )
    assert str(gate.url) in str(caught.value)
    assert len(gate.seen) == 1
    # The caller goes on where the client gave up.
    again = alice.remember("one", request_id=details["request_id"])
    assert (again.status, again.txid) == ("created", 1)
    gate.script = [error(503, "unavailable")]
    with pytest.raises(palimp.Unavailable):
        once.remember("two")
    assert texts(alice) == ["one"]


def test_a_read_is_not_in_doubt(gate: Gate, connect: Connect, alice: palimp.Profile) -> None:
    gate.script = [reset_before] * 2
    with pytest.raises(palimp.Unavailable) as caught:
        connect(retries=1).profile(alice.name).recall("x")
    assert "in_doubt" not in caught.value.details
    assert "2 attempts" in str(caught.value)


def test_nobody_there(gate: Gate, alice: palimp.Profile, pauses: Pauses) -> None:
    gate.pull_down()
    with pytest.raises(palimp.Unavailable, match="cannot be reached") as caught:
        alice.remember("one")
    assert caught.value.code == "unavailable"
    assert gate.url in str(caught.value)
    assert "5 attempts" in str(caught.value)
    assert "in_doubt" not in caught.value.details
    assert caught.value.__cause__ is not None
    assert len(pauses.all) == 4
    gate.put_up()
    assert alice.remember("one").txid == 1


def test_a_doubt_is_not_forgotten(gate: Gate, connect: Connect, alice: palimp.Profile) -> None:
    """The last attempt was refused, but an earlier one may have been carried out."""
    twice = connect(retries=1).profile(alice.name)
    for last in (error(429, "overloaded"), error(401, "unauthorized"), error(500, "internal")):
        gate.script = [reset_after, last]
        with pytest.raises(palimp.Error) as caught:
            twice.remember("one")
        assert caught.value.details["in_doubt"] is True
    # What the node found when it looked for the first attempt settles it.
    gate.script = [reset_before]
    with pytest.raises(palimp.NotFound) as absent:
        twice.supersede("mem_x", "y")
    assert "in_doubt" not in absent.value.details


# Pauses


def test_pauses_grow_and_differ(gate: Gate, connect: Connect, pauses: Pauses) -> None:
    profile = connect(retries=12).profile("nobody")
    gate.script = [reset_before] * 100
    for _ in range(5):
        with pytest.raises(palimp.Unavailable):
            profile.recall("x")
    assert len(pauses.all) == 60
    for place, pause in enumerate(pauses.all):
        assert 0 <= pause <= min(2.0, 0.1 * 2 ** (place % 12))
    # Full jitter: of sixty numbers no two are alike, and the late ones are not all near the top.
    assert len(set(pauses.all)) == 60
    late = [pause for place, pause in enumerate(pauses.all) if place % 12 > 4]
    assert min(late) < 1.0 < max(late)


@pytest.mark.parametrize(
    "act",
    [
        answer(429, retry_after="7"),
        answer(503, retry_after="7"),
        error(429, "overloaded", retry_after=7.0),
        error(503, "unavailable", retry_after=7.0),
    ],
)
def test_a_node_says_when(gate: Gate, alice: palimp.Profile, pauses: Pauses, act: Action) -> None:
    gate.script = [act]
    alice.remember("one")
    assert len(pauses.all) == 1
    assert 7.0 <= pauses.all[0] <= 7.1


def test_a_node_that_asks_for_much_is_not_waited_for(
    gate: Gate, alice: palimp.Profile, pauses: Pauses
) -> None:
    gate.script = [answer(503, retry_after="31")]
    with pytest.raises(palimp.Unavailable) as caught:
        alice.remember("one")
    assert (caught.value.retry_after, pauses.all) == (31.0, [])
    gate.script = [answer(429, retry_after="25")] * 5
    with pytest.raises(palimp.Unavailable):
        alice.remember("one")
    assert len(pauses.all) == 2


@pytest.mark.parametrize("given", ["soon", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT", ""])
def test_a_time_that_is_no_number_is_left_out(
    gate: Gate, alice: palimp.Profile, pauses: Pauses, given: str
) -> None:
    gate.script = [answer(503, retry_after=given)]
    alice.remember("one")
    assert 0 <= pauses.all[0] <= 0.1


# Once


@pytest.fixture
def first(alice: palimp.Profile) -> palimp.Written:
    """A memory; beside it a session, a checkpoint, a branch, and something after them."""
    written = alice.remember("first")
    alice.session("s").append("user", "before")
    alice.checkpoint("start")
    alice.fork("old")
    alice.remember("after the checkpoint")
    return written


WRITES: dict[str, Callable[[palimp.Profile, palimp.Written], Any]] = {
    "remember": lambda p, first: p.remember("new", topic="t"),
    "supersede": lambda p, first: p.supersede(first, "newer"),
    "forget": lambda p, first: p.forget(first),
    "append": lambda p, first: p.session("s").append("user", "hi"),
    "end": lambda p, first: p.session("s").end(turns=True),
    "rewind": lambda p, first: p.rewind("start"),
    "checkpoint": lambda p, first: p.checkpoint("now"),
    "drop": lambda p, first: p.drop_checkpoint("start"),
    "fork": lambda p, first: p.fork("trial"),
    "burner": lambda p, first: p.fork("trial", ttl=60),
    "fork of a point": lambda p, first: p.fork("trial", at=p.sync()),
    "delete": lambda p, first: p.delete_branch("old"),
    "sync": lambda p, first: p.sync(),
}


def everything(profile: palimp.Profile) -> dict[str, Any]:
    """Return what a profile holds, but for times and random names."""
    branches = {row.name: (row.parent, row.txid, row.checkpoints) for row in profile.branches()}
    return {
        "memories": [(memory.id, memory.superseded_by) for memory in profile.list()],
        "turns": [turn.content for turn in profile.session("s").window(50)],
        "checkpoints": [(one.name, one.txid) for one in profile.checkpoints()],
        "branches": branches,
        "txid": profile.sync().value,
    }


@pytest.mark.parametrize("case", WRITES)
def test_a_write_that_is_repeated_is_done_once(
    gate: Gate, house: House, alice: palimp.Profile, first: palimp.Written, case: str
) -> None:
    """Compared with the same write on a profile whose line is never cut."""
    other = alice.client.profile(alice.name + "-x")
    twin = other.remember("first")
    other.session("s").append("user", "before")
    other.checkpoint("start")
    other.fork("old")
    other.remember("after the checkpoint")
    expected = WRITES[case](other, twin)
    gate.seen.clear()
    # A point is asked for with a request of its own.
    before: list[Action] = [forward] if case == "fork of a point" else []
    gate.script = [*before, reset_after, reset_before]
    done = WRITES[case](alice, first)
    assert gate.script == []
    if isinstance(expected, palimp.Profile):
        assert (done.branch_name, done.name) == (expected.branch_name, alice.name)
    else:
        assert done == expected
    assert everything(alice) == everything(other)


def test_a_branch_of_another_making_is_no_success(
    gate: Gate, alice: palimp.Profile, first: palimp.Written
) -> None:
    gate.script = [reset_before]
    with pytest.raises(palimp.Conflict, match="exists") as caught:
        alice.fork("old")
    assert caught.value.details["in_doubt"] is True
    # The first attempt's answer is no doubt at all.
    with pytest.raises(palimp.Conflict) as plain:
        alice.fork("old")
    assert "in_doubt" not in plain.value.details


def test_a_checkpoint_that_may_be_ours_is_in_doubt(
    gate: Gate, house: House, alice: palimp.Profile, pauses: Pauses
) -> None:
    alice.remember("one")
    writer = palimp.connect(f"http://127.0.0.1:{house.port}")
    pauses.meanwhile = lambda: writer.profile(alice.name).remember("in between")
    gate.script = [reset_after]
    with pytest.raises(palimp.Conflict, match="may be what made it") as caught:
        alice.checkpoint("here")
    assert caught.value.details["in_doubt"] is True
    writer.close()


def test_a_delete_of_what_never_was(gate: Gate, alice: palimp.Profile) -> None:
    for act in (lambda: alice.delete_branch("nix"), lambda: alice.drop_checkpoint("nix")):
        with pytest.raises(palimp.NotFound):
            act()
        # A profile that was never written has nothing that an attempt could have removed.
        gate.script = [reset_before]
        with pytest.raises(palimp.NotFound):
            alice.drop_checkpoint("nix")
    # A proxy that finds nothing says nothing about a checkpoint.
    alice.remember("x")
    for act in (lambda: alice.delete_branch("nix"), lambda: alice.drop_checkpoint("nix")):
        gate.script = [reset_before, answer(404, b"proxy")]
        with pytest.raises(palimp.NotFound, match="proxy"):
            act()


def test_databases_and_namespaces_are_removed_once(gate: Gate, alice: palimp.Profile) -> None:
    client, name = alice.client, alice.name
    space = f"space-{name}"
    for profile in ("a", "b"):
        client.profile(profile, namespace=space).remember("x")
    gate.script = [reset_after]
    gone = client.call("databases.delete", Target(space, "a"), DeleteDatabase())
    assert gone == DeletedDatabase(name=f"{space}--a")
    assert [one.name for one in client.profiles(namespace=space)] == ["b"]
    gate.script = [reset_after]
    rest = client.call("namespaces.delete", Target(space), DeleteNamespace())
    assert rest == DeletedNamespace(namespace=space, databases=0)
    assert list(client.profiles(namespace=space)) == []
    gate.script = [reset_after]
    with pytest.raises(palimp.Conflict, match="may be what made it") as caught:
        client.call("databases.create", Target(), CreateDatabase(name=f"{space}--c"))
    assert caught.value.details["in_doubt"] is True


def test_an_import_is_not_repeated_in_doubt(
    gate: Gate, alice: palimp.Profile, tmp_path: Any
) -> None:
    alice.remember("one")
    alice.export(tmp_path / "one.db")
    copy = alice.client.profile(alice.name + "-copy")
    gate.seen.clear()
    gate.script = [reset_after]
    with pytest.raises(palimp.Unavailable, match="carried out: look") as caught:
        copy.import_(tmp_path / "one.db")
    assert caught.value.details["in_doubt"] is True
    assert gate.names() == ["POST import"]
    assert texts(copy) == ["one"]
    # Refused before it began, it is.
    third = alice.client.profile(alice.name + "-third")
    gate.script = [error(429, "overloaded")]
    third.import_(tmp_path / "one.db")
    assert texts(third) == ["one"]


# Servers that are no node of ours


def test_a_redirect_is_not_followed(gate: Gate, connect: Connect) -> None:
    for status in (301, 302, 303, 307, 308):
        gate.script = [answer(status, location=f"{gate.url}/elsewhere")]
        with pytest.raises(palimp.Invalid, match=f"{status}.*to '{gate.url}/elsewhere'"):
            connect(token="secret").profile("alice").remember("x")
    assert [seen.path for seen in gate.seen] == ["/v1/memory/default/alice/memories"] * 5


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"{}", b'{"results": 1}', b"\xff"])
def test_a_server_of_another_kind(gate: Gate, alice: palimp.Profile, body: bytes) -> None:
    gate.script = [answer(200, body, content_type="text/html"), answer(200, b"<html>")]
    with pytest.raises(palimp.Internal, match="is not Palimpsest's") as caught:
        alice.remember("x")
    assert gate.url in str(caught.value)


def test_a_node_of_a_newer_wire_is_named(gate: Gate, alice: palimp.Profile) -> None:
    about = b'{"api": 7, "release": "9.1.0", "node": {"new": "shape"}}'
    gate.script = [answer(201, b'{"outcome": "fine"}'), answer(200, about)]
    with pytest.raises(palimp.Internal) as caught:
        alice.remember("x")
    for part in ("release 9.1.0", "version 7", f"has version {API_VERSION}"):
        assert part in str(caught.value)
    assert caught.value.details["in_doubt"] is True
    assert gate.names() == ["POST memories", "GET node"]


# The other colour drives the same exchange


@pytest.mark.parametrize("case", [reset_before, reset_after, half, error(503, "unavailable")])
def test_a_task_repeats_too(gate: Gate, alice: palimp.Profile, case: Action) -> None:
    async def main() -> int:
        async with palimp.connect_async(gate.url, timeout=5) as mem:
            return (await mem.profile(alice.name).session("s").append("user", "once")).seq

    gate.script = [case]
    assert asyncio.run(main()) == 1
    assert len(gate.seen) == 2
    assert len(alice.session("s").window()) == 1


def test_a_task_gives_up_too(gate: Gate, alice: palimp.Profile) -> None:
    async def main(**settings: Any) -> palimp.Unavailable:
        async with palimp.connect_async(gate.url, **settings) as mem:
            with pytest.raises(palimp.Unavailable) as caught:
                await mem.profile(alice.name).remember("one")
        return caught.value

    gate.script = [silent_after]
    slow = asyncio.run(main(retries=0, timeout=0.3))
    assert "nothing happened for 0.3 s" in str(slow)
    assert slow.details["in_doubt"] is True
    gate.pull_down()
    assert "cannot be reached" in str(asyncio.run(main(retries=1)))


def test_a_task_that_is_cancelled_in_a_pause_or_a_wait(gate: Gate, alice: palimp.Profile) -> None:
    async def main() -> list[str]:
        async with palimp.connect_async(gate.url) as mem:
            profile = mem.profile(alice.name)
            await profile.remember("first")
            for act in (silent_after, answer(503, retry_after="20")):
                gate.script = [act]
                asked = len(gate.seen)
                task = asyncio.ensure_future(profile.remember("second"))
                while len(gate.seen) == asked:
                    await asyncio.sleep(0.01)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await profile.remember("third")
            return [memory.text async for memory in profile.list()]

    assert set(asyncio.run(main())) == {"first", "second", "third"}


def test_closing_ends_what_waits_for_its_next_attempt(
    gate: Gate, connect: Connect, pauses: Pauses
) -> None:
    client = connect()
    pauses.meanwhile = client.close
    gate.script = [error(503, "unavailable")]
    with pytest.raises(palimp.Unavailable, match="closed") as caught:
        client.profile("alice").recall("x")
    assert caught.value.details == {"reason": "closed"}


def test_closing_does_not_hide_a_doubt(
    gate: Gate, connect: Connect, pauses: Pauses, alice: palimp.Profile
) -> None:
    client = connect()
    pauses.meanwhile = client.close
    gate.script = [reset_after]
    with pytest.raises(palimp.Unavailable, match="closed") as caught:
        client.profile(alice.name).remember("x")
    assert caught.value.details == {"reason": "closed", "in_doubt": True}


def test_many_threads_on_a_line_that_is_cut(
    gate: Gate, connect: Connect, alice: palimp.Profile
) -> None:
    # One of them may meet all that happens.
    session = connect(retries=16).profile(alice.name).session("s")
    gate.script = [reset_before, reset_after, half, error(503, "unavailable")] * 4
    threads = [threading.Thread(target=session.append, args=("user", n)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(turn.content for turn in alice.session("s").window(50)) == list(range(12))
