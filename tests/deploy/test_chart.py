"""The Helm chart: what it renders to, for every values file beside it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from palimp.http.dialects import DIALECTS
from palimp.node import load_settings
from palimp.node.settings import CLIENT_ONLY, SECRETS, SETTINGS

from .charts import CHART, ROOT, VALUES, Charts, Manifest, containers, named, need, pods

MINIMAL = ("-set", "auth.existingSecret=s", "-set", "objectStore.url=s3://bucket/prefix")
CLUSTER = (*MINIMAL, "-set", "leases.store=etcd", "-set", "etcd.endpoints=http://etcd:2379")
SCENES: dict[str, tuple[object, ...]] = {
    "minimal": MINIMAL,
    "cluster": (*CLUSTER, "-set", "node.replicas=3", "-set", "gateway.enabled=true"),
    "sql": (
        *("-f", CHART / "values" / "self-hosted.yaml"),
        *("-set", "leases.store=sql", "-set", "etcd.enabled=false"),
    ),
    "dialects": (*MINIMAL, "-set", "dialects={memoturn: 8101}", "-set", "auth.masterKey=true"),
    "gateway": (
        *("-f", CHART / "values" / "eks.yaml", "-set", "dialects={memoturn: 8101}"),
        *("-set", "networkPolicy.clients=[{ipBlock: {cidr: 10.1.0.0/16}}]"),
        *("-set", "networkPolicy.monitors=[{namespaceSelector: {}}]"),
    ),
    **{path.stem: ("-f", path) for path in VALUES},
}
# A container whose data is nobody's secret: it is made of others' images.
OURS = ("node", "gateway", "mcp")
SIGNING = "MC4CAQAwBQYDK2VwBCIEIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g"
STAND_INS = {"PALIMP_AUTH_KEY": SIGNING, "PALIMP_ETCD": "http://etcd:2379"}
STAND_INS["PALIMP_CATALOG_URL"] = "postgresql://u:p@h/d"
YAMLLINT = "{extends: default, rules: {line-length: {max: 120}, document-start: disable%s}}"


@pytest.fixture(scope="module", params=SCENES)
def manifests(request: pytest.FixtureRequest, charts: Charts) -> list[Manifest]:
    return charts.manifests(*SCENES[request.param])


def variables(container: Manifest, manifests: list[Manifest]) -> dict[str, Any]:
    """Return the environment of a container; a secret is a text that says which."""
    found: dict[str, Any] = {}
    for source in container.get("envFrom", ()):
        found |= named(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
    for one in container.get("env", ()):
        assert set(one) <= {"name", "value", "valueFrom"}
        came = one.get("valueFrom", {})
        if "secretKeyRef" in came:
            assert set(came["secretKeyRef"]) == {"name", "key"}
            assert came["secretKeyRef"]["name"]
            found[one["name"]] = STAND_INS.get(one["name"], f"stand-in-of-{one['name']}")
        elif "fieldRef" in came:
            found[one["name"]] = {"metadata.name": "palimp-node-7c-x", "status.podIP": "10.0.0.7"}[
                came["fieldRef"]["fieldPath"]
            ]
        else:
            # Kubernetes puts in what stands before it.
            found[one["name"]] = re.sub(r"\$\((\w+)\)", lambda m: found[m[1]], one["value"])
    return found


def test_every_container_may_do_nothing(manifests: list[Manifest]) -> None:
    for _, name, template in pods(manifests):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        # `PALIMP_PORT` of a Service named palimp would be an unknown setting.
        assert spec["enableServiceLinks"] is False, name
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 65532
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert not any("hostPath" in volume for volume in spec.get("volumes", ()))
    for kind, name, container in containers(manifests):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, name
        assert "memory" in container["resources"]["limits"], name
        assert container["image"].rpartition(":")[2] != "latest"
        assert ":" in container["image"]
        if kind == "Deployment":
            assert {"livenessProbe", "readinessProbe"} <= set(container), name


def test_nothing_is_kept_and_nothing_is_handed_out(manifests: list[Manifest]) -> None:
    kinds = {one["kind"] for one in manifests}
    assert not kinds & {"PersistentVolumeClaim", "PersistentVolume", "StatefulSet", "Secret"}
    for account in (one for one in manifests if one["kind"] == "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    for _, name, template in pods(manifests):
        volumes = {one["name"]: one for one in template["spec"].get("volumes", ())}
        assert all(set(one) == {"name", "emptyDir"} for one in volumes.values()), name
        for container in template["spec"]["containers"]:
            mounted = {one["name"] for one in container.get("volumeMounts", ())}
            assert mounted == set(volumes), name


def test_secrets_come_by_reference_only(manifests: list[Manifest]) -> None:
    secret = {f"PALIMP_{name.upper()}" for name in SECRETS}
    # Without a password in them, which the chart looks after.
    secret -= {"PALIMP_ETCD", "PALIMP_CATALOG_URL"}
    secret |= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "POSTGRES_PASSWORD"}
    secret |= {"MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"}
    for one in manifests:
        if one["kind"] == "ConfigMap":
            assert not secret & set(one["data"])
    for _, name, container in containers(manifests):
        for variable in container.get("env", ()):
            if variable["name"] in secret:
                assert "secretKeyRef" in variable["valueFrom"], (name, variable["name"])
            assert not re.search(r"://[^/]*:[^/]*@", variable.get("value", "")), variable["name"]


def test_the_settings_are_those_of_this_release(manifests: list[Manifest]) -> None:
    known = {f"PALIMP_{name.upper()}" for name in SETTINGS}
    seen = 0
    for _, _, container in containers(manifests):
        found = variables(container, manifests)
        assert {name for name in found if name.startswith("PALIMP_")} <= known
        if container["name"] not in OURS:
            continue
        seen += 1
        settings = load_settings(environment=found)
        assert settings.auth == "on"
        assert settings.listen == "0.0.0.0:8080"
        assert settings.lease_store == found["PALIMP_LEASES"]
        assert settings.single_node == (settings.lease_store == "single")
        assert settings.object_store is not None
        if settings.lease_store == "etcd":
            assert settings.etcd
        if settings.lease_store == "sql":
            assert settings.catalog_url
        if container["name"] == "node":
            assert settings.node_id == "palimp-node-7c-x"
            assert settings.advertise == "http://10.0.0.7:8080"
            assert settings.cluster_key
            assert settings.cluster_key != settings.platform_key
        else:
            # What a gateway does not need it does not get.
            assert settings.auth_key is None
            assert settings.master_key is None
    assert seen


def test_stopping_gets_the_time_it_needs(manifests: list[Manifest]) -> None:
    for kind, name, template in pods(manifests):
        for container in template["spec"]["containers"]:
            if kind == "Deployment" and container["name"] in OURS:
                found = load_settings(environment=variables(container, manifests))
                grace = template["spec"]["terminationGracePeriodSeconds"]
                assert grace >= found.shutdown_timeout + 5, name


def test_local_files_stay_below_what_a_pod_may_use(manifests: list[Manifest]) -> None:
    [(_, _, template)] = [one for one in pods(manifests) if one[1].endswith("-node")]
    [container] = template["spec"]["containers"]
    found = load_settings(environment=variables(container, manifests))
    volumes = {one["name"]: one["emptyDir"] for one in template["spec"]["volumes"]}
    size = volumes["data"]["sizeLimit"]
    assert container["resources"]["requests"]["ephemeral-storage"] == size
    room = int(size.removesuffix("Gi")) << 30
    assert 0 < found.disk_budget_bytes + found.past_cache_bytes <= 0.85 * room
    assert container["volumeMounts"][0] == {"name": "data", "mountPath": found.data_dir}


def test_selectors_find_pods_and_ports_have_names(manifests: list[Manifest]) -> None:
    labels = {name: template["metadata"]["labels"] for _, name, template in pods(manifests)}
    ports: dict[str, dict[str, int]] = {
        name: {
            p["name"]: p["containerPort"]
            for c in t["spec"]["containers"]
            for p in c.get("ports", ())
        }
        for _, name, t in pods(manifests)
    }
    for one in manifests:
        spec, name = one.get("spec", {}), one["metadata"]["name"]
        if one["kind"] == "Deployment":
            assert spec["selector"]["matchLabels"].items() <= labels[name].items()
            for container in spec["template"]["spec"]["containers"]:
                for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                    asked = container.get(kind, {}).get("httpGet")
                    assert asked is None or asked["port"] in ports[name], (name, kind)
        if one["kind"] == "Service":
            found = [n for n, have in labels.items() if spec["selector"].items() <= have.items()]
            assert found == [name]
            assert {port["targetPort"] for port in spec["ports"]} == set(ports[name])
        if one["kind"] in ("PodDisruptionBudget", "NetworkPolicy"):
            chosen = spec["selector" if "selector" in spec else "podSelector"]["matchLabels"]
            assert [n for n, have in labels.items() if chosen.items() <= have.items()] == [name]


def test_budgets_stand_where_there_is_more_than_one(manifests: list[Manifest]) -> None:
    several = {
        one["metadata"]["name"]
        for one in manifests
        if one["kind"] == "Deployment" and one["spec"]["replicas"] > 1
    }
    budgets = {
        one["metadata"]["name"]: one for one in manifests if one["kind"] == "PodDisruptionBudget"
    }
    assert set(budgets) == several
    assert all(one["spec"]["maxUnavailable"] == 1 for one in budgets.values())


def test_a_single_node_is_never_two(manifests: list[Manifest]) -> None:
    [node] = [
        m
        for m in manifests
        if m["kind"] == "Deployment" and m["metadata"]["name"].endswith("-node")
    ]
    store = named(manifests, "ConfigMap", node["metadata"]["name"].removesuffix("-node"))["data"]
    assert (node["spec"]["strategy"]["type"] == "Recreate") == (store["PALIMP_LEASES"] == "single")


def allows(manifests: list[Manifest], policy: str, way: str, other: str, port: int) -> bool:
    """Whether a network policy lets its pods reach, or be reached by, those of another maker."""
    labels = {name: template["metadata"]["labels"] for _, name, template in pods(manifests)}
    for rule in named(manifests, "NetworkPolicy", policy)["spec"].get(way, ()):
        if port not in [one["port"] for one in rule["ports"]]:
            continue
        peers = rule.get("to" if way == "egress" else "from")
        if peers is None or any(
            peer["podSelector"]["matchLabels"].items() <= labels[other].items()
            for peer in peers
            if "podSelector" in peer
        ):
            return True
    return False


def test_pods_reach_what_they_need_and_nothing_else(manifests: list[Manifest]) -> None:
    parts = {name.rpartition("palimp-")[2]: name for _, name, _ in pods(manifests)}
    config = named(manifests, "ConfigMap", parts["node"].removesuffix("-node"))["data"]
    guarded = {"etcd": 2379, "postgresql": 5432, "minio": 9000}
    for source, name in parts.items():
        for target, port in {"node": 8080, **guarded}.items():
            if target not in parts or source == target:
                continue
            needed = source in OURS and (
                target in ("node", "minio", "etcd")
                or source == "node"
                or config["PALIMP_LEASES"] == "sql"
            )
            needed = needed or (source, target) == ("minio-bucket", "minio")
            there = parts[target]
            assert allows(manifests, name, "egress", there, port) == needed, (source, target)
            # A node without a gateway before it takes clients from anywhere.
            if target != "node" or "gateway" in parts:
                assert allows(manifests, there, "ingress", name, port) == needed, (source, target)
            assert not needed or allows(manifests, there, "ingress", name, port)


def test_servers_of_others_reach_nothing(manifests: list[Manifest]) -> None:
    for one in manifests:
        if one["kind"] == "NetworkPolicy":
            assert one["spec"]["policyTypes"] == ["Ingress", "Egress"]
            if one["metadata"]["name"].endswith(("-etcd", "-postgresql", "-minio")):
                assert "egress" not in one["spec"]
                assert all(rule["from"] for rule in one["spec"]["ingress"])


def test_addresses_inside_are_those_of_services(manifests: list[Manifest]) -> None:
    services = {
        (one["metadata"]["name"], port["port"])
        for one in manifests
        if one["kind"] == "Service"
        for port in one["spec"]["ports"]
    }
    for _, name, container in containers(manifests):
        for variable, value in variables(container, manifests).items():
            for host, port in re.findall(r"//(?:\w+@)?(memory-palimp-[\w-]+):(\d+)", str(value)):
                assert (host, int(port)) in services, (name, variable)
    for one in manifests:
        if one["kind"] == "Ingress":
            for rule in one["spec"]["rules"]:
                paths = rule["http"]["paths"]
                assert paths[-1]["path"] == "/"
                for path in paths:
                    assert path["backend"]["service"]["name"] in {name for name, _ in services}


def test_the_commands_are_ours(manifests: list[Manifest]) -> None:
    from palimp.cli.main import cli

    for _, name, container in containers(manifests):
        if container["name"] not in OURS:
            continue
        assert "command" not in container, "the entry point is that of the image"
        word, *rest = container["args"]
        command = cli.get_command(None, word)  # type: ignore[arg-type]
        assert command is not None, f"{name}: palimp {word}"
        # Parsed, not carried out.
        command.make_context(word, list(rest))
        for option in rest:
            assert option.removeprefix("--dialect=").partition("=")[0] in DIALECTS


def test_rendered_and_written_yaml_is_clean(charts: Charts, tmp_path: Path) -> None:
    if not shutil.which("yamllint"):
        need("yamllint", "yamllint")
    for name, words in SCENES.items():
        (tmp_path / f"{name}.yaml").write_text(charts.text(*words))
    rendered = YAMLLINT % (
        ", braces: {max-spaces-inside: 1}, comments: {min-spaces-from-content: 1}"
        ", indentation: {indent-sequences: whatever}"
    )
    done = subprocess.run(
        ["yamllint", "-s", "-d", rendered, tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    written = [CHART / "values.yaml", CHART / "Chart.yaml", *VALUES]
    written += (ROOT / "deploy").rglob("compose*.yaml")
    done = subprocess.run(
        ["yamllint", "-s", "-d", YAMLLINT % "", *written], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def merged(base: Any, more: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(more, dict)):
        return more
    return {**base, **{name: merged(base.get(name), value) for name, value in more.items()}}


def test_values_files_fit_the_schema_and_every_value_is_in_it() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    checker = jsonschema.Draft7Validator(schema)
    checker.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    checker.validate(values)
    for path in VALUES:
        checker.validate(merged(values, yaml.safe_load(path.read_text())))
    assert set(values) == set(schema["properties"]) - {"global"}
    for name, part in values.items():
        rule = schema["properties"][name]
        rule = schema["definitions"][rule["$ref"].rpartition("/")[2]] if "$ref" in rule else rule
        if "properties" in rule:
            assert set(part) == set(rule["properties"]), name
            assert rule["additionalProperties"] is False, name


@pytest.mark.parametrize(
    "wrong",
    [
        {"node": {"replica": 3}},
        {"nodes": {}},
        {"leases": {"store": "zookeeper"}},
        {"settings": {"PALIMP_CACHE_BYTES": 134217728}},
        {"settings": {"LOG": "x"}},
        {"objectStore": {"url": "file:///data"}},
        {"etcd": {"endpoints": "http://root:secret@etcd:2379"}},
        {"dialects": {"memoturn": 8080}},
    ],
)
def test_the_schema_refuses(wrong: dict[str, Any]) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(merged(values, wrong), schema)


def test_settings_that_are_secret_are_known_to_the_chart() -> None:
    checks = (CHART / "templates" / "_checks.tpl").read_text()
    for name in SECRETS:
        assert f'"PALIMP_{name.upper()}"' in checks, name
    assert not set(CLIENT_ONLY) & set(SETTINGS)


def test_the_chart_is_of_this_release() -> None:
    import palimp

    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["appVersion"] == palimp.__version__
    for path in (ROOT / "deploy" / "compose").glob("compose*.yaml"):
        images = re.findall(r"image: palimp:(\S+)", path.read_text())
        assert images
        assert set(images) == {palimp.__version__}
