"""What a mutation puts into the protocol is gone after its test, or every later one would find it."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail the run where a test has left something; not a fixture: `monkeypatch` ends after those."""
    before = _protocol()
    result = yield
    after, known = _protocol(), {module for module, _ in before}
    named = {name for name in before | after if name[0] in known}
    changed = {name for name in named if before.get(name) is not after.get(name)}
    assert not changed, f"{item.nodeid} left changed: {changed}"
    return result


def _protocol() -> dict[tuple[str, str], Any]:
    return {
        (name, attribute): value
        for name, module in list(sys.modules.items())
        if name.startswith("palimp.engine.protocol") or name in ("nodes", "world", "eraser")
        for attribute, value in vars(module).items()
        if callable(value)
    }
