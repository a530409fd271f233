"""How a remote store is reached: obstore's stores, made from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..clock import Clock
from ..errors import Invalid, Unconfigured
from .protocol import KEY_BYTES_MAX
from .remote import RemoteStore

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Connection

__all__ = ["connect"]

_TIMEOUTS = {"timeout": "30 seconds", "connect_timeout": "5 seconds"}
# Given to obstore, its client options replace those of the environment as a whole (measured:
# AWS_ALLOW_HTTP is then ignored), so all of them are carried over.
_CLIENT_OPTIONS = (
    *("allow_http", "allow_invalid_certificates", "connect_timeout", "pool_idle_timeout"),
    *("pool_max_idle_per_host", "proxy_ca_certificate", "proxy_excludes", "proxy_url"),
    *("read_timeout", "root_certificate", "timeout", "user_agent"),
)
_PREFIXES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
# A write is never repeated below us: the second try of a create that had happened answers
# "already there", and a late one could undo what was answered in between.
_WRITES: dict[str, Any] = {"max_retries": 0}
_READS: dict[str, Any] = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=15),
    "backoff": {"init_backoff": timedelta(milliseconds=50), "max_backoff": timedelta(seconds=2)},
}


def connect(
    scheme: str,
    bucket: str,
    prefix: str,
    *,
    clock: Clock,
    config: Mapping[str, str] | None = None,
    client_options: Mapping[str, str] | None = None,
) -> RemoteStore:
    """Return the store of a bucket; sends nothing yet.

    `config` is obstore's for that store and wins over the environment, as `client_options` does.
    Raises `Unconfigured` without obstore, and where the environment makes no store.
    """
    if "@" in bucket or len(prefix) > KEY_BYTES_MAX // 2:
        raise Invalid(
            f"PALIMP_OBJECT_STORE: {scheme}:// takes bucket/prefix, the prefix at most "
            f"{KEY_BYTES_MAX // 2} characters; credentials belong in {_PREFIXES[scheme]}*"
        )
    options = {**_TIMEOUTS, **_from_environment(scheme), **(client_options or {})}
    name = f"{scheme}://{bucket}" + (f"/{prefix}" if prefix else "")
    reads, writes = (
        _connection(scheme, name, bucket, prefix or None, dict(config or {}), options, retries)
        for retries in (_READS, _WRITES)
    )
    return RemoteStore(scheme, name, reads, writes, clock=clock)


def _connection(
    scheme: str,
    name: str,
    bucket: str,
    prefix: str | None,
    config: dict[str, Any],
    options: dict[str, Any],
    retries: dict[str, Any],
) -> Connection:
    try:
        from obstore.exceptions import BaseError
        from obstore.store import AzureStore, GCSStore, S3Store
    except ImportError as error:
        raise Unconfigured(
            f"object store {name} needs obstore: pip install 'palimp[cloud]'"
        ) from error
    classes: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
    try:
        made: Connection = classes[scheme](
            bucket, prefix=prefix, config=config, client_options=options, retry_config=retries
        )
    except (BaseError, ValueError, OSError) as error:
        raise Unconfigured(
            f"object store {name} cannot be reached as configured: {str(error).splitlines()[0]}; "
            f"check the {_PREFIXES[scheme]}* variables"
        ) from error
    return made


def _from_environment(scheme: str) -> dict[str, str]:
    names = {f"{_PREFIXES[scheme]}{option.upper()}": option for option in _CLIENT_OPTIONS}
    return {names[name]: value for name, value in os.environ.items() if name in names and value}
