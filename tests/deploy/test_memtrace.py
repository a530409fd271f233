"""What deploys us for clients of Memtrace: settings, port, probe, secrets, and what the unit says."""

from __future__ import annotations

import base64
import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from palimp.cli.main import cli
from palimp.node.aliases import unread
from palimp.node.memtrace import at_a_port, memtrace_settings

from .charts import ROOT, _Strict, need

FOLDER = ROOT / "deploy" / "memtrace"
REFERENCE = re.compile(r"\$\{(\w+):([-?])([^}]*)\}")
GIVEN = {"MEMTRACE_MASTER_KEY": base64.b64encode(b"k" * 32).decode()}
# Of systemd's score for what a unit leaves open: from 2 it says that it is fine no more.
EXPOSURE_MAX = 2.0


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    compose = yaml.load((FOLDER / "compose.yaml").read_text(), Loader=_Strict)
    found: dict[str, Any] = compose["services"]["memtrace"]
    return found


@pytest.fixture(scope="module")
def unit() -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(FOLDER / "memtrace.service")
    return dict(parser["Service"])


def filled(text: str) -> str:
    """Put in what compose would."""

    def one(found: re.Match[str]) -> str:
        name, sign, rest = found.groups()
        assert sign == "-" or GIVEN.get(name), f"{name}: {rest}"
        return GIVEN.get(name) or (rest if sign == "-" else "")

    return REFERENCE.sub(one, text)


def test_it_is_tidy_yaml() -> None:
    if not shutil.which("yamllint"):
        need("yamllint", "yamllint")
    rules = "{extends: default, rules: {line-length: {max: 120}, document-start: disable}}"
    done = subprocess.run(
        ["yamllint", "-s", "-d", rules, FOLDER], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_every_variable_is_documented_and_has_no_value() -> None:
    text = (FOLDER / "compose.yaml").read_text()
    example = dict(re.findall(r"^(\w+)=(.*)$", (FOLDER / ".env.example").read_text(), re.MULTILINE))
    assert {name for name, _, _ in REFERENCE.findall(text)} == set(example)
    assert not any(example.values())
    assert {name for name, sign, _ in REFERENCE.findall(text) if sign == "?"} == set(GIVEN)
    assert ".env" in (FOLDER / ".gitignore").read_text().split()


def test_the_node_is_what_the_settings_say(
    service: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {name: filled(value) for name, value in service["environment"].items()}
    settings = memtrace_settings({}, {**environment, "PALIMP_DATA_DIR": "/app/data"})
    settings = at_a_port(settings, "MEMTRACE_MASTER_KEY", "memtrace")
    assert (settings.memtrace_host, settings.memtrace_port) == ("0.0.0.0", 9_100)
    assert (settings.memtrace_auth, settings.listen) == (True, "")
    assert settings.data_dir == "/app/data"
    assert settings.log_format == "json"
    assert unread(environment) == []


def test_it_is_at_9100_with_as_little_as_it_needs(service: dict[str, Any]) -> None:
    assert [filled(one) for one in service["ports"]] == ["127.0.0.1:9100:9100"]
    assert service["volumes"] == ["data:/app/data"]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    context = cli.make_context("palimp", list(service["command"]), resilient_parsing=True)
    assert cli.get_command(context, service["command"][0]) is not None
    # The image is not root's, and has the program that asks for /health.
    image = (ROOT / "Dockerfile").read_text()
    assert "\nUSER 65532:65532\n" in image
    probe = service["healthcheck"]["test"]
    assert probe[0] == "CMD"
    assert f"deploy/image/{Path(probe[3]).name}" in image
    assert '"GET", "/health"' in (ROOT / "deploy/image" / Path(probe[3]).name).read_text()
    asked = [sys.executable, ROOT / "deploy/image/health.py", ":9"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert "127.0.0.1:9 does not answer" in said.stderr


def test_the_unit_is_what_that_system_has(unit: dict[str, str]) -> None:
    assert (unit["User"], unit["Group"]) == ("memtrace", "memtrace")
    assert unit["WorkingDirectory"] == f"/var/lib/{unit['StateDirectory']}" == "/var/lib/memtrace"
    assert unit["EnvironmentFile"] == "/etc/memtrace/environment"
    assert unit["ExecStart"].endswith("/palimp memtrace serve")
    assert unit["ProtectSystem"] == "strict"
    # It is given longer to stop than it takes to shut down.
    shutdown = memtrace_settings({}, {}).shutdown_timeout
    assert float(unit["TimeoutStopSec"]) > shutdown
    # The default folder lies where it may write.
    assert not Path(memtrace_settings({}, {}).data_dir).is_absolute()


def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        need("systemd-analyze", "systemd")
    # Of a program that is there, or it would say that it is not.
    text = (
        (FOLDER / "memtrace.service").read_text().replace("/opt/palimp/bin/palimp", sys.executable)
    )
    path = tmp_path / "memtrace.service"
    path.write_text(text)
    verify = ["systemd-analyze", "verify", "--man=no", str(path)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert "memtrace.service" not in done.stdout + done.stderr, done.stderr
    score = ["systemd-analyze", "security", "--offline=true", str(path)]
    said = subprocess.run(score, capture_output=True, text=True, check=False).stdout
    found = re.search(r"Overall exposure level for .*: ([\d.]+)", said)
    assert found is not None, said
    assert float(found[1]) < EXPOSURE_MAX
