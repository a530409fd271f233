"""The whole product over the S3 protocol: moto's server, real requests, answers that get lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import palimp
from palimp.ids import random_id

from .store_backends import BUCKET, S3Proxy, need, s3_service

Open = Callable[[str], palimp.Client]


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Proxy]:
    need("obstore", "obstore")
    need("moto", "moto")
    with s3_service() as proxy:
        yield proxy


@pytest.fixture
def opened(s3: S3Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens folders by name on one store; the environment says where it is, as for a user."""
    for name, value in {
        "AWS_ENDPOINT": s3.url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    url = f"s3://{BUCKET}/{random_id('run')}"

    def open_folder(name: str) -> palimp.Client:
        return palimp.open(tmp_path / name, object_store=url, embed_provider="none")

    return open_folder


def test_an_empty_disk_gets_everything_back(opened: Open, tmp_path: Path) -> None:
    with opened("first") as mem:
        alice = mem.profile("alice")
        alice.remember("Prefers aisle seats", topic="user.seat")
        before = alice.checkpoint("before-run")
        alice.remember("Prefers the floor", topic="user.seat")
        alice.rewind(before)
        alice.fork("trial").remember("Moves to Lisbon")
        assert not alice.verify().findings
    shutil.rmtree(tmp_path / "first")
    with opened("second") as mem:
        alice = mem.profile("alice")
        assert [one.text for one in alice.list()] == ["Prefers aisle seats"]
        assert {one.text for one in alice.branch("trial").list()} == {
            "Prefers aisle seats",
            "Moves to Lisbon",
        }
        assert [one.text for one in alice.at(before).list()] == ["Prefers aisle seats"]
        assert mem.restore().branches == 2


def test_a_durable_write_is_two_puts(opened: Open, s3: S3Proxy) -> None:
    with opened("counted") as mem:
        alice = mem.profile("alice")
        alice.remember("one", durability="durable")
        before = s3.requests.copy()
        alice.remember("two", durability="durable")
        assert s3.requests - before == {"PUT": 2}


@pytest.mark.parametrize("lost", [1, 2], ids=["segment", "manifest"])
def test_a_lost_answer_costs_nothing(opened: Open, s3: S3Proxy, lost: int) -> None:
    with opened("lossy") as mem:
        alice = mem.profile("alice")
        alice.remember("one", durability="durable")
        s3.faults[:] = ["lose"] * lost
        done = alice.remember("two", durability="durable")
        assert not s3.faults
        assert alice.sync().value == done.txid
        assert not alice.verify().findings
    with opened("elsewhere") as mem:
        assert {one.text for one in mem.profile("alice").list()} == {"one", "two"}


def test_two_nodes_fence_each_other_and_lose_nothing(opened: Open) -> None:
    with opened("a") as first, opened("b") as second:
        here, there = first.profile("alice"), second.profile("alice")
        here.remember("from a", durability="durable")
        there.remember("from b", durability="durable")
        with pytest.raises(palimp.Unavailable, match="taken over by node") as caught:
            here.remember("late", durability="durable")
        assert caught.value.details["reason"] == "fenced"
        assert {one.text for one in there.list()} == {"from a", "from b"}
        recovered = [one for one in there.branches() if one.recovered]
        # It was committed on the first node before it knew, so it is somewhere.
        assert len(recovered) == 1
        kept = there.branch(recovered[0].name)
        assert {one.text for one in kept.list()} == {"from a", "late"}


def test_a_bucket_that_is_not_there_is_named(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(palimp.Error, match="no-such-bucket"):
        palimp.open(tmp_path / "c", object_store="s3://no-such-bucket/x")
