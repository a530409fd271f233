"""What a text is the value of, what is worth keeping, and where a tenant's memories are."""

from __future__ import annotations

import pytest

from palimp.errors import Invalid
from palimp.http.dialects.memorysync.facts import fact_of, low_value
from palimp.http.dialects.memorysync.names import ENVIRONMENTS, check_project_id, namespace_of
from palimp.ids import check_name


@pytest.mark.parametrize(
    "text", ["Alice is the CTO", "alice is  the CTO.", "Alice serves as CTO", "Alice is our CTO"]
)
def test_one_meaning_has_one_key_and_one_value(text: str) -> None:
    first, found = fact_of("Alice is the CTO"), fact_of(text)
    assert found == first
    assert found is not None
    assert (found.key, found.value is not None) == ("person:alice/job", True)


def test_a_text_that_says_more_than_its_value_is_no_repeat_of_it() -> None:
    plain, more = fact_of("Alice is the CTO"), fact_of("Alice is the CTO of Acme")
    assert plain is not None
    assert more is not None
    assert (more.key, more.value) == (plain.key, None)


@pytest.mark.parametrize(
    "text",
    [
        "Alice is the CTO and lives in Lisbon",
        "Alice is the CTO. She lives in Lisbon",
        "Alice was the CTO in 2019",
        "The build failed twice today",
        "Meeting on Monday at ten",
        "x " * 500,
    ],
)
def test_what_says_several_things_or_none_we_know_has_no_key(text: str) -> None:
    assert fact_of(text) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ok", "no_high_value_content"),
        ("Thanks!", "no_high_value_content"),
        ("good morning", "no_high_value_content"),
        ("!!! 42 ???", "no_high_value_content"),
        ("a b c", "low_value_input"),
        ("Alice lives here", None),
        ("我住在里斯本", None),
    ],
)
def test_filler_is_told_from_what_is_worth_keeping(text: str, why: str | None) -> None:
    assert low_value(text) == why


def test_no_two_tenants_and_environments_share_a_namespace() -> None:
    tenants = ["a", "A", "a-staging", "a.staging", "org_123", "x" * 128, "x" * 127]
    names = [namespace_of(tenant, one) for tenant in tenants for one in ENVIRONMENTS]
    assert len(set(names)) == len(names)
    for name in names:
        assert check_name(name, "namespace", chars_max=64) == name
    for tenant in ("", "a:staging", "a b", "ä", "x" * 129):
        with pytest.raises(Invalid):
            namespace_of(tenant, "production")
    for project in ("proj_1", "PROJ_" + "0" * 16, "proj_" + "g" * 16):
        with pytest.raises(Invalid):
            check_project_id(project)
