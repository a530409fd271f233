"""Fixtures of all tests: a folder of memories in tmp_path, with the machine's clock or a manual one."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import palimp
from palimp.client.transports.embedded import Embedded
from palimp.clock import ManualClock
from palimp.node import Node, load_settings

from .extras import hide

hide()


def pytest_collection_finish() -> None:
    """Let no collection look at the tests themselves: they are many, and stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """A PALIMP_* variable of the shell that runs the tests must not decide what they test."""
    prefixes = ("PALIMP_", "MEMOTURN_", "MEMORIA_", "MEMTRACE_")
    with pytest.MonkeyPatch.context() as shell:
        for name in [name for name in os.environ if name.startswith(prefixes)]:
            shell.delenv(name)
        yield


@pytest.fixture
def mem(tmp_path: Path) -> Iterator[palimp.Client]:
    with palimp.open(tmp_path / "memory") as client:
        yield client


@pytest.fixture
def profile(mem: palimp.Client) -> palimp.Profile:
    return mem.profile("alice")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def timed(tmp_path: Path, clock: ManualClock) -> Iterator[palimp.Client]:
    """A client over a node whose time only `clock` moves and whose txids only its caller's writes."""
    settings = load_settings({"data_dir": tmp_path / "timed", "embed_provider": "none"})
    with palimp.Client(Embedded(Node(settings, clock=clock))) as client:
        yield client
