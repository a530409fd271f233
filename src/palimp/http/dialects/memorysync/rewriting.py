"""Changing what is said about a memory by what is said about it now."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ....api import GetMemory, GotMemory, Memory
from ....api.annotating import Annotate, Annotated
from ....errors import Conflict
from .call import Call
from .refusals import conflict

__all__ = ["rewritten"]

# Of so many at once each has its turn.
_TRIES = 50


def rewritten(call: Call, memory: Memory, edit: Callable[[Memory], Annotate]) -> Memory:
    """Change a memory as `edit` says and return it as it is then.

    What somebody else says of it meanwhile is not lost: then it is read, and `edit` asked, again.
    Raises what the change raises, and `Conflict` (409) where many others are always faster.
    """
    for _ in range(_TRIES):
        request = msgspec.structs.replace(edit(memory), expect_metadata=memory.metadata or {})
        try:
            done: Annotated = call.do("memories.annotate", request)
        except Conflict as error:
            if error.details.get("reason") != "metadata":
                raise
        else:
            return done.memory
        found: GotMemory = call.do("memories.get", GetMemory(id=memory.id))
        memory = found.memory
    raise conflict(f"memory {memory.handle} is changed by many at once; repeat it")
