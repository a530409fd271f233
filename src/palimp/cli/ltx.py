"""`palimp ltx`: segment files, wherever they come from. Needs no folder of memories."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import click

from .. import ltx
from ..clock import TIME_MS_MAX
from ..disk import sync_path
from ..errors import Conflict, Error, Invalid, NotFound, Unavailable
from .common import echo_json, when

_file_argument = click.argument("file", type=click.Path(path_type=Path))
_files_argument = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@click.group("ltx")
def command() -> None:
    """Check, show and restore segment files (LTX version 3)."""


@command.command("verify")
@_files_argument
@click.option(
    "--foreign", is_flag=True, help="Accept the LZ4 blocks of other programs and LZ4 versions."
)
@_json_option
def verify(files: tuple[Path, ...], foreign: bool, as_json: bool) -> None:
    """Check every byte of segment files; exit code 1 if one is not sound.

    Example: palimp ltx verify segments/*.ltx
    """
    results = [_verified(path, foreign=foreign) for path in files]
    if as_json:
        echo_json({"files": [_verified_row(path, found) for path, found in results]})
    else:
        for path, found in results:
            if isinstance(found, Error):
                click.echo(f"{path}: {found}")
            else:
                kind = "snapshot" if found.header.is_snapshot else "segment"
                click.echo(f"{path}: sound, {kind} {_span(found.header)}, {found.pages} pages")
    for path, found in results:
        if isinstance(found, Error):
            raise found.located(str(path))


@command.command("dump")
@_file_argument
@_json_option
def dump(file: Path, as_json: bool) -> None:
    """Show header, pages, page index and trailer of a segment file.

    Of a damaged file it shows what comes before the damage.

    Example: palimp ltx dump 0000000000000001-0000000000000005.ltx
    """
    with _named(file):
        decoder = ltx.Decoder(_read(file))
        if as_json:
            rows = [_page_row(decoder, frame) for frame in decoder.frames()]
            trailer = decoder.close()
            echo_json(
                {
                    "header": _header_row(decoder.header),
                    "pages": rows,
                    "trailer": _trailer_row(trailer),
                }
            )
            return
        click.echo("header")
        _echo_fields(_header_row(decoder.header))
        click.echo("pages and page index")
        for frame in decoder.frames():
            row = _page_row(decoder, frame)
            click.echo(
                f"  page {row['pgno']}: offset {row['offset']}, {row['bytes']} bytes, "
                f"checksum {row['checksum']}"
            )
        trailer = decoder.close()
        click.echo("trailer")
        _echo_fields(_trailer_row(trailer))


@command.command("export")
@_files_argument
@click.argument("out", type=click.Path(path_type=Path))
@_json_option
def export(files: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Make a plain SQLite file of a snapshot and the segments that follow it, oldest first.

    OUT must not exist; it appears whole or not at all.

    Example: palimp ltx export snapshot.ltx 000000000000000a-000000000000000f.ltx restored.db
    """
    position = _export(files, out)
    if as_json:
        echo_json({"file": str(out), **position._asdict()})
        return
    click.echo(f"{out}: {position.commit} pages, txid {position.txid}")


def _export(files: Sequence[Path], out: Path) -> ltx.Position:
    """Write `out` by way of a temporary file beside it: write, fsync, rename, fsync the folder."""
    _check_free(out)
    with _disk(out):
        descriptor, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                position = _replay(files, stream)
                stream.flush()
                os.fsync(stream.fileno())
            _check_free(out)
            os.rename(temporary, out)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_path(out.parent)
    return position


def _replay(files: Sequence[Path], stream: IO[bytes]) -> ltx.Position:
    """Apply the files in order; each is in memory only while it is applied."""
    before: ltx.Header | None = None
    sums: ltx.PageChecksums | None = None
    for path in files:
        with _named(path):
            data = _read(path)
            header = ltx.Decoder(data).header
            if before is not None:
                ltx.check_contiguous(before, header)
            elif not header.is_snapshot:
                raise Invalid(
                    f"it begins at txid {header.min_txid}; the first file must be a snapshot, "
                    "which begins at txid 1",
                    min_txid=header.min_txid,
                )
            if sums is None:
                sums = ltx.PageChecksums(header.page_size)
            size = header.page_size

            def write(pgno: int, page: bytes, size: int = size) -> None:
                stream.seek((pgno - 1) * size)
                stream.write(page)

            position = ltx.apply_pages(data, write, sums)
            stream.truncate(position.commit * size)
            before = header
    return position


def _check_free(out: Path) -> None:
    """Refuse to overwrite, also to lie beside a journal SQLite would take for this database's."""
    for path in (out, *(out.with_name(out.name + suffix) for suffix in ("-wal", "-journal"))):
        if os.path.lexists(path):
            raise Conflict(
                f"{path} exists; move it away or name another file", code="already_exists"
            )


def _verified(path: Path, *, foreign: bool) -> tuple[Path, ltx.Verified | Error]:
    try:
        return path, ltx.verify(_read(path), foreign=foreign)
    except Error as error:
        return path, error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise NotFound("there is no such file") from None
    except OSError as error:
        raise Invalid(f"it cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say in an error which file it is about."""
    try:
        yield
    except Error as error:
        raise error.located(str(path)) from error


@contextlib.contextmanager
def _disk(out: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"there is no folder {out.parent}") from None
    except OSError as error:
        raise Unavailable(f"{out} cannot be written: {error.strerror}") from error


def _span(header: ltx.Header) -> str:
    first, last = header.txids
    return f"of txid {first}" if first == last else f"of txid {first} to {last}"


def _verified_row(path: Path, found: ltx.Verified | Error) -> dict[str, Any]:
    row: dict[str, Any] = {"file": str(path), "sound": not isinstance(found, Error)}
    if isinstance(found, Error):
        details = {name: _plain(value) for name, value in found.details.items()}
        return {**row, "code": found.code, "error": str(found), **details}
    return {**row, "pages": found.pages, "bytes": found.size, **_header_row(found.header)}


def _header_row(header: ltx.Header) -> dict[str, Any]:
    return {
        "page_size": header.page_size,
        "commit": header.commit,
        "min_txid": header.min_txid,
        "max_txid": header.max_txid,
        "timestamp_ms": header.timestamp_ms,
        "pre_apply_checksum": _hex(header.pre_apply_checksum),
        "flags": header.flags,
        "wal_offset": header.wal_offset,
        "wal_size": header.wal_size,
        "wal_salt_1": header.wal_salt_1,
        "wal_salt_2": header.wal_salt_2,
        "node_id": header.node_id,
    }


def _page_row(decoder: ltx.Decoder, frame: ltx.Frame) -> dict[str, Any]:
    entry = decoder.entries[-1]
    checksum = _hex(ltx.page_checksum(frame.pgno, frame.page))
    return {"pgno": entry.pgno, "offset": entry.offset, "bytes": entry.size, "checksum": checksum}


def _trailer_row(trailer: ltx.Trailer) -> dict[str, Any]:
    return {
        "post_apply_checksum": _hex(trailer.post_apply_checksum),
        "file_checksum": _hex(trailer.file_checksum),
    }


def _echo_fields(fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        is_time = name == "timestamp_ms" and value <= TIME_MS_MAX
        shown = f"{value} ({when(value)} UTC)" if is_time else value
        click.echo(f"  {name}: {shown}")


def _hex(checksum: int) -> str:
    """Return a checksum as it is written in every tool: 16 hex digits."""
    return f"{checksum:016x}"


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return _hex(value) if isinstance(value, int) and value >> 63 else value
