"""A profile made of a file from elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from ..ids import random_id
from ..store.disk_faults import disk_faults
from .branch import Branch
from .exchange import check_import, import_image, looked_into, read_names, read_schema
from .faults import sqlite_faults
from .local_database import Template
from .options import Complete, LookInto, Parts

__all__ = ["checked_file", "import_database"]

_PATIENCE_SECONDS = 300.0


@contextmanager
def checked_file(
    root: Path,
    template: Template,
    complete: Complete,
    data: bytes,
    look: LookInto | None,
) -> Iterator[Path]:
    """Yield a file that may be imported, below `root` while the block runs.

    It is checked as what a stranger made; raises `Invalid` for what `export` did not write: its
    objects must be those of a new file and of `complete`, to the letter. Then `look` may read what
    stands in it, and raise.
    """
    folder = root / f".import-{random_id('file')}"
    try:
        with disk_faults(str(folder)):
            folder.mkdir(mode=0o700)
            given = folder / "import.db"
            given.write_bytes(data)
        expected = folder / "expected.db"
        template.write_to(expected)
        with sqlite_faults(expected.name):
            connection = apsw.Connection(str(expected))
            try:
                with connection:
                    complete(connection, read_names(given))
            finally:
                connection.close()
        check_import(given, read_schema(expected))
        if look is not None:
            with looked_into(given) as connection:
                look(connection)
        yield given
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def import_database(branch: Branch, parts: Parts, given: Path) -> int:
    """Let a checked file be the first commit of a branch that was never written; return its txid.

    When this returns the store has it; an error on the way leaves a branch without content.
    """

    def work() -> int:
        with branch.local.writers_place(parts.options.patience), disk_faults(branch.name):
            parts.check_pressure(branch.name)
            branch.own()
            txid = branch.next_txid
            path = branch.files.new_incarnation()
            import_image(given, path, txid)
            branch.commit_file(path, txid)
            return txid

    return branch.in_lane(work, "importing a file", _PATIENCE_SECONDS)
