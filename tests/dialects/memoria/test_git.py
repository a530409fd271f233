"""Snapshots and branches over HTTP, as that system's users have them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from palimp.api import CreateCheckpoint, Target
from palimp.ids import foreign_name

NewUser = Callable[..., httpx.Client]


class Git:
    """A user's memories, with short words for what the tests do to them."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.client.post(path, json={} if body is None else body)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    def get(self, path: str, status: int = 200, **params: Any) -> Any:
        answer = self.client.get(path, params=params)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    def delete(self, path: str, status: int = 204) -> httpx.Response:
        answer = self.client.delete(path)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer

    def store(self, content: str, branch: str | None = None, **more: Any) -> str:
        body = {"content": content, **({} if branch is None else {"branch": branch}), **more}
        identity: str = self.post("/v1/memories", body, 201)["memory_id"]
        return identity

    def correct(self, identity: str, content: str, branch: str = "main") -> str:
        path = f"/v1/memories/{identity}/correct"
        answer = self.client.put(path, json={"new_content": content, "branch": branch})
        assert answer.status_code == 200, answer.text
        found: str = answer.json()["memory_id"]
        return found

    def texts(self, branch: str = "main") -> set[str]:
        return {one["content"] for one in self.get("/v1/memories", branch=branch)["items"]}

    def snapshot(self, name: str, **more: Any) -> Any:
        return self.post("/v1/snapshots", {"name": name, **more}, 201)

    def snapshots(self, **params: Any) -> list[str]:
        return [one["name"] for one in self.get("/v1/snapshots", **params)["snapshots"]]

    def branch(self, name: str, **more: Any) -> Any:
        return self.post("/v1/branches", {"name": name, **more}, 201)

    def branches(self) -> dict[str, bool]:
        listed = self.get("/v1/branches")["branches"]
        return {one["name"]: one["active"] for one in listed}


@pytest.fixture
def git(user: httpx.Client) -> Git:
    return Git(user)


# -- snapshots ------------------------------------------------------------------------------------


def test_a_snapshot_and_back(git: Git) -> None:
    git.store("the boiler is in the cellar")
    made = git.snapshot("before-move", description="a good state")
    assert (made["name"], made["memory_count"]) == ("before_move", 1)
    assert made["description"] == "a good state"
    git.store("the boiler went to the attic")
    git.branch("b")
    git.store("on the branch", "b")
    done = git.post("/v1/snapshots/before-move/rollback")
    assert done == {"result": "Rolled back to snapshot 'before_move'"}
    assert git.texts() == {"the boiler is in the cellar"}
    assert "on the branch" in git.texts("b")
    git.delete("/v1/snapshots/before_move")
    assert "before_move" not in git.snapshots()
    git.post("/v1/snapshots/before_move/rollback", status=404)


def test_a_rollback_can_be_taken_back_and_chained(git: Git) -> None:
    git.store("one")
    git.snapshot("first")
    git.store("two")
    git.snapshot("second")
    git.store("three")
    git.post("/v1/snapshots/first/rollback")
    git.post("/v1/snapshots/second/rollback")
    assert git.texts() == {"one", "two"}
    automatic = [name for name in git.snapshots() if name.startswith("pre_rollback_")]
    assert len(automatic) == 2
    git.post(f"/v1/snapshots/{automatic[1]}/rollback")
    assert git.texts() == {"one", "two", "three"}


def test_lists_newest_first_in_pages(git: Git) -> None:
    names = [f"s{number}" for number in range(5)]
    for name in names:
        git.snapshot(name)
    assert git.snapshots() == names[::-1]
    page = git.get("/v1/snapshots", limit=2, offset=1)
    assert [one["name"] for one in page["snapshots"]] == ["s3", "s2"]
    assert (page["total"], page["limit"], page["offset"], page["has_more"]) == (5, 2, 1, True)
    assert not git.get("/v1/snapshots", limit=2, offset=3)["has_more"]
    assert page["snapshots"][0]["registered"] is True


def test_a_user_who_never_wrote_has_none_and_can_begin_with_one(git: Git) -> None:
    assert git.get("/v1/snapshots")["snapshots"] == []
    git.get("/v1/snapshots/nothing", status=404)
    assert git.snapshot("empty")["memory_count"] == 0
    git.store("first")
    git.post("/v1/snapshots/empty/rollback")
    assert git.texts() == set()


def test_names_are_cleaned_and_one_name_is_one_snapshot(git: Git) -> None:
    assert git.snapshot("a-b c!")["name"] == "a_b_c_"
    assert git.snapshot("9 lives")["name"] == "s_9_lives"
    assert git.snapshot("Größe")["name"] == "Gr__e"
    assert len(git.snapshot("x" * 60)["name"]) == 40
    refused = git.post("/v1/snapshots", {"name": "a.b.c."}, 409)
    assert refused["detail"] == "Snapshot 'a_b_c_' already exists."
    assert git.snapshots() == ["x" * 40, "Gr__e", "s_9_lives", "a_b_c_"]
    for body in ({}, {"name": 7}, {"name": "s", "description": 7}, {"name": "pre_purge_01234567"}):
        git.post("/v1/snapshots", body, 422)


def test_the_limit_counts_what_the_user_made_and_deleting_frees_it(git: Git) -> None:
    for number in range(20):
        git.snapshot(f"s{number}")
    git.delete(f"/v1/memories/{git.store('a passing thought')}")
    assert len(git.snapshots(limit=50)) == 21
    refused = git.post("/v1/snapshots", {"name": "one_more"}, 422)
    assert refused["detail"].startswith("Snapshot limit reached (20)")
    git.delete("/v1/snapshots/s0")
    git.snapshot("one_more")


def test_of_automatic_ones_the_newest_20_stay_and_of_the_user_s_all(git: Git, spoken: Any) -> None:
    git.snapshot("pre_release")
    user = git.get("/v1/profiles/me")["user_id"]
    target = Target("memoria", foreign_name(user))
    for number in range(20):
        request = CreateCheckpoint(name=f"pre_purge_{number:08x}")
        spoken.node.call("checkpoints.create", target, request)
    git.delete(f"/v1/memories/{git.store('a passing thought')}")
    names = git.snapshots(limit=50)
    assert len(names) == 21
    assert "pre_release" in names


def test_snapshots_go_by_name_prefix_and_age(git: Git) -> None:
    for name in ("a1", "a2", "b1", "b2", "c1"):
        git.snapshot(name)
    gone = git.post("/v1/snapshots/delete", {"names": ["b1", "nothing"]})
    assert gone == {"result": "Deleted 1 snapshot(s): b1"}
    assert git.post("/v1/snapshots/delete", {"names": "b2, c1"})["result"].startswith("Deleted 2")
    assert git.post("/v1/snapshots/delete", {"prefix": "a"})["result"].endswith(": a2, a1")
    git.snapshot("d1")
    old = git.post("/v1/snapshots/delete", {"older_than": "2020-01-01"})
    assert old == {"result": "Deleted 0 snapshot(s)"}
    git.post("/v1/snapshots/delete", {"older_than": "2999-01-01T00:00:00"})
    assert git.snapshots() == []
    for body in (
        {},
        {"names": "a", "prefix": "a"},
        {"older_than": "yesterday"},
        {"older_than": "2020-13-01"},
        {"prefix": ""},
        {"names": 7},
    ):
        git.post("/v1/snapshots/delete", body, 422)


def test_details_are_cut_on_a_character_and_in_pages(git: Git) -> None:
    git.store("ä" * 100, memory_type="profile")
    git.store("short")
    git.snapshot("s")
    git.store("later")
    found = git.get("/v1/snapshots/s", limit=1)
    assert (found["memory_count"], found["has_more"]) == (2, True)
    assert found["by_type"] == {"profile": 1, "semantic": 1}
    brief = git.get("/v1/snapshots/s", offset=1)["memories"][0]
    assert brief["content"] == "ä" * 40 + " [truncated]"
    assert "confidence" not in brief
    full = git.get("/v1/snapshots/s", detail="full", offset=1)["memories"][0]
    assert (full["content"], full["confidence"]) == ("ä" * 100, 0.95)
    git.get("/v1/snapshots/s", status=422, detail="all")


def test_diff_of_a_snapshot(git: Git) -> None:
    first, second = git.store("one"), git.store("two")
    git.snapshot("s")
    git.delete(f"/v1/memories/{first}")
    third = git.store("three")
    found = git.get("/v1/snapshots/s/diff")
    assert (found["snapshot_count"], found["current_count"]) == (2, 2)
    assert [one["memory_id"] for one in found["added"]] == [third]
    assert [one["memory_id"] for one in found["removed"]] == [first]
    assert second not in str(found)


def test_the_snapshots_of_two_users_are_apart(git: Git, new_user: NewUser) -> None:
    other = Git(new_user())
    for one, text in ((git, "mine"), (other, "yours")):
        one.store(text)
        one.snapshot("same")
        one.store(f"{text} later")
    git.post("/v1/snapshots/same/rollback")
    assert (git.texts(), other.texts()) == ({"mine"}, {"yours", "yours later"})
    git.snapshot("only_mine")
    other.get("/v1/snapshots/only_mine", status=404)
    other.delete("/v1/snapshots/only_mine", status=404)
    other.post("/v1/snapshots/delete", {"prefix": "only"})
    assert "only_mine" in git.snapshots()


# -- branches -------------------------------------------------------------------------------------


def test_a_branch_is_apart_from_main_and_can_be_checked_out(git: Git) -> None:
    kept = git.store("in both")
    assert git.branch("Eval-1")["result"] == "Created branch 'Eval-1'"
    assert git.branches() == {"main": True, "Eval-1": False}
    git.store("only there", "Eval-1")
    git.correct(kept, "in both, corrected", "Eval-1")
    assert git.texts() == {"in both"}
    done = git.post("/v1/branches/Eval-1/checkout")
    assert done["result"].startswith("Switched to branch 'Eval-1'. 2 memories")
    assert git.branches() == {"main": False, "Eval-1": True}
    git.store("written where I am")
    assert git.texts() == {"in both"}
    assert "written where I am" in git.texts("Eval-1")
    git.post("/v1/branches/main/checkout")
    assert git.branches()["main"] is True
    listed = git.get("/v1/branches")
    assert "created_at" not in listed["branches"][0]
    assert listed["branches"][1]["created_at"].endswith("Z")


def test_deleting_the_active_branch_goes_back_to_main(git: Git) -> None:
    git.branch("b")
    git.post("/v1/branches/b/checkout")
    git.delete("/v1/branches/b")
    assert git.branches() == {"main": True}
    git.store("on main")
    assert git.texts() == {"on main"}
    git.branch("b")
    assert git.branches() == {"main": True, "b": False}
    assert git.delete("/v1/branches/main", 400).json()["detail"] == "Cannot delete main"
    assert git.delete("/v1/branches/no", 404).json()["detail"] == "Branch not found: no"


def test_the_limit_of_branches(git: Git) -> None:
    git.store("x")
    for number in range(20):
        git.branch(f"b{number}")
    refused = git.post("/v1/branches", {"name": "one_more"}, 422)
    assert refused["detail"].startswith("Branch limit reached (20)")
    git.delete("/v1/branches/b0")
    git.branch("one_more")
    assert git.post("/v1/branches", {"name": "b1"}, 409)["detail"].endswith("already exists.")
    git.post("/v1/branches", {"name": "main"}, 409)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a;drop", "ä", "x" * 101, "..", "a\nb"])
def test_a_name_that_is_none_reaches_nothing(git: Git, name: str) -> None:
    git.store("here")
    git.post("/v1/branches", {"name": name}, 422)
    if name and "/" not in name and name != "..":
        git.post(f"/v1/branches/{quote(name)}/checkout", status=422)


def test_a_branch_from_a_snapshot_and_from_a_time(git: Git) -> None:
    git.store("one")
    git.snapshot("s")
    git.store("two")
    git.branch("from_s", from_snapshot="s")
    assert git.texts("from_s") == {"one"}
    git.post("/v1/branches", {"name": "x", "from_snapshot": "no"}, 404)
    for moment in (
        "yesterday",
        "2999-01-01 00:00:00",
        "2020-01-01 00:00:00",
        "2020-13-01 00:00:00",
    ):
        git.post("/v1/branches", {"name": "x", "from_timestamp": moment}, 422)
    both = {"name": "x", "from_snapshot": "s", "from_timestamp": "2020-01-01 00:00:00"}
    git.post("/v1/branches", both, 422)
    assert set(git.branches()) == {"main", "from_s"}


def test_what_is_not_there_is_not_found(git: Git) -> None:
    for path in ("checkout", "merge", "apply"):
        assert git.post(f"/v1/branches/no/{path}", status=404) == {"detail": "Branch not found: no"}
    for path in ("diff", "diff-items"):
        git.get(f"/v1/branches/no/{path}", status=404)
    selector = {"type": "key_list", "keys": ["a"]}
    git.post("/v1/branches/no/pick", {"selector": selector}, 404)


# -- what differs ---------------------------------------------------------------------------------


class Parted(Git):
    """A branch `b` and main that went on apart from each other."""

    def __init__(self, client: httpx.Client) -> None:
        super().__init__(client)
        names = ("same", "to change", "to remove", "clash", "main changes")
        self.ids = {name: self.store(f"the {name} one") for name in names}
        self.branch("b")
        self.added = self.store("new on the branch", "b")
        self.changed = self.correct(self.ids["to change"], "changed on the branch", "b")
        self.delete(f"/v1/memories/{self.ids['to remove']}?branch=b")
        self.theirs = self.correct(self.ids["clash"], "the branch's clash", "b")
        self.ours = self.correct(self.ids["clash"], "main's clash")
        self.behind = self.store("new on main")


@pytest.fixture
def parted(user: httpx.Client) -> Parted:
    return Parted(user)


def test_diff_says_what_each_side_changed(parted: Parted) -> None:
    found = parted.get("/v1/branches/b/diff-items")
    assert (found["branch"], found["against"]) == ("b", "main")
    assert [one["memory_id"] for one in found["added"]] == [parted.added]
    (updated,) = found["updated"]
    assert updated["old_memory_id"] == parted.ids["to change"]
    assert updated["memory_id"] == parted.changed
    assert updated["old_content"] == "the to change one"
    assert [one["memory_id"] for one in found["removed"]] == [parted.ids["to remove"]]
    (conflict,) = found["conflicts"]
    assert conflict["memory_id"] == parted.ids["clash"]
    assert conflict["branch"]["is_active"] == conflict["main"]["is_active"] == 0
    assert conflict["branch"]["superseded_by_content"] == "the branch's clash"
    assert conflict["main"]["superseded_by_content"] == "main's clash"
    assert [one["memory_id"] for one in found["behind_main"]] == [parted.behind]


def test_diff_as_text(parted: Parted) -> None:
    lines = parted.get("/v1/branches/b/diff")["result"].splitlines()
    assert lines[0] == "Diff 'b' vs main:"
    assert lines[1].startswith("[new] ")
    assert lines[1].endswith(": new on the branch")
    kinds = [line.split(" ")[0] for line in lines[1:]]
    assert kinds == ["[new]", "[modified]", "[removed]", "[CONFLICT]", "[behind]"]
    parted.branch("same")
    text = parted.get("/v1/branches/same/diff")["result"]
    assert text == "No changes in branch 'same' vs main."


def test_each_list_of_a_diff_is_cut(parted: Parted) -> None:
    parted.store("another new one", "b")
    found = parted.get("/v1/branches/b/diff-items", limit=1)
    assert len(found["added"]) == len(found["updated"]) == len(found["removed"]) == 1


# -- merge ----------------------------------------------------------------------------------------


def test_merge_brings_what_is_new_once(git: Git) -> None:
    git.store("before")
    git.branch("b")
    git.store("new one", "b")
    git.store("new two", "b")
    done = git.post("/v1/branches/b/merge", {"strategy": "append"})
    assert done["result"].startswith("Merged branch 'b' into main (2 new, 0 replaced")
    assert git.texts() == {"before", "new one", "new two"}
    again = git.post("/v1/branches/b/merge", {"strategy": "append"})
    assert "(0 new, 0 replaced" in again["result"]
    assert git.texts("b") == {"before", "new one", "new two"}


def test_append_touches_nothing_and_nothing_is_taken_away(parted: Parted) -> None:
    before = parted.texts()
    parted.post("/v1/branches/b/merge", {"strategy": "append"})
    assert before <= parted.texts()
    assert "new on the branch" in parted.texts()


@pytest.mark.parametrize("body", [{}, {"strategy": "accept"}, {"strategy": "replace"}])
def test_accept_is_what_a_client_says_that_says_nothing(git: Git, body: dict[str, str]) -> None:
    git.store("before")
    git.branch("b")
    git.store("new one", "b")
    done = git.post("/v1/branches/b/merge", body)
    assert "(1 new, 0 replaced" in done["result"]
    assert git.texts() == {"before", "new one"}


def test_accept_takes_the_place_of_what_says_almost_the_same(speaks: Callable[..., Any]) -> None:
    git = Git(speaks(embed_provider="bundled").user("bo"))
    git.store("the weekly deploy runs at ten")
    git.branch("b")
    git.store("lunch is served in the canteen at noon every day")
    git.store("lunch is served in the canteen at noon every weekday", "b")
    git.store("the gate squeaks", "b")
    done = git.post("/v1/branches/b/merge")
    assert done["result"] == "Merged branch 'b' into main (1 new, 1 replaced, 0 skipped)"
    assert git.texts() == {
        "the weekly deploy runs at ten",
        "lunch is served in the canteen at noon every weekday",
        "the gate squeaks",
    }
    assert "(0 new, 0 replaced" in git.post("/v1/branches/b/merge")["result"]


def test_a_merge_that_is_none_is_refused(git: Git) -> None:
    git.store("x")
    git.branch("b")
    git.post("/v1/branches/b/merge", {"strategy": "rebase"}, 422)
    git.post("/v1/branches/main/merge", {}, 400)


# -- apply ----------------------------------------------------------------------------------------


def test_apply_brings_what_was_chosen_and_says_the_rest(parted: Parted) -> None:
    body = {
        "adds": [parted.added, "mem_none"],
        "updates": [{"old_id": parted.ids["to change"], "new_id": parted.changed}],
        "removes": [parted.ids["to remove"], parted.ids["same"]],
    }
    done = parted.post("/v1/branches/b/apply", body)
    assert done == {
        "applied_adds": [parted.added],
        "skipped_adds": ["mem_none"],
        "applied_updates": [f"{parted.ids['to change']}→{parted.changed}"],
        "skipped_updates": [],
        "applied_removes": [parted.ids["to remove"]],
        "skipped_removes": [parted.ids["same"]],
        "applied_conflicts": [],
        "skipped_conflicts": [],
    }
    assert parted.texts() == {
        "the same one", "the main changes one", "main's clash", "new on main",
        "new on the branch", "changed on the branch",
    }  # fmt: skip
    again = parted.post("/v1/branches/b/apply", {"adds": [parted.added]})
    assert again["skipped_adds"] == [parted.added]


def test_a_conflict_is_main_s_until_the_branch_s_is_accepted(parted: Parted) -> None:
    nothing = parted.post("/v1/branches/b/apply", {})
    assert len(nothing) == 8
    assert not any(nothing.values())
    assert "main's clash" in parted.texts()
    clash = parted.ids["clash"]
    body = {"accept_branch_conflicts": [clash, "mem_stale"]}
    done = parted.post("/v1/branches/b/apply", body)
    assert (done["applied_conflicts"], done["skipped_conflicts"]) == ([clash], ["mem_stale"])
    texts = parted.texts()
    assert "the branch's clash" in texts
    assert "main's clash" not in texts


def test_an_apply_that_is_none_is_refused(git: Git) -> None:
    git.store("x")
    git.branch("b")
    refused = git.post("/v1/branches/main/apply", {"adds": ["a"]}, 400)
    assert refused == {"detail": "Cannot apply from main"}
    for body in ({"adds": "a"}, {"updates": [{"old_id": "a"}]}, {"unknown": []}, {"adds": [7]}):
        git.post("/v1/branches/b/apply", body, 422)


# -- pick -----------------------------------------------------------------------------------------


def keys(*ids: str, **more: Any) -> dict[str, Any]:
    return {"selector": {"type": "key_list", "keys": list(ids)}, **more}


def test_pick_by_keys(git: Git) -> None:
    old = git.store("before")
    git.branch("b")
    new, _ = git.store("wanted", "b"), git.store("unwanted", "b")
    done = git.post("/v1/branches/b/pick", keys(f" {new} ", new, old))
    assert done["result"].startswith("Picked 1 change(s) from branch 'b' into 'main' (0 skipped")
    assert git.texts() == {"before", "wanted"}
    none = git.post("/v1/branches/b/pick", keys(old))["result"]
    assert none.startswith(("No pickable changes found", "Picked 0 change(s)"))


def test_a_conflict_fails_is_skipped_or_accepted(parted: Parted) -> None:
    clash = parted.ids["clash"]
    before = parted.texts()
    refused = parted.post("/v1/branches/b/pick", keys(clash, parted.added), 409)
    start = "Conflict: pick from branch 'b' into 'main' aborted for 1 selected change(s): "
    assert refused["detail"].startswith(start + clash)
    assert parted.texts() == before
    skipped = parted.post("/v1/branches/b/pick", keys(clash, parted.added, strategy="skip"))
    assert skipped["result"] == "Picked 1 change(s) from branch 'b' into 'main' (1 skipped)"
    assert parted.texts() == before | {"new on the branch"}
    parted.post("/v1/branches/b/pick", keys(clash, parted.theirs, strategy="accept"))
    texts = parted.texts()
    assert "the branch's clash" in texts
    assert "main's clash" not in texts


def test_pick_into_another_branch(git: Git) -> None:
    git.store("before")
    git.branch("a")
    git.branch("b")
    new = git.store("from a", "a")
    git.post("/v1/branches/a/pick", keys(new, target="b"))
    assert git.texts("b") == {"before", "from a"}
    assert git.texts() == {"before"}


def test_a_dry_run_of_a_pick_shows_and_changes_nothing(parted: Parted) -> None:
    asked = keys(parted.ids["clash"], parted.added, dry_run={"limit": 1})
    found = parted.post("/v1/branches/b/pick", asked)
    assert found["dry_run"] is True
    assert (found["source"], found["target"], found["strategy"]) == ("b", "main", "fail")
    assert found["summary"] == {
        "candidate_count": 2, "shown_count": 1, "would_apply": 0, "would_skip": 0,
        "conflict_count": 1, "would_abort": True,
    }  # fmt: skip
    assert found["page"] == {"limit": 1, "offset": 0, "has_more": True}
    rest = parted.post("/v1/branches/b/pick", {**asked, "dry_run": {"offset": 1}})
    shown = {one["memory_id"]: one for one in found["candidates"] + rest["candidates"]}
    assert set(shown) == {parted.ids["clash"], parted.added}
    assert shown[parted.ids["clash"]]["status"] == "conflict"
    assert shown[parted.ids["clash"]]["reason"] == "conflict_fail"
    assert shown[parted.added]["content_preview"] == "new on the branch"
    skip = parted.post("/v1/branches/b/pick", {**asked, "strategy": "skip"})["summary"]
    assert (skip["would_apply"], skip["would_skip"], skip["would_abort"]) == (1, 1, False)
    accept = parted.post("/v1/branches/b/pick", {**asked, "strategy": "accept"})["summary"]
    assert (accept["would_apply"], accept["would_skip"]) == (2, 0)
    assert "new on the branch" not in parted.texts()


def test_pick_what_changed_between_two_snapshots(git: Git) -> None:
    git.store("before")
    git.branch("b")
    git.store("too early", "b")
    git.snapshot("from")
    git.store("in time", "b")
    git.snapshot("to")
    git.store("too late", "b")
    span = {"type": "snapshot_range", "from_snapshot": "from", "to_snapshot": "to"}
    done = git.post("/v1/branches/b/pick", {"selector": span})
    assert done["result"] == "Picked snapshot range 'from'..'to' from branch 'b' into 'main'."
    assert git.texts() == {"before", "in time"}
    git.post("/v1/branches/b/pick", {"selector": {**span, "to_snapshot": "no"}}, 404)


def test_pick_what_a_query_finds(git: Git) -> None:
    git.store("before")
    git.branch("b")
    git.store("the espresso machine needs descaling", "b")
    git.store("the garden gate squeaks", "b")
    chosen = {"type": "retrieve", "query": "espresso machine", "top_k": 1}
    done = git.post("/v1/branches/b/pick", {"selector": chosen})
    assert done["result"] == "Picked 1 of top 1 retrieved change(s) from branch 'b' into 'main'"
    assert git.texts() == {"before", "the espresso machine needs descaling"}


def test_a_pick_that_is_none_is_refused(git: Git) -> None:
    git.store("x")
    git.branch("b")
    for body in (
        {},
        {"selector": {"type": "all"}},
        {"selector": {"type": "key_list", "keys": []}},
        {"selector": {"type": "key_list", "keys": [str(one) for one in range(1_001)]}},
        {"selector": {"type": "retrieve", "query": " "}},
        {"selector": {"type": "retrieve", "query": "q", "top_k": 101}},
        {"selector": {"type": "retrieve", "query": "q", "min_score": -1}},
        keys("a", strategy="theirs"),
        keys("a", target="b"),
        keys("a", dry_run={"limit": 0}),
        keys("a", dry_run={"limit": 101}),
    ):
        git.post("/v1/branches/b/pick", body, 422)
    git.post("/v1/branches/b/pick", keys("a", target="no"), 404)


def test_of_snapshots_of_one_name_made_at_once_one_is_made(git: Git) -> None:
    git.store("x")
    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(git.client.post, "/v1/snapshots", json={"name": "s"}) for _ in range(4)]
    assert sorted(one.result().status_code for one in made) == [201, 409, 409, 409]
    assert git.snapshots() == ["s"]
