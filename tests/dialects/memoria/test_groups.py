"""Groups: shared memories whose main is changed through branches."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest

NewUser = Callable[..., httpx.Client]
_TLS = ssl.create_default_context()
READ_ONLY = "main is read-only in group mode"


def ok(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


class Team:
    """A group of an owner and a member, and keys of both that are for it."""

    def __init__(self, master: httpx.Client, new_user: NewUser, word: str) -> None:
        self.names = [f"Owner {word}", f"Member {word}"]
        self.owner, self.member = map(new_user, self.names)
        body = {"group_name": "Team", "members": [self.names[1]]}
        self.group = ok(self.owner.post("/v1/groups", json=body), 201)
        self.id = self.group["group_id"]
        self.master = master
        self.as_owner, self.as_member = (self.enter(name) for name in self.names)

    def enter(self, user: str) -> httpx.Client:
        body = {"user_id": user, "name": "team", "group_id": self.id}
        key = ok(self.owner.post("/auth/keys", json=body), 201)
        assert key["group_id"] == self.id
        headers = {"authorization": f"Bearer {key['raw_key']}"}
        return httpx.Client(base_url=self.master.base_url, headers=headers, verify=_TLS)

    def close(self) -> None:
        self.as_owner.close()
        self.as_member.close()


@pytest.fixture
def team(master: httpx.Client, new_user: NewUser, request: pytest.FixtureRequest) -> Any:
    made = Team(master, new_user, request.node.name[:40])
    yield made
    made.close()


def stored(client: httpx.Client, content: str, status: int = 201, **more: Any) -> Any:
    return ok(client.post("/v1/memories", json={"content": content, **more}), status)


def contents(client: httpx.Client, **params: str) -> set[str]:
    return {one["content"] for one in ok(client.get("/v1/memories", params=params))["items"]}


def test_a_group_is_seen_by_its_members_only(team: Team, new_user: NewUser) -> None:
    assert team.group["owner_user_id"] == team.names[0]
    assert {one["user_id"]: one["role"] for one in team.group["members"]} == {
        team.names[0]: "owner", team.names[1]: "member",
    }  # fmt: skip
    for client in (team.owner, team.member, team.as_member):
        assert [one["group_id"] for one in ok(client.get("/v1/groups"))] == [team.id]
        assert ok(client.get(f"/v1/groups/{team.id}"))["group_name"] == "Team"
    stranger = new_user()
    assert ok(stranger.get("/v1/groups")) == []
    assert stranger.get(f"/v1/groups/{team.id}").status_code == 403
    assert stranger.get("/v1/groups/grp_0123456789ab").status_code == 404
    for method, path in (
        ("POST", f"/v1/groups/{team.id}/members/{team.names[1]}"),
        ("DELETE", f"/v1/groups/{team.id}/members/{team.names[1]}"),
        ("DELETE", f"/v1/groups/{team.id}"),
    ):
        for client in (stranger, team.member):
            assert client.request(method, path).status_code == 403
    body = {"user_id": team.names[1], "name": "k", "group_id": team.id}
    assert stranger.post("/auth/keys", json=body).status_code == 403
    assert team.member.post("/auth/keys", json=body).status_code == 403


def test_who_is_not_registered_or_no_member_is_refused(team: Team, new_user: NewUser) -> None:
    body = {"group_name": "Other", "members": ["who is that"]}
    assert team.owner.post("/v1/groups", json=body).status_code == 422
    assert team.owner.post("/v1/groups", json={"group_name": ""}).status_code == 422
    new_user("outsider")
    key = {"user_id": "outsider", "name": "k", "group_id": team.id}
    assert team.owner.post("/auth/keys", json=key).status_code == 422
    again = team.owner.post(f"/v1/groups/{team.id}/members/{team.names[1]}")
    assert again.status_code == 409
    owner = team.owner.delete(f"/v1/groups/{team.id}/members/{team.names[0]}")
    assert owner.status_code == 403


def test_main_is_read_only_and_branches_are_not(team: Team) -> None:
    for client in (team.as_owner, team.as_member):
        refused = client.post("/v1/memories", json={"content": "to main"})
        assert refused.status_code == 403
        assert refused.json()["detail"].startswith(READ_ONLY)
    for method, path, body in (
        ("POST", "/v1/memories/batch", {"memories": []}),
        ("POST", "/v1/memories/purge", {"topic": "anything"}),
        ("POST", "/v1/memories/correct", {"query": "q", "new_content": "x"}),
        ("PUT", "/v1/memories/mem_1/correct", {"new_content": "x"}),
        ("DELETE", "/v1/memories/mem_1", None),
        ("POST", "/v1/observe", {"messages": []}),
        ("POST", "/v1/snapshots/s/rollback", {}),
        ("POST", "/v1/governance", {}),
        ("POST", "/v1/branches/b/merge", {}),
    ):
        assert team.as_member.request(method, path, json=body).status_code == 403, path
    ok(team.as_member.post("/v1/branches", json={"name": "b"}), 201)
    made = stored(team.as_member, "said on a branch", branch="b")
    assert (made["user_id"], made["author_id"]) == (team.id, team.names[1])
    assert contents(team.as_owner, branch="b") == {"said on a branch"}
    ok(team.as_member.post("/v1/branches/b/checkout", json={}))
    stored(team.as_member, "said where I am")
    assert contents(team.as_owner) == set()
    applied = team.as_owner.post("/v1/branches/b/apply", json={"adds": [made["memory_id"]]})
    assert ok(applied)["applied_adds"] == [made["memory_id"]]
    assert contents(team.as_owner) == {"said on a branch"}


def test_a_tool_that_writes_to_main_has_its_code(team: Team) -> None:
    params = {"name": "memory_store", "arguments": {"content": "x"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    error = ok(team.as_member.post("/mcp", json=message))["error"]
    assert error["code"] == -32001
    assert error["message"].startswith(READ_ONLY)


def test_each_member_is_on_a_branch_of_their_own_choice(team: Team) -> None:
    ok(team.as_member.post("/v1/branches", json={"name": "b"}), 201)
    ok(team.as_member.post("/v1/branches/b/checkout", json={}))

    def active(client: httpx.Client) -> str:
        listed = ok(client.get("/v1/branches"))["branches"]
        (name,) = [one["name"] for one in listed if one["active"]]
        return str(name)

    assert (active(team.as_member), active(team.as_owner)) == ("b", "main")
    assert active(team.member) == "main"
    stored(team.member, "my own memory")
    assert contents(team.member) == {"my own memory"}
    assert contents(team.as_member) == set()


def test_an_owner_who_is_alone_writes_to_main(team: Team) -> None:
    ok(team.owner.delete(f"/v1/groups/{team.id}/members/{team.names[1]}"))
    stored(team.as_owner, "alone at last")
    assert contents(team.as_owner) == {"alone at last"}


def test_removing_a_member_revokes_their_keys_at_once(team: Team) -> None:
    ok(team.owner.delete(f"/v1/groups/{team.id}/members/{team.names[1]}"))
    assert team.as_member.get("/v1/memories").status_code == 401
    assert ok(team.member.get("/v1/groups")) == []
    assert team.member.get(f"/v1/groups/{team.id}").status_code == 403
    ok(team.owner.post(f"/v1/groups/{team.id}/members/{team.names[1]}"))
    assert team.as_member.get("/v1/memories").status_code == 401
    with team.enter(team.names[1]) as again:
        assert contents(again) == set()


def test_a_group_s_key_reaches_no_other_key(team: Team) -> None:
    listed = ok(team.as_member.get("/auth/keys"))
    assert [one["group_id"] for one in listed] == [team.id]
    personal = next(one for one in ok(team.member.get("/auth/keys")) if one["group_id"] is None)
    refused = team.as_member.put(f"/auth/keys/{personal['key_id']}/rotate")
    assert (refused.status_code, refused.json()["detail"]) == (403, "Not your key")
    # The owner may take a member's key for the group away, and no other.
    assert team.owner.delete(f"/auth/keys/{personal['key_id']}").status_code == 403
    assert team.owner.delete(f"/auth/keys/{listed[0]['key_id']}").status_code == 204
    assert team.as_member.get("/v1/memories").status_code == 401


def test_a_deleted_group_is_gone(team: Team) -> None:
    ok(team.as_member.post("/v1/branches", json={"name": "b"}), 201)
    done = ok(team.owner.delete(f"/v1/groups/{team.id}"))
    assert done == {"group_id": team.id, "status": "deleted"}
    assert team.as_owner.get("/v1/memories").status_code == 401
    assert ok(team.owner.get("/v1/groups")) == []
    assert team.owner.get(f"/v1/groups/{team.id}").status_code == 404


def test_a_group_begins_with_what_its_owner_has(new_user: NewUser, master: httpx.Client) -> None:
    owner, other = new_user("Seed Owner"), new_user("Seed Other")
    stored(owner, "to be shared", session_id="s")
    gone = stored(owner, "to be left out")
    owner.delete(f"/v1/memories/{gone['memory_id']}")

    def database(user: str) -> str:
        return f"mem_u_{hashlib.sha256(user.encode()).hexdigest()[:16]}"

    body = {"group_name": "Seeded", "seed": {"db_name": database("Seed Owner")}}
    assert other.post("/v1/groups", json=body).status_code == 403
    group = ok(owner.post("/v1/groups", json=body), 201)
    key = {"user_id": "Seed Owner", "name": "k", "group_id": group["group_id"]}
    raw = ok(owner.post("/auth/keys", json=key), 201)["raw_key"]
    headers = {"authorization": f"Bearer {raw}"}
    listed = ok(master.get("/v1/memories", headers=headers))["items"]
    assert [(one["content"], one["session_id"]) for one in listed] == [("to be shared", "s")]
    assert contents(owner) == {"to be shared"}
