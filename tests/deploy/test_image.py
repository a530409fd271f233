"""The Dockerfile: what it says, and what its image does, carried out without an engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conformance.store_backends import s3_service
from .charts import ROOT
from .images import Container, Image, need_root, steps

DOCKERFILE = ROOT / "Dockerfile"
# The image is built from packages; on an idle machine in half a minute.
pytestmark = pytest.mark.timeout(900)
KEYS = {
    "PALIMP_AUTH": "on",
    "PALIMP_SINGLE_NODE": "1",
    "PALIMP_PLATFORM_KEY": "stand-in-of-the-platform-key",
    "PALIMP_EMBED_PROVIDER": "none",
}


def test_what_is_copied_is_let_in_and_nothing_else_is() -> None:
    patterns = (ROOT / ".dockerignore").read_text().split("\n")
    assert patterns[1] == "*"
    let_in = {one[1:] for one in patterns if one.startswith("!")}
    copied = {
        word
        for stage in steps(DOCKERFILE.read_text())
        for instruction, rest in stage
        if instruction == "COPY" and not rest.startswith("--from")
        for word in rest.split()[:-1]
    }
    assert {word for word in copied if not (ROOT / word).exists()} == set()
    for word in copied:
        assert any(word == one or word.startswith(f"{one}/") for one in let_in), word
    for one in let_in:
        assert any(word == one or word.startswith(f"{one}/") for word in copied), one


def test_it_is_in_exec_form_and_runs_as_nobody() -> None:
    build, final = steps(DOCKERFILE.read_text())
    said = dict(final)
    assert json.loads(said["ENTRYPOINT"]) == ["palimp"]
    assert json.loads(said["CMD"]) == ["serve"]
    assert said["USER"] == "65532:65532"
    assert said["WORKDIR"] == "/app"
    assert json.loads(said["VOLUME"]) == ["/app/data"]
    assert "curl" not in DOCKERFILE.read_text().replace("no curl", "")
    # Whatever comes from an index is pinned by hash.
    for word, rest in build:
        if word == "RUN" and "pip install" in rest:
            assert "--require-hashes" in rest or "--no-index" in rest, rest


def test_its_requirements_are_those_of_the_tests() -> None:
    def pinned(name: str) -> dict[str, str]:
        text = (ROOT / "requirements" / name).read_text()
        return dict(re.findall(r"^([\w.-]+)==([^ \\]+)", text, re.MULTILINE))

    image, tested = pinned("image.txt"), pinned("test.txt")
    assert {"obstore", "mcp", "psycopg", "alembic", "opentelemetry-sdk"} <= set(image)
    assert {name: tested.get(name) for name in image} == image


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    need_root()
    # Not in pytest's folder, which nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="palimp-image-") as folder:
        os.chmod(folder, 0o755)
        yield Image(Path(folder), DOCKERFILE)


@pytest.fixture
def volume(image: Image) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="palimp-volume-") as folder:
        # As Kubernetes makes a volume of a pod with fsGroup.
        os.chown(folder, 0, 65532)
        os.chmod(folder, 0o2770)
        yield Path(folder)


@pytest.fixture
def serving(image: Image, volume: Path) -> Iterator[Container]:
    container = image.run(volume, **KEYS)
    try:
        assert container.healthy(60), container.end()
        yield container
    finally:
        container.end()


def test_it_makes_keys(image: Image, volume: Path) -> None:
    container = image.run(volume, "keygen", "master")
    out, err = container.process.communicate(timeout=60)
    assert container.process.returncode == 0, err
    assert len(out.strip()) == 44
    assert list(volume.iterdir()) == []


def test_without_settings_it_says_what_is_missing(image: Image, volume: Path) -> None:
    container = image.run(volume)
    _, err = container.process.communicate(timeout=60)
    assert container.process.returncode == 1
    assert "set PALIMP_AUTH=on and PALIMP_PLATFORM_KEY" in err


def test_it_serves_is_managed_from_inside_and_stops_cleanly(
    serving: Container, volume: Path
) -> None:
    wrote = serving.execute("palimp", "memory", "remember", "alice", "Prefers aisle seats")
    assert wrote.returncode == 0, wrote.stderr
    found = serving.execute("palimp", "memory", "recall", "alice", "aisle", "--json")
    assert "Prefers aisle seats" in found.stdout, found.stderr
    who = serving.execute(
        "sh", "-c", "id -u; touch /app/x || touch /opt/palimp/x; touch /tmp/x; pwd"
    )
    assert who.stdout.split() == ["65532", "/app"]
    assert who.stderr.count("Read-only file system") == 2
    assert serving.execute("cat", "/proc/1/cmdline").stdout.endswith("palimp\0serve\0")
    assert "CapEff:\t0000000000000000" in serving.execute("cat", "/proc/1/status").stdout
    assert serving.stop() == 0
    assert "everything that was written is in the store" in serving.end()[1]
    assert any((volume / "objects").rglob("*.ltx"))


def test_a_gateway_lives_before_there_is_anything_to_pass_on_to(image: Image, volume: Path) -> None:
    settings = {
        "PALIMP_AUTH": "on",
        "PALIMP_ETCD": "http://127.0.0.1:1",
        "PALIMP_OBJECT_STORE": "file:///app/data/objects",
    }
    container = image.run(volume, "gateway", **settings)
    try:
        assert container.healthy(60)
        asked = "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/ready')"
        assert "HTTP Error 503" in container.execute("python", "-c", asked).stderr
        assert container.stop() == 0
    finally:
        _, log = container.end()
    assert "stopped" in log
    # Which store it is, and nothing else.
    assert [path.name for path in volume.rglob("*.json")] == ["store.json"]


def test_the_extras_are_there_and_what_builds_is_not(serving: Container) -> None:
    for name in ("obstore", "mcp", "psycopg", "alembic", "prometheus_client", "opentelemetry.sdk"):
        assert serving.execute("python", "-c", f"import {name}").returncode == 0, name
    for name in ("pip", "setuptools", "hatchling", "editables"):
        assert serving.execute("python", "-c", f"import {name}").returncode == 1, name
    # Compiled while it was made: nothing can be written later.
    where = "import palimp, importlib.util as u; print(u.cache_from_source(palimp.__file__))"
    compiled = serving.execute("python", "-c", where).stdout.strip()
    assert serving.execute("test", "-f", compiled).returncode == 0
    assert compiled.startswith("/opt/palimp/")


def test_health_says_no_when_nothing_answers(image: Image, serving: Container) -> None:
    port = {"PALIMP_LISTEN": "127.0.0.1:1"}
    asked = serving.execute("env", *(f"{k}={v}" for k, v in port.items()), *image.health)
    assert asked.returncode == 1
    assert "127.0.0.1:1 does not answer" in asked.stderr


def test_a_bucket_is_made_once() -> None:
    with s3_service() as server:
        environment = {
            "AWS_ALLOW_HTTP": "true",
            "AWS_ENDPOINT": f"http://127.0.0.1:{server.upstream_port}",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "palimp",
            "AWS_SECRET_ACCESS_KEY": "stand-in",
        }
        asked = [sys.executable, ROOT / "deploy" / "image" / "make_bucket.py"]
        for _ in range(2):
            done = subprocess.run(
                [*asked, "palimp"], env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            assert done.stdout == "bucket palimp is there\n"
        refused = subprocess.run([*asked, "x"], env=environment, capture_output=True, text=True)
        assert refused.returncode == 1
        assert "bucket x was not made: 400" in refused.stderr
