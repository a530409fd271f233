"""Keys of other systems' clients: made, shown, let go of, and found when one is shown.

What is kept of a key is a hash that takes a secret of this node's to make: who reads the catalog's
database can neither use a key nor try any.
"""

from __future__ import annotations

import hmac
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..api import Target
from ..api.credentials import (
    CreateCredential,
    Credential,
    CredentialPage,
    CredentialRevoked,
    GetCredential,
    ListCredentials,
    RevokeCredential,
    RotateCredential,
)
from ..api.limits import (
    CREDENTIAL_DETAIL_BYTES_MAX,
    CREDENTIAL_NAME_BYTES_MAX,
    CREDENTIAL_SUBJECT_BYTES_MAX,
    PAGE_MAX,
)
from ..clock import Clock
from ..errors import Error, Invalid, NotFound, Unconfigured
from ..ids import foreign_name, random_bytes, random_uuid
from ..observe import logger
from ..profile.checks import check_id, check_integer, check_text, decode_json, encode_json
from .auditing.actions import ISSUED
from .context import Context

if TYPE_CHECKING:
    from ..catalog.key_rows import CredentialRow, CredentialTable

__all__ = ["Credentials", "create", "get", "list_page", "revoke", "rotate"]

_LOG = logger("credentials")
# For so long a node may go by what it has read, and so often it notes when keys were used.
_CACHE_SECONDS = 5.0
_CACHED_MAX = 10_000
_CURSOR_DIGITS_MAX = 18


class _Form(NamedTuple):
    """How the keys of a dialect look: a prefix, then so many hex digits, of which some are shown.

    `namespace` is where their subjects' profiles are.
    """

    prefix: str
    digits: int
    shown: int
    namespace: str


_FORMS = {"memoria": _Form("sk-", 32, 12, "memoria")}


class Credentials:
    """The keys of a catalog as one node knows them. Thread-safe.

    `keys` gives what hashes are made with: the first makes new ones, those after it made earlier
    ones, which still hold. Every method raises `Unavailable` where the catalog is away.
    """

    def __init__(
        self, table: CredentialTable, keys: Callable[[], list[bytes]], clock: Clock
    ) -> None:
        self.table = table
        self._keys = keys
        self._clock = clock
        self._lock = threading.Lock()
        self._found: OrderedDict[str, tuple[float, Credential]] = OrderedDict()
        # Of each dialect, whether there is a key, and when that was read.
        self._there: dict[str, tuple[float, bool]] = {}
        self._used: dict[str, int] = {}
        self._noted_at = clock.monotonic()

    def find(self, dialect: str, secret: str) -> Credential | None:
        """Return the key that is shown; None where it is none, was revoked, or has expired.

        One that was revoked by another node is found for 5 seconds more.
        """
        form = _FORMS[dialect]
        if not secret.startswith(form.prefix) or len(secret) != len(form.prefix) + form.digits:
            return None
        hashes = self.hashes(dialect, secret)
        now = self._clock.monotonic()
        with self._lock:
            at, found = self._found.get(hashes[0], (0.0, None))
        if found is None or now - at > _CACHE_SECONDS:
            found = self._read(dialect, hashes)
            if found is not None:
                self._keep(hashes[0], now, found)
        return None if found is None or _expired(found, self._clock) else found

    def any(self, dialect: str) -> bool:
        """Return whether there ever was a key of a dialect, also one that holds no more.

        So nobody is let in by taking the last key away.
        """
        now = self._clock.monotonic()
        at, there = self._there.get(dialect, (0.0, None))
        if there is None or (not there and now - at > _CACHE_SECONDS):
            there = self.table.any(dialect)
            self._there[dialect] = now, there
        return there

    def touched(self, credential: str) -> None:
        """Note that a key was used just now; it is written later, with others."""
        with self._lock:
            self._used[credential] = self._clock.now_ms()

    def hashes(self, dialect: str, secret: str) -> list[str]:
        """Return what a key is kept as, first as it is kept from now on."""
        shown = b"%s\0%s" % (dialect.encode(), secret.encode("utf-8", "surrogatepass"))
        return [hmac.digest(key, shown, "sha256").hex() for key in self._keys()]

    def changed(self, dialect: str) -> None:
        """Read again what this node knows of keys: one was made, or revoked."""
        with self._lock:
            self._found.clear()
        self._there.pop(dialect, None)

    def note_uses(self) -> None:
        """Write when keys were used last."""
        with self._lock:
            used, self._used = self._used, {}
            self._noted_at = self._clock.monotonic()
        if used:
            self.table.used(used)

    def close(self) -> None:
        """Write what is not written, if that can be."""
        try:
            self.note_uses()
        except Error as error:
            _LOG.info("when keys were used last was not written: %s", error)

    def _read(self, dialect: str, hashes: list[str]) -> Credential | None:
        row = self.table.find(dialect, hashes)
        if row is None:
            return None
        if row.hash != hashes[0]:
            # So that it outlives the key it was made with.
            self.table.rehash(row.id, hashes[0])
        if self._clock.monotonic() - self._noted_at > _CACHE_SECONDS:
            self.note_uses()
        return _shown(row)

    def _keep(self, digest: str, now: float, found: Credential) -> None:
        with self._lock:
            self._found[digest] = now, found
            self._found.move_to_end(digest)
            while len(self._found) > _CACHED_MAX:
                self._found.popitem(last=False)


def create(context: Context, _target: Target, request: CreateCredential) -> Credential:
    """Make a key; this answer alone has it."""
    credentials = _credentials(context)
    form = _form(request.dialect)
    _check_text(request.subject, "subject", CREDENTIAL_SUBJECT_BYTES_MAX)
    _check_text(request.name, "name", CREDENTIAL_NAME_BYTES_MAX)
    detail = encode_json(request.detail, "detail", CREDENTIAL_DETAIL_BYTES_MAX)
    now = context.clock.now_ms()
    if request.expires_at is not None and request.expires_at <= now:
        raise Invalid(f"expires_at is {request.expires_at:,}, and it is {now:,} now; give a later")
    secret = form.prefix + random_bytes(form.digits // 2).hex()
    # Its room is imported where there is a catalog.
    from ..catalog.key_rows import CredentialRow

    row = CredentialRow(
        id=random_uuid(),
        dialect=request.dialect,
        subject=request.subject,
        name=request.name,
        prefix=secret[: form.shown],
        hash=credentials.hashes(request.dialect, secret)[0],
        detail=detail,
        created_at=now,
        expires_at=request.expires_at,
    )
    credentials.table.add(row)
    credentials.changed(row.dialect)
    _record(context, "create", row)
    return _shown(row, secret)


def list_page(context: Context, _target: Target, request: ListCredentials) -> CredentialPage:
    """Read those that were not revoked."""
    credentials = _credentials(context)
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    if request.dialect is not None:
        _form(request.dialect)
    before = None if request.cursor is None else _place(request.cursor)
    credentials.note_uses()
    found = credentials.table.page(request.dialect, request.subject, before, request.limit + 1)
    page, more = found[: request.limit], len(found) > request.limit
    return CredentialPage(
        credentials=tuple(_shown(row) for row in page),
        next_cursor=f"{page[-1].created_at}.{page[-1].id}" if more else None,
    )


def get(context: Context, _target: Target, request: GetCredential) -> Credential:
    """Read what is known of one."""
    credentials = _credentials(context)
    credentials.note_uses()
    return _shown(_found(credentials, request.id))


def rotate(context: Context, _target: Target, request: RotateCredential) -> Credential:
    """Make a new one instead; both or neither."""
    credentials = _credentials(context)
    old = _found(credentials, request.id)
    if _expired(_shown(old), context.clock):
        raise Invalid(f"key {old.id} has expired, and a new one would have too; make another")
    form = _form(old.dialect)
    secret = form.prefix + random_bytes(form.digits // 2).hex()
    row = old._replace(
        id=random_uuid(),
        prefix=secret[: form.shown],
        hash=credentials.hashes(old.dialect, secret)[0],
        created_at=context.clock.now_ms(),
        last_used_at=None,
    )
    if not credentials.table.replace(old.id, row):
        raise _missing(old.id)
    credentials.changed(row.dialect)
    _record(context, "rotate", row)
    return _shown(row, secret)


def revoke(context: Context, _target: Target, request: RevokeCredential) -> CredentialRevoked:
    """Let one hold no more."""
    credentials = _credentials(context)
    row = _found(credentials, request.id)
    if not credentials.table.revoke(row.id, context.clock.now_ms()):
        raise _missing(row.id)
    credentials.changed(row.dialect)
    _record(context, "revoke", row)
    return CredentialRevoked(id=row.id)


def _credentials(context: Context) -> Credentials:
    if context.credentials is None:
        raise Unconfigured(
            "keys of other systems' clients are kept in the catalog, and there is none here: set "
            "PALIMP_CATALOG_URL, or start the node with `palimp serve`, which has one in its "
            "folder (extra `server`)"
        )
    found: Credentials = context.credentials
    return found


def _form(dialect: str) -> _Form:
    form = _FORMS.get(dialect)
    if form is None:
        raise Invalid(f"no dialect {dialect!r:.80} has keys; {', '.join(_FORMS)} has")
    return form


def _check_text(text: str, field: str, bytes_max: int) -> None:
    check_text(text, field, bytes_max)
    if "\0" in text:
        raise Invalid(f"{field} has a null character; leave it out")


def _place(cursor: str) -> tuple[int, str]:
    at, dot, identity = cursor.partition(".")
    if not (dot and identity and at.isascii() and at.isdigit() and len(at) <= _CURSOR_DIGITS_MAX):
        raise Invalid(f"cursor {cursor!r:.80} did not come from an earlier page")
    return int(at), identity


def _found(credentials: Credentials, identity: str) -> CredentialRow:
    row = credentials.table.get(check_id(identity))
    if row is None:
        raise _missing(identity)
    return row


def _missing(identity: str) -> NotFound:
    return NotFound(
        f"no key {identity!r:.80}, or it was revoked; `palimp key list` shows those there are"
    )


def _expired(credential: Credential, clock: Clock) -> bool:
    return credential.expires_at is not None and credential.expires_at <= clock.now_ms()


def _shown(row: CredentialRow, secret: str | None = None) -> Credential:
    return Credential(
        id=row.id,
        dialect=row.dialect,
        subject=row.subject,
        name=row.name,
        prefix=row.prefix,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        detail=decode_json(row.detail),
        secret=secret,
    )


def _record(context: Context, what: str, row: CredentialRow) -> None:
    """Record it where what the key reaches is."""
    if context.audit is not None:
        place = _form(row.dialect).namespace, ISSUED[what], foreign_name(row.subject)
        context.audit.record(*place, principal=context.principal)
