"""What leaves this host for a model: whether it may, and the record that it did.

Everything that calls a model passes here. What the policy denies is refused before a byte leaves.
What left is recorded by counts, the host's name and the model's: never a text, never a URL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from ..engine import Address
from ..errors import Denied, Error, Unavailable
from ..observe import logger
from ..spending import Spending
from .auditing.actions import SENT
from .context import Context

__all__ = ["Purpose", "outgoing"]

_LOG = logger("egress")
Purpose = Literal["embed", "extract", "ask"]
_NAME_CHARS_MAX = 200


@contextmanager
def outgoing(
    context: Context, address: Address, purpose: Purpose, model: str
) -> Iterator[Spending]:
    """Give what the calls of one piece of work are to be counted in; their sum is recorded.

    Recorded is what left, also where the work failed. Raises `Denied` where the policy denies the
    purpose, `Unavailable` where the policy was never readable. Not of `embed`: what the policy does
    not let have a text is none of the embedders `Context.embedder_of` gives; ask that anew with
    every batch.
    """
    if purpose != "embed":
        _check(context, address, purpose)
    spending = Spending()
    outcome, code = "error", None
    try:
        yield spending
        outcome = "ok"
    except Error as error:
        code = error.code
        raise
    finally:
        if spending.hosts:
            _record(context, address, purpose, model, spending, outcome, code)


def _check(context: Context, address: Address, purpose: Purpose) -> None:
    field = f"ai_egress.{purpose}"
    try:
        policy = context.policies.effective(address.namespace, address.profile)
    except Error as error:
        raise Unavailable(
            f"the policy of namespace {address.namespace!r} cannot be read, so nothing is given to "
            f"a model; repeat the request when the object store answers: {error}",
            reason="policy",
            retry_after=error.retry_after,
        ) from error
    word = policy.ai_egress_extract if purpose == "extract" else policy.ai_egress_ask
    if word == "deny":
        raise Denied(
            f"{field} = deny for namespace {address.namespace!r}, profile {address.profile!r}: "
            "nothing was given to a model; see `palimp policy get`",
            field=field,
        )


def _record(
    context: Context,
    address: Address,
    purpose: Purpose,
    model: str,
    spending: Spending,
    outcome: str,
    code: str | None,
) -> None:
    tokens = spending.tokens_in + spending.tokens_out
    context.metrics.add("model_calls", spending.calls, purpose=purpose)
    context.metrics.add("model_tokens", tokens, purpose=purpose)
    if context.usage is not None:
        context.usage.spend(address.namespace, address.profile, tokens)
    host = ",".join(sorted(spending.hosts))
    _LOG.debug("%s: %d calls of %s for %s", host, spending.calls, purpose, address)
    if context.audit is not None:
        context.audit.record(
            address.namespace,
            SENT[purpose],
            address.profile,
            about={
                "branch": address.branch,
                "outcome": outcome,
                "code": code,
                "host": host[:_NAME_CHARS_MAX],
                "model": model[:_NAME_CHARS_MAX],
                "request_id": context.options.request_id,
            },
            principal=context.principal,
            calls=spending.calls,
            texts=spending.texts,
            bytes=spending.bytes,
            tokens_in=spending.tokens_in,
            tokens_out=spending.tokens_out,
        )
