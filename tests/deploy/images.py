"""A Dockerfile carried out without an engine: its RUN, COPY, ENV, USER and the rest, in a chroot.

The folders of this machine stand in for the base image: /usr, /etc and this Python are bound into
the root that is made. A container is a chroot with namespaces of its own, on a root that cannot be
written, as the user of the Dockerfile and without capabilities.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .charts import ROOT

__all__ = ["Container", "Image", "Step", "steps"]

PYTHON = Path(sys.base_prefix)
_MACHINE = [
    name for name in ("usr", "bin", "sbin", "lib", "lib64", "etc") if Path("/", name).exists()
]
_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--ipc", "--uts")

Step = tuple[str, str]


def steps(text: str) -> list[list[Step]]:
    """Return the instructions of each stage; those before the first `FROM` are left out."""
    joined = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[list[Step]] = []
    for line in filter(str.strip, joined.splitlines()):
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stages.append([])
        if stages:
            stages[-1].append((word, rest.strip()))
    return stages


def need_root() -> None:
    """Skip where no namespaces can be made, or fail where tests may not be skipped."""
    wanted = ("unshare", "nsenter", "setpriv", "chroot", "mount", "ip")
    missing = [name for name in wanted if shutil.which(name) is None]
    if os.geteuid() == 0 and not missing:
        if subprocess.run([*_NAMESPACES, "true"], capture_output=True).returncode == 0:
            return
        missing = ["the right to make namespaces"]
    message = f"containers without an engine need root and {', '.join(missing or wanted)}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def pairs(rest: str) -> dict[str, str]:
    """Return what an `ENV` sets."""
    return dict(word.split("=", 1) for word in shlex.split(rest))


class Image:
    """What a Dockerfile makes: a root, and what it says of its containers."""

    def __init__(self, folder: Path, dockerfile: Path) -> None:
        self.root = folder / "root"
        self.environment: dict[str, str] = {}
        self.user = "0:0"
        self.workdir = "/"
        self.entrypoint: list[str] = []
        self.command: list[str] = []
        self.health: list[str] = []
        self.volumes: list[str] = []
        build, final = steps(dockerfile.read_text())
        self._stage = folder / "build"
        self._make(self._stage, build)
        self.environment, self.workdir = {}, "/"
        self._make(self.root, final)

    def _make(self, root: Path, stage: list[Step]) -> None:
        for name in ("proc", "dev", "tmp"):
            (root / name).mkdir(parents=True, exist_ok=True)
        for word, rest in stage:
            getattr(self, f"_{word.lower()}")(root, rest)

    def _from(self, root: Path, rest: str) -> None:
        assert rest.split()[0] == "python:${PYTHON}"

    def _label(self, root: Path, rest: str) -> None:
        assert all(name.startswith("org.opencontainers.image.") for name in pairs(rest))

    def _env(self, root: Path, rest: str) -> None:
        self.environment |= pairs(rest)

    def _workdir(self, root: Path, rest: str) -> None:
        self.workdir = rest
        (root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _copy(self, root: Path, rest: str) -> None:
        words = rest.split()
        source = ROOT
        if words[0].startswith("--from="):
            source = self._stage
            words = words[1:]
        *what, where = words
        target = root / Path(self.workdir, where).as_posix().lstrip("/")
        for one in what:
            came = source / one.lstrip("/")
            if source is self._stage:
                # Ten thousand files; nobody needs them there any more.
                target.parent.mkdir(parents=True, exist_ok=True)
                came.rename(target)
                continue
            # A folder is copied by its content, a file into a folder or as one.
            if came.is_dir():
                skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(came, target, dirs_exist_ok=True, ignore=skip)
            else:
                into = target / came.name if where.endswith("/") else target
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(came, into)

    def _run(self, root: Path, rest: str) -> None:
        # What this machine says of indexes and proxies holds for pip in here too.
        outside = {k: v for k, v in os.environ.items() if not k.startswith("PALIMP_")}
        path = f"{PYTHON}/bin:/usr/local/bin:/usr/bin:/bin"
        inside = {**outside, "PATH": path, "HOME": "/tmp", **self.environment}
        script = [
            *_bound(root, *glob.glob("/opt/*")),
            _entered(root, inside, f"cd {self.workdir}; {rest}"),
        ]
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-euc", "\n".join(script)],
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"RUN {rest}\n{done.stdout}\n{done.stderr}"

    def _user(self, root: Path, rest: str) -> None:
        self.user = rest

    def _volume(self, root: Path, rest: str) -> None:
        self.volumes = json.loads(rest)

    def _expose(self, root: Path, rest: str) -> None:
        self.ports = [int(word) for word in rest.split()]

    def _healthcheck(self, root: Path, rest: str) -> None:
        self.health = json.loads(rest[rest.index("CMD ") + 4 :])

    def _entrypoint(self, root: Path, rest: str) -> None:
        self.entrypoint = json.loads(rest)

    def _cmd(self, root: Path, rest: str) -> None:
        self.command = json.loads(rest)

    def dropped(self) -> list[str]:
        """Return the words before a command that take every right away."""
        user, _, group = self.user.partition(":")
        nothing = ("--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")
        return ["setpriv", f"--reuid={user}", f"--regid={group}", *nothing]

    def run(self, volume: Path, *words: str, **settings: str) -> Container:
        """Start a container, as `docker run --read-only --tmpfs /tmp -v VOLUME:/app/data`."""
        return Container(self, volume, list(words) or self.command, settings)


def _bound(root: Path, *more: str) -> list[str]:
    """Return the commands that put this machine's programs and this Python into a root."""
    lines = ["mount --make-rprivate /", f"mount --bind {root} {root}"]
    for one in (*(f"/{name}" for name in _MACHINE), str(PYTHON), *more):
        target = root / one.lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        lines += [f"mount --bind {Path(one).resolve()} {target}"]
        lines += [f"mount -o remount,bind,ro {target}"]
    return [*lines, f"mount --rbind /dev {root}/dev"]


def _entered(root: Path, environment: dict[str, str], script: str) -> str:
    """Return the command that runs a script in a root, with an environment of its own."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    words = ["chroot", str(root), "env", "-i", *variables, "sh", "-euc", script]
    return f"exec {shlex.join(words)}"


class Container:
    """A process of an image: process 1 of its namespaces, on a root that cannot be written."""

    def __init__(
        self, image: Image, volume: Path, words: list[str], settings: dict[str, str]
    ) -> None:
        self._image = image
        self._environment = {**image.environment, **settings}
        root, started = image.root, [*image.dropped(), *image.entrypoint, *words]
        script = [
            *_bound(root),
            f"mount --bind {volume} {root}{image.volumes[0]}",
            f"mount -t tmpfs -o mode=1777,size=64m tmpfs {root}/tmp",
            f"mount -t proc proc {root}/proc",
            f"mount -o remount,bind,ro {root}",
            "ip link set lo up",
            _entered(root, self._environment, f"cd {image.workdir}; exec {shlex.join(started)}"),
        ]
        self.process = subprocess.Popen(
            [*_NAMESPACES, "--net", "sh", "-euc", "\n".join(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def execute(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as `docker exec` does."""
        variables = [f"{name}={value}" for name, value in self._environment.items()]
        inside = (
            "nsenter",
            f"--target={self.inner}",
            "--mount",
            "--pid",
            "--net",
            "--root",
            "--wd",
        )
        return subprocess.run(
            [*inside, "env", "-i", *variables, *self._image.dropped(), *words],
            capture_output=True,
            text=True,
            timeout=60,
        )

    @property
    def inner(self) -> int:
        """The number, outside, of its process 1."""
        own = self.process.pid
        return int(Path(f"/proc/{own}/task/{own}/children").read_text().split()[0])

    def healthy(self, seconds: float) -> bool:
        """Ask as HEALTHCHECK does, until it is or the time is over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if self.execute(*self._image.health).returncode == 0:
                    return True
            except (OSError, IndexError):
                pass  # it has no process 1 yet
            time.sleep(0.2)
        return False

    def stop(self) -> int:
        """Send SIGTERM to its process 1, as `docker stop`, and return its exit code."""
        os.kill(self.inner, signal.SIGTERM)
        return self.process.wait(60)

    def end(self) -> tuple[str, str]:
        """Return what it printed; kills it if it still runs."""
        if self.process.poll() is None:
            # Not the process outside: a change of user undoes --kill-child.
            os.kill(self.inner, signal.SIGKILL)
        return self.process.communicate(timeout=60)
