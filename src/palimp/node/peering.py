"""How nodes of a cluster know each other: what one sends to another is signed with the cluster key.

A request carries one header more, `palimp-peer`: what its sender says (JSON in base64url), a dot,
and an HMAC-SHA256 of it, the method, the path with its query string, and the headers that say how
an operation is carried out. The body's digest is part of what is said, so that a stranger is turned
away before a byte of a body is read. What is sent is not secret by it: use TLS, or a network of
one's own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

import msgspec

from ..api.wire import Call
from ..decoding import from_json
from ..errors import Denied, Invalid, Unavailable
from ..operations import OWNER, Principal
from ..version import __version__
from .settings import PREFIX, Settings

__all__ = ["HEADER_PEER", "Peering", "Said", "cluster_secret"]

HEADER_PEER = "palimp-peer"
_KEY_DOMAIN = b"palimp cluster key 1"
_DOMAIN = b"palimp peer 1"
# Headers under the signature, and all that begin as ours do. Proxies may add others.
_COVERED = ("content-type", "prefer", "traceparent")
_OURS = "palimp-"
_VALUE_CHARS_MAX = 16_384


class Said(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"sender": "from"}
):
    """What a node says beside a request to another: for whom it is, in whose name, how long it has.

    `operation` is its name there, `digest` the SHA-256 of the body in hex.
    """

    sender: str
    to: str
    release: str
    digest: str
    operation: str = ""
    principal: Principal = OWNER
    seconds: float = 30.0


def cluster_secret(settings: Settings) -> bytes:
    """Return what nodes show to each other; `Invalid` where nothing is set of which to make it."""
    given = settings.cluster_key or settings.platform_key
    if given is None:
        raise Invalid(
            f"leases are kept in {settings.lease_store}, so that nodes forward requests to each "
            f"other, and there is no key that they could know each other by: set "
            f"{PREFIX}CLUSTER_KEY to one secret of 16 characters or more on all of them"
        )
    return hmac.digest(given.encode(), _KEY_DOMAIN, "sha256")


class Peering:
    """Signs what this node sends to others, and checks what they send. Thread-safe."""

    def __init__(self, secret: bytes, node: str) -> None:
        self._secret = secret
        self._node = node

    def sign(
        self,
        call: Call,
        to: str,
        *,
        operation: str = "",
        principal: Principal = OWNER,
        seconds: float = 30.0,
    ) -> Call:
        """Return a request as it is sent to the node `to`, which has so many seconds for it."""
        said = Said(
            sender=self._node,
            to=to,
            release=__version__,
            digest=hashlib.sha256(call.body).hexdigest(),
            operation=operation,
            principal=principal,
            seconds=seconds,
        )
        payload = base64.urlsafe_b64encode(msgspec.json.encode(said)).decode()
        code = self._code(call.method, call.path, call.headers, payload)
        return call._replace(headers={**call.headers, HEADER_PEER: f"{payload}.{code}"})

    def verify(self, method: str, path: str, headers: Mapping[str, str]) -> Said:
        """Return what a node of this cluster says to this one; `path` has the query string.

        Names of headers are in lower case. Raises `Denied`: reason `cluster_key` where no node of
        this cluster signed it, `misrouted` where it is for another; `Unavailable` (`release`) where
        that node is of a release that says it otherwise.
        """
        given = headers[HEADER_PEER]
        payload, _, code = given.partition(".")
        wanted = self._code(method, path, headers, payload)
        same = hmac.compare_digest(code.encode(), wanted.encode())
        if len(given) > _VALUE_CHARS_MAX or not same:
            raise Denied(
                f"node {self._node} was shown a `{HEADER_PEER}` header that is not signed with its "
                f"cluster key; set {PREFIX}CLUSTER_KEY to one value on all nodes",
                reason="cluster_key",
                node=self._node,
            )
        try:
            said = from_json(base64.urlsafe_b64decode(payload), Said)
        except (msgspec.DecodeError, ValueError) as error:
            # Signed, so that it is one of ours, and of a release that says it otherwise.
            raise Unavailable(
                f"node {self._node} of release {__version__} cannot read what another node says "
                f"of its request: {error}; use one release on all nodes",
                reason="release",
                node=self._node,
            ) from error
        if said.to != self._node:
            raise Denied(
                f"this is node {self._node}, not {said.to}: {PREFIX}ADVERTISE of {said.to} names "
                "the wrong address",
                reason="misrouted",
                node=self._node,
            )
        return msgspec.structs.replace(said, principal=_known(said.principal))

    def check_body(self, said: Said, body: bytes) -> None:
        """Raise `Denied` where a body is not the one that was signed."""
        if not hmac.compare_digest(hashlib.sha256(body).hexdigest().encode(), said.digest.encode()):
            raise Denied(
                f"the body of a request of node {said.sender} is not the one it signed; look at "
                "what is between the two",
                reason="cluster_key",
                node=self._node,
            )

    def _code(self, method: str, path: str, headers: Mapping[str, str], payload: str) -> str:
        covered = sorted(
            (name, value)
            for name, value in headers.items()
            if name in _COVERED or (name.startswith(_OURS) and name != HEADER_PEER)
        )
        # As JSON: no part can be taken for the end of another.
        parts = msgspec.json.encode((method, path, covered, payload))
        return hmac.digest(self._secret, _DOMAIN + b"\0" + parts, "sha256").hex()


def _known(principal: Principal) -> Principal:
    """Return the one owner there is, where it is that: it is compared by identity."""
    return OWNER if principal == OWNER else principal
