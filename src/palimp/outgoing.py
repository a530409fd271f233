"""Connections to servers that are not ours: those of models, and Arcs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import Unconfigured
from .forks import importing
from .version import __version__

if TYPE_CHECKING:
    import httpx

__all__ = ["open_client"]


def open_client(
    *,
    tls: bool,
    direct: bool,
    connections: int,
    idle: int | None = None,
    idle_seconds: float = 30.0,
    timeout: float | None = None,
    connect_timeout: float | None = None,
) -> httpx.Client:
    """Return a client that follows no redirects; the caller closes it.

    `direct` goes by no proxy. At most so many `connections` are kept, and `idle` of them for
    `idle_seconds`. Raises `Unconfigured` where proxies or certificates are set to what is none.
    """
    with importing():
        import ssl

        import httpx
    try:
        return httpx.Client(
            headers={"user-agent": f"palimp/{__version__}"},
            timeout=httpx.Timeout(timeout, connect=connect_timeout),
            limits=httpx.Limits(
                max_connections=connections,
                max_keepalive_connections=idle,
                keepalive_expiry=idle_seconds,
            ),
            trust_env=not direct,
            # Without TLS no certificate is looked at, and reading them takes 20 ms.
            verify=True if tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            follow_redirects=False,
        )
    except (ValueError, ImportError, OSError) as error:
        raise Unconfigured(
            "the surroundings do not allow connections: correct the variables of proxies and "
            f"certificates ({type(error).__name__})"
        ) from None
