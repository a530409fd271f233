"""What `palimp serve` logs, and how: lines for people, or JSON objects, on standard error."""

from __future__ import annotations

import logging
import sys
from functools import lru_cache
from typing import Literal

import msgspec

from ..clock import format_ms

__all__ = ["configure"]

Format = Literal["console", "json"]

# So that no text of others can begin a line of its own.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), 127)}
# These quote what they were sent, which may be memories and tokens.
_SILENT = ("mcp", "httpx", "httpcore")


def configure(level: str, format: Format) -> None:
    """Let the loggers of this process write to standard error; those of others, warnings only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if format == "json" else _Console())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("palimp").setLevel(level.upper())
    # Every request has a line: what no line shows is not to be found out for each
    # (docs.python.org/3/howto/logging.html#optimization).
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    logging._srcfile = None  # noqa: SLF001
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


class _Console(logging.Formatter):
    """`time LEVEL logger: message`, with the request's id before the message where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and the lines of an exception."""
        request = getattr(record, "request", None)
        where = f"{record.name} {request}" if request else record.name
        line = f"{_time(record)} {record.levelname:7} {where}: {_message(record)}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _Json(logging.Formatter):
    """One object a line: `time`, `level`, `logger`, `message`, `request`, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        found = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        request = getattr(record, "request", None)
        if request:
            found["request"] = request
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(found).decode()


def _message(record: logging.LogRecord) -> str:
    message = record.getMessage()
    return message if message.isprintable() else message.translate(_ESCAPES)


def _time(record: logging.LogRecord) -> str:
    """Return RFC 3339 text with milliseconds."""
    whole, ms = divmod(int(record.created * 1000), 1000)
    return f"{_second(whole)}.{ms:03}Z"


@lru_cache(maxsize=4)
def _second(whole: int) -> str:
    return format_ms(whole * 1000)[:-1]
