"""Organisations: their names, their keys, their Arcs as they are kept, and what deleting takes."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

import palimp
from palimp import Client
from palimp.api import Target
from palimp.errors import Conflict, Invalid, NotFound, Unconfigured
from palimp.ids import NAMESPACE_CHARS_MAX, check_name
from palimp.operations.arcs import masked
from palimp.operations.organisations import namespace_of, org_target

pytest.importorskip(
    "sqlalchemy", reason="sqlalchemy is not installed (pip install 'palimp[server]')"
)

MASTER = base64.b64encode(b"m" * 32).decode()
OTHER = base64.b64encode(b"o" * 32).decode()
NOWHERE = "http://127.0.0.1:9"


def opened(folder: Path, master: str | None = MASTER) -> Client:
    return palimp.open(
        folder / "memory",
        embed_provider="none",
        catalog_url=f"sqlite:///{folder}/catalog.db",
        master_key=master,
    )


@pytest.fixture
def mem(tmp_path: Path) -> Iterator[Client]:
    with opened(tmp_path) as found:
        yield found


@pytest.fixture
def org(mem: Client) -> str:
    return mem.create_tenant("memtrace", "Acme Corp").name


def test_every_organisation_has_a_namespace_of_its_own() -> None:
    long = ("a" * 128, "a" * 127 + "b", "A" * 128)
    names = ("org_default", "acme", "Acme", "a-b", "a_b", *long)
    found = [namespace_of(one) for one in names]
    assert len(set(found)) == len(names)
    for one in found:
        assert check_name(one, "namespace", chars_max=NAMESPACE_CHARS_MAX) == one
    assert found[0] == "x-mt_3aorg_5fdefault"
    assert found[5] != found[6]
    assert found[5].startswith("mt-")
    assert org_target("acme") == Target(namespace_of("acme"), "events")


@pytest.mark.parametrize("bad", ["", "1a", "a b", "a/b", "a" * 129, "a\n", "ä"])
def test_what_is_no_id_of_one_is_refused(bad: str) -> None:
    with pytest.raises(Invalid, match="is not a letter and up to 127 of"):
        org_target(bad)


def test_an_organisation_is_given_an_id_and_two_may_have_one_title(mem: Client) -> None:
    first, second = (mem.create_tenant("memtrace", "Acme Corp") for _ in range(2))
    assert re.fullmatch("org_[0-9a-f]{24}", first.name)
    assert first.name != second.name
    assert (first.title, first.store) == ("Acme Corp", "profile")
    for title in ("", "  "):
        with pytest.raises(Invalid, match=r"^name must be non-empty$"):
            mem.create_tenant("memtrace", title)
    found = list(mem.tenants("memtrace"))
    assert [one.name for one in found] == sorted((first.name, second.name))
    assert {one.title for one in found} == {"Acme Corp"}
    with pytest.raises(Invalid, match="has no choice of a store"):
        mem.create_tenant("memorysync", "acme", store="arc")


def test_a_key_looks_as_there_and_has_a_name_nobody_else_has(mem: Client, org: str) -> None:
    key = mem.create_credential("memtrace", org, "app")
    assert re.fullmatch(r"mtk_[A-Za-z0-9_-]{43}=", key.secret or "")
    assert key.detail == {"permissions": ["read", "write"]}
    other = mem.create_tenant("memtrace", "Other").name
    with pytest.raises(Conflict, match=r"^key with name 'app' already exists$"):
        mem.create_credential("memtrace", other, "app")
    # Another dialect's names are its own, and a key that took another's place has its name.
    mem.create_credential("memoria", "alice", "app")
    renewed = mem.rotate_credential(key)
    with pytest.raises(Conflict):
        mem.create_credential("memtrace", other, "app")
    mem.revoke_credential(renewed)
    again = mem.create_credential("memtrace", other, "app", detail={"permissions": ["admin"]})
    assert again.detail == {"permissions": ["admin"]}
    with pytest.raises(NotFound, match=r"^org 'org_nobody' not found$"):
        mem.create_credential("memtrace", "org_nobody", "b")
    for wrong in ([], ["root"], "read"):
        with pytest.raises(Invalid, match="give one or more of read, write, admin"):
            mem.create_credential("memtrace", org, "b", detail={"permissions": wrong})


def test_a_name_without_a_key_is_free_a_little_later(tmp_path: Path, mem: Client, org: str) -> None:
    made = mem.create_credential("memtrace", org, "app")
    catalog = apsw.Connection(str(tmp_path / "catalog.db"))
    # As if the process had died before there was the key: a moment ago, and long ago.
    catalog.execute("DELETE FROM palimp_credentials WHERE id = ?", (made.id,))
    with pytest.raises(Conflict):
        mem.create_credential("memtrace", org, "app")
    [(key, value)] = catalog.execute(
        "SELECT key, value FROM palimp_bindings WHERE key LIKE 'key-name/%'"
    ).fetchall()
    old = re.sub(r"[0-9]{13}", str(made.created_at - 20_000), str(value))
    assert old != value
    catalog.execute("UPDATE palimp_bindings SET value = ? WHERE key = ?", (old, key))
    assert mem.create_credential("memtrace", org, "app").id != made.id


@pytest.mark.parametrize(
    ("key", "shown"),
    [("", "(empty)"), ("12345678", "********"), ("123456789", "1234*6789"), ("a", "*")],
)
def test_a_key_is_masked(key: str, shown: str) -> None:
    assert masked(key) == shown


def test_an_arc_is_kept_with_its_key_sealed(tmp_path: Path, mem: Client, org: str) -> None:
    made = mem.bind_arc(org, NOWHERE + "/", "memory", api_key="arc-key-0123456789")
    assert re.fullmatch("arc_[0-9a-f]{24}", made.id)
    assert (made.url, made.database, made.measurement) == (NOWHERE, "memory", "events")
    assert made.api_key == "arc-" + "*" * 10 + "6789"
    assert made.state == "draining"
    assert mem.arc(org) == made
    [one] = mem.tenants("memtrace")
    assert one.store == "arc"
    with pytest.raises(Conflict, match=f"^org '{org}' already has an arc instance configured$"):
        mem.bind_arc(org, NOWHERE, "memory")
    with pytest.raises(NotFound, match=r"^org 'org_x' not found; create it first with `memtrace"):
        mem.bind_arc("org_x", NOWHERE, "memory")
    for wrong in ({"url": "ftp://a"}, {"url": "x"}, {"database": "1"}, {"measurement": "a b"}):
        with pytest.raises(Invalid):
            mem.bind_arc(org, **{"url": NOWHERE, "database": "memory", **wrong})
    for path in tmp_path.glob("catalog.db*"):
        assert b"arc-key-0123456789" not in path.read_bytes()


def test_an_arc_that_was_taken_away_is_missed_and_one_that_never_was_is_not(
    mem: Client, org: str
) -> None:
    there = mem.profile("events", namespace=namespace_of(org))
    with pytest.raises(NotFound, match=f"^no arc instance configured for {org}$"):
        mem.remove_arc(org)
    there.timeline.append("a", "written to the profile")
    mem.bind_arc(org, NOWHERE, "memory")
    mem.remove_arc(org)
    with pytest.raises(Unconfigured, match=r"^no arc instance configured for this org$") as caught:
        there.timeline.append("a", "nowhere to go")
    assert caught.value.details["hint"] == ("ask an admin to run `memtrace org add-arc <org_id>`")
    with pytest.raises(NotFound, match=f"^no arc instance configured for {org}$"):
        mem.arc(org)
    needs = mem.create_tenant("memtrace", "Needs one", store="arc")
    assert needs.store == "arc"
    with pytest.raises(Unconfigured):
        mem.profile("events", namespace=namespace_of(needs.name)).timeline.append("a", "no")
    # It never wrote to its profile, so there is nothing to wait for.
    assert mem.bind_arc(needs.name, NOWHERE, "memory").state == "bound"


def test_without_a_master_key_there_is_no_arc(tmp_path: Path) -> None:
    with opened(tmp_path, None) as mem:
        org = mem.create_tenant("memtrace", "Acme").name
        with pytest.raises(Unconfigured, match="set PALIMP_MASTER_KEY or MEMTRACE_MASTER_KEY"):
            mem.bind_arc(org, NOWHERE, "memory", api_key="k")
        assert next(iter(mem.tenants("memtrace"))).store == "profile"


def test_the_key_of_an_arc_outlives_the_keys_it_is_sealed_under(tmp_path: Path) -> None:
    with opened(tmp_path) as mem:
        org = mem.create_tenant("memtrace", "Acme").name
        shown = mem.bind_arc(org, NOWHERE, "memory", api_key="0123456789").api_key
        list(mem.rotate_keys(namespace=namespace_of(org)))
        assert mem.arc(org).api_key == shown
    with opened(tmp_path, f"{OTHER},{MASTER}") as mem:
        list(mem.rotate_keys(namespace=namespace_of(org)))
        assert mem.arc(org).api_key == shown


def test_deleting_one_takes_all_that_is_its_and_says_what_is_left(mem: Client, org: str) -> None:
    mem.create_credential("memtrace", org, "app")
    mem.profile("events", namespace=namespace_of(org)).timeline.append("a", "hello")
    mem.bind_arc(org, NOWHERE, "memory", measurement="seen")
    done = mem.delete_tenant("memtrace", org)
    assert (done.name, done.keys, done.databases) == (org, 1, 1)
    assert done.left == f"rows of measurement seen of database memory at {NOWHERE}"
    assert list(mem.tenants("memtrace")) == []
    assert list(mem.credentials(dialect="memtrace")) == []
    assert list(mem.profiles(namespace=namespace_of(org))) == []
    with pytest.raises(NotFound, match=f"^org '{org}' not found$"):
        mem.delete_tenant("memtrace", org)
