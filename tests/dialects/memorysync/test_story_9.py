"""Story 9, the project header: with it one project and what has none, without it all, and a warning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import memorysync
import pytest

from palimp.clock import ManualClock

from .speaking import TENANT, House

TEXTS = {"A": "The keel of ship A is of oak", "B": "The keel of ship B is steel",
         None: "The keel is painted every year"}  # fmt: skip


class Yard(NamedTuple):
    """An end user's rows in two projects, and one in none."""

    house: House
    user: str
    projects: dict[str, str]
    ids: dict[str | None, int]

    def client(self, project: str | None = None, **given: Any) -> memorysync.MemorySyncClient:
        return self.house.client(self.user, project=project, **given)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    found = House(tmp_path_factory.mktemp("projects"), ManualClock())
    found.add_policy({"audit": {"enabled": True}})
    yield found
    found.close()


@pytest.fixture
def yard(house: House, request: pytest.FixtureRequest) -> Yard:
    user = f"of {request.node.name}"
    projects = {name: house.control().create_project(name)["id"] for name in "AB"}
    ids: dict[str | None, int] = {}
    for name, text in TEXTS.items():
        made = house.client(user, project=projects.get(str(name))).add(text)
        assert type(made) is memorysync.Memory
        ids[name] = made.id
    return Yard(house, user, projects, ids)


def _keels(client: memorysync.MemorySyncClient) -> set[int]:
    found = {one.id for one in client.query("What is the keel of?", k=10).memories}
    assert found == {one["id"] for one in client.export_all().memories}
    return found


def _warnings(house: House) -> int:
    house.node.context.audit.flush(10.0)
    namespace = house.profile().target.namespace
    return sum(1 for one in house.mem.audit(namespace) if "scope" in one.action)


def test_with_the_header_its_own_and_those_of_none(yard: Yard) -> None:
    before = _warnings(yard.house)
    for name, project in yard.projects.items():
        assert _keels(yard.client(project)) == {yard.ids[name], yard.ids[None]}
        other = yard.ids["B" if name == "A" else "A"]
        with pytest.raises(memorysync.NotFoundError):
            yard.client(project).get(other)
    assert _warnings(yard.house) == before


def test_without_the_header_all_of_them_and_one_warning_a_request(yard: Yard) -> None:
    before = _warnings(yard.house)
    raw = yard.house.raw(yard.user)
    found = raw.post("/memory/query", json={"query": "What is the keel of?", "k": 10})
    assert {one["id"] for one in found.json()["memories"]} == set(yard.ids.values())
    assert found.headers["x-memorysync-warning"] == "missing-scope"
    assert _warnings(yard.house) == before + 1
    assert _keels(yard.client()) == set(yard.ids.values())
    wide = {"x-allow-cross-project": "true"}
    before = _warnings(yard.house)
    found = raw.post("/memory/query", json={"query": "keel", "k": 10}, headers=wide)
    assert len(found.json()["memories"]) == 3
    assert "x-memorysync-warning" not in found.headers
    assert _warnings(yard.house) == before


def test_a_foreign_project_shows_nothing(yard: Yard) -> None:
    foreign = yard.house.control(yard.house.new_key("org_other")).create_project("X")["id"]
    for project in (foreign, "proj_0123456789abcdef"):
        with pytest.raises(memorysync.MemorySyncError) as refused:
            yard.client(project).query("keel")
        assert refused.value.status_code in (403, 404)
    with pytest.raises(memorysync.ValidationError) as malformed:
        yard.client("not a project").query("keel")
    assert malformed.value.status_code == 400


def test_a_key_of_one_project_needs_no_header(yard: Yard) -> None:
    before = _warnings(yard.house)
    key = yard.house.new_key(project=yard.projects["A"])
    assert _keels(yard.client(key=key)) == {yard.ids["A"], yard.ids[None]}
    assert _warnings(yard.house) == before
    with pytest.raises(memorysync.AuthError):
        yard.client(yard.projects["B"], key=key).query("keel")


def test_the_rows_of_a_deleted_project_are_those_of_none(yard: Yard) -> None:
    yard.house.control().delete_project(yard.projects["A"])
    assert _keels(yard.client(yard.projects["B"])) == set(yard.ids.values())
    assert yard.house.raw(yard.user).get(f"/memory/{yard.ids['A']}").json()["project_id"] is None


def test_an_archived_project_can_be_read_and_not_written_to(yard: Yard) -> None:
    yard.house.control().archive_project(yard.projects["A"])
    client = yard.client(yard.projects["A"])
    assert _keels(client) == {yard.ids["A"], yard.ids[None]}
    with pytest.raises(memorysync.ValidationError) as refused:
        client.add("The rudder of ship A is lost")
    assert refused.value.status_code == 409


def test_nobody_sees_another_users_rows_environment_or_tenant(yard: Yard) -> None:
    stranger = yard.house.client("somebody else")
    assert stranger.query("keel", k=10).memories == []
    for identity in yard.ids.values():
        with pytest.raises(memorysync.NotFoundError):
            stranger.get(identity)
        with pytest.raises(memorysync.NotFoundError):
            stranger.update(identity, tags=["x"])
    for key in (yard.house.new_key(environment="staging"), yard.house.new_key("org_other")):
        assert yard.client(key=key).export_all().memories == []
    with (
        memorysync.MemorySyncClient(yard.house.key, yard.house.url) as bare,
        pytest.raises(memorysync.ValidationError) as missing,
    ):
        bare.query("keel")
    assert missing.value.response["error"]["code"] == "MISSING_END_USER_ID"


def test_strict_refuses_what_names_no_project(tmp_path: Path) -> None:
    house = House(tmp_path, ManualClock(), memorysync_strict_scope=True)
    project = house.control().create_project("A")["id"]
    assert house.client(project=project).add("The keel is made of oak")
    with pytest.raises(memorysync.ValidationError) as refused:
        house.client().query("keel")
    assert refused.value.status_code == 400
    assert TENANT
    house.close()
