"""What the catalog keeps for clients of other systems: their keys, and what is no memory."""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["Binding", "BindingTable", "CredentialRow", "CredentialTable"]


class CredentialRow(NamedTuple):
    """A key as it is kept: not the key, but its hash. `detail` is JSON; times are in ms."""

    id: str
    dialect: str
    subject: str
    name: str
    prefix: str
    hash: str
    detail: str
    created_at: int
    expires_at: int | None = None
    last_used_at: int | None = None
    revoked_at: int | None = None


class CredentialTable(Protocol):
    """Where keys are; every method raises `Unavailable` where that is away.

    What was revoked stays, and is found by nothing but `any`, `was_revoked`, and a page that asks.
    """

    def add(self, row: CredentialRow) -> None:
        """Keep a new one."""

    def replace(self, old: str, row: CredentialRow) -> bool:
        """Keep a new one and revoke the old, both or neither; False where that is not there."""

    def revoke(self, credential: str, at: int) -> bool:
        """Let one hold no more; False where it is not there."""

    def get(self, credential: str) -> CredentialRow | None:
        """Return one by its id."""

    def find(self, dialect: str, hashes: list[str]) -> CredentialRow | None:
        """Return the one that has one of these hashes."""

    def rehash(self, credential: str, new: str) -> None:
        """Keep another hash of one."""

    def was_revoked(self, dialect: str, hashes: list[str]) -> bool:
        """Whether one that has one of these hashes was revoked."""

    def page(
        self,
        dialect: str | None,
        subject: str | None,
        before: tuple[int, str] | None,
        limit: int,
        *,
        revoked: bool = False,
    ) -> list[CredentialRow]:
        """Return those of a dialect and a subject, the newest first, before (time, id) only."""

    def any(self, dialect: str) -> bool:
        """Return whether there ever was one."""

    def used(self, times: dict[str, int]) -> None:
        """Note when keys were used last, by their ids (ms)."""


class Binding(NamedTuple):
    """A value under a key, as JSON text; `version` begins at 1 and rises with every change."""

    key: str
    value: str
    version: int


class BindingTable(Protocol):
    """Where dialects keep what is no memory; every method raises `Unavailable` where it is away.

    `scope` is whose it is: a user of the dialect, or empty for what is everybody's. Scopes have up
    to 512 bytes and keys 256, else `Invalid` is raised; values are JSON text of up to 1 MiB.
    """

    def get(self, dialect: str, scope: str, key: str) -> Binding | None:
        """Return what is kept under a key."""

    def put(
        self, dialect: str, scope: str, key: str, value: str, expect: int | None = None
    ) -> int | None:
        """Keep a value and return its version; None, and nothing changed, where `expect` is wrong.

        `expect` is the version it has to have now: 0 where there must be none; None takes any.
        """

    def list(
        self, dialect: str, scope: str, prefix: str = "", after: str = "", limit: int = 1_000
    ) -> list[Binding]:
        """Return those whose keys begin with `prefix` and come after `after`, in their order."""

    def delete(self, dialect: str, scope: str, key: str, expect: int | None = None) -> bool:
        """Remove a key, if it has the version `expect`; whether it was removed."""
