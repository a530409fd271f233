"""Spans of operations and of requests to the object store, sent by OTLP/HTTP (extra `otel`).

No span holds text of a caller: neither memories, topics and session ids, nor the message of an
error, which may repeat them. A database's name is in it, where it is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..api import OPERATIONS, Target
from ..errors import Error, Invalid, Unconfigured
from ..store import LostRace, ObjectStore, Page, Stored, Version
from ..version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanKind

__all__ = ["Tracing", "start_tracing"]

_PATH = "/v1/traces"
_TRACEPARENT = "traceparent"
# A collector that is away holds up the end of the process no longer than this.
_SECONDS = 5.0
# What a name may be and nothing else: a path could bring words in its place.
_NAME = re.compile(r"[a-z0-9_-]{1,128}\Z")


def start_tracing(endpoint: str, node: str | None) -> Tracing:
    """Return what sends spans to a collector, from a thread of its own, until it is closed.

    A collector that does not answer loses spans and holds up nothing. Raises `Invalid` for what is
    no URL of one, `Unconfigured` without the extra.
    """
    url = _url(endpoint)
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise Unconfigured(
            "PALIMP_OTEL_ENDPOINT needs the extra `otel`; install it with: pip install "
            "'palimp[otel]'"
        ) from error
    ours = {"service.name": "palimp", "service.version": __version__}
    if node is not None:
        ours["service.instance.id"] = node
    # What the environment says in OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES wins.
    provider = TracerProvider(resource=Resource(ours).merge(OTELResourceDetector().detect()))
    exporter = OTLPSpanExporter(endpoint=url, timeout=_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)


class Tracing:
    """Makes spans of what happens inside its contexts."""

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry.context import attach, detach
        from opentelemetry.trace import SpanKind, StatusCode, get_current_span
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("palimp", __version__)
        self._kinds, self._failed = SpanKind, StatusCode.ERROR
        self._current = get_current_span
        context = TraceContextTextMapPropagator()
        self._extract, self._inject = context.extract, context.inject
        self._attach, self._detach = attach, detach

    @contextmanager
    def continued(self, headers: Mapping[str, str]) -> Iterator[None]:
        """Let what happens inside be a part of the trace that a request's headers name, if any."""
        given = headers.get(_TRACEPARENT)
        if given is None:
            yield
            return
        # Without `tracestate`: that is text of others, and nobody here reads it.
        token = self._attach(self._extract({_TRACEPARENT: given}))
        try:
            yield
        finally:
            self._detach(token)

    def headers(self) -> dict[str, str]:
        """Return the headers by which another node's spans become part of this trace."""
        found: dict[str, str] = {}
        self._inject(found)
        return {name: value for name, value in found.items() if name == _TRACEPARENT}

    @contextmanager
    def operation(self, name: str, target: Target) -> Iterator[None]:
        """Make a span of one operation."""
        asked = self._current().get_span_context().is_remote
        kind = self._kinds.SERVER if asked else self._kinds.INTERNAL
        attributes = {"palimp.operation": name} if name in OPERATIONS else {}
        database = _database(target)
        if database:
            attributes["palimp.database"] = database
        with self.span(attributes.get("palimp.operation", "unknown"), kind, attributes):
            yield

    def store(self, store: ObjectStore) -> ObjectStore:
        """Return the store with a span for each request to it."""
        return _TracedStore(store, self)

    @contextmanager
    def span(self, name: str, kind: SpanKind, attributes: Mapping[str, Any]) -> Iterator[Span]:
        """Make a span; of an error it has the code alone."""
        with self._tracer.start_as_current_span(
            name,
            kind=kind,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except LostRace:
                # What conditional writes are for.
                span.set_attribute("palimp.store.lost_race", value=True)
                raise
            except BaseException as error:
                code = error.code if isinstance(error, Error) else type(error).__name__
                span.set_attribute("palimp.error_code", code)
                span.set_status(self._failed)
                raise

    def request(self, kind: str, **attributes: int) -> Any:
        """Make a span of a request to the store."""
        given = {f"palimp.store.{name}": value for name, value in attributes.items()}
        return self.span(f"store.{kind}", self._kinds.CLIENT, given)

    def close(self) -> None:
        """Send what was not sent yet, if the collector takes it within a few seconds."""
        self._provider.shutdown()


class _TracedStore:
    """`store`, with a span for each request. Keys are left out: branches' names are in them."""

    def __init__(self, store: ObjectStore, tracing: Tracing) -> None:
        self._store = store
        self._request = tracing.request

    @property
    def name(self) -> str:
        return self._store.name

    def create(self, key: str, data: bytes) -> Version:
        with self._request("create", bytes=len(data)):
            return self._store.create(key, data)

    def replace(self, key: str, data: bytes, version: Version) -> Version:
        with self._request("replace", bytes=len(data)):
            return self._store.replace(key, data, version)

    def get(self, key: str) -> Stored | None:
        with self._request("get") as span:
            stored = self._store.get(key)
            if stored is not None:
                span.set_attribute("palimp.store.bytes", len(stored.data))
            return stored

    def get_range(self, key: str, offset: int, length: int) -> bytes | None:
        with self._request("get_range", bytes=length):
            return self._store.get_range(key, offset, length)

    def list(self, prefix: str = "", after: str | None = None, limit: int = 1000) -> Page:
        with self._request("list"):
            return self._store.list(prefix, after, limit)

    def delete(self, key: str) -> None:
        with self._request("delete"):
            self._store.delete(key)

    def close(self) -> None:
        self._store.close()


def _database(target: Target) -> str | None:
    names = [name for name in (target.namespace, target.profile) if name is not None]
    if not names or not all(_NAME.match(name) for name in names):
        return None
    return "--".join(names)


def _url(endpoint: str) -> str:
    """Return where spans go: as it was given, with the usual path where it has none."""
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "@" in endpoint:
        # Not shown: a careless one holds a password.
        raise Invalid(
            "PALIMP_OTEL_ENDPOINT is not the URL of a collector, or has a user in it; give one as "
            "http://127.0.0.1:4318, and credentials in OTEL_EXPORTER_OTLP_HEADERS"
        )
    return endpoint if parts.path.strip("/") else parts._replace(path=_PATH).geturl()
