"""The error tree: codes, classes, what survives pickling and a wire."""

import copy
import pickle

import pytest

import palimp
from palimp.errors import CODES, Error

CLASSES = {
    "invalid_request": palimp.Invalid,
    "payload_too_large": palimp.Invalid,
    "not_found": palimp.NotFound,
    "database_not_found": palimp.NotFound,
    "branch_not_found": palimp.NotFound,
    "conflict": palimp.Conflict,
    "already_exists": palimp.Conflict,
    "unauthorized": palimp.Denied,
    "forbidden": palimp.Denied,
    "unavailable": palimp.Unavailable,
    "overloaded": palimp.Unavailable,
    "request_timeout": palimp.Unavailable,
    "unconfigured": palimp.Unconfigured,
    "internal": palimp.Internal,
}


def test_the_set_of_codes_is_closed() -> None:
    assert set(CODES) == set(CLASSES)
    assert len(CODES) == 14


@pytest.mark.parametrize("code", CLASSES)
def test_a_code_belongs_to_one_class(code: str) -> None:
    error = CLASSES[code]("what happened", code=code, retry_after=2, index=3)
    assert (error.code, str(error), error.retry_after) == (code, "what happened", 2)
    assert error.details == {"index": 3}
    for other in set(CLASSES.values()) - {CLASSES[code]}:
        with pytest.raises(AssertionError):
            other("what happened", code=code)


def test_python_callers_may_catch_what_they_know() -> None:
    assert issubclass(palimp.Invalid, ValueError)
    assert issubclass(palimp.NotFound, LookupError)
    for cls in set(CLASSES.values()):
        assert issubclass(cls, palimp.Error)


def test_not_found_shows_its_message_without_quotes() -> None:
    """A KeyError's str() is the repr of its argument; ours is for people."""
    assert str(palimp.NotFound("no memory mem_x")) == "no memory mem_x"


def test_the_first_code_of_a_class_is_its_default() -> None:
    assert palimp.Invalid("x").code == "invalid_request"
    assert palimp.Conflict("x").code == "conflict"
    assert palimp.Unavailable("x").retry_after is None


def test_a_class_carries_only_its_own_codes() -> None:
    with pytest.raises(AssertionError):
        palimp.Invalid("x", code="conflict")


@pytest.mark.parametrize("again", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_an_error_survives_being_copied_to_another_process(again) -> None:
    error = palimp.Unavailable("busy", code="overloaded", retry_after=0.5, reason="queue")
    twin = again(error)
    assert type(twin) is palimp.Unavailable
    assert (str(twin), twin.code, twin.retry_after) == ("busy", "overloaded", 0.5)
    assert twin.details == {"reason": "queue"}


def test_a_located_error_is_the_same_error_with_its_place() -> None:
    error = palimp.Invalid("text is too long", code="payload_too_large", limit=5)
    located = error.located("memories[3]", index=3)
    assert type(located) is palimp.Invalid
    assert str(located) == "memories[3]: text is too long"
    assert located.code == "payload_too_large"
    assert located.details == {"limit": 5, "index": 3}
    assert error.details == {"limit": 5}


def test_every_error_is_raised_as_an_error() -> None:
    for code in CODES:
        with pytest.raises(Error, match="boom") as caught:
            raise CLASSES[code]("boom", code=code)
        assert caught.value.code == code
