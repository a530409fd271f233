"""A review: what was extracted to a branch of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...api import DeleteBranch, MergedReview, MergeReview, Review, ShowReview

if TYPE_CHECKING:
    from .profile import AsyncProfile

__all__ = ["AsyncReviewBranch"]


class AsyncReviewBranch:
    """One review of a profile's branch: a value that holds nothing open.

    `branch` is a profile like any other: what is forgotten, decided or written there before it is
    merged changes what merging writes.
    """

    __slots__ = ("name", "profile")

    def __init__(self, profile: AsyncProfile, name: str) -> None:
        self.profile = profile
        self.name = name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} of {self.profile!r}>"

    @property
    def branch(self) -> AsyncProfile:
        """The branch that holds what was extracted."""
        return self.profile.branch(self.name)

    async def show(self) -> Review:
        """Return what merging would do to the profile as it is now; `NotFound` where it is gone."""
        found: Review = await self.profile.client.call(
            "reviews.show", self.profile.target, ShowReview(review=self.name)
        )
        return found

    async def merge(self) -> MergedReview:
        """Write what the review added, in one transaction that storage has, and remove the review.

        What the profile changed meanwhile is reported in `conflicts` and not overwritten, but that
        a newer value on the same topic supersedes the older one. Merged before, it says so
        (`merged` is False) and changes nothing.
        """
        done: MergedReview = await self.profile.client.call(
            "reviews.merge", self.profile.target, MergeReview(review=self.name)
        )
        return done

    async def drop(self) -> None:
        """Remove the review and all it holds; `NotFound` where it is gone."""
        await self.profile.client.call("branches.delete", self.branch.target, DeleteBranch())
