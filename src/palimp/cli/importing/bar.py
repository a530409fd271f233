"""How far an import is, for people who wait for it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(stream: BufferedReader, noun: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error where that is a terminal; yield what moves it on."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    found = os.fstat(stream.fileno())
    # Of a pipe nobody knows how long it is: the bar then only moves.
    total = found.st_size if stat.S_ISREG(found.st_mode) else None
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"reading {noun}", total=total)

        def show(done: int) -> None:
            at = None if total is None else stream.tell()
            bar.update(task, completed=at, description=f"{done:,} {noun}")

        yield show
