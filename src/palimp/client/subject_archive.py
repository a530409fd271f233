"""What is held of somebody, as files: JSON lines for programs, one page of Markdown for people."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from ..api import SubjectRecord
from ..errors import Conflict, Unavailable

__all__ = ["SubjectArchive"]

_FILES = {
    "memory": "memories.jsonl",
    "turn": "turns.jsonl",
    "document": "documents.jsonl",
    "value": "kv.jsonl",
}
_TITLES = {
    "memory": "Memories",
    "turn": "Conversations",
    "document": "Documents",
    "value": "Stored values",
}
_PAGE = "everything.md"
# What is said of a memory besides its words, where it is known.
_FACTS = {
    "type": "kind",
    "topic": "topic",
    "source": "came from",
    "session": "conversation",
    "agent": "written by agent",
    "speaker": "said by",
    "derived_from": "made of",
    "supersedes": "replaced",
    "superseded_by": "was replaced by",
    "relations": "related to",
    "entities": "names",
    "state": "state",
    "confidence": "confidence",
    "keywords": "keywords",
    "tags": "tags",
    "metadata": "more",
    "flags": "found in it",
}
_README = """\
# What is held in {name}

This is everything that is held in `{name}`{session}, as of {when} (transaction {txid}).

- `everything.md`: all of it, to be read.
- `memories.jsonl` ({memory:,}): one memory a line, with where it came from (`source`, `session`,
  `derived_from`), what it replaced or was replaced by, and what happened to it (`events`).
- `turns.jsonl` ({turn:,}): one turn of a conversation a line.
- `documents.jsonl` ({document:,}): one document a line, with its collection.
- `kv.jsonl` ({value:,}): one stored value a line; `base64` where it is no text.

Times are milliseconds since 1970, UTC. What had expired, was replaced or was deleted and not yet
removed for good is part of it, and says so.
"""


class SubjectArchive:
    """A folder that is made and filled record by record; `finish` makes it whole.

    Raises `Conflict` where there is something already. Without a `README.md` it is not whole.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.counts = dict.fromkeys(_FILES, 0)
        self._stack = ExitStack()
        self._part: tuple[str, Any] = ("", None)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(self.folder.iterdir()):
                raise Conflict(f"{self.folder} is not empty; give the name of a new folder")
            self._lines = {kind: self._open(name) for kind, name in _FILES.items()}
            self._page = self._open(_PAGE)
        except OSError as error:
            self.close()
            raise self._failed(error) from error

    def add(self, records: Iterable[SubjectRecord]) -> None:
        """Write records, in the order in which they are read."""
        try:
            for record in records:
                self.counts[record.kind] += 1
                line = json.dumps(record.data, ensure_ascii=False)
                self._lines[record.kind].write(f"{line}\n")
                self._page.write(self._shown(record.kind, record.data))
        except OSError as error:
            raise self._failed(error) from error

    def finish(self, name: str, session: str | None, txid: int, now_ms: int) -> None:
        """Say what it is; nothing is missing in it then."""
        try:
            if not any(self.counts.values()):
                self._page.write("# Nothing\n\nNothing is held.\n")
            about = "" if session is None else f", conversation `{session}`"
            text = _README.format(
                name=name, session=about, txid=txid, when=_when(now_ms), **self.counts
            )
            self.close()
            (self.folder / "README.md").write_text(text, "utf-8")
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the files, whole or not."""
        self._stack.close()

    def _open(self, name: str) -> TextIO:
        return self._stack.enter_context((self.folder / name).open("x", encoding="utf-8"))

    def _failed(self, error: OSError) -> Unavailable:
        return Unavailable(f"{self.folder} cannot be written: {error.strerror}")

    def _shown(self, kind: str, data: dict[str, Any]) -> str:
        """Return a record for people, with the headings that come before it."""
        group = {"turn": "session", "document": "collection", "value": "ns"}.get(kind)
        part = (kind, data[group] if group else None)
        text = f"\n# {_TITLES[kind]}\n" if part[0] != self._part[0] else ""
        if group and part != self._part:
            text += f"\n## {_one_line(data[group])}\n"
        self._part = part
        return text + _WRITERS[kind](data)


def _memory(data: dict[str, Any]) -> str:
    known = ((label, data.get(name)) for name, label in _FACTS.items())
    facts = [f"- {label}: {_one_line(value)}" for label, value in known if value]
    for event in data.get("events", ()):
        details = {name: value for name, value in event.items() if name not in ("event", "at")}
        more = ", ".join(f"{name} {_one_line(value)}" for name, value in details.items() if value)
        facts.append(f"- {_when(event['at'])}: {event['event']}{f' ({more})' if more else ''}")
    lines = "\n".join(facts)
    return f"\n## {_one_line(data['id'])}\n\n{_quoted(data['text'])}\n\n{lines}\n"


def _turn(data: dict[str, Any]) -> str:
    who = data.get("speaker") or data["role"]
    at = data["created_at"] if data.get("at") is None else data["at"]
    return f"\n**{_one_line(who)}**, {_when(at)}:\n\n{_quoted(data['content'])}\n"


def _document(data: dict[str, Any]) -> str:
    text = json.dumps(data["document"], ensure_ascii=False, indent=2)
    return f"\n### {_one_line(data['id'])}\n\n{_quoted(text)}\n"


def _value(data: dict[str, Any]) -> str:
    text = data["text"] if "text" in data else f"{data['base64']} (base64)"
    return f"\n### {_one_line(data['key'])}\n\n{_quoted(text)}\n"


_WRITERS = {"memory": _memory, "turn": _turn, "document": _document, "value": _value}


def _quoted(value: Any) -> str:
    """Return words as a quotation of which nothing is taken for a heading or a line of ours."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    return "\n".join(f"> {line}" for line in text.splitlines() or [""])


def _one_line(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.split())


def _when(at_ms: int) -> str:
    try:
        return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"
