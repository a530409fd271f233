"""The protocol of `/chat/completions`, which OpenAI defined and many servers speak."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from ..decoding import from_json
from .language import Fault, Prompt
from .pool import Endpoint
from .served import Said, with_schema

__all__ = ["BASE_URL", "OpenAIChat"]

BASE_URL = "https://api.openai.com/v1"
_FAULTS: dict[str | None, Fault] = {"length": "truncated", "content_filter": "refused"}


class _Way(NamedTuple):
    """How the form of the answer is asked for, and under which name its length is bounded."""

    form: Literal["json_schema", "json_object", "prompt"]
    bound: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


class OpenAIChat:
    """Asks for a strict JSON schema, else for any JSON, else in the prompt alone."""

    name = "openai"
    path = "/chat/completions"
    # OpenAI's reasoning models know the second name of the bound only, and all of them schemas;
    # hardly any other server knows that name.
    ways = (
        _Way("json_schema"),
        _Way("json_schema", "max_completion_tokens"),
        _Way("json_object"),
        _Way("prompt"),
    )

    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        """Return the headers of a request; a server of one's own may need no key."""
        return {"authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}

    def body(self, model: str, prompt: Prompt, way: _Way) -> dict[str, Any]:
        """Return the body of a request."""
        strict = way.form == "json_schema"
        body: dict[str, Any] = {
            "model": model,
            "messages": [
                {
                    "role": "system",
                    "content": prompt.instructions if strict else with_schema(prompt),
                },
                {"role": "user", "content": prompt.text},
            ],
            way.bound: prompt.tokens_max,
        }
        if strict:
            shape = {"name": prompt.name, "strict": True, "schema": prompt.schema}
            body["response_format"] = {"type": way.form, "json_schema": shape}
        elif way.form == "json_object":
            body["response_format"] = {"type": way.form}
        return body

    def read(self, answer: bytes) -> Said:
        """Return what a server answered."""
        done = from_json(answer, _Completion)
        usage = done.usage or _Usage()
        choice = done.choices[0] if done.choices else _Choice(_Message())
        fault = "refused" if choice.message.refusal else _FAULTS.get(choice.finish_reason)
        text = choice.message.content or ""
        return Said(text, fault, usage.prompt_tokens, usage.completion_tokens)
