"""Keys of other systems' clients: made, shown, let go of, and found when one is shown.

What is kept of a key is a hash that takes a secret of this node's to make: who reads the catalog's
database can neither use a key nor try any.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

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
    TENANT_CHARS_MAX,
)
from ..clock import Clock
from ..errors import Error, Invalid, NotFound, Unconfigured
from ..ids import NAMESPACE_CHARS_MAX, foreign_name, random_bytes, random_uuid
from ..observe import logger
from ..profile.checks import check_id, check_integer, check_text, decode_json, encode_json
from . import key_names, organisations
from .auditing.actions import ISSUED
from .context import Context

if TYPE_CHECKING:
    from ..catalog.key_rows import CredentialRow, CredentialTable

__all__ = ["Credentials", "create", "get", "list_page", "revoke", "rotate", "tenant_namespace"]

_LOG = logger("credentials")
# For so long a node may go by what it has read, and so often it notes when keys were used.
_CACHE_SECONDS = 5.0
_CACHED_MAX = 10_000
_CURSOR_DIGITS_MAX = 18
_LIVE = "production"
# No colon: `a` in staging and a tenant called `a:staging` must not share a namespace.
_TENANT = re.compile(rf"[A-Za-z0-9_.-]{{1,{TENANT_CHARS_MAX}}}\Z")
_HASH_DIGITS = 40


class _Form(NamedTuple):
    """How the keys of a dialect look: a prefix, then so many digits, of which some are shown.

    `prefixes` by the environment that the detail of a key names; the first where it names none.
    `namespace` is where their subjects' profiles are; None: each subject has one of its own.
    The digits are hex, or else `base64`, its URL-safe form with padding.
    """

    prefixes: dict[str, str]
    digits: int
    shown: int
    namespace: str | None
    base64: bool = False


_FORMS = {
    "memoria": _Form({"": "sk-"}, 32, 12, "memoria"),
    "memorysync": _Form(
        {_LIVE: "ms_live_", "staging": "ms_test_", "development": "ms_dev_"}, 32, 14, None
    ),
    "memtrace": _Form({"": "mtk_"}, 44, 12, None, base64=True),
}
_PERMISSIONS = ("read", "write", "admin")
_PERMISSIONS_DEFAULT = ("read", "write")
# The bytes of four digits.
_BASE64_BYTES, _BASE64_DIGITS = 3, 4


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
        if not _looks_right(_FORMS[dialect], secret):
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

    def was_revoked(self, dialect: str, secret: str) -> bool:
        """Return whether a secret was a key once, and was revoked; asked of the catalog each time.

        For what refuses somebody in other words then: who shows it had it from here.
        """
        if not _looks_right(_FORMS[dialect], secret):
            return False
        return self.table.was_revoked(dialect, self.hashes(dialect, secret))

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
            self._rehash(row.id, hashes[0])
        if self._clock.monotonic() - self._noted_at > _CACHE_SECONDS:
            self.note_uses()
        return _shown(row)

    def _rehash(self, credential: str, new: str) -> None:
        """Have a key outlive what it was hashed with; nobody is refused where that cannot be."""
        try:
            self.table.rehash(credential, new)
        except Error as error:
            _LOG.warning("key %s keeps its earlier hash for now: %s", credential, error)

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
    known = _known(context, request)
    detail = encode_json(known, "detail", CREDENTIAL_DETAIL_BYTES_MAX)
    now = context.clock.now_ms()
    if request.expires_at is not None and request.expires_at <= now:
        raise Invalid(f"expires_at is {request.expires_at:,}, and it is {now:,} now; give a later")
    secret = _secret(form, request.detail)
    # Refused before it is made: a subject that no place can be named by.
    _reach(request.dialect, request.subject, request.detail)
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
    # Before there is the key: of two that are made at once under one name, one is not.
    key_names.take(context, row)
    credentials.table.add(row)
    credentials.changed(row.dialect)
    _record(context, "create", row)
    return _shown(row, secret)


def list_page(context: Context, _target: Target, request: ListCredentials) -> CredentialPage:
    """Read those that were not revoked; with `revoked` all that there ever were."""
    credentials = _credentials(context)
    check_integer(request.limit, "limit", 1, PAGE_MAX)
    if request.dialect is not None:
        _form(request.dialect)
    before = None if request.cursor is None else _place(request.cursor)
    credentials.note_uses()
    found = credentials.table.page(
        request.dialect, request.subject, before, request.limit + 1, revoked=request.revoked
    )
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
    secret = _secret(form, decode_json(old.detail))
    row = old._replace(
        id=random_uuid(),
        prefix=secret[: form.shown],
        hash=credentials.hashes(old.dialect, secret)[0],
        created_at=context.clock.now_ms(),
        last_used_at=None,
    )
    if not credentials.table.replace(old.id, row):
        raise _missing(old.id)
    key_names.pass_on(context, row)
    credentials.changed(row.dialect)
    _record(context, "rotate", row)
    return _shown(row, secret)


def revoke(context: Context, _target: Target, request: RevokeCredential) -> CredentialRevoked:
    """Let one hold no more."""
    credentials = _credentials(context)
    row = _found(credentials, request.id)
    if not credentials.table.revoke(row.id, context.clock.now_ms()):
        raise _missing(row.id)
    key_names.let_go(context, row)
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
        raise Invalid(f"no dialect {dialect!r:.80} has keys; give {' or '.join(_FORMS)}")
    return form


def _looks_right(form: _Form, secret: str) -> bool:
    return any(
        secret.startswith(prefix) and len(secret) == len(prefix) + form.digits
        for prefix in form.prefixes.values()
    )


def _secret(form: _Form, detail: Mapping[str, Any]) -> str:
    """Return a new secret; raises `Invalid` for a key of an environment that is none."""
    environment = detail.get("environment", next(iter(form.prefixes)))
    if len(form.prefixes) > 1 and environment not in form.prefixes:
        raise Invalid(
            f"there is no environment {environment!r:.40} a key could be for; give "
            f"{', '.join(form.prefixes)}"
        )
    prefix = form.prefixes.get(environment, next(iter(form.prefixes.values())))
    if form.base64:
        data = random_bytes(form.digits // _BASE64_DIGITS * _BASE64_BYTES - 1)
        return prefix + base64.urlsafe_b64encode(data).decode()
    return prefix + random_bytes(form.digits // 2).hex()


def _known(context: Context, request: CreateCredential) -> dict[str, Any]:
    """Return the detail of a key as it is kept; raises `NotFound` where whose it is is not."""
    detail = dict(request.detail)
    if request.dialect != organisations.DIALECT:
        return detail
    organisations.get_org(context, request.subject)
    given = detail.get("permissions", _PERMISSIONS_DEFAULT)
    if not (isinstance(given, list | tuple) and given and all(p in _PERMISSIONS for p in given)):
        raise Invalid(
            f"permissions are {given!r:.80}; give one or more of {', '.join(_PERMISSIONS)}"
        )
    return {**detail, "permissions": [one for one in _PERMISSIONS if one in given]}


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
        revoked_at=row.revoked_at,
        detail=decode_json(row.detail),
        secret=secret,
    )


def _record(context: Context, what: str, row: CredentialRow) -> None:
    """Record it where what the key reaches is."""
    if context.audit is not None:
        namespace, profile = _reach(row.dialect, row.subject, decode_json(row.detail))
        context.audit.record(namespace, ISSUED[what], profile, principal=context.principal)


def _reach(dialect: str, subject: str, detail: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the namespace, and the profile if it is one, that a key reaches."""
    form = _form(dialect)
    if form.namespace is not None:
        return form.namespace, foreign_name(subject)
    if dialect == organisations.DIALECT:
        return organisations.namespace_of(subject), organisations.PROFILE
    return tenant_namespace(subject, detail.get("environment", next(iter(form.prefixes)))), None


def tenant_namespace(tenant: str, environment: str) -> str:
    """Return the namespace in which a tenant of `memorysync` has what is of an environment.

    No two have one. Raises `Invalid` for what no tenant can be called.
    """
    if not _TENANT.match(tenant):
        raise Invalid(
            f"tenant {tenant!r:.80} is not 1 to {TENANT_CHARS_MAX} of A-Z, a-z, 0-9, _, . and -"
        )
    name = foreign_name(f"ms:{tenant}" if environment == _LIVE else f"ms:{tenant}:{environment}")
    if len(name) <= NAMESPACE_CHARS_MAX:
        return name
    return "ms-" + hashlib.blake2b(name.encode()).hexdigest()[:_HASH_DIGITS]
