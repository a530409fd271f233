"""What an installation costs: distributions, download, disk."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from harness import Row, run, timed
from machine import ROOT, folder, tree_bytes

_MB = 1_000_000
_TOOLS = ("pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack", "distutils-precedence")
_COUNT = f"""
import importlib.metadata as metadata
names = sorted({{d.metadata["Name"].lower() for d in metadata.distributions()}} - set({_TOOLS!r}))
print(*names)
"""
_WORKS = """
import palimp, tempfile
with tempfile.TemporaryDirectory() as path, palimp.open(path) as mem:
    mem.profile("a").remember("Prefers aisle seats")
    assert len(mem.profile("a").recall("which seat?")) == 1
print("ok")
"""


def measure(*, quick: bool) -> list[Row]:
    """Build the wheel, install it with its requirements into an empty environment, and look."""
    if quick:
        return []
    with folder(disk=True) as path:
        try:
            return _measure(path)
        except subprocess.CalledProcessError as error:
            told = error.stderr.decode(errors="replace").strip()[-300:]
            reason = f"{error.cmd[3]} failed: {told}".replace(str(path), "...")
            return [Row("base install", None, "MB", budget=45, note=reason)]


def _measure(path: Path) -> list[Row]:
    wheels = path / "wheels"
    pinned = ("-r", str(ROOT / "requirements" / "base.txt"), "--require-hashes")
    _do(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels), cwd=ROOT)
    own = next(wheels.glob("palimp-*.whl"))
    _pip(sys.executable, "download", *pinned, "--dest", str(wheels))
    _do(sys.executable, "-m", "venv", str(path / "venv"))
    there = str(path / "venv" / "bin" / "python")
    offline = ("--no-index", "--find-links", str(wheels))

    def install() -> None:
        _pip(there, "install", *offline, *pinned)
        _pip(there, "install", *offline, "--no-deps", str(own))

    seconds = timed(install)
    assert run((there, "-c", _WORKS)).strip() == "ok"
    names = run((there, "-c", _COUNT)).split()
    scheme = {"base": str(path / "venv"), "platbase": str(path / "venv")}
    packages = Path(sysconfig.get_path("purelib", "venv", scheme))
    sizes = {
        entry.name: tree_bytes(entry) if entry.is_dir() else entry.stat().st_size
        for entry in packages.iterdir()
        if not entry.name.startswith(_TOOLS)
    }
    archives = {entry.name: entry.stat().st_size for entry in wheels.iterdir()}
    return [
        Row(
            "base install, distributions",
            len(names),
            "",
            budget=25,
            note=" ".join(names),
            detail={"seconds_to_install_offline": seconds},
        ),
        Row(
            "base install, download with the model",
            sum(archives.values()) / _MB,
            "MB",
            budget=45,
            note=f"our wheel {own.stat().st_size / _MB:.1f} MB",
            detail={"largest_mb": _largest(archives)},
        ),
        Row(
            "base install, on disk",
            sum(sizes.values()) / _MB,
            "MB",
            budget=150,
            note="site-packages with byte code, without pip and setuptools",
            detail={"largest_mb": _largest(sizes)},
        ),
    ]


def _largest(sizes: dict[str, int]) -> dict[str, float]:
    ordered = sorted(sizes.items(), key=lambda pair: -pair[1])
    return {name: size / _MB for name, size in ordered[:6]}


def _pip(executable: str, *arguments: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    _do(executable, "-m", "pip", arguments[0], *quiet, *arguments[1:])


def _do(*command: str, cwd: Path | None = None) -> None:
    subprocess.run(command, check=True, capture_output=True, cwd=cwd)
