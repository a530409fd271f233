"""Nothing leaks: profiles are files, names are compared as a whole."""

from __future__ import annotations

from pathlib import Path

import palimp

SIBLINGS = [
    ("acme", "alice"),
    ("acme-x", "alice"),
    ("acme", "alice-x"),
    ("acmex", "alice"),
    ("a", "cme"),
]


def test_siblings_never_reach_each_other(mem: palimp.Client) -> None:
    for namespace, name in SIBLINGS:
        profile = mem.profile(name, namespace=namespace)
        profile.remember(f"the secret of {namespace} {name}", topic="secret")
        profile.session("s").append("user", f"said in {namespace} {name}")
    for namespace, name in SIBLINGS:
        profile = mem.profile(name, namespace=namespace)
        own = f"the secret of {namespace} {name}"
        assert [hit.text for hit in profile.recall("secret", topic="secret", k=100)] == [own]
        assert [memory.text for memory in profile.list()] == [own]
        assert [turn.content for turn in profile.session("s").window()] == [
            f"said in {namespace} {name}"
        ]
        listed = [found.name for found in mem.profiles(namespace=namespace)]
        assert sorted(listed) == sorted(n for ns, n in SIBLINGS if ns == namespace)


def test_forgetting_in_one_profile_leaves_the_same_memory_of_another(mem: palimp.Client) -> None:
    first = mem.profile("alice").remember("likes tea")
    second = mem.profile("bob").remember("likes tea")
    assert first.id == second.id
    assert mem.profile("alice").forget(first)
    assert mem.profile("bob").get(second).text == "likes tea"


def test_every_profile_is_a_file_of_its_own(mem: palimp.Client, tmp_path: Path) -> None:
    for namespace, name in SIBLINGS:
        mem.profile(name, namespace=namespace).remember("x")
    files = list(tmp_path.rglob("main.db"))
    folders = {path.relative_to(tmp_path / "memory" / "hot").parts[0] for path in files}
    assert len(files) == len(folders) == len(SIBLINGS)
