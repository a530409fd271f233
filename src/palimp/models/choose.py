"""Settings turned into an embedder. Nothing is imported, read or asked before its first use."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

from ..clock import Clock
from ..observe import Metrics, logger
from .lazy import LazyEmbedder, Model

if TYPE_CHECKING:
    from .exchange import Endpoint

__all__ = ["bundled", "choose"]

_LOG = logger("models")
# What the extra `onnx` brings.
_ONNX = ("onnxruntime", "tokenizers")


def bundled() -> LazyEmbedder:
    """Return the embedder in the package."""

    def make() -> Model:
        from .bundled import BundledEmbedder

        return BundledEmbedder()

    return LazyEmbedder(make, local=True, egress="none")


def choose(
    provider: Literal["bundled", "onnx", "local", "openai", "voyage", "none"],
    model: str | None,
    clock: Clock,
    metrics: Metrics,
    *,
    endpoints: Sequence[Endpoint] = (),
    dimensions: int = 0,
    version: str | None = None,
    timeout: float = 10.0,
    self_hosted_hosts: Collection[str] = (),
    cache_bytes: int = 0,
) -> LazyEmbedder | None:
    """Return what embeds; None where nothing is to. The settings have been checked.

    `local` is `onnx` where that is installed and a model is named, else `bundled`.
    """
    if provider == "none":
        return None
    if provider == "local":
        provider = _local(model)
    if provider == "bundled":
        return bundled()
    if provider == "onnx":
        assert model is not None
        return _onnx(model, clock, metrics, cache_bytes)
    assert endpoints
    assert model is not None
    return _served(
        provider,
        model,
        clock,
        metrics,
        endpoints=endpoints,
        dimensions=dimensions,
        version=version,
        timeout=timeout,
        self_hosted_hosts=self_hosted_hosts,
        cache_bytes=cache_bytes,
    )


def _local(model: str | None) -> Literal["onnx", "bundled"]:
    from importlib.util import find_spec

    if model is None:
        _LOG.warning(
            "PALIMP_EMBED_PROVIDER is 'local' and PALIMP_EMBED_MODEL names no model: the bundled "
            "embedder is used"
        )
        return "bundled"
    if not all(find_spec(name) for name in _ONNX):
        _LOG.warning(
            "PALIMP_EMBED_PROVIDER is 'local' and the extra is not installed (pip install "
            "'palimp[onnx]'): the bundled embedder is used instead of %s",
            model,
        )
        return "bundled"
    return "onnx"


def _onnx(source: str, clock: Clock, metrics: Metrics, cache_bytes: int) -> LazyEmbedder:
    def make() -> Model:
        from .cache import Cached, Vectors
        from .onnx import OnnxEmbedder

        return Cached(OnnxEmbedder(source, clock), Vectors(cache_bytes), metrics)

    return LazyEmbedder(make, local=False, egress="none")


def _served(
    provider: Literal["openai", "voyage"],
    model: str,
    clock: Clock,
    metrics: Metrics,
    *,
    endpoints: Sequence[Endpoint],
    dimensions: int,
    version: str | None,
    timeout: float,
    self_hosted_hosts: Collection[str],
    cache_bytes: int,
) -> LazyEmbedder:
    from ..addresses import is_self_hosted
    from .pool import Pool

    # It connects with the first request.
    pool = Pool(endpoints, clock, metrics, timeout=timeout, what="embed")
    # Decided once: what a name leads to is not looked up, so it cannot change with the answer.
    own = all(is_self_hosted(endpoint.host, self_hosted_hosts) for endpoint in endpoints)
    egress: Literal["self_hosted", "outside"] = "self_hosted" if own else "outside"

    def make() -> Model:
        from .cache import Cached, Vectors
        from .endpoint import EndpointEmbedder
        from .joining import Joining

        embedder = EndpointEmbedder(
            pool,
            clock,
            metrics,
            provider=provider,
            model=model,
            dimensions=dimensions,
            version=version,
            egress=egress,
        )
        return Cached(Joining(embedder), Vectors(cache_bytes), metrics)

    return LazyEmbedder(make, local=False, egress=egress, close=pool.close)
