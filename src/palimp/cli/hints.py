"""What to do next, by an error's code: its message says what happened, this where to look."""

from __future__ import annotations

from ..errors import Error

__all__ = ["HINTS", "NO_HINT", "hint"]

HINTS = {
    "invalid_request": "see the command's --help for what it takes",
    "payload_too_large": "send it in smaller pieces",
    "not_found": "`palimp memory list PROFILE` or `branch points PROFILE` shows what there is",
    "database_not_found": "`palimp memory profiles` shows what there is",
    "branch_not_found": "`palimp branch list PROFILE` shows what there is",
    "already_exists": "choose another name, or remove what has it",
    "conflict": "`palimp memory history PROFILE ID` shows what holds now",
    "unauthorized": "give the node's credential with PALIMP_TOKEN or --token",
    "forbidden": "the credential is known but does not reach this far: use one of a wider scope",
    "unavailable": "repeat it when the cause is gone",
    "overloaded": "repeat it later",
    "request_timeout": "look before you repeat it: it may have been done all the same",
    "internal": "this should not happen; please report it with the command and this message",
}
# Codes that get none, and why.
NO_HINT = {
    "unconfigured": "its message names the part that is missing and how to get it",
}
_IN_DOUBT = "it may have been done all the same: look before you repeat it"


def hint(error: Error) -> str | None:
    """Return what to do after `error`, or None where its message says all there is to say."""
    text = _IN_DOUBT if error.details.get("in_doubt") else HINTS.get(error.code)
    if text is not None and error.retry_after is not None:
        text += f" (in {error.retry_after:g} seconds)"
    return text
