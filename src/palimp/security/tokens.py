"""Tokens: JWT (RFC 7519) signed with Ed25519 (RFC 8037), for one database or one namespace.

Claims: `db` (`namespace--profile`) or `ns`, `scope` (read, write, admin), `iat`, `exp` (seconds)
and `jti`; the header names the key (`kid`). Nothing is asked of anybody to verify one.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from typing import Any, NamedTuple

import jwt

from ..api.operation import SCOPES, Scope
from ..errors import Denied, Error, Invalid
from ..ids import NAMESPACE_CHARS_MAX, check_name, parse_database_name, random_id
from .keys import KeyRing

__all__ = ["Claims", "Tokens"]

SECONDS_DEFAULT = 3_600
SECONDS_MAX = 366 * 86_400
_ALGORITHM = "EdDSA"
# Clocks of two machines differ; a token is not older than its minter's clock by more than this.
_LEEWAY_SECONDS = 60
_TOKEN_CHARS_MAX = 4_096
_VERIFIED_MAX = 10_000


class Claims(NamedTuple):
    """What a verified token says. Exactly one of `profile` None and both names: a namespace's."""

    namespace: str
    profile: str | None
    scope: Scope
    issued_at: int
    expires_at: int
    id: str
    key_id: str


class Tokens:
    """Mints and verifies tokens; thread-safe."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        # By digest, so that no token stays in memory: a signature takes longer than many calls.
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()

    @property
    def key_id(self) -> str:
        """The id of the key that signs."""
        return self._ring.signing.id

    def mint(
        self,
        namespace: str,
        profile: str | None,
        scope: Scope,
        now_s: int,
        seconds: int = SECONDS_DEFAULT,
    ) -> str:
        """Return a token for a profile, or for all of a namespace, that holds for `seconds`."""
        check_name(namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX)
        if profile is not None:
            check_name(profile, "profile")
        if scope not in SCOPES:
            raise Invalid(f"scope is {scope!r:.40}; give {', '.join(SCOPES)}")
        if type(seconds) is not int or not 1 <= seconds <= SECONDS_MAX:
            raise Invalid(f"a token holds for 1 to {SECONDS_MAX:,} seconds, not {seconds!r:.40}")
        what = {"ns": namespace} if profile is None else {"db": f"{namespace}--{profile}"}
        claims = {
            **what,
            "scope": scope,
            "iat": now_s,
            "exp": now_s + seconds,
            "jti": random_id("tok"),
        }
        key = self._ring.signing
        return jwt.encode(claims, key.private, _ALGORITHM, headers={"kid": key.id})

    def verify(self, token: str, now_s: int) -> Claims:
        """Return what a token says; `Denied` (unauthorized) for one that does not hold."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        claims = self._verified.get(digest)
        if claims is None:
            claims = self._read(token)
            if len(self._verified) >= _VERIFIED_MAX:
                self._verified.popitem(last=False)
            self._verified[digest] = claims
        if claims.expires_at <= now_s:
            raise _denied("the token has expired; mint a fresh one")
        if claims.issued_at > now_s + _LEEWAY_SECONDS:
            raise _denied("the token is from the future; check the clocks of node and minter")
        return claims

    def _read(self, token: str) -> Claims:
        if len(token) > _TOKEN_CHARS_MAX:
            raise _denied(f"the token has more than {_TOKEN_CHARS_MAX:,} characters")
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            key = self._ring.find(key_id) if isinstance(key_id, str) else None
            if key is None:
                raise _denied("the token is signed with a key that this node does not know")
            # Times are checked with the node's clock; the algorithm is ours, not the token's.
            options: Any = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}
            found = jwt.decode(token, key.public, algorithms=[_ALGORITHM], options=options)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise _denied("the token is not one of this node, or was changed") from error
        try:
            return _claims(found, key.id)
        except (Error, KeyError, TypeError, ValueError) as error:
            raise _denied("the token lacks a claim, or has one that is none") from error


def _claims(found: dict[str, Any], key_id: str) -> Claims:
    database, namespace = found.get("db"), found.get("ns")
    if (database is None) == (namespace is None):
        raise ValueError("a token is for a database or for a namespace")
    if not isinstance(database if namespace is None else namespace, str):
        raise TypeError("a name is text")
    if database is not None:
        names: tuple[str, str | None] = parse_database_name(database)
    else:
        names = (check_name(namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX), None)
    issued, expires = found["iat"], found["exp"]
    if found["scope"] not in SCOPES or type(issued) is not int or type(expires) is not int:
        raise ValueError(json.dumps(sorted(found)))
    return Claims(*names, found["scope"], issued, expires, str(found.get("jti", "")), key_id)


def _denied(message: str) -> Denied:
    return Denied(message, code="unauthorized")
