"""How often something was seen, however much there is."""

from __future__ import annotations

import hashlib

import apsw

__all__ = ["Seen"]


class Seen:
    """Counts keys in bounded memory: what does not fit is in a temporary file without a name."""

    def __init__(self) -> None:
        self._db = apsw.Connection("")
        self._db.execute(
            "pragma journal_mode = off; pragma synchronous = off;"
            "create table seen (key blob primary key, times integer not null) without rowid;"
            "begin"
        ).fetchall()

    def count(self, *key: object) -> int:
        """Return how often this key was counted, this time included."""
        digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
        times: int = self._db.execute(
            "insert into seen values (?, 1) on conflict do update set times = times + 1 "
            "returning times",
            (digest,),
        ).get
        return times
