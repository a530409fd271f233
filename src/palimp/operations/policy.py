"""Policies of namespaces and profiles, and what they do to a profile."""

from __future__ import annotations

from ..api import (
    GetNamespacePolicy,
    GetProfilePolicy,
    NamespacePolicy,
    Policy,
    ProfilePolicy,
    SetNamespacePolicy,
    SetProfilePolicy,
    Target,
)
from ..engine import Address
from ..errors import Invalid, NotFound
from ..governance.document import Document, Values, checked
from ..governance.sweep import Sweep, is_due, sweep
from ..ids import MAIN, NAMESPACE_CHARS_MAX, check_name
from .auditing.actions import SWEPT
from .context import Context

__all__ = ["get_namespace", "get_profile", "set_namespace", "set_profile", "sweep_profile"]


def get_namespace(
    context: Context, target: Target, _request: GetNamespacePolicy
) -> NamespacePolicy:
    """Read what is kept of a namespace; `NotFound` where nothing is."""
    namespace = _namespace(target)
    document = context.policies.document(namespace)
    if not document.is_set:
        raise NotFound(f"namespace {namespace!r} has no policy")
    return NamespacePolicy(namespace=namespace, policy=document.raw["policy"])


def set_namespace(context: Context, target: Target, request: SetNamespacePolicy) -> NamespacePolicy:
    """Replace the policy of a namespace."""
    namespace = _namespace(target)
    values = _values(request.policy, of_profile=False)
    document = context.policies.set_namespace(namespace, values)
    return NamespacePolicy(namespace=namespace, policy=document.raw["policy"])


def get_profile(context: Context, target: Target, _request: GetProfilePolicy) -> ProfilePolicy:
    """Read what is kept of a profile, and what is in force for it."""
    address = _whole(context, target)
    return _told(context, address, context.policies.document(address.namespace))


def set_profile(context: Context, target: Target, request: SetProfilePolicy) -> ProfilePolicy:
    """Replace what a profile has beyond its namespace."""
    address = _whole(context, target)
    values = _values(request.policy, of_profile=True)
    document = context.policies.set_profile(address.namespace, address.profile, values)
    return _told(context, address, document)


def sweep_profile(context: Context, address: Address) -> int:
    """Remove from every branch of a profile what its policy does not let stay; return how many."""
    policy = context.policies.lenient(address.namespace, address.profile)
    limits = Sweep.of(policy, context.clock.now_ms())
    if limits is None:
        return 0
    removed = 0
    for info in context.engine.branches(address):
        try:
            removed += _sweep_branch(context, address._replace(branch=info.name), limits)
        except NotFound:
            # Deleted since it was listed.
            continue
    if removed:
        context.metrics.add("memories_swept", removed)
        if context.audit is not None:
            context.audit.record(address.namespace, SWEPT, address.profile, items=removed)
    return removed


def _sweep_branch(context: Context, address: Address, limits: Sweep) -> int:
    removed = 0
    with context.engine.use(address, create=False) as branch:
        if branch is None:
            return 0
        sealer = context.sealer_of(address)
        # Asked first: a write makes this node the owner.
        while branch.read(lambda c: is_due(c, limits)).value:
            removed += branch.write(lambda c: sweep(c, limits, sealer)).value
        if removed:
            context.wake(address)
    return removed


def _told(context: Context, address: Address, document: Document) -> ProfilePolicy:
    return ProfilePolicy(
        override=document.override(address.profile),
        effective=context.policies.in_force(document, address.profile),
    )


def _values(policy: Policy | None, *, of_profile: bool) -> Values | None:
    return None if policy is None else checked(policy, of_profile=of_profile)


def _namespace(target: Target) -> str:
    if target.namespace is None:
        raise Invalid("this operation needs a namespace")
    return check_name(target.namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX)


def _whole(context: Context, target: Target) -> Address:
    address = context.address(target)
    if address.branch != MAIN:
        raise Invalid(f"{address} names a branch; a policy is for the whole profile")
    return address
