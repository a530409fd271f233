"""The failure table against the code: every error of a start is in it, and nothing else is."""

from __future__ import annotations

import ast
import base64
import contextlib
import errno
import fcntl
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from palimp.cli import listening, serve
from palimp.client.transports.folder import Folder as Shared
from palimp.clock import Clock, ManualClock
from palimp.errors import Error
from palimp.node import Node, file_system, inherited, load_settings
from palimp.node.credentials import check_exposure, load_keys, rotate
from palimp.node.door import reachable
from palimp.node.folder import Folder
from palimp.observe import METRICS
from palimp.store import VolatileStore, identify, open_store, self_test
from palimp.store.disk_faults import disk_faults
from palimp.store.protocol import Stored, Version

from .cluster_starts import STARTS
from .elsewhere import ELSEWHERE

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "palimp"
sys.path.insert(0, str(ROOT / "tests" / "unit" / "store"))
TABLE = ROOT / "docs" / "operating" / "failures.md"

# Whatever these raise can be the last thing that a start says.
START = (
    "cli/gateway.py",
    "cli/listening.py",
    "cli/memtrace.py",
    "cli/serve.py",
    "cli/workers.py",
    "client/transports/folder.py",
    "http/dialects/__init__.py",
    "node/aliases.py",
    "node/credentials.py",
    "node/door.py",
    "node/file_system.py",
    "node/folder.py",
    "node/memtrace.py",
    "node/leasing.py",
    "node/node.py",
    "node/peering.py",
    "node/sealing.py",
    "node/settings.py",
    "node/tracing.py",
    "catalog/faults.py",
    "catalog/opening.py",
    "catalog/schema.py",
    "catalog/sql_catalog.py",
    "lease/etcd_gateway.py",
    "lease/keeping.py",
    "lease/sql_engine.py",
    "security/keys.py",
    "store/connecting.py",
    "store/disk_faults.py",
    "store/identity.py",
    "store/opening.py",
    "store/remote.py",
    "store/remote_faults.py",
    "store/selftest.py",
)
ERRORS = {one.__name__ for one in Error.__subclasses__()}
# No start gets there: a defect of a caller in the same process.
NO_START = {"no operation \0"}
ANY = "\0"
# A row with fewer letters than this would fit nearly everything: it stands for that message alone.
LETTERS_MIN = 12


class Row(NamedTuple):
    """A row of the table: what it shows, as a pattern."""

    shown: str

    @property
    def skeleton(self) -> str:
        return collapsed(self.shown.replace("…", ANY))

    def fits(self, text: str) -> bool:
        """Whether a message, or what is written of one in the source, is the one of this row."""
        if len(re.findall(r"\w", self.shown)) < LETTERS_MIN:
            return self.skeleton == collapsed(text)
        parts = self.shown.split("…")
        if not all(part in text for part in parts):
            return False
        return re.search(".*?".join(map(re.escape, parts)), text, re.DOTALL) is not None


def collapsed(text: str) -> str:
    return re.sub(f"{ANY}+", ANY, text)


def rows() -> list[Row]:
    lines = TABLE.read_text("utf-8").splitlines()
    return [Row(found[1]) for line in lines if (found := re.match(r"\| `([^`]+)` \|", line))]


def text_of(node: ast.AST) -> str:
    """Return a text of the source, with `ANY` for what is put into it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(value) for value in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    if isinstance(node, ast.FormattedValue) and ast.unparse(node.value) == "PREFIX":
        return "PALIMP_"
    return ANY


def raised(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and message of each error that a module makes."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ERRORS and node.args:
            yield node.lineno, text_of(node.args[0])


@cache
def everything_said() -> set[str]:
    """Return every text of the source, log lines with `ANY` for their arguments."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                found.add(re.sub(r"%[sdg]", ANY, text_of(node)))
    return found


@pytest.mark.parametrize("module", START)
def test_every_error_of_a_start_has_a_row(module: str) -> None:
    table = rows()
    for line, text in raised(SOURCE / module):
        # Without words of its own it shows what others say: those are triggered below.
        if re.search(r"\w{2}", text.replace(ANY, "")) and text not in NO_START:
            assert any(row.fits(text) for row in table), f"{module}:{line} {text!r} has no row"


def test_an_error_without_a_row_would_be_noticed() -> None:
    assert not any(row.fits(f"{ANY} was eaten by a {ANY} on start") for row in rows())
    assert not any(row.fits("x is y: z") for row in rows() if row.shown != "… is …: …")


@pytest.mark.parametrize("row", rows(), ids=[row.shown for row in rows()])
def test_every_row_is_still_said(row: Row) -> None:
    assert any(row.fits(text) for text in everything_said())


def test_no_row_stands_twice_and_each_has_a_cause_and_an_action() -> None:
    lines = [line for line in TABLE.read_text("utf-8").splitlines() if line.startswith("| `")]
    shown = [row.shown for row in rows()]
    assert len(lines) == len(shown) == len(set(shown))
    for line in lines:
        assert all(cell.strip() for cell in line.strip("|").split("|")), line
        assert line.count("|") == 4, line


# -- each of them, for real -----------------------------------------------------------------------

SECRET = "k" * 16


def settings(**given: Any) -> Any:
    return load_settings({"embed_provider": "none", **given}, {})


def environment(**given: str) -> Callable[[Path], object]:
    return lambda _: load_settings({}, given)


def config(data: bytes) -> Callable[[Path], object]:
    def run(path: Path) -> None:
        (path / "p.toml").write_bytes(data)
        load_settings({}, {"PALIMP_CONFIG": str(path / "p.toml")})

    return run


def exposed(host: str, **given: Any) -> Callable[[Path], object]:
    return lambda _: check_exposure(settings(**given), host)


def keys(data: bytes | None = None, **given: Any) -> Callable[[Path], object]:
    def run(path: Path) -> None:
        if data is not None:
            (path / "keys").mkdir()
            (path / "keys" / "signing.json").write_bytes(data)
        load_keys(settings(**given), path, VolatileStore(), Clock())

    return run


def marked(data: bytes) -> Callable[[Path], object]:
    def run(path: Path) -> None:
        (path / "palimp.json").write_bytes(data)
        Folder(path)

    return run


def with_file(path: Path) -> None:
    (path / "mine").write_text("x")
    Folder(path)


def other_store(path: Path) -> None:
    first = Node(settings(data_dir=path / "m"), store=VolatileStore())
    first.close()
    (path / "m" / "hot" / "n_x").mkdir()
    Node(settings(data_dir=path / "m"), store=VolatileStore())


def held(path: Path) -> None:
    folder = Folder(path)
    try:
        Folder(path)
    finally:
        folder.close()


def on(kind: str) -> Callable[[Path], object]:
    """A file system of this kind, as the system says of it."""

    def run(path: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            mounts = path / "mounts"
            mounts.write_text(f"1 1 0:1 / / rw - {kind} none rw\n")
            patch.setattr(file_system, "_MOUNTS", mounts)
            # A lock that keeps nobody out.
            patch.setattr(fcntl, "flock", lambda *_: None)
            file_system.check_file_system(path)

    return run


def long_socket(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("palimp.node.door._DESCRIPTORS", path / "nothing")
        with reachable(path / ("x" * 120)):
            pass


class Loose(VolatileStore):
    """A store that ignores the conditions of writes."""

    def create(self, key: str, data: bytes) -> Version:
        with contextlib.suppress(Exception):
            self.delete(key)
        return super().create(key, data)


class Holding(VolatileStore):
    """A store whose identity is what it is given."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data

    def get(self, key: str) -> Stored | None:
        return Stored(self.data, Version("1"))


def disk(number: int, path: str = "a", other: str | None = None) -> Callable[[Path], object]:
    def run(_: Path) -> None:
        with disk_faults("file:///x"):
            raise OSError(number, os.strerror(number), path, None, other)

    return run


def remote(text: str, *, writes: bool = False) -> Callable[[Path], object]:
    def run(_: Path) -> None:
        exceptions = pytest.importorskip("obstore.exceptions")
        from palimp.store.remote_faults import remote_faults

        with remote_faults("s3://bucket", "get x", writes=writes):
            raise exceptions.GenericError(text)

    return run


def taken_port(_: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listening.listen("127.0.0.1", taken.getsockname()[1])


def without(module: str, run: Callable[[Path], object]) -> Callable[[Path], object]:
    def missing(path: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            run(path)

    return missing


def catalog(url: str) -> Callable[[Path], object]:
    def run(_: Path) -> None:
        pytest.importorskip("sqlalchemy")
        from palimp.catalog import start_catalog

        start_catalog(url, Clock())

    return run


def node(**given: Any) -> Callable[[Path], object]:
    return lambda path: Node(settings(data_dir=path / "m", **given)).close()


def served_twice(path: Path) -> None:
    first = Shared(settings(data_dir=path / "m"))
    try:
        _, _ = serve._folder(settings(data_dir=path / "m"))
    finally:
        first.close()


def other_settings(path: Path) -> None:
    first = Shared(settings(data_dir=path / "m"))
    try:
        Shared(settings(data_dir=path / "m", pitr_retention_secs=1))
    finally:
        first.close()


def with_shared(act: Callable[[Shared], object]) -> Callable[[Path], object]:
    def run(path: Path) -> None:
        shared = Shared(settings(data_dir=path / "m"))
        try:
            act(shared)
        finally:
            shared.close()

    return run


def of_another_release(shared: Shared) -> None:
    assert shared.node is not None
    about = msgspec.structs.replace(shared.node.context.about, api=99)
    shared._check(about, "process 1")


def silent(shared: Shared) -> None:
    raise shared._silent(None)


def moved(shared: Shared) -> None:
    shared._identity = (0, 0)
    shared._check_identity()


def badly_forked(shared: Shared) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inherited, "forked", True)
        patch.setattr(inherited, "can_own", lambda: False)
        shared._own()


def bucket(status: int, body: bytes, **given: Any) -> Callable[[Path], object]:
    """A store that answers everything with this."""

    def run(_: Path) -> None:
        pytest.importorskip("obstore")
        from cloud_double import CloudDouble

        from palimp.store.connecting import connect

        double = CloudDouble("s3")
        double.answer = (status, body)
        config = {"endpoint": double.url, "access_key_id": "a", "secret_access_key": "b", **given}
        http = {"allow_http": "true"}
        store = connect("s3", "bucket", "", clock=ManualClock(), config=config, client_options=http)
        try:
            store.list() if status == 200 else store.create("k", b"1")
        finally:
            double.stop()

    return run


LISTED = "<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>t</ETag><Size>1</Size></Contents>"
UNORDERED = f"<ListBucketResult>{LISTED % 'b'}{LISTED % 'a'}</ListBucketResult>".encode()


def long_prefix(_: Path) -> None:
    pytest.importorskip("obstore")
    from palimp.store.connecting import connect

    store = connect("s3", "bucket", "p" * 500, clock=ManualClock())
    store.get("/".join(["k" * 200] * 4))


def untagged(_: Path) -> None:
    pytest.importorskip("obstore")
    # obstore asks for one too; some of its stores give it empty.
    open_store("s3://bucket")._version({"e_tag": "", "version": None})  # type: ignore[attr-defined]


def other_process(_: Path) -> None:
    pytest.importorskip("obstore")
    store = open_store("s3://bucket")
    store._process = 0  # type: ignore[attr-defined]
    store.get("k")


def misconfigured(_: Path) -> None:
    pytest.importorskip("obstore")
    from palimp.store.connecting import connect

    connect("s3", "bucket", "", clock=ManualClock(), config={"region": "x", "no_such": "y"})


def lacking(_: Path) -> None:
    exceptions = pytest.importorskip("obstore.exceptions")
    from palimp.store.remote_faults import remote_faults

    with remote_faults("s3://bucket", "put x"):
        raise exceptions.NotSupportedError("conditional put")


def other_key(_: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    made = X25519PrivateKey.generate()
    der = made.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    keys(auth_key=base64.b64encode(der).decode())(_)


def newer_catalog(path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    from palimp.catalog import start_catalog

    url = f"sqlite:///{path}/catalog.db"
    start_catalog(url, Clock()).close()
    with contextlib.closing(sqlite3.connect(path / "catalog.db")) as database:
        tables = database.execute("SELECT name FROM sqlite_schema WHERE sql LIKE '%version_num%'")
        table = tables.fetchone()[0]
        database.execute(f"UPDATE {table} SET version_num = '9999'")
        database.commit()
    start_catalog(url, Clock())


def catalog_is_down(path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    from palimp.catalog import open_catalog

    open_catalog(f"sqlite:///{path}/nothing/catalog.db", Clock()).profiles("x")


def no_extra_for_catalog(_: Path) -> None:
    from palimp.catalog import opening

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening.importlib.util, "find_spec", lambda _name: None)
        opening.open_catalog("sqlite:////x.db", Clock())


def metrics(path: Path) -> None:
    from palimp.http import create_app
    from palimp.http.metrics import exposition

    one = Node(settings(data_dir=path / "m"))
    try:
        exposition(one, create_app(one).api)
    finally:
        one.close()


OURS = b'{"product":"palimpsest","format":%d}'
TRIGGERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "unknown": ("unknown setting …", environment(PALIMP_LISTN="x")),
    "kind": ("… is …: …", environment(PALIMP_HOT_CAP="many")),
    "choice": ("… is …: …", environment(PALIMP_AUTH="perhaps")),
    "range": ("… is …; give … to …", environment(PALIMP_HOT_CAP="0")),
    "rate": ("… is …; give requests and seconds", environment(PALIMP_KEY_RATE_LIMIT="60")),
    "short key": (
        "… has fewer than … characters; use a longer secret",
        environment(PALIMP_PLATFORM_KEY="x"),
    ),
    "two names": (
        "… and … mean the same and are set to different values",
        environment(PALIMP_NODE_ID="a", MEMOTURN_NODE_ID="b"),
    ),
    "no config": ("PALIMP_CONFIG: … cannot be read: …", environment(PALIMP_CONFIG="/nothing.toml")),
    "config not UTF-8": ("PALIMP_CONFIG: … cannot be read: …", config(b"\xff")),
    "config not TOML": ("PALIMP_CONFIG: … is not TOML: …", config(b"= 1")),
    "listen": (
        "PALIMP_LISTEN is …; give HOST:PORT",
        lambda _: listening.listen_address("8080", None, None),
    ),
    "host": ("host … is not an address", lambda _: listening.listen("example.com", 0)),
    "port": ("… port … cannot be listened on: …", taken_port),
    "proxies": (
        "PALIMP_TRUSTED_PROXIES has …, which is no address and no network",
        lambda _: listening.check_proxies("10.0.0.0/8,*"),
    ),
    "node id": ("… is not a valid name", node(node_id="A.B")),
    "otel": ("PALIMP_OTEL_ENDPOINT is not the URL of a collector", node(otel_endpoint="x")),
    "otel extra": (
        "PALIMP_OTEL_ENDPOINT needs the extra",
        without("opentelemetry.sdk.trace", node(otel_endpoint="http://127.0.0.1:1")),
    ),
    "auth without key": (
        "PALIMP_AUTH=on requires PALIMP_PLATFORM_KEY to be set",
        exposed("127.0.0.1", auth="on"),
    ),
    "same keys": (
        "PALIMP_CLUSTER_KEY must differ from PALIMP_PLATFORM_KEY",
        exposed("127.0.0.1", platform_key=SECRET, cluster_key=SECRET),
    ),
    "public": (
        "… is not a loopback address, and everybody who reaches it could read and write everything",
        exposed("0.0.0.0"),
    ),
    "several nodes": (
        "no lease store configured but this looks like a multi-node deployment",
        exposed("127.0.0.1", auth="on", platform_key=SECRET),
    ),
    "no signing key": ("PALIMP_AUTH=on needs a signing key", keys()),
    "bad signing key": ("… is not a private key in base64 PKCS#8", keys(auth_key="nonsense")),
    "no key in it": ("a key ring needs a signing key", keys(auth_key=" , ")),
    "rotate": (
        "the signing key is that of PALIMP_AUTH_KEY",
        lambda path: rotate(settings(auth_key="x"), path, VolatileStore(), Clock(), 1),
    ),
    "damaged keys": ("… is damaged", keys(b"{}")),
    "newer keys": ("… has format …, this release reads …", keys(b'{"format":9,"keys":[]}')),
    "unreadable keys": (
        "… cannot be read: …",
        lambda path: ((path / "keys" / "signing.json").mkdir(parents=True), keys()(path)),
    ),
    "no parent": ("folder … cannot be used: …", lambda path: Folder(path / "a" / "b")),
    "a file": (
        "… is a file; give a folder",
        lambda path: ((path / "f").touch(), Folder(path / "f")),
    ),
    "NUL": ("… is not a path: it contains a NUL", lambda _: Folder("a\0b")),
    "foreign folder": ("… is not empty and not a Palimpsest folder", with_file),
    "edited mark": ("… is not what Palimpsest writes: …", marked(b"{")),
    "other product": ("… belongs to …, not to Palimpsest", marked(b'{"product":"x","format":1}')),
    "newer folder": ("… has format …, this release reads …", marked(OURS % 99)),
    "unreleased folder": ("… has format …, which only unreleased versions wrote", marked(OURS % 1)),
    "other store": ("… holds local files of another object store than …", other_store),
    "held": ("… is open in …; close it there first", held),
    "network": ("… is on a network file system", on("nfs4")),
    "no locks": (
        "… is on a file system (…) where a lock of one process does not keep another out",
        on("somethingfs"),
    ),
    "long path": ("the path of … has … bytes, a socket's has at most …", long_socket),
    "scheme": ("unsupported PALIMP_OBJECT_STORE: …", lambda _: open_store("ftp://x")),
    "relative": (
        "PALIMP_OBJECT_STORE … names no absolute path",
        lambda _: open_store("file://x"),
    ),
    "user in URL": (
        "PALIMP_OBJECT_STORE: …:// takes bucket/prefix",
        lambda _: open_store("s3://a@b/c"),
    ),
    "no obstore": (
        "object store … needs obstore",
        without("obstore.store", lambda _: open_store("s3://bucket")),
    ),
    "loose": (
        "object store … cannot be used: …. Two nodes would overwrite each other",
        lambda _: self_test(Loose()),
    ),
    "damaged store": ("…: … is damaged: …", lambda _: identify(Holding(b"{"))),
    "newer store": (
        "… has format …, this release reads …",
        lambda _: identify(Holding(b'{"format":9,"id":"x"}')),
    ),
    "credentials": ("…; check the credentials", remote("status code: 401 Unauthorized")),
    "rights": ("…; check what the credentials may do", remote("status code: 403 Forbidden")),
    "bucket": ("there is no such bucket", remote("status code: 404 Not Found")),
    "plain http": ("…; for an http:// endpoint set AWS_ALLOW_HTTP=true", remote("builder error")),
    "away": ("…; … repeating it", remote("status code: 503")),
    "away, writing": ("…; … repeating it", remote("connection reset", writes=True)),
    "folder of a key": ("…: no key can be the folder of another", disk(errno.EISDIR)),
    "long name": ("…: the path is too long for this file system", disk(errno.ENAMETOOLONG)),
    "FAT": ("…: this file system has no locks or hard links", disk(errno.EPERM, "a", "b")),
    "full": ("the disk is full; free some space and repeat it", disk(errno.ENOSPC)),
    "permissions": ("check the permissions of the folder", disk(errno.EACCES)),
    "descriptors": ("raise the limit (ulimit -n)", disk(errno.EMFILE)),
    "broken disk": ("the disk refused a read or write", disk(errno.EIO)),
    "dialect": ("--dialect is …; give NAME=PORT", lambda _: listening.parse_dialect("memoturn")),
    "no dialect": ("there is no dialect …; there is …", lambda _: listening.parse_dialect("x=1")),
    "other key": ("… is not an Ed25519 key", other_key),
    "served twice": ("… is open in process … already", served_twice),
    "other settings": ("… is open in … with … …, here it is …", other_settings),
    "other release": (
        "… is owned by … of release …, which speaks version … of the wire",
        with_shared(of_another_release),
    ),
    "silent": (
        "… is owned by …, which has not answered for … s; end it or wait",
        with_shared(silent),
    ),
    "moved": ("… is not the folder any more that was opened", with_shared(moved)),
    "forked": ("… has no owner, and process … cannot be it", with_shared(badly_forked)),
    "misconfigured": ("object store … cannot be reached as configured: …", misconfigured),
    "lacking": ("…; the store lacks what Palimpsest needs", lacking),
    "no ETag": ("object store … gives its objects no ETag", untagged),
    "out of order": ("object store … lists out of order", bucket(200, UNORDERED)),
    "conflicts": (
        "…: … times in a row another write was under way (409)",
        bucket(409, b"<Error><Code>ConditionalRequestConflict</Code></Error>"),
    ),
    "other process": ("… was opened before this process was forked", other_process),
    "long prefix": ("…/…… is longer than … bytes", long_prefix),
    "newer catalog": ("catalog … has schema …, this release knows up to …", newer_catalog),
    "catalog down": ("catalog … does not answer as it should: …", catalog_is_down),
    "catalog extra": ("a catalog needs …", no_extra_for_catalog),
    "metrics extra": (
        "/metrics needs the extra",
        without("prometheus_client", metrics),
    ),
    "catalog": ("PALIMP_CATALOG_URL …", catalog("oracle://x")),
    "catalog of no file": ("PALIMP_CATALOG_URL …", catalog("sqlite:///:memory:")),
    **STARTS,
}


def test_every_refused_start_is_triggered() -> None:
    before_answers = TABLE.read_text("utf-8").partition("## What clients are told")[0]
    shown = re.findall(r"^\| `([^`]+)` \|", before_answers, re.MULTILINE)
    triggered = {one for one, _ in TRIGGERS.values()} | {
        "… cannot be shared by several processes: …"
    }
    assert set(shown) == triggered | set(ELSEWHERE)
    for place, shown in ELSEWHERE.values():
        assert shown in (ROOT / place).read_text("utf-8")


def test_a_folder_without_sockets_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_path: Path) -> None:
        raise OSError(errno.EOPNOTSUPP, "no sockets")

    monkeypatch.setattr("palimp.node.node.Door", refuse)
    Shared(settings(data_dir=tmp_path / "m")).close()
    (row,) = [row for row in rows() if row.shown.startswith("… cannot be shared")]
    assert any(row.fits(record.getMessage()) for record in caplog.records)


@pytest.mark.parametrize("name", TRIGGERS)
def test_each_start_that_is_refused_says_what_its_row_shows(name: str, tmp_path: Path) -> None:
    shown, run = TRIGGERS[name]
    (row,) = [row for row in rows() if row.shown == shown]
    with pytest.raises(Error) as caught:
        run(tmp_path)
    said = str(caught.value)
    parts = [re.escape(part) for part in row.shown.split("…")]
    assert re.search(".+?".join(parts), said, re.DOTALL), said


def test_a_refused_start_prints_that_and_nothing_else(tmp_path: Path) -> None:
    """The same through the command: exit code 1, the message, no traceback."""
    environment = {key: v for key, v in os.environ.items() if not key.startswith("PALIMP_")}
    for words, given, shown in (
        (("--host", "0.0.0.0"), {}, "is not a loopback address"),
        (("--port", "0"), {"PALIMP_AUTH": "on"}, "requires PALIMP_PLATFORM_KEY to be set"),
        (("--port", "0"), {"PALIMP_OBJECT_STORE": "ftp://x"}, "unsupported PALIMP_OBJECT_STORE"),
        (("--port", "0"), {"PALIMP_OTEL_ENDPOINT": "x"}, "is not the URL of a collector"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "palimp", "serve", "--data", str(tmp_path / "m"), *words],
            capture_output=True, text=True, timeout=60, env={**environment, **given},
        )  # fmt: skip
        assert done.returncode == 1
        assert shown in done.stderr
        assert "Traceback" not in done.stderr


def test_who_waits_for_a_full_queue_is_told_to_batch_or_to_spread() -> None:
    for module in ("engine/rounds.py", "http/workers.py"):
        queues = [
            text
            for _, text in raised(SOURCE / module)
            if "wait already" in text or "wait for" in text
        ]
        assert queues
        for text in queues:
            assert "put many writes into one call, or spread them over profiles" in text


def test_every_metric_of_the_page_on_monitoring_exists() -> None:
    text = (ROOT / "docs" / "operating" / "monitoring.md").read_text("utf-8")
    for name in re.findall(r"palimp_(\w+)", text):
        stem = name.removesuffix("_total").removesuffix("_bucket")
        assert stem in METRICS, name
        assert name.endswith("_total") == (METRICS[stem].kind == "counter"), name
    # What wakes somebody up, and what the issue asks for.
    for name in ("backlog_seconds", "writes_refused", "branches_recovered", "store_errors"):
        assert f"palimp_{name}" in text
