"""What of the settings decides who may write, and what others are told of this node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import palimp
from palimp.clock import Clock
from palimp.errors import Invalid, Unavailable
from palimp.node import Node, Settings, load_settings
from palimp.node.credentials import check_exposure
from palimp.node.leasing import advertised, check_alone, make_leases, make_placement
from palimp.observe import Metrics

ETCD = {"etcd": "http://127.0.0.1:1", "cluster_key": "k" * 16}


def settings(**given: Any) -> Settings:
    return load_settings(given, {})


def leases(given: Settings) -> Any:
    return make_leases(given, "store", "a", None, Clock(), Metrics())


def test_a_node_alone_has_no_leases() -> None:
    assert leases(settings()) is None
    assert leases(settings(**ETCD, read_only=True)) is None
    assert leases(settings(**ETCD, leases="single")) is None


def test_leases_are_where_the_settings_say() -> None:
    found = leases(settings(**ETCD))
    assert (type(found).__name__, found.node, found.grant) == ("EtcdLeases", "a", 0)
    found.close()


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"leases": "etcd"}, Invalid, "PALIMP_ETCD"),
        ({"leases": "sql"}, Invalid, "PALIMP_CATALOG_URL"),
        ({"leases": "sql", "catalog_url": "sqlite:////nowhere/c.db"}, Unavailable, "the log says"),
    ],
)
def test_leases_without_a_place_are_refused(
    given: dict[str, Any], error: type[Exception], says: str
) -> None:
    if given["leases"] == "sql":
        pytest.importorskip("sqlalchemy")
    with pytest.raises(error, match=says):
        leases(settings(**given))


def test_a_gateway_without_leases_is_refused() -> None:
    with pytest.raises(Invalid, match="PALIMP_ETCD, or PALIMP_LEASES=sql"):
        make_placement(settings(), "store", None, Clock())


@pytest.mark.parametrize(
    ("given", "listening", "url"),
    [
        ({}, "http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ({}, "http://[::1]:8080", "http://[::1]:8080"),
        ({"advertise": "https://a.example/"}, "http://0.0.0.0:1", "https://a.example"),
    ],
)
def test_others_are_told_an_address(given: dict[str, Any], listening: str, url: str) -> None:
    assert advertised(settings(**given), listening) == url


@pytest.mark.parametrize(
    "url",
    ["http://0.0.0.0:8080", "http://[::]:8080", "10.0.0.1:8080", "ftp://a", "http://", "http://a/b",
     "http://user@a", "http://a:99999", "http://a:0", "http://a?x"],
)  # fmt: skip
def test_an_address_nobody_can_ask_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="PALIMP_ADVERTISE"):
        advertised(settings(advertise=url), "http://127.0.0.1:8080")


def test_a_folder_others_could_not_reach_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="palimp serve"):
        palimp.open(tmp_path / "m", **ETCD)
    with pytest.raises(Invalid, match="palimp serve"):
        Node(settings(data_dir=tmp_path / "m", **ETCD))
    # It was let go of.
    with palimp.open(tmp_path / "m") as mem:
        mem.profile("alice").remember("aisle")
    with palimp.open(tmp_path / "m", read_only=True, **ETCD) as mem:
        assert [one.text for one in mem.profile("alice").list()] == ["aisle"]
    check_alone(settings())


def test_nodes_without_a_key_of_their_own_do_not_start(tmp_path: Path) -> None:
    given = settings(data_dir=tmp_path / "m", etcd="http://127.0.0.1:1")
    with pytest.raises(Invalid, match="PALIMP_CLUSTER_KEY"):
        Node(given, serving=True)


def test_several_nodes_with_leases_are_no_exposure() -> None:
    given = {"auth": "on", "platform_key": "p" * 16}
    with pytest.raises(Invalid, match="PALIMP_ETCD or PALIMP_LEASES=sql"):
        check_exposure(settings(**given), "10.0.0.1")
    check_exposure(settings(**given, **ETCD), "10.0.0.1")
    with pytest.raises(Invalid, match="AUTH=on"):
        check_exposure(settings(**ETCD), "10.0.0.1")
