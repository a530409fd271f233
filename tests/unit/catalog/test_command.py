"""`palimp catalog rebuild` on a folder."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import palimp
from palimp.catalog import open_catalog
from palimp.cli.catalog import command
from palimp.clock import Clock
from palimp.errors import Invalid, Unavailable

pytest.importorskip("alembic", reason="alembic is not installed (pip install 'palimp[server]')")


def rebuild(*arguments: Any, **variables: str) -> Result:
    words = ["rebuild", *(str(one) for one in arguments)]
    return CliRunner().invoke(command, words, env=variables)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with palimp.open(tmp_path / "m", embed_provider="none") as mem:
        mem.profile("alice").remember("one")
        mem.profile("bob", namespace="acme").remember("two")
        mem.profile("carol", namespace="acme").remember("three")
    return tmp_path / "m"


def profiles(url: str, namespace: str) -> list[str]:
    catalog = open_catalog(url, Clock())
    found: list[str] = catalog.profiles(namespace)
    catalog.close()
    return found


def test_it_indexes_what_the_store_has(folder: Path) -> None:
    for _ in range(2):
        done = rebuild("--data", folder)
        assert done.exit_code == 0, done.output
        assert f"3 databases indexed in sqlite:///{folder}/catalog.db, 0 removed" in done.output
    url = f"sqlite:///{folder}/catalog.db"
    assert profiles(url, "acme") == ["bob", "carol"]
    assert profiles(url, "default") == ["alice"]


def test_it_goes_where_the_setting_says_and_says_how_many(folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/other.db"
    done = rebuild("--data", folder, "--json", PALIMP_CATALOG_URL=url)
    said = {"databases": 3, "removed": 0, "entries": 0, "entries_removed": 0, "catalog": url}
    assert json.loads(done.stdout) == said
    assert profiles(url, "acme") == ["bob", "carol"]


def test_the_catalog_of_another_store_is_left_as_it_is(folder: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    assert rebuild("--data", folder, PALIMP_CATALOG_URL=url).exit_code == 0
    with palimp.open(tmp_path / "other", embed_provider="none") as mem:
        mem.profile("zoe").remember("one")
    done = rebuild("--data", tmp_path / "other", PALIMP_CATALOG_URL=url)
    assert isinstance(done.exception, Invalid)
    assert "a catalog is of one store" in str(done.exception)
    with pytest.raises(Invalid, match="a catalog is of one store"):
        palimp.open(tmp_path / "other", embed_provider="none", catalog_url=url)
    assert profiles(url, "acme") == ["bob", "carol"]


def test_it_goes_on_while_another_process_has_the_folder(folder: Path) -> None:
    with palimp.open(folder, embed_provider="none") as mem:
        mem.profile("dora", namespace="acme").remember("four")
        done = rebuild("--data", folder, PALIMP_EMBED_PROVIDER="none")
        assert done.exit_code == 0
        assert "that process has no catalog" in done.output
    assert profiles(f"sqlite:///{folder}/catalog.db", "acme") == ["bob", "carol", "dora"]


def test_keys_and_records_are_made_again(folder: Path) -> None:
    url = f"sqlite:///{folder}/catalog.db"
    with palimp.open(folder, embed_provider="none", catalog_url=url) as mem:
        kept = mem.create_credential("memoria", "bob", "laptop")
        mem.revoke_credential(mem.create_credential("memoria", "eve", "phone"))
    with sqlite3.connect(folder / "catalog.db") as file:
        # As an older dump of it would be.
        file.execute("UPDATE palimp_credentials SET revoked_at = NULL")
        file.execute("DELETE FROM palimp_credentials WHERE subject = 'bob'")
        file.execute("INSERT INTO palimp_bindings VALUES ('memoria', '', 'spare', '1', 1, 0)")
    done = rebuild("--data", folder)
    assert done.exit_code == 0, done.output
    assert "2 keys and records of clients made again, 1 removed" in done.output
    with palimp.open(folder, embed_provider="none", catalog_url=url) as mem:
        assert [one.id for one in mem.credentials()] == [kept.id]


def test_a_node_does_not_say_where_its_catalog_is() -> None:
    done = rebuild("--url", "http://127.0.0.1:1")
    assert isinstance(done.exception, Invalid)
    assert "PALIMP_CATALOG_URL" in str(done.exception)


def test_a_catalog_that_is_down_is_told_before_anything_is_read(folder: Path) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    url = "postgresql://u:s3cret@127.0.0.1:1/palimp"
    done = rebuild("--data", folder / "nowhere", PALIMP_CATALOG_URL=url)
    assert isinstance(done.exception, Unavailable)
    assert "127.0.0.1:1/palimp" in str(done.exception)
    assert "s3cret" not in str(done.exception) + done.output
    assert not (folder / "nowhere").exists()
