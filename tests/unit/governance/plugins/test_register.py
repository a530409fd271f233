"""What a store keeps of plugins: it is signed by whom it should be, and never changes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from palimp.errors import Conflict, Denied, Internal, Invalid, NotFound
from palimp.governance.plugins import register
from palimp.governance.plugins.manifest import MANIFEST
from palimp.governance.plugins.register import Noted, Rule, Who
from palimp.store import ObjectStore, VolatileStore

sys.path.insert(0, str(Path(__file__).parent))

from packages import files, new_key, signed

KEY, OTHER = new_key(), new_key()
WHO = Who(1_000, "somebody")
PLACE = "v1/plugins/packages/governance/calm/v1/1.0.0.json"
CALM = "governance:calm:v1"


@pytest.fixture
def store() -> ObjectStore:
    # Versions as S3 has them: equal bytes are equal versions.
    made = VolatileStore(weak_versions=True)
    register.add_signer(made, WHO, "me", KEY.public)
    return made


def kinds(store: ObjectStore) -> list[str]:
    return [one.type for one in register.read(store).events]


def test_a_release_is_published_once_and_again_is_the_same(store: ObjectStore) -> None:
    first = register.publish(store, WHO, signed(KEY))
    again = register.publish(store, Who(2_000, "another"), signed(KEY))
    assert first == again
    assert (first.plugin_key, first.version, first.release.at) == (CALM, "1.0.0", 1_000)
    assert kinds(store) == ["signer.added", "package.published"]
    package = register.read_release(store, register.read(store), first)
    assert package.files == signed(KEY)


def test_a_release_never_changes(store: ObjectStore) -> None:
    register.publish(store, WHO, signed(KEY))
    before = store.get(PLACE)
    with pytest.raises(Conflict, match=r"governance:calm:v1 1.0.0 is published with other content"):
        register.publish(store, WHO, signed(KEY, b"def hook(given): return {}"))
    assert store.get(PLACE) == before
    register.publish(store, WHO, signed(KEY, b"def hook(given): return {}", version="1.0.1"))
    assert sorted(register.read(store).releases[CALM]) == ["1.0.0", "1.0.1"]


def test_who_signs_again_with_another_key_publishes_nothing_new(store: ObjectStore) -> None:
    register.add_signer(store, WHO, "you", OTHER.public)
    register.publish(store, WHO, signed(KEY))
    bound = register.publish(store, WHO, signed(OTHER, signer="you"))
    assert bound.release.signer == "me", "the same content is the same release"


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_publish_that_was_interrupted_goes_on(store: ObjectStore, interrupted: bool) -> None:
    lone = VolatileStore()
    register.add_signer(lone, WHO, "me", KEY.public)
    register.publish(lone, WHO, signed(KEY))
    left = lone.get(PLACE)
    assert left is not None
    # Files without a line in the register.
    store.create(PLACE, left.data if interrupted else b"{}")
    if interrupted:
        assert register.publish(store, WHO, signed(KEY)).version == "1.0.0"
    else:
        with pytest.raises(Invalid, match="no manifest"):
            register.publish(store, WHO, signed(KEY))


def test_what_is_not_signed_by_a_signer_is_not_kept(store: ObjectStore) -> None:
    for made in (signed(OTHER), signed(KEY, signer="you")):
        with pytest.raises(Denied):
            register.publish(store, WHO, made)
    with pytest.raises(Invalid, match="integrity is missing"):
        register.publish(store, WHO, files())
    with pytest.raises(Invalid, match="is the name of the built-in rules"):
        register.publish(store, WHO, signed(KEY, name="governance-default"))
    assert store.get(PLACE) is None
    assert kinds(store) == ["signer.added"]


def test_signers_have_one_key_at_a_time(store: ObjectStore) -> None:
    register.add_signer(store, Who(5_000, "x"), "me", KEY.public)
    assert register.read(store).signers["me"].at == 1_000
    with pytest.raises(Conflict, match="signer me has another key; remove it first"):
        register.add_signer(store, WHO, "me", OTHER.public)
    register.remove_signer(store, WHO, "me")
    gone = register.remove_signer(store, WHO, "me")
    assert not gone.active
    assert register.read(store).keys() == {}
    assert register.add_signer(store, WHO, "me", OTHER.public).active
    assert kinds(store) == ["signer.added", "signer.removed", "signer.added"]
    with pytest.raises(NotFound, match="no signer 'you'; those here are me"):
        register.remove_signer(store, WHO, "you")
    for name, key in (("a b", KEY.public), ("me", "short"), ("me", "§")):
        with pytest.raises(Invalid):
            register.add_signer(store, WHO, name, key)


def test_the_highest_whose_signer_holds_is_found(store: ObjectStore) -> None:
    register.add_signer(store, WHO, "you", OTHER.public)
    for version in ("1.2.0", "1.10.0", "1.11.0-beta"):
        register.publish(store, WHO, signed(KEY, version=version))
    register.publish(store, WHO, signed(OTHER, signer="you", version="1.12.0"))
    for wanted, version in (("^1.0", "1.12.0"), ("1.2.0", "1.2.0"), ("<1.12", "1.10.0")):
        found = register.find(register.read(store), Rule(CALM, wanted, 0, ""))
        assert found.version == version
    register.remove_signer(store, WHO, "you")
    assert register.find(register.read(store), Rule(CALM, "^1.0", 0, "")).version == "1.10.0"
    with pytest.raises(Denied, match="signed by you, who is no signer here any more"):
        register.find(register.read(store), Rule(CALM, "1.12.0", 0, ""))
    with pytest.raises(NotFound, match=r"no release \^2 of plugin governance:calm:v1"):
        register.find(register.read(store), Rule(CALM, "^2", 0, ""))


def test_the_rule_of_a_subject_comes_before_that_of_everybody(store: ObjectStore) -> None:
    def bind(subject: str, version: str) -> None:
        place = register.rule_key("governance", "default", subject)
        register.bind(store, WHO, place, Rule(CALM, version, 1, "x"))

    def rule(subject: str, binding: str = "default") -> str | None:
        found = register.rule_of(register.read(store), "governance", binding, subject)
        return found and found.version

    assert rule("system") is None
    bind("*", "1.0.0")
    assert rule("system") == "1.0.0"
    bind("system", "2.0.0")
    bind("system", "2.0.0")
    assert (rule("system"), rule("other"), rule("system", "trial")) == ("2.0.0", "1.0.0", None)
    assert kinds(store).count("binding.rule_upserted") == 2
    for binding, subject in (("a/b", "*"), ("*", "*"), ("", "*"), ("default", "a b")):
        with pytest.raises(Invalid, match="is no name"):
            register.rule_key("governance", binding, subject)


def test_what_was_altered_in_the_store_is_not_run(store: ObjectStore) -> None:
    bound = register.publish(store, WHO, signed(KEY))
    known = register.read(store)
    kept = store.get(PLACE)
    assert kept is not None
    plain = json.loads(kept.data)
    plain["calm.py"] = "AAAA"
    now = store.replace(PLACE, json.dumps(plain).encode(), kept.version)
    with pytest.raises(Invalid, match="a file was changed after it was signed"):
        register.read_release(store, known, bound)
    # Nor what is signed well, and is not what was published.
    from palimp.governance.plugins.package import encode_files

    data = json.dumps(encode_files(signed(KEY, b"def hook(given): return {}"))).encode()
    now = store.replace(PLACE, data, now)
    with pytest.raises(Internal, match="is not what was published"):
        register.read_release(store, known, bound)
    store.replace(PLACE, b"{", now)
    with pytest.raises(Internal, match="is damaged"):
        register.read_release(store, known, bound)
    store.delete(PLACE)
    with pytest.raises(Internal, match="is missing"):
        register.read_release(store, known, bound)


def test_a_release_is_not_run_once_its_signer_is_gone(store: ObjectStore) -> None:
    bound = register.publish(store, WHO, signed(KEY))
    register.remove_signer(store, WHO, "me")
    with pytest.raises(Denied, match="signed by 'me', who is no signer here"):
        register.read_release(store, register.read(store), bound)
    # Who has the name now did not sign it.
    register.add_signer(store, WHO, "me", OTHER.public)
    with pytest.raises(Denied, match="is not that of me"):
        register.read_release(store, register.read(store), bound)


def test_the_last_200_events_are_kept(store: ObjectStore) -> None:
    for number in range(210):
        register.note(store, WHO, Noted(type="binding.loaded", message=str(number)))
    found = register.read(store).events
    assert (len(found), found[0].message, found[-1].message) == (200, "10", "209")
    assert len({one.id for one in found}) == 200


def test_a_damaged_register_is_named() -> None:
    store = VolatileStore()
    store.create("v1/plugins/register.json", b"[]")
    with pytest.raises(Internal, match=r"v1/plugins/register.json is damaged"):
        register.read(store)


def test_two_at_once_lose_nothing(store: ObjectStore) -> None:
    import threading

    def add(number: int) -> None:
        register.add_signer(store, WHO, f"s{number}", OTHER.public)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(register.read(store).keys()) == 9
    assert register.read(store).number == 9


def test_paths_of_a_package_are_no_keys_of_the_store(store: ObjectStore) -> None:
    made = signed(KEY)
    with pytest.raises(Invalid, match="cannot be in a package"):
        register.publish(store, WHO, {**made, "../../register.json": b"{}"})
    assert [one.key for one in store.list("v1/").entries] == ["v1/plugins/register.json"]
    assert MANIFEST in made
