"""Keys over HTTP: made by the master, used, renewed and revoked by whom they are for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx

NewUser = Callable[..., httpx.Client]


def made(master: httpx.Client, user: str, **more: Any) -> dict[str, Any]:
    answer = master.post("/auth/keys", json={"user_id": user, "name": "k", **more})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def with_key(client: httpx.Client, raw: str) -> dict[str, str]:
    return {"authorization": f"Bearer {raw}"}


def test_a_key_is_said_once_and_reaches_its_user(master: httpx.Client) -> None:
    key = made(master, "carol@example.com")
    assert re.fullmatch(r"sk-[0-9a-f]{32}", key["raw_key"])
    assert key["raw_key"].startswith(key["key_prefix"])
    assert len(key["key_prefix"]) == 12
    assert (key["user_id"], key["group_id"], key["expires_at"]) == ("carol@example.com", None, None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", key["created_at"])
    headers = with_key(master, key["raw_key"])
    listed = master.get("/auth/keys", headers=headers)
    assert [one["key_id"] for one in listed.json()] == [key["key_id"]]
    got = master.get(f"/auth/keys/{key['key_id']}", headers=headers)
    assert got.status_code == 200
    assert "raw_key" not in got.json()
    assert "raw_key" not in listed.json()[0]


def test_the_newest_key_is_first(master: httpx.Client) -> None:
    ids = [made(master, "dora")["key_id"] for _ in range(3)]
    listed = master.get("/auth/keys", headers={"x-user-id": "dora"}).json()
    assert {one["key_id"] for one in listed} == set(ids)
    assert listed[0]["created_at"] >= listed[-1]["created_at"]


def test_only_the_master_makes_keys(user: httpx.Client) -> None:
    refused = user.post("/auth/keys", json={"user_id": "eve", "name": "k"})
    assert (refused.status_code, refused.json()) == (403, {"detail": "Master key required"})


def test_what_cannot_be_a_user_or_a_name_is_refused(master: httpx.Client) -> None:
    for fields in (
        {"user_id": "", "name": "k"},
        {"user_id": "u" * 65, "name": "k"},
        {"user_id": "grp_0123456789ab", "name": "k"},
        {"user_id": "eve", "name": ""},
        {"user_id": "eve", "name": "n" * 101},
        {"user_id": "eve"},
        {"user_id": 7, "name": "k"},
        {"user_id": "eve", "name": "k", "expires_at": "soon"},
    ):
        assert master.post("/auth/keys", json=fields).status_code == 422, fields


def test_a_rotated_key_replaces_the_old_one_at_once(master: httpx.Client) -> None:
    old = made(master, "frank", expires_at="2099-01-01T00:00:00Z")
    answer = master.put(
        f"/auth/keys/{old['key_id']}/rotate", headers=with_key(master, old["raw_key"])
    )
    assert answer.status_code == 201
    new = answer.json()
    assert new["key_id"] != old["key_id"]
    assert (new["name"], new["expires_at"]) == (old["name"], "2099-01-01 00:00:00.000000")
    gone = master.get("/auth/keys", headers=with_key(master, old["raw_key"]))
    assert (gone.status_code, gone.json()) == (401, {"detail": "Invalid token"})
    assert master.get("/auth/keys", headers=with_key(master, new["raw_key"])).status_code == 200


def test_a_revoked_key_holds_no_more_and_is_not_listed(master: httpx.Client) -> None:
    first, second = made(master, "gina"), made(master, "gina")
    headers = with_key(master, first["raw_key"])
    assert master.delete(f"/auth/keys/{second['key_id']}", headers=headers).status_code == 204
    assert master.get("/auth/keys", headers=with_key(master, second["raw_key"])).status_code == 401
    listed = master.get("/auth/keys", headers=headers).json()
    assert [one["key_id"] for one in listed] == [first["key_id"]]


def test_a_key_that_has_expired_is_not_made(master: httpx.Client) -> None:
    fields = {"user_id": "hal", "name": "k", "expires_at": "2020-01-01T00:00:00Z"}
    assert master.post("/auth/keys", json=fields).status_code == 422


def test_a_key_reaches_no_key_of_another_user(master: httpx.Client, new_user: NewUser) -> None:
    key, other = made(master, "ida"), new_user()
    path = f"/auth/keys/{key['key_id']}"
    refused = [other.get(path), other.put(f"{path}/rotate"), other.delete(path)]
    assert [(one.status_code, one.json()["detail"]) for one in refused] == [
        (403, "Not your key")
    ] * 3
    assert master.get("/auth/keys", headers=with_key(master, key["raw_key"])).status_code == 200


def test_a_key_that_is_none_is_not_found(master: httpx.Client, user: httpx.Client) -> None:
    for client in (master, user):
        for identity in ("nothing", "3f0c7c2e-9a1b-4a6e-8a2f-0123456789ab", "%00", "a%2Fb"):
            assert client.get(f"/auth/keys/{identity}").status_code == 404, identity
            assert client.delete(f"/auth/keys/{identity}").status_code == 404, identity
