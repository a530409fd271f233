"""Where a call works: which namespace, profile and branch, and whether a caller may choose."""

from __future__ import annotations

from typing import Any

import msgspec

from ..client import AsyncClient, AsyncProfile
from ..errors import Invalid
from ..ids import NAMESPACE_CHARS_MAX, check_name, parse_profile_spec

__all__ = ["ADDRESS", "CHOICES", "Place"]

CHOICES = ("namespace", "profile")
# The arguments every tool has; a pinned place leaves only the branch to choose.
ADDRESS = (*CHOICES, "branch")


class Place(msgspec.Struct, frozen=True):
    """The namespace and profile (`name` or `name@branch`) that a call means unless it says other.

    Where `pinned`, nothing a caller sends reaches another profile: it has no argument for it.
    """

    namespace: str
    profile: str
    pinned: bool = False

    def __post_init__(self) -> None:
        check_name(self.namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX)
        parse_profile_spec(self.profile)

    def choose(self, given: dict[str, Any]) -> Place:
        """Return the place a call means; `Invalid` for what is no name, or is not its to choose."""
        chosen = {name: given[name] for name in CHOICES if given.get(name) is not None}
        if self.pinned and chosen:
            names = " and ".join(chosen)
            raise Invalid(
                f"{names} cannot be chosen here: this address serves {self}; leave {names} out"
            )
        return Place(**{"namespace": self.namespace, "profile": self.profile, **chosen})

    def open(self, client: AsyncClient, branch: Any = None) -> AsyncProfile:
        """Return the profile, on the branch that is named here or by the place."""
        profile = client.profile(self.profile, namespace=self.namespace)
        return profile if branch is None else profile.branch(branch)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.profile}"
