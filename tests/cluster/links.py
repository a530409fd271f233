"""TCP links that can be cut: both ways or one way, delayed, refused, and healed.

What is sent over a cut link is held, as a network does that drops packets: TCP sends them again
until somebody gives up, so that after healing they arrive late. `refused` is what a host does that
is there and does not serve: what was open is reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine
from typing import Any, Protocol

_PIECE = 1 << 16


class Network:
    """The loop all links run on, in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.links: dict[str, Link] = {}

    def link(self, name: str, target: tuple[str, int] | str, host: str = "127.0.0.1") -> Link:
        """Return a new link to an address or a Unix socket, by a name such as `a-store`."""
        assert name not in self.links, name
        made = self.links[name] = Link(self, name, target, host)
        self.do(made.open())
        return made

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something on the loop, to its end."""
        asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def heal(self) -> None:
        """Let everything through again."""
        for link in list(self.links.values()):
            link.heal()

    def close(self) -> None:
        """Close every link and the loop."""
        for link in self.links.values():
            self.do(link.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(30)
        self.loop.close()


class Link:
    """Listens on a port of its own, and passes on what comes to its target and back."""

    def __init__(
        self, network: Network, name: str, target: tuple[str, int] | str, host: str
    ) -> None:
        self.name = name
        self.host = host
        self.target = target
        self.connections = 0
        self.passed = 0
        self._network = network
        self._listener = socket.socket()
        self._listener.bind((host, 0))
        self.port = int(self._listener.getsockname()[1])
        self._server: asyncio.Server | None = None
        self._delay = 0.0
        self._refused = False
        # Clear while what goes that way is held.
        self._there, self._back = asyncio.Event(), asyncio.Event()
        self._there.set()
        self._back.set()
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def cut(self, way: str = "both") -> None:
        """Hold what goes `there` (to the target), `back`, or `both`."""
        assert way in ("there", "back", "both")

        async def change() -> None:
            if way != "back":
                self._there.clear()
            if way != "there":
                self._back.clear()

        self._network.do(change())

    def refuse(self) -> None:
        """Reset every connection, and every new one."""

        async def change() -> None:
            self._refused = True
            self._reset()

        self._network.do(change())

    def slow(self, seconds: float) -> None:
        """Keep every piece for so long."""

        async def change() -> None:
            self._delay = seconds

        self._network.do(change())

    def heal(self, *, reset: bool = False) -> None:
        """Let everything through; with `reset` nothing of what was held."""

        async def change() -> None:
            if reset:
                self._reset()
            self._refused, self._delay = False, 0.0
            self._there.set()
            self._back.set()

        self._network.do(change())

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, sock=self._listener, backlog=512)

    async def close(self) -> None:
        """Listen no more, and end what is open."""
        assert self._server is not None
        self._server.close()
        tasks = self._reset()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _reset(self) -> list[asyncio.Task[None]]:
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        return tasks

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        ends = [writer]
        try:
            if self._refused:
                return
            # As a packet that asks for a connection is lost, too.
            await self._there.wait()
            with contextlib.suppress(OSError):
                there, back = await self._connect()
                ends.append(back)
                await self._both(reader, writer, there, back)
        except asyncio.CancelledError:
            pass
        finally:
            self._open.discard(task)
            for end in ends:
                end.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.target, str):
            return await asyncio.open_unix_connection(self.target)
        return await asyncio.open_connection(*self.target)

    async def _both(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:
        ways = [
            asyncio.create_task(self._pass(reader, back, self._there)),
            asyncio.create_task(self._pass(there, writer, self._back)),
        ]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _pass(
        self, source: asyncio.StreamReader, to: asyncio.StreamWriter, way: asyncio.Event
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(_PIECE):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await way.wait()
                to.write(data)
                await to.drain()
                self.passed += len(data)
            # So is the end of a connection: who is cut off does not hear of it.
            await way.wait()
            if to.can_write_eof():
                to.write_eof()


class Door(Protocol):
    """Where something is reached, and what can be done to the way there."""

    @property
    def host(self) -> str:
        """The address."""

    @property
    def port(self) -> int:
        """The port."""

    def cut(self, way: str = "both") -> None:
        """Let nothing through `there`, `back`, or `both` ways."""

    def heal(self, *, reset: bool = False) -> None:
        """Let everything through."""


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
