"""What deploys us for clients of Memoria: settings, ports, probes, secrets, and that it is YAML."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from palimp.cli.main import cli
from palimp.http.dialects import DIALECTS
from palimp.node import load_settings
from palimp.node.aliases import unread

from .charts import ROOT, Manifest, _Strict, named, need

FOLDER = ROOT / "deploy" / "memoria"
REFERENCE = re.compile(r"\$\{(\w+):([-?])([^}]*)\}")
SECRET = re.compile(r"_(MASTER_KEY|SECRET|API_KEY|PASSWORD|CLUSTER_KEY|AUTH_KEY|ACCESS_KEY)$")
SIGNING = "MC4CAQAwBQYDK2VwBCIEIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g"
GIVEN = {
    "MEMORIA_MASTER_KEY": "m" * 24,
    "MEMORIA_API_KEY_SECRET": "s" * 24,
    "MEMORIA_DB_PASSWORD": "111",
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.load((FOLDER / "compose.yaml").read_text(), Loader=_Strict)


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return list(yaml.load_all((FOLDER / "kubernetes.yaml").read_text(), Loader=_Strict))


@pytest.fixture(scope="module")
def container(manifests: list[Manifest]) -> Manifest:
    [found] = named(manifests, "Deployment", "memoria")["spec"]["template"]["spec"]["containers"]
    return found


def filled(text: str, given: dict[str, str]) -> str:
    """Put in what compose would."""

    def one(found: re.Match[str]) -> str:
        name, sign, rest = found.groups()
        assert sign == "-" or given.get(name), f"{name}: {rest}"
        return given.get(name) or (rest if sign == "-" else "")

    return REFERENCE.sub(one, text)


def test_they_are_tidy_yaml() -> None:
    if not shutil.which("yamllint"):
        need("yamllint", "yamllint")
    rules = "{extends: default, rules: {line-length: {max: 120}, document-start: disable}}"
    done = subprocess.run(
        ["yamllint", "-s", "-d", rules, FOLDER], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_variable_is_documented_and_has_no_value(compose: dict[str, Any]) -> None:
    text = (FOLDER / "compose.yaml").read_text()
    example = dict(re.findall(r"^(\w+)=(.*)$", (FOLDER / ".env.example").read_text(), re.MULTILINE))
    used = {name for name, _, _ in REFERENCE.findall(text)}
    assert used == set(example)
    assert not any(example.values())
    assert text.count("${") == len(REFERENCE.findall(text))
    required = {name for name, sign, _ in REFERENCE.findall(text) if sign == "?"}
    assert required == set(GIVEN)
    for name, value in compose["services"]["api"]["environment"].items():
        assert not SECRET.search(name) or REFERENCE.fullmatch(value), name
    assert {".env", "data/"} <= set((FOLDER / ".gitignore").read_text().split())


def test_the_node_is_what_the_settings_say(compose: dict[str, Any]) -> None:
    environment = compose["services"]["api"]["environment"]
    settings = load_settings({}, {n: filled(v, GIVEN) for n, v in environment.items()})
    assert (settings.platform_key, settings.api_key_secret) == ("m" * 24, "s" * 24)
    assert (settings.auth, settings.single_node) == ("on", True)
    assert (settings.key_rate, settings.governance_lock_ttl) == ((1_000, 60), 120)
    assert not settings.governance_enabled
    assert settings.embedder_provider == "bundled"
    assert settings.catalog_url == "mysql+pymysql://root:111@matrixone:6001/memoria"
    theirs = {**GIVEN, "MEMORIA_DB_HOST": "db.internal", "MEMORIA_DB_PORT": "3306"}
    theirs |= {"MEMORIA_EMBEDDING_PROVIDER": "mock", "MEMORIA_INSTANCE_ID": "one"}
    other = load_settings({}, {n: filled(v, theirs) for n, v in environment.items()})
    assert other.catalog_url == "mysql+pymysql://root:111@db.internal:3306/memoria"
    assert other.node_id == "one"
    assert unread(environment) == []


def test_the_api_is_at_8100_and_waits_for_no_database(compose: dict[str, Any]) -> None:
    api, database = compose["services"]["api"], compose["services"]["matrixone"]
    assert "depends_on" not in api
    assert api["read_only"]
    assert api["cap_drop"] == ["ALL"]
    assert "data:/app/data" in api["volumes"]
    assert [filled(one, {}) for one in api["ports"]] == ["127.0.0.1:8100:8100"]
    assert database["ports"] == ["127.0.0.1:6001:6001"]
    assert database["hostname"] == "matrixone"
    [folder] = [filled(one, {}) for one in database["volumes"]]
    assert folder == "./data/matrixone:/mo-data"
    for name, service in compose["services"].items():
        assert service["healthcheck"]["test"], name
        tag = service["image"].partition(":")[2]
        assert tag not in ("", "latest"), name


@pytest.mark.parametrize("where", ["compose", "kubernetes"])
def test_the_command_exists(where: str, compose: dict[str, Any], container: Manifest) -> None:
    words = compose["services"]["api"]["command"] if where == "compose" else container["args"]
    command = cli.get_command(None, words[0])  # type: ignore[arg-type]
    assert command is not None
    command.make_context(words[0], list(words[1:]))
    assert words[words.index("--dialect") + 1].partition("=")[0] in DIALECTS


def test_three_nodes_have_one_store_and_leases(
    manifests: list[Manifest], container: Manifest
) -> None:
    assert named(manifests, "Deployment", "memoria")["spec"]["replicas"] == 3
    environment = dict(named(manifests, "ConfigMap", "memoria")["data"])
    fields = {"metadata.name": "memoria-7c-x", "status.podIP": "10.0.0.7"}
    for one in container["env"]:
        came = one.get("valueFrom", {})
        if "fieldRef" in came:
            environment[one["name"]] = fields[came["fieldRef"]["fieldPath"]]
        elif "secretKeyRef" in came:
            assert came["secretKeyRef"] == {"name": "memoria", "key": one["name"]}
            secrets = {"PALIMP_AUTH_KEY": SIGNING, "PALIMP_CATALOG_URL": "mysql://u:p@h/d"}
            environment[one["name"]] = secrets.get(one["name"], f"a secret, {one['name']}")
        else:
            environment[one["name"]] = one["value"].replace("$(POD_IP)", environment["POD_IP"])
        assert not SECRET.search(one["name"]) or "secretKeyRef" in came
    settings = load_settings({}, environment)
    assert settings.node_id == "memoria-7c-x"
    assert settings.advertise == "http://10.0.0.7:8080"
    assert settings.lease_store == "etcd"
    assert settings.object_store
    assert settings.object_store.startswith("s3://")
    assert settings.durability == "durable"
    assert settings.governance_enabled
    assert settings.cluster_key != settings.platform_key
    assert settings.api_key_secret
    assert not any(SECRET.search(n) for n in named(manifests, "ConfigMap", "memoria")["data"])


def test_the_probes_and_the_service_are_memorias(
    manifests: list[Manifest], container: Manifest
) -> None:
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    for probe, path in (("livenessProbe", "/health"), ("readinessProbe", "/health/instance")):
        found = container[probe]
        assert found["httpGet"]["path"] == path
        assert ports[found["httpGet"]["port"]] == 8100
        assert (found["initialDelaySeconds"], found["periodSeconds"]) == (5, 10)
    service = named(manifests, "Service", "memoria")["spec"]
    [port] = service["ports"]
    assert (port["port"], ports[port["targetPort"]]) == (8100, 8100)
    pod = named(manifests, "Deployment", "memoria")["spec"]["template"]
    assert service["selector"].items() <= pod["metadata"]["labels"].items()
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert spec["terminationGracePeriodSeconds"] >= 35
