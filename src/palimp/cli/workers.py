"""`palimp serve --workers N`: several nodes and a gateway on one machine.

This process holds the folder and serves the gateway; each worker is a `palimp serve` of its own on
a folder below `workers/`. They share the object store and the catalog, in which leases are kept.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..clock import Clock
from ..errors import Invalid, Unavailable, Unconfigured
from ..ids import random_id
from ..node import Node, Settings
from ..node.aliases import ALIASES
from ..node.door import Door
from ..node.folder import Folder, was_left_open
from ..node.settings import PREFIX
from ..observe import logger
from .gateway import open_gateway, open_placement
from .listening import LOOK_SECONDS, PARENT_GONE, Stop, drain, end_after, url_of

if TYPE_CHECKING:
    import socket

    from ..lease import Placement

__all__ = [
    "child",
    "folders_of_workers",
    "for_workers",
    "serve_workers",
    "ship_what_is_left",
]

_LOG = logger("serve")
_FOLDER = "workers"
_START_SECONDS = 60.0
# A worker that ran so long was started well.
_STABLE_SECONDS = 60.0
_QUICK_DEATHS_MAX = 5
_BACKOFF_SECONDS, _BACKOFF_SECONDS_MAX = 0.5, 10.0
# What a worker that was told to stop may take beyond the time it gives itself.
_LATE_SECONDS = 5.0
# The gateway speaks to them, and tells them who spoke to it.
_PROXIES = "127.0.0.1,::1"
# What this process says itself on the command line, or has no use in a worker.
_NOT_PASSED_ON = ("data_dir", "listen", "node_id")


def for_workers(settings: Settings) -> Settings:
    """Return the settings of nodes that share what one node on the folder would have alone.

    Raises `Invalid` for settings that several nodes of one machine cannot have, `Unconfigured`
    where they need what is not installed.
    """
    if settings.lease_store == "etcd" or settings.advertise is not None:
        raise Invalid(
            f"--workers is for one machine, and {PREFIX}ETCD or {PREFIX}ADVERTISE is set for "
            "several: run one `palimp serve` for each node and `palimp gateway` before them, or "
            "take these out"
        )
    if settings.read_only:
        raise Invalid(f"--workers is for nodes that write; take {PREFIX}READ_ONLY out")
    if settings.catalog_url is None:
        raise Unconfigured(
            "--workers keeps leases in the catalog, which needs the extra `server`; install it "
            "with: pip install 'palimp[server]'"
        )
    folder = Path(settings.data_dir).expanduser().absolute()
    store = settings.object_store or (folder / "objects").as_uri()
    if store.startswith("mem:"):
        raise Invalid("--workers needs an object store that processes share; mem:// is of one")
    return msgspec.structs.replace(
        settings,
        data_dir=str(folder),
        object_store=store,
        leases="sql",
        single_node=False,
        cluster_key=settings.cluster_key or random_id("cluster"),
    )


def folders_of_workers(data: str) -> list[Path]:
    """Return the folders of workers in a folder, those of earlier runs too."""
    home = Path(data).expanduser().absolute() / _FOLDER
    found = home.iterdir() if home.is_dir() else ()
    return sorted(path for path in found if path.name.isdigit() and path.is_dir())


def ship_what_is_left(settings: Settings, folders: Iterable[Path], clock: Clock) -> None:
    """Store what was written in folders and was not, by the settings of one node.

    A worker that is about to let go of its folder is waited for. What the store does not take
    stays in the folder, for the next time. Raises `Unavailable` where a folder is in use.
    """
    data = Path(settings.data_dir).expanduser().absolute()
    for path in folders:
        _wait_for(path, 0.0 if path == data else settings.shutdown_timeout, clock)
        if not (path / "hot").is_dir() or not was_left_open(path):
            continue
        _LOG.info("storing what was written in %s and not stored yet", path)
        alone = msgspec.structs.replace(
            settings,
            data_dir=str(path),
            object_store=settings.object_store or (data / "objects").as_uri(),
            leases="single",
            catalog_url=None,
            maintenance_secs=0.0,
        )
        Node(alone).close()
        if was_left_open(path):
            _LOG.warning("what was written in %s last may not be in the store yet", path)


def serve_workers(
    settings: Settings,
    count: int,
    listener: socket.socket,
    dialects: Sequence[tuple[str, socket.socket]],
    stop: Stop,
) -> bool:
    """Serve a folder by `count` workers until it is to stop; return whether all ended well.

    `settings` are those of `for_workers`.
    """
    clock = Clock()
    with ExitStack() as stack:
        folder = Folder(settings.data_dir)
        stack.callback(folder.close)
        stack.enter_context(_answering_visitors(folder.path, url_of(listener)))
        placement = stack.enter_context(open_placement(settings, clock))
        _check_alone(placement, folder.path, settings)
        crew = _Crew(settings, folder.path, count, clock)
        stack.callback(crew.kill)
        if not crew.wait_for(placement, stop):
            return crew.stop() and stop.wanted
        gateway, served = open_gateway(settings, placement, listener, dialects, clock)
        where = settings.object_store
        _LOG.info(
            "serving %s by %d workers, folder %s, history in %s",
            url_of(listener),
            count,
            folder.path,
            where,
        )
        for dialect, one in dialects:
            _LOG.info("speaking %s at %s", dialect, url_of(one))
        while not stop.wanted and served.running and crew.look():
            clock.sleep(LOOK_SECONDS)
        well = stop.wanted and served.running
        end_after(2 * settings.shutdown_timeout + 2 * _LATE_SECONDS)
        gateway.drain()
        # They finish what is under way, which goes on passing through the gateway meanwhile.
        well = crew.stop() and well
        well = drain(gateway, served, clock, _LATE_SECONDS) and well
    return _stored(settings, clock) and well


def _stored(settings: Settings, clock: Clock) -> bool:
    """Store what workers could not, as another of them had the database; whether all is stored."""
    try:
        ship_what_is_left(settings, folders_of_workers(settings.data_dir), clock)
    except Unavailable as error:
        _LOG.error("not everything is in the store: %s", error)
        return False
    return True


def child() -> None:
    """Be a worker: the command, until the process that started it is gone."""
    from .main import main

    threading.Thread(target=_end_with_parent, daemon=True).start()
    main()


def _end_with_parent() -> None:
    # It holds the other end, and writes nothing.
    while os.read(0, 1):
        pass
    PARENT_GONE.set()


class _Worker:
    """One worker: its folder, its process, and how that has gone so far."""

    def __init__(self, settings: Settings, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._settings = settings
        self._environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.due = 0.0
        self.quick_deaths = 0

    @property
    def node(self) -> str | None:
        """Its id as a node; None before it was started for the first time."""
        return _node_of(self._settings, self.folder)

    def start(self, now: float) -> None:
        """Start its process."""
        code = "from palimp.cli.workers import child; child()"
        where = ["--host", "127.0.0.1", "--port", "0", "--data", str(self.folder)]
        self.started = now
        self.process = subprocess.Popen(  # noqa: S603 - this program, in a folder of ours
            [sys.executable, "-P", "-c", code, "serve", *where],
            env=self._environment,
            stdin=subprocess.PIPE,
            # What a terminal sends to all of its processes at once reaches them by this one.
            process_group=0,
        )

    def died(self, now: float) -> int | None:
        """Return with what its process ended, if it did; it is to be started again when `due`."""
        if self.process is None or self.process.poll() is None:
            return None
        code = self.process.returncode
        self._forget()
        stable = now - self.started >= _STABLE_SECONDS
        self.quick_deaths = 1 if stable else self.quick_deaths + 1
        backoff = _BACKOFF_SECONDS * 2.0 ** (self.quick_deaths - 1)
        self.due = now + min(backoff, _BACKOFF_SECONDS_MAX)
        return code

    def end(self, *, kill: bool) -> None:
        """Tell its process to stop, or end it where it stands."""
        if self.process is not None and self.process.poll() is None:
            (self.process.kill if kill else self.process.terminate)()

    def wait(self, seconds: float) -> int | None:
        """Return with what its process ended; None where it did not within the time."""
        if self.process is None:
            return 0
        try:
            code = self.process.wait(max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            return None
        self._forget()
        return code

    def _forget(self) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process = None


class _Crew:
    """The workers of a folder: started now, started again when they die, stopped together."""

    def __init__(self, settings: Settings, folder: Path, count: int, clock: Clock) -> None:
        self._clock = clock
        self._seconds = settings.shutdown_timeout + _LATE_SECONDS
        home = folder / _FOLDER
        home.mkdir(mode=0o700, exist_ok=True)
        key = _signing_keys(settings, clock)
        self._workers = []
        for i in range(count):
            own = None if settings.node_id is None else f"{settings.node_id}-{i}"
            environment = _environment(settings, {"node_id": own, "auth_key": key})
            self._workers.append(_Worker(settings, home / str(i), environment))
        for worker in self._workers:
            worker.start(clock.monotonic())

    def wait_for(self, placement: Placement, stop: Stop) -> bool:
        """Wait until all of them are alive; whether they are, and it is not to stop already."""
        end = self._clock.monotonic() + _START_SECONDS
        while not stop.wanted:
            alive = {peer.node for peer in placement.peers()}
            if all(worker.process and worker.node in alive for worker in self._workers):
                return True
            if not self.look():
                return False
            if self._clock.monotonic() > end:
                _LOG.error("not all workers came up within %g s", _START_SECONDS)
                return False
            self._clock.sleep(LOOK_SECONDS)
        return False

    def look(self) -> bool:
        """Start those again that died; False where one does so too often."""
        now = self._clock.monotonic()
        for worker in self._workers:
            code = worker.died(now)
            if code is not None and worker.quick_deaths >= _QUICK_DEATHS_MAX:
                _LOG.error(
                    "worker %s ended %d times within %g s of its start, the last time with status "
                    "%d: giving up. What it says above is why",
                    worker.folder.name,
                    worker.quick_deaths,
                    _STABLE_SECONDS,
                    code,
                )
                return False
            if code is not None:
                again = "worker %s ended with status %d; it is started again in %.1f s"
                _LOG.warning(again, worker.folder.name, code, worker.due - now)
            if worker.process is None and now >= worker.due:
                worker.start(now)
        return True

    def stop(self) -> bool:
        """Tell all to stop, and wait; whether all of them ended well."""
        well = True
        for worker in self._workers:
            worker.end(kill=False)
        end = self._clock.monotonic() + self._seconds
        for worker in self._workers:
            code = worker.wait(end - self._clock.monotonic())
            if code is None:
                _LOG.error("worker %s did not stop and is killed", worker.folder.name)
            elif code:
                _LOG.error("worker %s stopped with status %d", worker.folder.name, code)
            well = well and code == 0
        self.kill()
        return well

    def kill(self) -> None:
        """Leave none behind."""
        for worker in self._workers:
            worker.end(kill=True)
        for worker in self._workers:
            worker.wait(_LATE_SECONDS)


def _wait_for(folder: Path, seconds: float, clock: Clock) -> None:
    """Wait until no process has a folder: one whose parent was killed ends by itself."""
    end = clock.monotonic() + seconds
    while (folder / "palimp.json").exists():
        try:
            Folder(folder).close()
            return
        except Unavailable as error:
            if error.details.get("reason") != "locked" or clock.monotonic() > end:
                raise
        clock.sleep(LOOK_SECONDS)


def _node_of(settings: Settings, folder: Path) -> str | None:
    if settings.node_id is not None:
        return f"{settings.node_id}-{folder.name}"
    try:
        mark: dict[str, Any] = msgspec.json.decode((folder / "palimp.json").read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return str(mark.get("node"))


def _check_alone(placement: Placement, folder: Path, settings: Settings) -> None:
    """Refuse to run beside nodes of other machines: they could not reach the workers."""
    own = {_node_of(settings, path) for path in folders_of_workers(str(folder))}
    for peer in placement.peers():
        if peer.node not in own:
            raise Unavailable(
                f"node {peer.node} at {peer.address} is alive on {settings.object_store} already: "
                "--workers is for the nodes of one machine and folder. End that node, or run one "
                "`palimp serve` for each node and `palimp gateway` before them",
                reason="owned",
                node=peer.node,
            )


def _signing_keys(settings: Settings, clock: Clock) -> str | None:
    """Return the keys that sign tokens, the same for all workers; None where nobody needs them."""
    if settings.auth != "on" or settings.auth_key is not None:
        return settings.auth_key
    from ..node.credentials import load_keys
    from ..store import open_store

    assert settings.object_store is not None
    # One machine is what these are, and one folder: a key is made in it where there is none.
    own = msgspec.structs.replace(settings, single_node=True)
    store = open_store(settings.object_store, clock=clock)
    try:
        ring = load_keys(own, Path(settings.data_dir), store, clock)
    finally:
        store.close()
    keys = [ring.signing, *(key for key in ring if key is not ring.signing)]
    return ",".join(key.export() for key in keys)


def _environment(settings: Settings, own: Mapping[str, str | None]) -> dict[str, str]:
    """Return the environment of a worker: all settings by our names, and nobody else's."""
    foreign = {alias.variable for alias in ALIASES}
    passed = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) and name not in foreign
    }
    values = {**msgspec.structs.asdict(settings), "trusted_proxies": _PROXIES, **own}
    plain = Settings()
    for name, value in values.items():
        if value is None or (name in _NOT_PASSED_ON and name not in own):
            continue
        if value != getattr(plain, name):
            said = str(int(value)) if isinstance(value, bool) else str(value)
            passed[f"{PREFIX}{name.upper()}"] = said
    return passed


@contextmanager
def _answering_visitors(folder: Path, url: str) -> Iterator[None]:
    """Tell other processes that open the folder where it is served."""
    try:
        door = Door(folder)
    except OSError as error:
        _LOG.warning("other processes cannot be told that %s is served: %s", folder, error)
        yield
        return
    door.open(lambda: _Elsewhere(folder, url))
    try:
        yield
    finally:
        door.close(0)


class _Elsewhere:
    """Answers every request that it is to be sent to a URL."""

    def __init__(self, folder: Path, url: str) -> None:
        self._error = Unavailable(
            f"{folder} is served by several workers of process {os.getpid()} at {url}: use that "
            "(--url, PALIMP_URL or palimp.connect), or end that process",
            reason="workers",
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        from ..api.answers import encode_error
        from ..http.messages import send_answer

        if scope["type"] == "http":
            await send_answer(send, encode_error(self._error))
