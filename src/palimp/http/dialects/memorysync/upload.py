"""Memories out of a document: each piece of its text, with its place in the original."""

from __future__ import annotations

from typing import Any

import msgspec

from ....api import Ingest, ItemResult
from ....api.memories import MemoryInput
from ...spool import FormFile, Spool, parts
from ..foreign import Route
from .call import Call
from .reading import KINDS, Piece, kind_of, pieces
from .refusals import unprocessable
from .seeing import by_id
from .shapes import checked_metadata, shape, with_inner

__all__ = ["FORM", "ROUTES", "form_of"]

FORM = "multipart/form-data"
_FILE_BYTES_MAX = 8 << 20
# It stands in the lineage, behind a word.
_NAME_BYTES_MAX = 480
_BATCH = 500


def form_of(call: Call) -> tuple[Call, FormFile]:
    """Return a form's fields as those of a body, and its file; raises 422 where it has none."""
    assert isinstance(call.raw, Spool)
    values, files = parts(call.raw, call.headers.get("content-type", ""))
    found = files.get("file")
    if found is None:
        raise unprocessable("file: Field required", "file")
    if not 0 < len(found.name.strip().encode()) <= _NAME_BYTES_MAX:
        raise unprocessable(
            f"the file needs a name of 1 to {_NAME_BYTES_MAX} bytes: by its end it is told how to "
            "read it",
            "file",
        )
    return call.item(dict(values)), found


def upload(call: Call) -> Any:
    """Write what a text, a Markdown file or a page says; return the first memory of it."""
    call, file = form_of(call)
    kind = kind_of(file.name)
    if kind is None:
        known = ", ".join(f".{one}" for one in KINDS if one)
        raise unprocessable(f"{file.name!r:.100} cannot be read here; {known} can", "file")
    found = list(pieces(_text(file), kind))
    if not found:
        return _skipped("no_extractable_text", [], 0)
    done = _written(call, file.name, kind, found)
    stored = [one for one in done if one.status != "duplicate"]
    memories = {one.id: by_id(call, one.id) for one in (stored or done)}
    there = [one for one in memories.values() if one is not None]
    handles = [one.handle for one in there if one.handle is not None]
    first = memories[(stored or done)[0].id]
    if not stored or first is None:
        return _skipped("duplicate", handles, len(found))
    return {**shape(first, call), "memory_ids": handles}


def _text(file: FormFile) -> str:
    with file.open() as reader:
        raw = reader.read()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        said = f"{file.name!r:.100} is not UTF-8 text: {error.reason}"
        raise unprocessable(said, "file") from error


def _written(call: Call, name: str, kind: str, found: list[Piece]) -> list[ItemResult]:
    given = call.text("metadata", required=False)
    metadata = None if given is None else checked_metadata(call.item({"metadata": _object(given)}))
    source = call.text("source", required=False) or name
    inputs = [
        MemoryInput(
            text=one.text,
            project=call.project,
            source=source,
            metadata=with_inner(metadata, {"provenance": _provenance(name, kind, one, number)}),
            derived_from=(f"source:{name}",),
            source_span=(one.start, one.end),
            # The same words of another file, or project, stand somewhere else.
            dedup_key=f"file/{call.project or ''}/{name}",
        )
        for number, one in enumerate(found)
    ]
    done: list[ItemResult] = []
    for start in range(0, len(inputs), _BATCH):
        request = Ingest(memories=tuple(inputs[start : start + _BATCH]))
        done += call.do("memories.ingest", request).results
    return done


def _provenance(name: str, kind: str, piece: Piece, number: int) -> dict[str, Any]:
    return {"file": name, "format": kind, "start": piece.start, "end": piece.end, "piece": number}


def _object(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise unprocessable(f"metadata is not JSON: {error}", "metadata") from error


def _skipped(reason: str, handles: list[int], extracted: int) -> dict[str, Any]:
    return {
        "status": "skipped",
        "reason": reason,
        "memory_ids": handles,
        "candidates_extracted": extracted,
        "candidates_stored": 0,
    }


_TEST = "tests/dialects/memorysync/test_files.py"

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/memory/upload",
        "user",
        upload,
        _TEST,
        raw=True,
        needs="memory:add",
        takes=FORM,
        bytes_max=_FILE_BYTES_MAX,
    ),
)
