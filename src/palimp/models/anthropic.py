"""The protocol of `/v1/messages` of Anthropic."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..decoding import from_json
from .language import Fault, Prompt
from .pool import Endpoint
from .served import Said, with_schema

__all__ = ["BASE_URL", "AnthropicMessages"]

BASE_URL = "https://api.anthropic.com/v1"
_VERSION = "2023-06-01"
_FAULTS: dict[str | None, Fault] = {
    "max_tokens": "truncated",
    "model_context_window_exceeded": "truncated",
    "refusal": "refused",
}


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"")


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Message(msgspec.Struct):
    content: list[_Block]
    stop_reason: str | None = None
    usage: _Usage | None = None


class AnthropicMessages:
    """Asks for the input of a tool that has to be used, else for an output format.

    Models that cannot be forced to use a tool know the second; what knows neither is told in the
    prompt.
    """

    name = "anthropic"
    ways: tuple[Literal["tool", "format", "prompt"], ...] = ("tool", "format", "prompt")

    def __init__(self, base_url: str) -> None:
        # Of this provider it is usual to name the host alone.
        self.path = "/messages" if base_url.endswith("/v1") else "/v1/messages"

    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        """Return the headers of a request; a proxy of one's own may need no key."""
        key = {"x-api-key": endpoint.api_key} if endpoint.api_key else {}
        return {"anthropic-version": _VERSION, **key}

    def body(
        self, model: str, prompt: Prompt, way: Literal["tool", "format", "prompt"]
    ) -> dict[str, Any]:
        """Return the body of a request."""
        body: dict[str, Any] = {
            "model": model,
            "max_tokens": prompt.tokens_max,
            "system": with_schema(prompt) if way == "prompt" else prompt.instructions,
            "messages": [{"role": "user", "content": prompt.text}],
        }
        if way == "tool":
            what = "Takes your whole answer, which cannot be given otherwise."
            tool = {"name": prompt.name, "description": what, "input_schema": prompt.schema}
            force = {"type": "tool", "name": prompt.name, "disable_parallel_tool_use": True}
            body |= {"tools": [tool], "tool_choice": force}
        elif way == "format":
            body["output_config"] = {"format": {"type": "json_schema", "schema": prompt.schema}}
        return body

    def read(self, answer: bytes) -> Said:
        """Return what a server answered: what the tool was given; without one, what was said."""
        done = from_json(answer, _Message)
        usage = done.usage or _Usage()
        given = [bytes(block.input) for block in done.content if block.type == "tool_use"]
        if given:
            text = given[0].decode("utf-8", "replace")
        else:
            text = "".join(block.text or "" for block in done.content if block.type == "text")
        fault = _FAULTS.get(done.stop_reason)
        return Said(text, fault, usage.input_tokens, usage.output_tokens)
