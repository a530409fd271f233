"""Which models the settings name: read in one place, and refused at the start where they cannot be.

Nothing here is imported while no model outside the package is configured. No message shows a key,
nor a URL, which may hold one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from ..decoding import from_json
from ..errors import Invalid
from ..models.exchange import Endpoint

if TYPE_CHECKING:
    from .settings import Settings

__all__ = [
    "EmbeddingChoice",
    "LanguageChoice",
    "assistant_choice",
    "check_models",
    "embedding_choice",
    "extraction_choice",
]

EMBEDDING_MODELS: dict[str, tuple[str, str]] = {
    "openai": ("https://api.openai.com/v1", "text-embedding-3-small"),
    "voyage": ("https://api.voyageai.com/v1", "voyage-3.5"),
}
LANGUAGE_MODELS = {"anthropic": "claude-opus-4-8", "openai": "gpt-4o-mini"}
ENDPOINTS_MAX = 64
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


class EmbeddingChoice(NamedTuple):
    """What embeds; of a provider without endpoints only `provider` and `model` say something."""

    provider: Literal["bundled", "onnx", "local", "openai", "voyage", "none"]
    model: str | None
    endpoints: tuple[Endpoint, ...] = ()
    dimensions: int = 0
    version: str | None = None
    timeout: float = 0.0
    self_hosted_hosts: frozenset[str] = frozenset()
    cache_bytes: int = 0


class LanguageChoice(NamedTuple):
    """Which language model is asked; `family` begins the names of the settings that say so.

    `endpoint` is None where the provider's own address is meant, with `api_key`.
    """

    family: Literal["extract", "assistant"]
    provider: Literal["anthropic", "openai"]
    model: str
    endpoint: Endpoint | None
    api_key: str | None
    timeout: float


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    api_key: str | None = None


def embedding_choice(settings: Settings) -> EmbeddingChoice:
    """Return what embeds; raises `Invalid` where that cannot be."""
    provider = settings.embedder_provider
    known = EMBEDDING_MODELS.get(provider)
    if known is None:
        _check_bare(settings, provider)
        return EmbeddingChoice(provider, settings.embed_model)
    if settings.embed_version and not _VERSION.fullmatch(settings.embed_version):
        raise Invalid(
            f"PALIMP_EMBED_VERSION is {settings.embed_version!r:.80}: give up to 32 letters, "
            "digits, points, dashes and underscores"
        )
    base_url, model = known
    if settings.embed_endpoints:
        endpoints = _endpoints(settings.embed_endpoints)
    elif settings.embed_base_url or settings.embed_api_key:
        url = settings.embed_base_url or base_url
        endpoints = (_endpoint("PALIMP_EMBED_BASE_URL", url, settings.embed_api_key),)
    else:
        raise Invalid(
            f"PALIMP_EMBED_PROVIDER is {provider!r}, which needs PALIMP_EMBED_API_KEY, or the "
            "PALIMP_EMBED_BASE_URL of a server of your own"
        )
    hosts = (settings.embed_self_hosted_hosts or "").lower().split(",")
    return EmbeddingChoice(
        provider,
        settings.embed_model or model,
        endpoints,
        settings.embed_dim,
        settings.embed_version,
        settings.embed_timeout,
        frozenset(host.strip().strip("[]").rstrip(".") for host in hosts) - {""},
        settings.embed_cache_bytes,
    )


def extraction_choice(settings: Settings) -> LanguageChoice | None:
    """Return what extracts memories; None where nothing is configured for it."""
    return _language(
        "extract",
        settings.extract_provider,
        settings.extract_api_key,
        settings.extract_base_url,
        settings.extract_model,
        settings.extract_timeout,
    )


def assistant_choice(settings: Settings) -> LanguageChoice | None:
    """Return what answers questions: what extracts, where neither key nor URL of it is set.

    With a model of its own, if one is named; address and key go together.
    """
    own = _language(
        "assistant",
        settings.assistant_provider,
        settings.assistant_api_key,
        settings.assistant_base_url,
        settings.assistant_model,
        settings.assistant_timeout,
    )
    other = extraction_choice(settings)
    if own is not None or other is None:
        return own
    if settings.assistant_provider not in (None, other.provider):
        raise Invalid(
            f"PALIMP_ASSISTANT_PROVIDER is {settings.assistant_provider!r}, which needs "
            "PALIMP_ASSISTANT_API_KEY: the key of PALIMP_EXTRACT_* is for "
            f"{other.provider!r}"
        )
    return other._replace(model=settings.assistant_model or other.model)


def check_models(settings: Settings) -> None:
    """Raise `Invalid` where the settings name a model that cannot be."""
    embedding_choice(settings)
    assistant_choice(settings)
    extraction_choice(settings)


def _check_bare(settings: Settings, provider: str) -> None:
    if provider == "onnx" and settings.embed_model is None:
        raise Invalid(
            "PALIMP_EMBED_PROVIDER is 'onnx', which needs PALIMP_EMBED_MODEL: a folder of "
            "sentence-transformers, or its name on the hub"
        )
    if settings.embed_provider is None and settings.embed_base_url:
        raise Invalid(
            "PALIMP_EMBED_BASE_URL is set and nothing says what is spoken there: set "
            "PALIMP_EMBED_PROVIDER to 'openai' (most servers) or 'voyage'"
        )


def _language(
    family: Literal["extract", "assistant"],
    provider: Literal["anthropic", "openai"] | None,
    api_key: str | None,
    base_url: str | None,
    model: str | None,
    timeout: float,
) -> LanguageChoice | None:
    if not api_key and not base_url:
        return None
    # Who names an address names a server that is compatible, and that is with OpenAI.
    provider = provider or ("openai" if base_url else "anthropic")
    name = f"PALIMP_{family.upper()}_BASE_URL"
    endpoint = _endpoint(name, base_url, api_key) if base_url else None
    return LanguageChoice(
        family, provider, model or LANGUAGE_MODELS[provider], endpoint, api_key, timeout
    )


def _endpoints(said: str) -> tuple[Endpoint, ...]:
    name = "PALIMP_EMBED_ENDPOINTS"
    try:
        entries = from_json(said.encode(), list[_Entry])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        # What msgspec says may quote it.
        entries = []
    if not 1 <= len(entries) <= ENDPOINTS_MAX:
        raise Invalid(
            f'{name} is no JSON array of 1 to {ENDPOINTS_MAX} objects {{"url": ..., "api_key": '
            "...} (it is not shown: it holds keys)"
        ) from None
    return tuple(
        _endpoint(f"{name}[{place}]", entry.url.strip(), (entry.api_key or "").strip() or None)
        for place, entry in enumerate(entries)
    )


def _endpoint(name: str, url: str, api_key: str | None) -> Endpoint:
    try:
        return Endpoint(url, api_key)
    except Invalid as error:
        raise error.located(name) from None
