"""What a branch's owner tells of its shipments, and a reader that is told of them."""

from __future__ import annotations

from typing import NamedTuple

from palimp.engine import Address, Engine
from palimp.engine.following import apply_pushed
from palimp.engine.protocol import Manifest
from palimp.engine.protocol.records import encode

from .engines import P


class Shipment(NamedTuple):
    key: tuple[str, str]
    manifest: Manifest
    data: bytes


def listen(engine: Engine) -> list[Shipment]:
    """Note what an engine tells of its shipments."""
    found: list[Shipment] = []
    engine.following.shipments.listener = lambda *said: found.append(Shipment(*said))
    return found


def take(reader: Engine, shipment: Shipment, looked_at: float | None = None) -> str | None:
    """Let a reader have what its owner would push; applied when this returns, where it is taken."""
    key, manifest, data = shipment
    newest = manifest.segments[-1:] and manifest.segments[-1].max == manifest.txid
    segments = [data] if newest and data else []
    refused = reader.following.take(key, encode(manifest), segments, looked_at)
    if refused is None:
        # Without looking at it.
        with reader._residents.use(key, ADDRESSES.get(key, P)) as branch:
            apply_pushed(branch, 5.0)
    return refused


ADDRESSES: dict[tuple[str, str], Address] = {}


def followed(engine: Engine, how: str) -> float:
    return engine._parts.metrics.snapshot().get(f'replicas_followed{{how="{how}"}}', 0)
