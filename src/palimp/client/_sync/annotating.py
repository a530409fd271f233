# Made from client/_async by scripts/unasync.py; change it there.
"""What is said about memories, and how a profile writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from ...api import Durability, to_request
from ...api.annotating import Annotate, AnnotateAll, Annotated, AnnotatedAll
from ...api.base import Request
from ..fields import AnnotationFields, IdLike
from ..inputs import options, text_id
from .past import Reading

__all__ = ["Annotating"]


class Annotating(Reading):
    """The writes of a profile that change what is said about memories, not what they say."""

    __slots__ = ()

    def annotate(
        self,
        memory: IdLike,
        *,
        durability: Durability | None = None,
        request_id: str | None = None,
        **fields: Unpack[AnnotationFields],
    ) -> Annotated:
        """Change what is said about an active memory, not what it says; it keeps its id.

        `metadata=` and `tags=` take the place of those that were there (`{}` and `()` of all),
        `importance=`, `confidence=` and `trust=` likewise. Raises `NotFound`, or `Conflict` where
        it is archived or under legal hold, or its metadata are not `expect_metadata=`, which was
        read before.
        """
        request = to_request(Annotate, {**fields, "id": text_id(memory)}, "annotate")
        done: Annotated = self._write("memories.annotate", request, durability, request_id)
        return done

    def annotate_all(
        self,
        items: Mapping[str, AnnotationFields],
        *,
        durability: Durability | None = None,
        request_id: str | None = None,
    ) -> AnnotatedAll:
        """Change what is said about many memories, by id, in one transaction.

        One that is not there, or cannot be changed now, is `skipped` and named.
        """
        fields = [{**one, "id": text_id(memory)} for memory, one in items.items()]
        request = to_request(AnnotateAll, {"items": fields}, "annotate_all")
        done: AnnotatedAll = self._write(
            "memories.annotate_all", request, durability, request_id
        )
        return done

    def _write(
        self,
        operation: str,
        request: Request,
        durability: Durability | None,
        request_id: str | None,
    ) -> Any:
        how = options(durability, request_id)
        return self.client.call(operation, self.target, request, how)
