"""Filters on metadata, where pages, keys and statements of callers meet them."""

from __future__ import annotations

from pathlib import Path

import pytest

import palimp
from palimp.api import ListMemories, MemoryPage
from palimp.errors import Invalid


def test_pages_are_full_and_cursors_right(tmp_path: Path) -> None:
    with palimp.open(tmp_path, embed_provider="none") as mem:
        alice = mem.profile("alice")
        alice.ingest([{"text": f"step {n}", "metadata": {"odd": n % 2}} for n in range(50)])
        seen: list[str] = []
        request = ListMemories(metadata={"odd": 1}, limit=10)
        sizes = []
        while True:
            page: MemoryPage = mem.call("memories.list", alice.target, request)
            sizes.append(len(page.memories))
            seen += [one.text for one in page.memories]
            if page.next_cursor is None:
                break
            request = ListMemories(metadata={"odd": 1}, limit=10, cursor=page.next_cursor)
    assert sizes == [10, 10, 5]
    assert seen == [f"step {n}" for n in range(49, 0, -2)]


def test_rows_that_pass_are_found_behind_many_that_do_not(tmp_path: Path) -> None:
    with palimp.open(tmp_path) as mem:
        alice = mem.profile("alice")
        # The best match by words and by meaning is none of those that are wanted.
        many = [{"text": "a green tea", "dedup_key": str(n)} for n in range(300)]
        alice.ingest(
            [*many, {"text": "some black tea", "metadata": {"kept": True}}], wait="embedded"
        )
        found = alice.recall("a green tea", k=3, metadata={"kept": True})
    assert [hit.text for hit in found] == ["some black tea"]
    assert set(found[0].channels) == {"keyword", "vector"}


def test_statements_of_callers_cannot_call_the_comparison(tmp_path: Path) -> None:
    with palimp.open(tmp_path, embed_provider="none") as mem:
        alice = mem.profile("alice")
        alice.remember("a step", metadata={"step": 1})
        assert len(list(alice.list(metadata={"step": 1}))) == 1
        with pytest.raises(Invalid):
            alice.sql("SELECT __palimp_holds(1, 'id', '{}')")
