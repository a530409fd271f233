"""Tokens: what is minted is verified; nothing else is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from palimp.errors import Denied, Invalid
from palimp.security.keys import KeyRing, SigningKey
from palimp.security.tokens import Tokens

NOW = 1_800_000_000


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def tokens(key: SigningKey) -> Tokens:
    return Tokens(KeyRing([key]))


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def signed(key: SigningKey, claims: object, header: dict[str, object] | None = None) -> str:
    head = part(header or {"alg": "EdDSA", "typ": "JWT", "kid": key.id})
    body = part(claims)
    signature = key.private.sign(f"{head}.{body}".encode())
    return f"{head}.{body}." + base64.urlsafe_b64encode(signature).rstrip(b"=").decode()


GOOD = {"db": "acme--alice", "scope": "read", "iat": NOW, "exp": NOW + 60, "jti": "x"}


def test_what_is_minted_says_what_was_asked(tokens: Tokens, key: SigningKey) -> None:
    claims = tokens.verify(tokens.mint("acme", "alice", "write", NOW, 90), NOW)
    assert claims[:5] == ("acme", "alice", "write", NOW, NOW + 90)
    assert claims.key_id == key.id
    whole = tokens.verify(tokens.mint("acme", None, "admin", NOW), NOW)
    assert whole[:5] == ("acme", None, "admin", NOW, NOW + 3_600)
    assert whole.id != claims.id


def test_it_is_a_jwt_that_others_can_read(tokens: Tokens, key: SigningKey) -> None:
    token = tokens.mint("acme", "alice", "read", NOW)
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "JWT", "kid": key.id}
    found = jwt.decode(
        token, key.public, ["EdDSA"], options={"verify_exp": False, "verify_iat": False}
    )
    assert {n: found[n] for n in ("db", "scope", "iat", "exp")} == {
        "db": "acme--alice", "scope": "read", "iat": NOW, "exp": NOW + 3_600,
    }  # fmt: skip


def test_the_hand_made_good_one_is_good(tokens: Tokens, key: SigningKey) -> None:
    """Else the refusals below could have another reason."""
    assert tokens.verify(signed(key, GOOD), NOW).profile == "alice"


@pytest.mark.parametrize(
    ("at", "problem"),
    [(NOW + 60, "expired"), (NOW + 61, "expired"), (NOW - 61, "from the future")],
)
def test_time(tokens: Tokens, key: SigningKey, at: int, problem: str) -> None:
    token = signed(key, GOOD)
    assert tokens.verify(token, NOW + 59).scope == "read"
    assert tokens.verify(token, NOW - 60).scope == "read"
    for _ in range(2):  # the second time it is known already
        with pytest.raises(Denied, match=problem) as caught:
            tokens.verify(token, at)
        assert caught.value.code == "unauthorized"


@pytest.mark.parametrize(
    "change",
    [
        {"db": None}, {"db": 7}, {"db": "acme"}, {"db": "acme--alice@main"}, {"db": "ACME--alice"},
        {"db": "acme--..", "ns": None}, {"ns": "acme"}, {"scope": None}, {"scope": "root"},
        {"scope": ["admin"]}, {"iat": None}, {"iat": "x"}, {"iat": True}, {"exp": None},
        {"exp": 1e30}, {"exp": "never"}, {"db": "acme--alice\x00"}, {"db": {"a": 1}},
    ],
)  # fmt: skip
def test_a_claim_that_is_none_is_refused(
    tokens: Tokens, key: SigningKey, change: dict[str, object]
) -> None:
    claims = {n: v for n, v in {**GOOD, **change}.items() if v is not None}
    with pytest.raises(Denied) as caught:
        tokens.verify(signed(key, claims), NOW)
    assert caught.value.code == "unauthorized"


def test_another_key_signs_nothing(tokens: Tokens, key: SigningKey) -> None:
    other = SigningKey.generate()
    for header in (
        None,
        {"alg": "EdDSA", "kid": key.id},
        {"alg": "EdDSA"},
        {"alg": "EdDSA", "kid": 7},
        {"alg": "EdDSA", "kid": [key.id]},
        {"alg": "EdDSA", "kid": key.id, "jwk": {"kty": "OKP"}},
    ):
        with pytest.raises(Denied):
            tokens.verify(signed(other, GOOD, header), NOW)


def test_the_algorithm_is_ours_not_the_tokens(tokens: Tokens, key: SigningKey) -> None:
    """Algorithm confusion: none, an HMAC with the public key, other signatures."""
    head = {"typ": "JWT", "kid": key.id}
    body = part(GOOD)
    forged = [f"{part({**head, 'alg': name})}.{body}." for name in ("none", "None", "NONE", "")]
    pem = key.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (key.public_bytes, pem, key.id.encode()):
        start = f"{part({**head, 'alg': 'HS256'})}.{body}"
        digest = hmac.new(secret, start.encode(), hashlib.sha256).digest()
        forged.append(f"{start}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}")
    for private, name in (
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (rsa.generate_private_key(65_537, 2_048), "RS256"),
    ):
        data = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        forged.append(jwt.encode(GOOD, data, name, headers={"kid": key.id}))
    for token in forged:
        with pytest.raises(Denied) as caught:
            tokens.verify(token, NOW)
        assert caught.value.code == "unauthorized"


def test_every_changed_character_is_noticed(tokens: Tokens) -> None:
    token = tokens.mint("acme", "alice", "read", NOW)
    # The last character of a part holds bits that are not used.
    for place in range(0, len(token) - 1, 3):
        if token[place] == "." or token[place + 1] == ".":
            continue
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(Denied):
            tokens.verify(changed, NOW)


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b.c", "x" * 5_000, "ü", "\ud800", "Bearer x", "{}", "[" * 3_000]
)
def test_what_is_no_token(tokens: Tokens, text: str) -> None:
    with pytest.raises(Denied) as caught:
        tokens.verify(text, NOW)
    assert text not in str(caught.value) or len(text) < 3


def test_what_cannot_be_minted(tokens: Tokens) -> None:
    for namespace, profile, scope, seconds in (
        ("ACME", None, "read", 60),
        ("acme--x", None, "read", 60),
        ("acme", "a b", "read", 60),
        ("acme", "a", "root", 60),
        ("acme", "a", "read", 0),
        ("acme", "a", "read", -1),
        ("acme", "a", "read", 10**9),
        ("acme", "a", "read", True),
        ("acme", "a", "read", 1.5),
    ):
        with pytest.raises(Invalid):
            tokens.mint(namespace, profile, scope, NOW, seconds)  # type: ignore[arg-type]


def test_old_keys_verify_while_they_are_in_the_ring(key: SigningKey) -> None:
    old = Tokens(KeyRing([key])).mint("acme", None, "read", NOW)
    new = SigningKey.generate()
    both = Tokens(KeyRing([new, key]))
    assert both.verify(old, NOW).namespace == "acme"
    fresh = both.mint("acme", None, "read", NOW)
    assert both.verify(fresh, NOW).key_id == new.id
    with pytest.raises(Denied, match="does not know"):
        Tokens(KeyRing([new])).verify(old, NOW)


def test_keys_travel_as_openssl_writes_them(key: SigningKey) -> None:
    again = SigningKey.parse(f" {key.export()}\n", "AUTH_KEY")
    assert again.id == key.id
    assert key.export() not in repr(key)


def test_what_is_no_key_is_named_and_not_shown() -> None:
    ecdsa = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    )
    for text in ("", "secret!", "c2VjcmV0", base64.b64encode(ecdsa).decode()):
        with pytest.raises(Invalid, match="PALIMP_AUTH_KEY is not") as caught:
            SigningKey.parse(text, "PALIMP_AUTH_KEY")
        assert text == "" or text not in str(caught.value)
    with pytest.raises(Invalid):
        KeyRing([])
