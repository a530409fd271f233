"""The master key of a node: where it comes from, and the store that is sealed under it.

From `PALIMP_MASTER_KEY`, else the file of `PALIMP_MASTER_KEY_FILE`, else what the command of
`PALIMP_MASTER_KEY_COMMAND` prints. Without one of them nothing of this is imported.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

from ..clock import Clock
from ..engine import Address, Engine
from ..errors import Invalid, Unavailable
from ..security.envelope import MasterKey, parse_master_keys
from ..security.keyring import Keys, Place
from ..store import ObjectStore
from ..store.identity import Identity, mark_sealed
from .settings import PREFIX, Settings

__all__ = ["EngineDirectory", "keys_of", "master_keys", "shown", "start"]

_BYTES_MAX = 64 << 10
_COMMAND_SECONDS = 30.0
_NAMES = ("master_key", "master_key_file", "master_key_command")


def keys_of(settings: Settings, store: ObjectStore, clock: Clock) -> Keys:
    """Return the keys of a store; the command, if it is one, is run here, once."""
    return Keys(store, master_keys(settings), clock)


def start(keys: Keys, store: ObjectStore, known: Identity, *, may_write: bool) -> None:
    """Compare the master key with the store's check value; note that the store may be sealed.

    Raises `Invalid` where it is not the one; then nothing was changed.
    """
    keys.start(known.id, sealed=known.sealed, may_write=may_write)
    if may_write and not known.sealed:
        mark_sealed(store)


def master_keys(settings: Settings) -> tuple[MasterKey, ...]:
    """Return the master keys, the one that wraps first; `Invalid` where they are malformed."""
    given = [name for name in _NAMES if getattr(settings, name) is not None]
    if len(given) != 1:
        names = ", ".join(f"{PREFIX}{name.upper()}" for name in given or _NAMES)
        raise Invalid(f"a master key comes from one place; set one of {names}")
    what = f"{PREFIX}{given[0].upper()}"
    if settings.master_key is not None:
        return parse_master_keys(settings.master_key, what)
    if settings.master_key_file is not None:
        return parse_master_keys(_read(Path(settings.master_key_file), what), what)
    assert settings.master_key_command is not None
    return parse_master_keys(_run(settings.master_key_command, what), what)


def shown(settings: Settings) -> str:
    """Return what tells one master key from another and may be shown; a command is not run."""
    command = settings.master_key_command
    if command is not None:
        return "command " + hashlib.sha256(command.encode()).hexdigest()[:16]
    return " ".join(master.id for master in master_keys(settings))


class EngineDirectory:
    """What keys have to know of databases, from an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def database(self, address: Place, *, create: bool) -> str | None:
        """Return the id of a profile's database."""
        names = Address(address.namespace, address.profile)
        return self._engine.renewing.database(names, create=create)

    def namespace_of(self, db_id: str) -> str:
        """Return the namespace a database is in."""
        return self._engine.renewing.namespace_of(db_id)

    def was_written(self, db_id: str) -> bool:
        """Whether something of a database was shipped."""
        return self._engine.renewing.was_written(db_id)


def _read(path: Path, what: str) -> str:
    try:
        with path.expanduser().open("rb") as file:
            data = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise Invalid(f"{what}: {path} cannot be read: {error.strerror or error}") from error
    return _text(data, what)


def _run(command: str, what: str) -> str:
    """Return what a command prints; it is ended after a while, and nothing of it is shown."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise Invalid(f"{what} is not a command line: {error}") from error
    if not words:
        raise Invalid(f"{what} is empty; give a command that prints the master key")
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's own command
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise Invalid(f"{what}: {words[0]!r} cannot be run: {error.strerror or error}") from error
    late = threading.Event()

    def end() -> None:
        late.set()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(_COMMAND_SECONDS, end)
    timer.start()
    try:
        assert process.stdout is not None
        with process.stdout as output:
            data = output.read(_BYTES_MAX + 1)
        if len(data) > _BYTES_MAX:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
    finally:
        timer.cancel()
    if late.is_set():
        raise Unavailable(f"{what}: {words[0]!r} did not end within {_COMMAND_SECONDS:g} s")
    if len(data) <= _BYTES_MAX and status != 0:
        raise Invalid(f"{what}: {words[0]!r} ended with status {status}; run it by hand to see why")
    return _text(data, what)


def _text(data: bytes, what: str) -> str:
    if len(data) > _BYTES_MAX:
        raise Invalid(f"{what} gives more than {_BYTES_MAX:,} bytes; it is no master key")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise Invalid(f"{what} is not a key in base64; `palimp keygen master` makes one") from None
