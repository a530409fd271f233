"""Which headers a gateway sends on, in both directions: all but those of one connection."""

from __future__ import annotations

from collections.abc import Mapping

from ..addresses import is_loopback
from .messages import Scope

__all__ = ["Headers", "backward", "onward"]

Headers = list[tuple[bytes, bytes]]

# RFC 9110 7.6.1; the date is written anew.
_HOP = frozenset(
    (
        b"connection", b"date", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
        b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip
_FOR, _PROTO, _HOST = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"
_NO_NODE = b"palimp-gateway"


def onward(scope: Scope, extra: Mapping[str, str], *, open_to_all: bool) -> Headers:
    """Return the headers of a request as a node is sent them, with `extra`.

    Where nodes ask for a credential, none is sent `Host` with a name of its own machine: one that
    was started without `PALIMP_AUTH=on` takes that for a caller there, and anybody can send it.
    """
    given: Headers = scope["headers"]
    dropped = _HOP | _named(given) | {_FOR, _PROTO}
    sent = [(name, value) for name, value in given if name not in dropped]
    if not open_to_all:
        sent = [(name, _NO_NODE if _is_near(name, value) else value) for name, value in sent]
    through = [value for name, value in given if name == _FOR]
    if scope.get("client"):
        through.append(scope["client"][0].encode("latin-1"))
    if through:
        sent.append((_FOR, b", ".join(through)))
    sent.append((_PROTO, scope["scheme"].encode()))
    names = {name for name, _ in given}
    if _HOST not in names:
        sent += [(_HOST, value) for name, value in given if name == b"host"]
    if b"host" not in names:
        sent.append((b"host", _NO_NODE))
    if b"transfer-encoding" in names:
        sent.append((b"transfer-encoding", b"chunked"))
    return sent + [(name.encode(), value.encode("latin-1")) for name, value in extra.items()]


def backward(given: Headers, extra: Mapping[str, str]) -> Headers:
    """Return the headers of an answer as its client is sent them, with those `extra` it lacks."""
    dropped = _HOP | _named(given)
    sent = [(name, value) for name, value in given if name not in dropped]
    names = {name for name, _ in sent}
    wanted = [(name.encode(), value.encode("latin-1")) for name, value in extra.items()]
    return sent + [(name, value) for name, value in wanted if name not in names]


def _named(given: Headers) -> set[bytes]:
    """Return the headers that `Connection` says are of this connection."""
    said = [value for name, value in given if name == b"connection"]
    words = {word.strip().lower() for value in said for word in value.split(b",")}
    # Nobody may have these dropped on the way.
    return words - {b"authorization", b"content-length", b"content-type", b"host"}


def _is_near(name: bytes, value: bytes) -> bool:
    if name != b"host":
        return False
    text = value.decode("latin-1")
    host, colon, port = text.rpartition(":")
    return is_loopback(host if colon and port.isdigit() else text)
