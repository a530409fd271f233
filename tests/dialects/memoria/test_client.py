"""The published client, unmodified, against a running process: every method, sync and async."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import memoria
import pytest

MASTER = "master-key-of-the-acceptance"
RESOURCES = ("memories", "snapshots", "branches", "profile", "governance")
Call = Callable[..., Any]


class Driven:
    """A client whose calls are noted; those of the asynchronous one are run to their end."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.called: set[str] = set()
        self._runner = asyncio.Runner()

    def call(self, name: str, *given: Any, **fields: Any) -> Any:
        self.called.add(name)
        method = self.client
        for word in name.split("."):
            method = getattr(method, word)
        found = method(*given, **fields)
        return self._runner.run(_await(found)) if inspect.isawaitable(found) else found

    def close(self) -> None:
        if isinstance(self.client, memoria.AsyncMemoriaClient):
            self._runner.run(self.client.aclose())
        else:
            self.client.close()
        self._runner.close()


async def _await(given: Any) -> Any:
    return await given


def methods(client: Any) -> set[str]:
    """Return the names of all the methods of a client."""
    found = {"ping", "observe"}
    for resource in RESOURCES:
        for name, _ in inspect.getmembers(getattr(client, resource), inspect.isroutine):
            if not name.startswith("_"):
                found.add(f"{resource}.{name}")
    return found


@pytest.fixture(scope="module", params=["bundled", "none"])
def urls(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """A process that serves with an embedder, and one without: where it speaks the dialect."""
    folder = tmp_path_factory.mktemp("memoria")
    words = ["serve", "--port", "0", "--data", str(folder / "m"), "--dialect", "memoria=0"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PALIMP_")}
    environment |= {"MEMORIA_MASTER_KEY": MASTER, "PALIMP_EMBED_PROVIDER": request.param}
    with subprocess.Popen(
        [sys.executable, "-m", "palimp", *words], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield _spoken(process)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
            assert process.returncode == 0
        finally:
            if process.poll() is None:
                process.kill()


def _spoken(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stderr is not None
    found: dict[str, str] = {}
    lines = []
    for line in process.stderr:
        lines.append(line)
        url = re.search(r"(serving|speaking memoria at) (http://[^\s,]+)", line)
        if url and url[1] == "serving":
            found["mounted"] = f"{url[2]}/memoria"
        elif url:
            found["port"] = url[2]
        if len(found) == 2:
            return found
    raise AssertionError("".join(lines))


@pytest.fixture(scope="module")
def keys() -> dict[str, str]:
    """Keys by URL: as in that system's own test, all of a module share one."""
    return {}


@pytest.fixture(params=["mounted", "port"])
def url(urls: dict[str, str], request: pytest.FixtureRequest) -> str:
    return urls[request.param]


@pytest.fixture(params=[memoria.MemoriaClient, memoria.AsyncMemoriaClient], ids=["sync", "async"])
def driven(url: str, keys: dict[str, str], request: pytest.FixtureRequest) -> Iterator[Driven]:
    if url not in keys:
        body = {"user_id": f"pytest_{secrets.token_hex(4)}", "name": "e2e"}
        headers = {"authorization": f"Bearer {MASTER}"}
        made = httpx.post(f"{url}/auth/keys", json=body, headers=headers, timeout=30)
        assert made.is_success, made.text
        keys[url] = made.json()["raw_key"]
    found = Driven(request.param(base_url=url, api_key=keys[url]))
    yield found
    found.close()


def test_every_method_of_the_client(driven: Driven) -> None:
    for scenario in (
        _memories, _corrections, _working, _searches, _snapshots, _branches, _picks, _profile,
        _governance,
    ):  # fmt: skip
        scenario(driven.call)
    assert driven.called == methods(driven.client)


def _memories(call: Call) -> None:
    probe = call("memories.store", "__embedding_probe__", memory_type="semantic")
    call("memories.delete", probe.memory_id)
    assert call("ping") is True
    assert call("memories.list", limit=10).items is not None
    token = f"sdk_e2e_{secrets.token_hex(4)}"
    stored = call("memories.store", f"test memory {token}")
    assert (stored.memory_type, stored.trust_tier, stored.is_active) == ("semantic", "T1", True)
    found = call("memories.retrieve", token, top_k=5)
    assert stored.memory_id in [one.memory_id for one in found.items]
    call("memories.feedback", stored.memory_id, signal="useful", context="it was")
    call("memories.delete", stored.memory_id, reason="done")
    found = call("memories.retrieve", token, top_k=5)
    assert stored.memory_id not in [one.memory_id for one in found.items]
    with pytest.raises(memoria.MemoriaNotFoundError, match="Memory not found"):
        call("memories.delete", stored.memory_id)


def _corrections(call: Call) -> None:
    token = secrets.token_hex(4)
    old = call("memories.store", f"the meeting {token} is on Monday", memory_type="procedural")
    new = call("memories.correct", old.memory_id, new_content=f"meeting {token}: Tuesday")
    assert (new.content, new.trust_tier) == (f"meeting {token}: Tuesday", "T2")
    assert new.memory_id != old.memory_id
    newest = call("memories.correct_by_query", token, new_content=f"{token}: Wednesday")
    assert newest.content == f"{token}: Wednesday"
    call("memories.delete", newest.memory_id)
    with pytest.raises(memoria.MemoriaUnprocessableError):
        call("memories.store", "")
    with pytest.raises(memoria.MemoriaForbiddenError, match="Blocked: "):
        call("memories.store", "password: " + "not-for-this-place")


def _working(call: Call) -> None:
    session = f"s_{secrets.token_hex(4)}"
    for number in (1, 2):
        call("memories.store", f"working mem {number}", memory_type="working", session_id=session)
    purged = call("memories.purge", session_id=session, memory_types=["working"])
    assert purged.purged >= 2
    assert purged.snapshot_name.startswith("pre_purge_")
    items = [{"content": f"batch {n}", "memory_type": "working"} for n in (1, 2)]
    made = call("memories.store_batch", [{**one, "session_id": session} for one in items])
    assert [one.content for one in made] == ["batch 1", "batch 2"]
    assert call("memories.purge", memory_ids=[one.memory_id for one in made]).purged == 2
    topic = f"topic_{secrets.token_hex(4)}"
    call("memories.store", f"about {topic}, among others")
    assert call("memories.purge", topic=topic, reason="over").purged == 1


def _searches(call: Call) -> None:
    session = f"s_{secrets.token_hex(4)}"
    token = f"tok_{secrets.token_hex(4)}"
    here = call("memories.store", f"{token} in the session", session_id=session)
    other = call("memories.store", f"{token} in another one", session_id=f"other_{session}")
    scoped = call("memories.search", token, session_id=session, session_scope="only")
    found = [one.memory_id for one in scoped.items]
    assert found[0] == here.memory_id
    assert other.memory_id not in found
    both = call("memories.search", token, explain="verbose")
    assert {one.memory_id for one in both.items[:2]} == {here.memory_id, other.memory_id}
    assert both.explain is not None
    page = call("memories.list", session_id=session, trust_tier="T1", memory_type="semantic")
    assert [one.memory_id for one in page.items] == [here.memory_id]
    seen, cursor = [], None
    while True:
        page = call("memories.list", limit=1, cursor=cursor)
        seen += [one.memory_id for one in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == len(call("memories.list").items)
    said = call("observe", [{"role": "user", "content": f"{token} was said"}], session_id=session)
    assert [one["content"] for one in said.memories] == [f"{token} was said"]
    assert said.warning


def _snapshots(call: Call) -> None:
    name = f"e2e_snap_{secrets.token_hex(4)}"
    made = call("snapshots.create", name, description="of the test")
    assert made.name == name
    assert call("snapshots.list", limit=20)[0].name == name
    after = call("memories.store", f"after {name}")
    call("snapshots.rollback", name)
    held = {one.memory_id for one in call("memories.list", limit=500).items}
    assert after.memory_id not in held
    call("snapshots.delete", name)
    others = [f"{name}_{n}" for n in (1, 2)]
    for one in others:
        call("snapshots.create", one)
    call("snapshots.delete", prefix=f"{name}_")
    assert not {name, *others} & {one.name for one in call("snapshots.list", limit=100)}


def _branches(call: Call) -> None:
    name = f"e2e_branch_{secrets.token_hex(4)}"
    assert call("branches.create", name).name == name
    assert {"main", name} <= {one.name for one in call("branches.list")}
    call("branches.checkout", name)
    there = call("memories.store", f"only on {name}")
    call("branches.checkout", "main")
    assert there.memory_id not in {one.memory_id for one in call("memories.list", limit=500).items}
    on_branch = call("memories.list", limit=500, branch=name).items
    assert there.memory_id in {one.memory_id for one in on_branch}
    assert call("branches.diff", name)
    assert there.memory_id in str(call("branches.diff_items", name, limit=10))
    applied = call("branches.apply", name, adds=[there.memory_id])
    assert applied.applied_adds == [there.memory_id]
    later = call("memories.store", f"later on {name}", branch=name)
    call("branches.merge", name)
    assert later.memory_id in {one.memory_id for one in call("memories.list", limit=500).items}
    call("branches.delete", name)
    assert name not in {one.name for one in call("branches.list")}
    with pytest.raises(memoria.MemoriaNotFoundError, match="Branch not found"):
        call("memories.list", branch=name)


def _picks(call: Call) -> None:
    name = f"e2e_pick_{secrets.token_hex(4)}"
    call("branches.create", name)
    wanted = call("memories.store", f"wanted of {name}", branch=name)
    selector = {"type": "key_list", "keys": [wanted.memory_id]}
    tried = call("branches.pick", name, selector=selector, dry_run={})
    assert tried
    assert wanted.memory_id not in {one.memory_id for one in call("memories.list").items}
    assert call("branches.pick", name, selector=selector)
    assert wanted.memory_id in {one.memory_id for one in call("memories.list").items}
    call("branches.delete", name)


def _profile(call: Call) -> None:
    text = f"is a tester {secrets.token_hex(4)}"
    call("memories.store", text, memory_type="profile")
    me = call("profile.me")
    assert me.user_id.startswith("pytest_")
    assert text in me.profile
    assert me.stats["total"] > 0


def _governance(call: Call) -> None:
    assert isinstance(call("governance.run").skipped, bool)
    assert call("governance.run", force=True).skipped is False
    assert isinstance(call("governance.consolidate", force=True).skipped, bool)
    found = call("governance.reflect", mode="candidates")
    assert found.skipped is False
