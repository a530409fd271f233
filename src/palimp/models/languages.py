"""From what is configured to a language model. Nothing is connected before the first question."""

from __future__ import annotations

from typing import Any, Literal

from ..addresses import is_self_hosted
from .anthropic import BASE_URL as _ANTHROPIC
from .anthropic import AnthropicMessages
from .openai_chat import BASE_URL as _OPENAI
from .openai_chat import OpenAIChat
from .pool import Endpoint, Pool
from .served import Convention, Served

__all__ = ["Provider", "language_model", "own_endpoint"]

Provider = Literal["anthropic", "openai"]


def own_endpoint(provider: Provider, api_key: str | None) -> Endpoint:
    """Return the endpoint of a provider itself."""
    return Endpoint(_ANTHROPIC if provider == "anthropic" else _OPENAI, api_key)


def language_model(provider: Provider, model: str, pool: Pool) -> Served[Any]:
    """Return a model at the endpoint of a pool, which it closes; `provider` is what that speaks."""
    (endpoint,) = pool.endpoints
    convention: Convention[Any]
    convention = AnthropicMessages(endpoint.url) if provider == "anthropic" else OpenAIChat()
    return Served(pool, model, convention, own=is_self_hosted(endpoint.host))
