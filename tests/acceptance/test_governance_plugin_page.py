"""The page about plugins of governance does what it says: built, signed, published, bound, run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "write-a-governance-plugin.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the page's files are, and a command of its name."""
    (tmp_path / "calm").mkdir()
    (tmp_path / "calm" / "calm.py").write_text(blocks("python")[0])
    (tmp_path / "calm" / "manifest.json").write_text(blocks("json")[0])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "palimp").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m palimp "$@"\n')
    (tmp_path / "bin" / "palimp").chmod(0o755)
    return tmp_path


def shell(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PALIMP_EMBED_PROVIDER": "none"}
    return subprocess.run(
        ["sh", "-e", "-c", script], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_page_does_what_it_says(folder: Path) -> None:
    (script,) = blocks("sh")
    done = shell(folder, f"palimp memory remember alice hello > /dev/null\n{script}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"governance:calm:v1 1\.0\.0  [0-9a-f]{64}", lines[0])
    assert lines[1:4] == [
        "not signed",
        "plan: {'requires_approval': False}",
        "execute: {'metrics': {'calm.decisions': 1}, 'warnings': ['calm looked at 1 decisions']}",
    ]
    assert lines[4].startswith("network: ")
    assert "governance:calm:v1 1.0.0  active  signed by me" in lines
    assert lines.count("default for * runs governance:calm:v1 ^1.0") == 2
    assert "calm looked at 0 decisions" in done.stderr
    assert [line.split("  ")[1] for line in lines[-4:]] == [
        "binding.loaded", "binding.rule_upserted", "package.published", "signer.added",
    ]  # fmt: skip


def test_what_is_wrong_with_a_plugin_is_said(folder: Path) -> None:
    (folder / "calm" / "calm.py").write_text("def hook(given):\n    return given['nothing']\n")
    done = shell(folder, "palimp governance plugin check calm")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == (
        "palimp: invalid_request: plugin governance:calm:v1@1.0.0 failed: KeyError: 'nothing' "
        "(calm.py, line 2)"
    )
    (folder / "my.key").write_text("no key")
    done = shell(folder, "palimp governance plugin sign calm --signer me --key-file my.key")
    assert (done.returncode, "no key" in done.stderr) == (1, False)
    assert "is not a private key in base64 PKCS#8" in done.stderr
