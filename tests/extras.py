"""The product as if no extra were installed, which is how `make test-base` runs it."""

from __future__ import annotations

import os
import sys

__all__ = ["hide"]

# What only extras bring.
_EXTRAS = (
    "alembic",
    "boto3",
    "botocore",
    "mcp",
    "mcp_types",
    "moto",
    "obstore",
    "opentelemetry",
    "prometheus_client",
    "psycopg",
    "pymysql",
    "sqlalchemy",
)


def hide() -> None:
    """Let what only extras bring be missing in this process, where the run is for that."""
    if os.environ.get("BASE_INSTALL_ONLY"):
        sys.modules.update(dict.fromkeys(_EXTRAS))  # type: ignore[arg-type]
