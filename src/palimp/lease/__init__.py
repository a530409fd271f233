"""Who may write: a node's lease, the databases attached to it, and which nodes there are.

A lease is a hint with a deadline. What keeps two writers apart for good is the epoch in a branch's
manifest: a lease only says who should write, so that they do not keep taking branches from each
other, and where to ask.
"""

from __future__ import annotations

from .placement import Leases, Peer, Placement, preferred

__all__ = ["Leases", "Peer", "Placement", "preferred"]
