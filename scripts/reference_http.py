"""The reference page of HTTP, made from the code: `page()`."""

from __future__ import annotations

import json

from palimp.api import OPERATIONS, limits
from palimp.api.answers import STATUS
from palimp.api.wire import FILE_TYPE, query_fields
from palimp.http.lines import LINES_TYPE
from palimp.http.openapi import description, group
from palimp.node.serving import HEADER_BYTES_MAX
from palimp.node.settings import SETTINGS, Settings

_HEADERS = {
    "Palimp-Request-Id": """request: 1 to 128 of visible ASCII; a repeat of a write with the same id
        gets the answer of the first, over any connection. answer: the same, or one that was
        made""",
    "Palimp-Txid": "answer: what it reflects",
    "Palimp-Min-Txid": """request: answer from no older state than this; 503 with `retry_after`
        where the node is not there yet""",
    "Palimp-Durability": "request: `local` or `durable`, what this write survives when answered",
    "Palimp-Branch": """request: the branch, instead of `?branch=` or `name@branch`; two that differ
        are refused""",
    "Prefer": """request: with `return=representation` what removes something answers 200 and what
        was done, instead of 204, or 404 where there was nothing""",
    "Accept": f"request: with `{LINES_TYPE}` a list comes as lines",
    "Retry-After": "answer: whole seconds after which to repeat it, with 429 and some 503",
    "Allow": "answer: with 405, the methods the path takes",
}
_OTHER_STATUSES = {
    405: "the path takes other methods",
    415: "the body is of another type or charset, is coded, or does not say what it is",
    421: "the Host header is no name of this machine",
}
_LIMITS = """request_timeout read_timeout write_timeout shutdown_timeout max_body_bytes
    max_concurrency control_rate write_queue_depth""".split()

_ABOUT = """\
# HTTP

JSON over HTTP/1.1, served by `palimp serve`. A node describes itself: `/openapi.json` for programs,
`/docs` for people (one page, no outside address). How to run one:
[serve a folder over HTTP](../how-to/serve-over-http.md).

## Routes

Routes with a profile also take `?branch=`, and those that read `?at=`: a checkpoint, a txid, an RFC
3339 time. `{{db}}` is `namespace--profile` or `namespace--profile@branch`. Values in a path are
percent-encoded; a slash in one is `%2F`. What the path does not carry is the JSON body, for GET and
DELETE the query string; an exported file is a body of `{file_type}`. Bodies and answers are
those of [operations](operations.md).
"""
_ERRORS = """\
## Errors

Whoever finds it, an error has one shape, `{{"error": text, "code": code}}`, with `retry_after`
(seconds) and `details` where there are any. `details.in_doubt` says that a write may have happened:
repeat it with the same request id. What is no HTTP, and headers above {header_bytes:,} bytes, are
answered with 400 too, and the connection ends.
"""
_LINES = """\
## Lists as lines

Operations that take `cursor` answer `Accept: {lines_type}` with one JSON object a line, all
pages one after the other; the next page is read when the client has taken the one before. An error
on the way is the last line, in the shape of errors.

## Limits
"""
_REST = """\
Bodies of operations that only read have at most {query_bytes:,} bytes. Eight bodies of the
largest size are read at a time, and twice as many connections are open as requests may be under
way; more are refused with 429. Of the calls on one profile 16 are under way at a time and the rest
wait in a line of their own, so that a flooded profile leaves the others their turn.

## Web pages

No CORS header is ever sent, a body has to say that it is JSON, and the Host header has to name this
machine (`127.0.0.1`, `localhost`, `[::1]`): a page of another origin reaches nothing, also not by a
name of its own that leads here.
"""


def page() -> str:
    """Return the page."""
    names = {
        "file_type": FILE_TYPE,
        "header_bytes": HEADER_BYTES_MAX,
        "lines_type": LINES_TYPE,
        "query_bytes": limits.BODY_BYTES_QUERY_MAX,
    }
    rows = [(status, f"`{code}`", "") for code, status in STATUS.items()]
    rows += [(status, "`invalid_request`", text) for status, text in _OTHER_STATUSES.items()]
    defaults = Settings()
    given = [
        (f"`PALIMP_{name.upper()}`", f"{getattr(defaults, name):,}", SETTINGS[name])
        for name in _LIMITS
    ]
    headers = [(f"`{name}`", " ".join(text.split())) for name, text in _HEADERS.items()]
    parts = [
        _ABOUT,
        *_table(("method and path", "operation", "success", "query"), _routes()),
        *_table(("beside them", "answer"), _beside()),
        "## Headers\n",
        *_table(("header", "meaning"), headers),
        _ERRORS,
        *_table(("status", "code", ""), sorted(rows)),
        _LINES,
        *_table(("setting", "default", ""), given),
        _REST,
    ]
    return "\n".join(part.format(**names) if part in _TEXTS else part for part in parts)


_TEXTS = (_ABOUT, _ERRORS, _LINES, _REST)


def _routes() -> list[tuple[object, ...]]:
    return [
        (
            f"`{row.method} {row.path}`",
            f"`{row.name}`",
            row.success,
            " ".join(f"`{name}`" for name in query_fields(row)),
        )
        for row in sorted(OPERATIONS.values(), key=group)
    ]


def _beside() -> list[tuple[object, ...]]:
    paths = json.loads(description())["paths"]
    found = [
        (f"`GET {path}`", methods["get"]["summary"])
        for path, methods in paths.items()
        if not path.startswith("/v1/")
    ]
    return [*found, ("`/mcp`, `/mcp/{namespace}/{profile}`", "MCP, with the extra `mcp`.")]


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return [*("| " + " | ".join(map(str, line)) + " |" for line in lines), ""]
