"""The compose files: their settings, their ports, what waits for what, and their secrets."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from palimp.cli.main import cli
from palimp.node import load_settings
from palimp.node.settings import SECRETS

from .charts import ROOT

FOLDER = ROOT / "deploy" / "compose"
FILES = sorted(FOLDER.glob("compose*.yaml"))
SECRET = {f"PALIMP_{name.upper()}" for name in SECRETS} - {"PALIMP_ETCD", "PALIMP_CATALOG_URL"}
SECRET |= {"PGPASSWORD", "POSTGRES_PASSWORD", "MINIO_ROOT_PASSWORD", "AWS_SECRET_ACCESS_KEY"}
REFERENCE = re.compile(r"\$\{(\w+):([-?])([^}]*)\}")


@pytest.fixture(params=FILES, ids=[path.name for path in FILES])
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def compose(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    if not shutil.which("openssl"):
        pytest.skip("openssl is missing")
    done = subprocess.run(["sh", FOLDER / "secrets.sh"], capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def filled(text: str, secrets: dict[str, str]) -> str:
    """Put in what compose would."""

    def one(found: re.Match[str]) -> str:
        name, sign, rest = found.groups()
        assert sign == "-" or secrets.get(name), f"{name}: {rest}"
        return secrets.get(name) or (rest if sign == "-" else "")

    return REFERENCE.sub(one, text)


def ours(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the services that are palimp."""
    return {
        name: one
        for name, one in compose["services"].items()
        if one["image"].startswith("palimp:") and "entrypoint" not in one
    }


def test_every_variable_is_documented_and_has_no_value(path: Path) -> None:
    text = path.read_text()
    example = (FOLDER / ".env.example").read_text()
    documented = dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE))
    assert not any(documented.values())
    used = {name for name, _, _ in REFERENCE.findall(text)}
    assert used
    assert used <= set(documented)
    assert text.count("${") == len(REFERENCE.findall(text))
    assert not re.search(r"\$\w", text)


def test_secrets_are_made_for_all_that_is_required(path: Path, secrets: dict[str, str]) -> None:
    required = {name for name, sign, _ in REFERENCE.findall(path.read_text()) if sign == "?"}
    assert all(secrets.get(name) for name in required)
    assert secrets["PALIMP_CLUSTER_KEY"] != secrets["PALIMP_PLATFORM_KEY"]
    assert (FOLDER / ".gitignore").read_text() == ".env\n"


def test_settings_are_accepted(compose: dict[str, Any], secrets: dict[str, str]) -> None:
    nodes = {}
    for name, service in ours(compose).items():
        environment = {k: filled(v, secrets) for k, v in service["environment"].items()}
        settings = load_settings(environment=environment)
        assert settings.auth == "on"
        assert settings.platform_key
        if "gateway" in service.get("command", ()):
            assert settings.lease_store == "etcd"
            continue
        nodes[name] = settings
        grace = int(service["stop_grace_period"].removesuffix("s"))
        assert grace >= settings.shutdown_timeout + 5
        assert any(v.endswith(":/app/data") for v in service["volumes"])
    assert nodes
    if len(nodes) == 1:
        assert all(one.single_node and one.lease_store == "single" for one in nodes.values())
    else:
        assert {one.node_id for one in nodes.values()} == set(nodes)
        assert all(one.advertise == f"http://{name}:8080" for name, one in nodes.items())
        assert all(one.cluster_key and one.catalog_url for one in nodes.values())
        assert len({one.object_store for one in nodes.values()}) == 1


def test_secrets_come_from_outside(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for name, value in service["environment"].items() if "environment" in service else ():
            assert name not in SECRET or REFERENCE.fullmatch(value), name
            assert not re.search(r"://[^/]*:[^/]*@", value), name


def test_commands_exist(compose: dict[str, Any]) -> None:
    for name, service in ours(compose).items():
        word, *rest = service.get("command", ["serve"])
        command = cli.get_command(None, word)  # type: ignore[arg-type]
        assert command is not None, f"{name}: palimp {word}"
        command.make_context(word, list(rest))


def test_containers_may_do_little_and_images_are_pinned(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert any(one.startswith("/tmp:") for one in service["tmpfs"]), name
        tag = service["image"].partition(":")[2]
        assert tag, name
        assert tag != "latest"
        if "build" in service:
            assert (FOLDER / service["build"] / "Dockerfile").exists(), name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def test_what_is_waited_for_exists_and_says_when_it_is_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    for name, service in services.items():
        for target, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                checks = "healthcheck" in services[target]
                of_image = services[target]["build"] == "../.." if not checks else False
                assert checks or (of_image and "HEALTHCHECK" in dockerfile), (name, target)
            else:
                assert how["condition"] == "service_completed_successfully"
                assert services[target]["restart"] == "no"
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in compose["volumes"], name


def test_addresses_are_those_of_services(compose: dict[str, Any], secrets: dict[str, str]) -> None:
    ports = {"minio": 9000, "etcd": 2379, "postgresql": 5432, **dict.fromkeys(ours(compose), 8080)}
    for service in compose["services"].values():
        for value in service.get("environment", {}).values():
            for host, port in re.findall(r"//(?:\w+@)?([a-z0-9-]+):(\d+)", filled(value, secrets)):
                assert host in compose["services"]
                assert ports[host] == int(port)
