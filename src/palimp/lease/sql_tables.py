"""The tables of leases as the code reads and writes them; migrations of the catalog make them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, MetaData, String, Table

__all__ = ["NOBODY", "NODES", "OWNERS"]

_METADATA = MetaData()
# The lease of a database that was released; the row stays for a while, so that others see it.
NOBODY = ""

# One row a node: a renewal is one UPDATE, whatever it has. `lease` is new with every lease.
NODES = Table(
    "palimp_lease_nodes",
    _METADATA,
    Column("cluster", String, primary_key=True),
    Column("node", String, primary_key=True),
    Column("lease", String, nullable=False),
    Column("record", String, nullable=False),
    Column("ttl_ms", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

# A database is at the node whose lease it names, while that lasts. `changed` rises with every
# change: by it those that follow read what is new to them.
OWNERS = Table(
    "palimp_lease_owners",
    _METADATA,
    Column("cluster", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("lease", String, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)
