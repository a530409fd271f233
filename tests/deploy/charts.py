"""The chart as manifests: rendered by tests/deploy/render, which stands in for `helm template`."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "palimp"
VALUES = sorted((CHART / "values").glob("*.yaml"))
_DEBIAN_SOURCES = Path("/usr/share/gocode")
_PACKAGES = "golang-go golang-github-masterminds-sprig-dev golang-k8s-sigs-yaml-dev"

Manifest = dict[str, Any]


class Refused(Exception):
    """The chart does not render; the message says why."""


class Charts:
    """The renderer, built once."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def text(self, *words: object) -> str:
        """Return what `render` prints for the chart."""
        done = subprocess.run(
            [self._program, *map(str, words), CHART], capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            raise Refused(done.stderr)
        return done.stdout

    def manifests(self, *words: object) -> list[Manifest]:
        """Return the manifests; a key that stands twice is an error, as in Kubernetes."""
        return [one for one in yaml.load_all(self.text(*words), Loader=_Strict) if one]


class _Strict(yaml.SafeLoader):
    """YAML in which no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(name, deep=True) for name, _ in node.value]
        assert len(names) == len(set(names)), f"a key stands twice: {names}"
        return super().construct_mapping(node, deep)


def need(what: str, packages: str) -> None:
    """Skip, or fail where tests may not be skipped."""
    message = f"{what} is missing; as root: apt-get install --no-install-recommends {packages}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def built(folder: Path) -> Charts:
    """Build the renderer from what Debian packages; Go keeps what it compiled for the next time."""
    if not shutil.which("go") or not (_DEBIAN_SOURCES / "src/github.com/Masterminds").is_dir():
        need("the renderer of charts", _PACKAGES)
    program = folder / "render"
    done = subprocess.run(
        ["go", "build", "-o", program, "."],
        cwd=Path(__file__).parent / "render",
        env={
            **os.environ,
            "GO111MODULE": "off",
            "GOPATH": str(_DEBIAN_SOURCES),
            "GOFLAGS": "",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return Charts(program)


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, str, Manifest]]:
    """Yield the kind, the name and the pod template of everything that makes pods."""
    for one in manifests:
        if "template" in one.get("spec", {}):
            yield one["kind"], one["metadata"]["name"], one["spec"]["template"]


def containers(manifests: list[Manifest]) -> Iterator[tuple[str, str, Manifest]]:
    """Yield the kind, the name of the maker, and each container."""
    for kind, name, template in pods(manifests):
        spec = template["spec"]
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            yield kind, name, container


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """Return the one manifest of that kind and name."""
    [found] = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found
