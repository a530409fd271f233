"""Where a catalog is, and what is said where it cannot be used."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from palimp.catalog import default_url, open_catalog, start_catalog
from palimp.clock import Clock
from palimp.errors import Invalid, Unavailable, Unconfigured

pytest.importorskip("alembic", reason="alembic is not installed (pip install 'palimp[server]')")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("oracle://u:s3cret@host/db", "is oracle://..., which this release has no catalog on"),
        ("mysql://u:s3cret@host:port/db", "give mysql://user:password@host:3306/database"),
        ("http://u:s3cret@host/db", "is http://..."),
        ("s3cret", "is no URL"),
        ("", "is no URL"),
        ("POSTGRESQL://u:s3cret@host/db", "is no URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite://s3cret/path", "names no file"),
        ("sqlite:////tmp/a%00b", "names no file"),
        ("postgresql://u:s3cret@host:port/db", "cannot be read"),
        ("postgresql://u:s3cret@host:70000x/db", "cannot be read"),
    ],
)
def test_a_url_that_names_no_catalog_is_refused_without_showing_it(url: str, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        open_catalog(url, Clock())
    assert said in str(caught.value)
    assert "PALIMP_CATALOG_URL" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("folder", ["plain", "with space", "50% of #1?", "ünï"])
def test_a_folder_has_a_catalog_of_its_own(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    url = default_url(tmp_path / folder)
    assert url is not None
    start_catalog(url, Clock()).close()
    assert {path.name for path in tmp_path.rglob("*")} == {"catalog.db", folder}


def test_a_relative_path_is_taken_from_where_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    catalog = open_catalog("sqlite:///here.db", Clock())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    catalog.prepare()
    catalog.close()
    assert (tmp_path / "here.db").exists()


@pytest.mark.parametrize(
    ("url", "missing"),
    [
        ("sqlite:////tmp/a.db", "sqlalchemy"),
        ("sqlite:////tmp/a.db", "alembic"),
        ("postgresql://h/d", "psycopg"),
        ("mysql+pymysql://h/d", "pymysql"),
    ],
)
def test_a_missing_extra_is_named_with_what_installs_it(
    url: str, missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    with pytest.raises(Unconfigured, match=rf"{missing}; install .* 'palimp\[server\]'"):
        open_catalog(url, Clock())
    assert (default_url(tmp_path) is None) == (missing in ("sqlalchemy", "alembic"))


@pytest.mark.parametrize(("scheme", "port"), [("postgresql", 5432), ("mysql", 3306)])
def test_opening_asks_nobody(scheme: str, port: int) -> None:
    catalog = open_catalog(f"{scheme}://u:s3cret@192.0.2.1/palimp", Clock())
    assert catalog.name == f"{scheme}://192.0.2.1:{port}/palimp"
    catalog.close()


def test_secrets_are_in_no_message(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    # A port nobody listens on, and a driver that would say all it was given.
    url = "postgresql://u:s3cret%20word@127.0.0.1:1/palimp?sslpassword=t0psecret&sslmode=s3cret%20word"
    catalog = start_catalog(url, Clock())
    with pytest.raises(Unavailable) as caught:
        catalog.prepare()
    said = f"{caught.value} {caught.value.details} {catalog.name} {caplog.text}"
    for secret in ("s3cret", "t0psecret"):
        assert secret not in said
    assert "127.0.0.1:1/palimp" in said
    catalog.close()


def test_a_file_that_is_no_catalog_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_text("something else entirely, " * 100)
    catalog = open_catalog(f"sqlite:///{tmp_path / 'catalog.db'}", Clock())
    with pytest.raises(Unavailable, match=r"not a database.*palimp catalog rebuild"):
        catalog.prepare()
    catalog.close()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    catalog = start_catalog(f"sqlite:///{tmp_path / 'no' / 'catalog.db'}", Clock())
    with pytest.raises(Unavailable, match="unable to open database file"):
        catalog.profiles("acme")
    (tmp_path / "no").mkdir()
    assert catalog.profiles("acme") == []
    catalog.close()


def test_a_database_of_somebody_else_is_shared(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "shared.db")) as connection:
        connection.execute("CREATE TABLE databases (theirs)")
        connection.execute("CREATE TABLE alembic_version (version_num)")
        connection.execute("INSERT INTO alembic_version VALUES ('theirs')")
        connection.commit()
        catalog = start_catalog(f"sqlite:///{tmp_path / 'shared.db'}", Clock())
        assert catalog.profiles("acme") == []
        catalog.close()
        assert connection.execute("SELECT * FROM alembic_version").fetchall() == [("theirs",)]


def test_the_revisions_are_those_that_alembic_finds() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from palimp.catalog.schema import _SCRIPTS, REVISIONS

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    found = [one.revision for one in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(found)) == REVISIONS


def test_the_tables_are_those_that_the_migrations_make(tmp_path: Path) -> None:
    from sqlalchemy import inspect

    from palimp.catalog.tables import DATABASES, META, SOURCES, USAGE

    catalog = start_catalog(f"sqlite:///{tmp_path / 'catalog.db'}", Clock())
    made: Any = inspect(catalog.engine)
    for table in (DATABASES, META, SOURCES, USAGE):
        columns = {one["name"]: one["nullable"] for one in made.get_columns(table.name)}
        assert columns == {one.name: bool(one.nullable) for one in table.columns}
        keys = made.get_pk_constraint(table.name)["constrained_columns"]
        assert keys == [one.name for one in table.primary_key]
    catalog.close()


def test_the_catalog_costs_nobody_who_has_none() -> None:
    code = "import sys, palimp.catalog, palimp.operations.usage; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"sqlalchemy", "alembic", "psycopg"}.isdisjoint(done.stdout.split())


def test_a_catalog_that_is_made_already_needs_no_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    start_catalog(url, Clock()).close()
    code = (
        "import sys; from palimp.catalog import *; from palimp.clock import Clock\n"
        "start_catalog(sys.argv[1], Clock()).close(); print(*sys.modules)"
    )
    command = [sys.executable, "-c", code, url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "sqlalchemy" in done.stdout.split()
    assert "alembic" not in done.stdout.split()
