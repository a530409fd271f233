"""JSON-RPC at `/mcp`: the tools of that system, without a session and without a stream."""

from __future__ import annotations

from typing import Any

import msgspec

from ....errors import Error
from ..foreign import Reply, Route
from .call import Call
from .mcp_tools import TOOLS, answer
from .refusals import refusal

__all__ = ["ROUTES"]

_PROTOCOL = "2024-11-05"
_SERVER = {"name": "memoria-mcp-rs", "version": "0.1.0"}
_PARSE, _REQUEST, _METHOD, _FAILED, _BLOCKED = -32700, -32600, -32601, -32000, -32001
_NOTHING = 204
_READ_ONLY = "read_only"

Fields = dict[str, Any]


class _Refused(Exception):
    """What is answered instead of a result."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def serve(call: Call) -> Any:
    """Answer one message; a notification gets no answer."""
    try:
        message = msgspec.json.decode(call.raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _error(None, _PARSE, f"Parse error: {error}")
    if not isinstance(message, dict):
        return _error(None, _REQUEST, "Invalid Request: a message is a JSON object")
    identity, method = message.get("id"), message.get("method")
    if message.get("jsonrpc") != "2.0" or not isinstance(method, str) or not method:
        return _error(identity, _REQUEST, 'Invalid Request: give jsonrpc "2.0" and a method')
    if "id" not in message:
        return Reply(_NOTHING)
    try:
        result = _result(call, method, message.get("params"))
    except _Refused as error:
        return _error(identity, error.code, str(error))
    return {"jsonrpc": "2.0", "id": identity, "result": result}


def _result(call: Call, method: str, params: Any) -> Fields:
    if method == "initialize":
        return {
            "protocolVersion": _PROTOCOL,
            "capabilities": {"tools": {}},
            "serverInfo": _SERVER,
        }
    if method == "notifications/initialized":
        return {}
    if method == "tools/list":
        return {"tools": [one.shown(name) for name, one in TOOLS.items() if not one.hidden]}
    if method == "tools/call":
        return _called(call, params if isinstance(params, dict) else {})
    raise _Refused(_METHOD, f"Method not found: {method:.80}")


def _called(call: Call, params: Fields) -> Fields:
    name, arguments = params.get("name"), params.get("arguments") or {}
    if not isinstance(name, str) or name not in TOOLS:
        raise _Refused(_FAILED, f"Unknown tool: {name!s:.80}")
    if not isinstance(arguments, dict):
        raise _Refused(_FAILED, "arguments must be an object")
    try:
        text = answer(call, TOOLS[name], arguments)
    except Error as error:
        said = msgspec.json.decode(refusal(error).body)["detail"]
        code = _BLOCKED if error.details.get("reason") == _READ_ONLY else _FAILED
        raise _Refused(code, said) from error
    return {"content": [{"type": "text", "text": text}]}


def _error(identity: Any, code: int, message: str) -> Fields:
    return {"jsonrpc": "2.0", "id": identity, "error": {"code": code, "message": message}}


ROUTES: tuple[Route, ...] = (
    Route("POST", "/mcp", "user", serve, "tests/dialects/memoria/test_mcp.py", raw=True),
)
