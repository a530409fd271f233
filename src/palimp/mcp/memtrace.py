"""The tools of Memtrace over MCP: each is one request to a node that speaks that dialect.

The table needs nothing of the SDK (extra `mcp`), which is imported when a server is made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import quote

import httpx

from ..errors import Error, Invalid, Unavailable, Unconfigured
from ..version import __version__

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

__all__ = ["KEY_VARIABLE", "TOOLS", "URL_DEFAULT", "URL_VARIABLE", "Relay", "Tool", "build"]

URL_VARIABLE, KEY_VARIABLE = "MEMTRACE_URL", "MEMTRACE_API_KEY"
URL_DEFAULT = "http://localhost:9100"
_SECONDS = 30.0
_ERRORS = 400
_SINCE, _LIMIT = "24h", 50
_INSTRUCTIONS = """\
Memories of agents are events in the order of time. Say from when on you want them: since "2h", \
"24h", "7d", or an ISO 8601 time. Note decisions with their reasons (memtrace_decide). Begin a \
session for a task, and read memtrace_session_context to go on where it was left."""

Fields = dict[str, Any]

_TEXT: Fields = {"type": "string"}
_TEXTS: Fields = {"type": "array", "items": _TEXT}
_OBJECT: Fields = {"type": "object"}
_COUNT: Fields = {"type": "integer", "minimum": 1, "maximum": 1_000}
_SHARE: Fields = {"type": "number", "minimum": 0, "maximum": 1}
_KIND: Fields = {"type": "string", "enum": ["episodic", "decision", "entity", "session"]}
_KINDS: Fields = {"type": "array", "items": _KIND}
_AGENT: Fields = {"type": "string", "description": "Id of the agent"}
_SESSION: Fields = {"type": "string", "description": "Id of a session"}
_WHEN: Fields = {"type": "string", "description": 'From when on: "2h", "7d", or ISO 8601'}


class Asking(NamedTuple):
    """A request: `query` or `body` is what it says; `shown` is the field that is the answer."""

    method: str
    path: str
    query: Mapping[str, Any] = {}
    body: Mapping[str, Any] | None = None
    shown: str | None = None


class Tool(NamedTuple):
    """One tool: what a model is told of it, and which request it is."""

    about: str
    arguments: Mapping[str, Fields]
    asking: Callable[[Fields], Asking]
    required: tuple[str, ...]
    reads: bool = False

    def shown(self, name: str) -> Fields:
        """Return what a host is told of it."""
        return {
            "name": name,
            "description": self.about,
            "inputSchema": {
                "type": "object",
                "properties": dict(self.arguments),
                "required": list(self.required),
            },
            "annotations": {"readOnlyHint": self.reads, "destructiveHint": False},
        }


def _remember(given: Fields) -> Asking:
    body = {"memory_type": "episodic", "event_type": "general", **given}
    return Asking("POST", "memories", body=body)


def _recall(given: Fields) -> Asking:
    query = {"since": _SINCE, "limit": _LIMIT, **given, "order": "desc"}
    return Asking("GET", "memories", query=query)


def _search(given: Fields) -> Asking:
    return Asking("POST", "search", body={"limit": _LIMIT, **given, "order": "desc"})


def _decide(given: Fields) -> Asking:
    body = {
        "agent_id": given["agent_id"],
        "memory_type": "decision",
        "event_type": "decision",
        "content": given["decision"],
        "metadata": {"reasoning": given["reasoning"]},
    }
    return Asking("POST", "memories", body=body)


def _begin(given: Fields) -> Asking:
    return Asking("POST", "sessions", body=given)


def _context(given: Fields) -> Asking:
    body = {name: value for name, value in given.items() if name != "session_id"}
    path = f"sessions/{quote(str(given['session_id']), safe='')}/context"
    return Asking("POST", path, body=body, shown="context")


def _register(given: Fields) -> Asking:
    return Asking("POST", "agents", body=given)


TOOLS: dict[str, Tool] = {
    "memtrace_remember": Tool(
        "Store what happened: an action, an observation, a fact about somebody.",
        {
            "agent_id": _AGENT,
            "content": _TEXT,
            "memory_type": _KIND,
            "event_type": {**_TEXT, "description": "A word of yours, as tool_call; or error"},
            "session_id": _SESSION,
            "tags": _TEXTS,
            "importance": _SHARE,
            "metadata": _OBJECT,
        },
        _remember,
        ("agent_id", "content"),
    ),
    "memtrace_recall": Tool(
        f"Read an agent's newest memories, of the last {_SINCE} unless you say since when.",
        {
            "agent_id": _AGENT,
            "since": _WHEN,
            "session_id": _SESSION,
            "memory_type": _KIND,
            "limit": _COUNT,
        },
        _recall,
        ("agent_id",),
        reads=True,
    ),
    "memtrace_search": Tool(
        "Find memories by agent, text, type, tags, time and importance.",
        {
            "agent_id": _AGENT,
            "content_contains": {**_TEXT, "description": "Stands in them, upper and lower case"},
            "memory_types": _KINDS,
            "tags": {**_TEXTS, "description": "All of them"},
            "since": _WHEN,
            "min_importance": _SHARE,
            "limit": _COUNT,
        },
        _search,
        (),
        reads=True,
    ),
    "memtrace_decide": Tool(
        "Store a decision with the reasons for it.",
        {"agent_id": _AGENT, "decision": _TEXT, "reasoning": _TEXT},
        _decide,
        ("agent_id", "decision", "reasoning"),
    ),
    "memtrace_session_create": Tool(
        "Begin a session of an agent: memories that name it belong together.",
        {"agent_id": {**_AGENT, "description": "Id or name of the agent"}, "metadata": _OBJECT},
        _begin,
        ("agent_id",),
    ),
    "memtrace_session_context": Tool(
        f"Read what happened in a session as text, of the last {_SINCE} unless you say since when.",
        {
            "session_id": _SESSION,
            "since": _WHEN,
            "include_types": _KINDS,
            "max_tokens": {"type": "integer", "minimum": 1},
        },
        _context,
        ("session_id",),
        reads=True,
    ),
    "memtrace_agent_register": Tool(
        "Register an agent under a name, which is taken once.",
        {"name": _TEXT, "description": _TEXT},
        _register,
        ("name",),
    ),
}


class Relay:
    """A node that speaks the dialect, at `url`; asked with `key`, in which it says who asks."""

    def __init__(self, url: str, key: str | None) -> None:
        if not key:
            raise Unconfigured(
                f"{KEY_VARIABLE} is not set: give the API key of an organisation by it, or by "
                "--token; `palimp key --dialect memtrace create` makes one"
            )
        if not url.startswith(("http://", "https://")):
            raise Invalid(f"{url!r:.200} is no URL of a node; give one as {URL_DEFAULT}")
        self._client = httpx.AsyncClient(base_url=url, headers={"x-api-key": key}, timeout=_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()

    async def answer(self, tool: Tool, arguments: Mapping[str, Any]) -> str:
        """Return what a tool says; raises `Invalid` or `Unavailable`, which say what was wrong."""
        given = {name: value for name, value in arguments.items() if value is not None}
        unknown = sorted(set(given) - set(tool.arguments))
        if unknown:
            raise Invalid(f"there is no argument {unknown[0]!r:.80}; there are {_names(tool)}")
        for name in tool.required:
            if given.get(name) in (None, ""):
                raise Invalid(f"{name} is required")
        asking = tool.asking(given)
        try:
            got = await self._client.request(
                asking.method,
                f"/api/v1/{asking.path}",
                params=asking.query or None,
                json=asking.body,
            )
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            raise Unavailable(f"memtrace api error (status 0): {said}") from error
        return _told(asking, got)


def build(relay: Relay) -> Server[Any]:
    """Return a server whose calls are requests by `relay`."""
    import mcp_types as types
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server
    from mcp.shared.exceptions import MCPError

    async def list_tools(
        _ctx: ServerRequestContext[Any, Any], _: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        shown = [types.Tool.model_validate(one.shown(name)) for name, one in TOOLS.items()]
        return types.ListToolsResult(tools=shown)

    async def call_tool(
        _ctx: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        tool = TOOLS.get(params.name)
        if tool is None:
            known = ", ".join(TOOLS)
            raise MCPError(
                types.INVALID_PARAMS, f"there is no tool {params.name!r:.80}; there are {known}"
            )
        try:
            text, wrong = await relay.answer(tool, params.arguments or {}), False
        except Error as error:
            text, wrong = str(error), True
        said = types.TextContent(type="text", text=text)
        return types.CallToolResult(content=[said], is_error=wrong)

    return Server(
        "memtrace",
        title="Memtrace",
        version=__version__,
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def _told(asking: Asking, got: httpx.Response) -> str:
    """Return the text of an answer; raises `Invalid` for one that is an error."""
    try:
        found = got.json()
    except ValueError:
        found = None
    if got.status_code >= _ERRORS:
        said = found.get("error") if isinstance(found, dict) else got.text
        message = said or got.reason_phrase
        raise Invalid(f"memtrace api error (status {got.status_code}): {message}")
    if asking.shown is not None and isinstance(found, dict):
        return str(found[asking.shown])
    return json.dumps(found, indent=2, ensure_ascii=False)


def _names(tool: Tool) -> str:
    return ", ".join(tool.arguments)
