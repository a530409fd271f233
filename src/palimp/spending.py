"""What a call to a model took out of this host, counted as it happens."""

from __future__ import annotations

__all__ = ["Spending"]


class Spending:
    """Adds up the calls of one piece of work; handed down to whoever makes them.

    `texts` and `bytes` are what was sent, `tokens_in` and `tokens_out` what the model says it read
    and wrote (UTF-8 bytes / 4 where it does not say). `hosts` are names only, never URLs: those may
    hold a key. What a cache answered is not counted: it did not leave.
    """

    __slots__ = ("bytes", "calls", "hosts", "texts", "tokens_in", "tokens_out")

    def __init__(self) -> None:
        self.calls = 0
        self.texts = 0
        self.bytes = 0
        self.tokens_in = 0
        self.tokens_out = 0
        self.hosts: set[str] = set()

    def add(
        self,
        host: str,
        *,
        calls: int = 1,
        texts: int = 0,
        bytes: int = 0,
        tokens_in: int = 0,
        tokens_out: int = 0,
    ) -> None:
        """Count one call, or a share of one."""
        self.hosts.add(host)
        self.calls += calls
        self.texts += texts
        self.bytes += bytes
        self.tokens_in += tokens_in
        self.tokens_out += tokens_out
