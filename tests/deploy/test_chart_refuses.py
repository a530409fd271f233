"""What the chart does not render, and that its message says what to set."""

from __future__ import annotations

import pytest

from .charts import VALUES, Charts, Refused, named

MINIMAL = {"auth.existingSecret": "s", "objectStore.url": "s3://bucket/prefix"}
SPLIT = "there is no lease store: the nodes would take each other's databases (split brain)"


def words(values: dict[str, str]) -> list[str]:
    return [word for path, value in values.items() for word in ("-set", f"{path}={value}")]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"node.replicas": "2"}, SPLIT),
        ({"node.replicas": "3", "postgresql.enabled": "true"}, SPLIT),
        ({"gateway.enabled": "true"}, "need a lease store"),
        ({"mcp.enabled": "true"}, "need a lease store"),
        ({"leases.store": "etcd"}, "set one of etcd.enabled, etcd.endpoints and etcd.existing"),
        ({"leases.store": "etcd", "etcd.enabled": "true", "etcd.endpoints": "http://e"}, "one of"),
        ({"etcd.enabled": "true"}, "set leases.store to etcd"),
        ({"leases.store": "sql"}, "PALIMP_CATALOG_URL, or postgresql.enabled"),
        ({"leases.store": "none"}, "give single, sql or etcd"),
        ({"leases.store": "etcd", "etcd.endpoints": "http://u:p@e:1"}, "etcd.existingSecret"),
        ({"auth.existingSecret": '""'}, "auth.existingSecret is empty"),
        ({"objectStore.url": '""'}, "give s3://, gs:// or az://"),
        ({"objectStore.url": "file:///data"}, "give s3://, gs:// or az://"),
        ({"minio.enabled": "true", "objectStore.url": '""'}, "minio.existingSecret"),
        ({"minio.enabled": "true", "minio.existingSecret": "m"}, "both set"),
        ({"postgresql.enabled": "true"}, "postgresql.existingSecret"),
        (
            {
                "postgresql.enabled": "true",
                "postgresql.existingSecret": "p",
                "catalog.existingSecret": "c",
            },
            "both set",
        ),
        ({"settings.PALIMP_MASTER_KEY": "k"}, "settings.PALIMP_MASTER_KEY is a secret"),
        ({"settings.PALIMP_CATALOG_URL": "u"}, "is a secret"),
        ({"settings.PALIMP_SINGLE_NODE": '"1"'}, "what the chart itself sets"),
        ({"fullnameOverride": "a" * 41}, "more than 40 characters"),
        ({"ingress.enabled": "true"}, "needs ingress.hosts"),
    ],
)
def test_it_refuses(charts: Charts, values: dict[str, str], message: str) -> None:
    with pytest.raises(Refused) as refused:
        charts.text(*words({**MINIMAL, **values}))
    assert message in str(refused.value)


def test_a_misspelt_value_of_a_template_would_be_found(charts: Charts) -> None:
    # The renderer itself: what nobody set is an error, not nothing.
    with pytest.raises(Refused, match="shutdownSeconds"):
        charts.text(*words({**MINIMAL, "node.shutdownSeconds": "null"}))


@pytest.mark.parametrize("release", ["m", "palimp", "x" * 53, "a" * 39 + "-b"])
def test_names_are_those_of_kubernetes_and_of_nodes(charts: Charts, release: str) -> None:
    path = next(path for path in VALUES if path.stem == "self-hosted")
    manifests = charts.manifests("-release", release, "-f", path)
    for one in manifests:
        assert len(one["metadata"]["name"]) <= 63
        assert "--" not in one["metadata"]["name"]
    [node] = [
        m["metadata"]["name"]
        for m in manifests
        if m["kind"] == "Deployment" and m["metadata"]["name"].endswith("-node")
    ]
    named(manifests, "Service", node)
    # A pod's name, which its node is called by, has two words more: of 10 and 5 characters.
    assert len(f"{node}-0123456789-01234") <= 63


def test_what_is_said_after_an_installation(charts: Charts) -> None:
    said = {path.stem: charts.text("-notes", "-f", path) for path in VALUES}
    assert "all memories are gone" in said["self-hosted"]
    assert "WARNING" not in said["eks"]
    several = {**MINIMAL, "leases.store": "etcd", "etcd.enabled": "true", "node.replicas": "2"}
    assert "Set catalog.existingSecret" in charts.text("-notes", *words(several))
    assert "service/memory-palimp-node 8080:8080" in charts.text("-notes", *words(several))


def test_a_changed_setting_makes_new_pods(charts: Charts) -> None:
    def mark(*more: str) -> str:
        manifests = charts.manifests(*words(MINIMAL), *more)
        node = named(manifests, "Deployment", "memory-palimp-node")
        return node["spec"]["template"]["metadata"]["annotations"]["palimp/settings"]

    assert mark() != mark("-set", "settings.PALIMP_LOG_LEVEL=debug")
    assert mark() == mark("-set", "podDisruptionBudget.enabled=false")
