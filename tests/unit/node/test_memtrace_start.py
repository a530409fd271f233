"""What a node does for Memtrace's clients before it answers: an old Arc, and a first key, once."""

from __future__ import annotations

import base64
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from palimp.errors import Invalid, Unconfigured
from palimp.node import Node, load_settings
from palimp.node.memtrace_start import prepare_memtrace
from palimp.operations.arcs import open_key
from palimp.operations.organisations import arc_of, find_org

pytest.importorskip(
    "sqlalchemy", reason="sqlalchemy is not installed (pip install 'palimp[server]')"
)

MASTER = base64.b64encode(b"m" * 32).decode()
OLD = {
    "memtrace_arc_url": "http://127.0.0.1:9/",
    "memtrace_arc_api_key": "old-arc-key",
    "memtrace_arc_database": "memory",
}
LEGACY = "legacy [arc] config detected - migrating to DB url=http://127.0.0.1:9"
DONE = (
    "migration complete; remove [arc] url/api_key/database/measurement from memtrace.toml on next "
    "deploy"
)
FRAME = "=" * 66


def started(folder: Path, **settings: Any) -> Node:
    """A node that has prepared itself."""
    values = {
        "data_dir": str(folder / "memory"),
        "embed_provider": "none",
        "catalog_url": f"sqlite:///{folder}/catalog.db",
        "master_key": MASTER,
        **settings,
    }
    folder.mkdir(exist_ok=True)
    node = Node(load_settings(values, {}), serving=True)
    try:
        prepare_memtrace(node.context, node.settings)
    except BaseException:
        node.close()
        raise
    return node


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    found = [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "palimp.memtrace"]
    caplog.clear()
    return found


def test_an_old_arc_is_taken_over_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "palimp.memtrace")
    node = started(tmp_path, **OLD)
    try:
        assert lines(caplog) == [("WARNING", LEGACY), ("INFO", DONE)]
        held = arc_of(node.context, "org_default")
        assert held is not None
        row = held.row
        assert (row.id, row.url, row.database) == (
            "arc_default",
            OLD["memtrace_arc_url"][:-1],
            "memory",
        )
        assert row.measurement == "events"
        assert open_key(node.context, "org_default", row.secret) == "old-arc-key"
        found = find_org(node.context, "org_default")
        assert found is not None
        assert found.title == "Default"
        # Whatever the configuration says later, and also when it was taken away since.
        prepare_memtrace(node.context, node.settings)
        from palimp.api import Target
        from palimp.api.arcs import RemoveArc

        node.call("arc.remove", Target(), RemoveArc(org="org_default"))
        prepare_memtrace(node.context, node.settings)
        assert lines(caplog) == []
        assert arc_of(node.context, "org_default").row.state == "removed"  # type: ignore[union-attr]
    finally:
        node.close()


def test_an_old_arc_that_cannot_be_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="the URL of Arc"):
        started(tmp_path, memtrace_arc_url="arc:8000")
    with pytest.raises(Unconfigured, match="there is no master key"):
        started(tmp_path / "plain", **OLD, master_key=None)


def test_the_first_key_is_made_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "palimp.memtrace")
    # Also with an old Arc, where the organisation is there before it (a quirk there).
    node = started(tmp_path, **OLD, memtrace_auth=True)
    try:
        said = lines(caplog)[2:]
        assert [level for level, _ in said] == ["INFO"] * 4
        texts = [text for _, text in said]
        assert texts[0] == texts[3] == FRAME
        assert texts[1] == "FIRST RUN: Save your admin API key (shown only once)"
        key = re.fullmatch(r"API Key: (mtk_[A-Za-z0-9_-]{43}=)", texts[2])
        assert key is not None
        found = node.context.credentials.find("memtrace", key[1])
        assert (found.subject, found.name) == ("org_default", "admin")
        assert found.detail == {"permissions": ["read", "write", "admin"]}
        prepare_memtrace(node.context, node.settings)
        assert lines(caplog) == []
    finally:
        node.close()


def test_the_first_key_is_said_also_where_little_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "palimp.memtrace")
    started(tmp_path, memtrace_auth=True).close()
    assert [text for _, text in lines(caplog)][2].startswith("API Key: mtk_")


def test_where_nobody_is_asked_there_is_no_key_and_the_default_organisation_is(
    tmp_path: Path,
) -> None:
    node = started(tmp_path, memtrace_auth=False)
    try:
        assert find_org(node.context, "org_default") is not None
        assert not node.context.credentials.any("memtrace")
    finally:
        node.close()


def test_a_node_that_has_no_catalog_starts_unless_keys_were_wanted(tmp_path: Path) -> None:
    on = {"auth": "on", "platform_key": "p" * 16, "single_node": True, "catalog_url": None}
    started(tmp_path, **on).close()
    with pytest.raises(Unconfigured, match="keys are kept in the catalog"):
        started(tmp_path, **on, memtrace_auth=True)


def test_of_several_nodes_that_start_at_once_one_makes_the_key(tmp_path: Path) -> None:
    code = (
        "import logging, sys\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "logging.basicConfig(level=logging.INFO, stream=sys.stdout, format='%(message)s')\n"
        "logging.getLogger('palimp').setLevel(logging.INFO)\n"
        "from test_memtrace_start import started\n"
        "sys.stdin.readline()\n"
        "folder = Path(sys.argv[1])\n"
        "started(folder, data_dir=str(folder / sys.argv[3]), memtrace_auth=True, leases='sql',\n"
        "    object_store=(folder / 'objects').as_uri(), cluster_key='c' * 16,\n"
        "    api_key_secret='s' * 16).close()\n"
    )
    here = str(Path(__file__).parent)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), here, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b", "c")
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    said = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], said
    assert sum(text.count("API Key: mtk_") for text in said) == 1
