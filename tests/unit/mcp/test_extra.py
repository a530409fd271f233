"""Without the extra `mcp`: everything else works, and `palimp mcp` says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HIDDEN = "import sys; sys.modules['mcp'] = None; from palimp.cli import main; main()"


def mcp(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", HIDDEN, "mcp", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_it_says_what_to_install_and_makes_no_folder(tmp_path: Path) -> None:
    for arguments in ([], ["--http", "0"]):
        done = mcp(tmp_path, *arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith(
            "palimp: unconfigured: palimp mcp needs the extra `mcp`; "
            "install it with: pip install 'palimp[mcp]'\n"
        )
    assert not list(tmp_path.iterdir())


def test_the_table_of_tools_needs_none_of_it(tmp_path: Path) -> None:
    done = mcp(tmp_path, "--list-tools")
    assert (done.returncode, done.stdout[:10]) == (0, '{"tools":[')
