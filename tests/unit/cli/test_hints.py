"""After every error the command line says what to do, or a reason is written down why not."""

from __future__ import annotations

import pytest

from palimp.cli.hints import HINTS, NO_HINT, hint
from palimp.errors import CODES, Error, Unavailable


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_hint_or_a_reason_for_none(code: str) -> None:
    assert (code in HINTS) != (code in NO_HINT)
    (kind,) = (kind for kind in Error.__subclasses__() if code in kind.codes)
    said = hint(kind("it did not work", code=code))
    assert said == HINTS.get(code)


def test_no_hint_is_for_a_code_that_does_not_exist() -> None:
    assert set(HINTS) | set(NO_HINT) == set(CODES)


def test_a_hint_says_how_long_to_wait_and_when_it_may_have_been_done() -> None:
    busy = Unavailable("too much at once", code="overloaded", retry_after=2.5)
    assert str(hint(busy)).endswith("(in 2.5 seconds)")
    lost = Unavailable("the answer did not come", in_doubt=True)
    assert "may have been done" in str(hint(lost))
