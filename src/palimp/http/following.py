"""What other nodes of the cluster tell this one of their branches, and ask it to tell them."""

from __future__ import annotations

from ..api.answers import Answer, encode_error
from ..api.wire import NO_CONTENT
from ..errors import Denied, Error, NotFound, Unavailable
from ..node import Node
from ..observe import logger
from .api import Limits
from .incoming import HEADER_PEER, Incoming
from .messages import Disconnected, Receive, Scope, Send, joined_headers, read_body, send_answer
from .room import Room

__all__ = ["Followers"]

_LOG = logger("http")
# What one node sends at a time, and all of them together.
_BODY_BYTES_MAX = 16 << 20
_ROOM_BYTES = 64 << 20
_JOINING_SECONDS = 1.0


class Followers:
    """The routes below `/cluster`: signed as what nodes send on is, and for nobody else."""

    def __init__(self, node: Node, limits: Limits) -> None:
        self._node = node
        self._limits = limits
        self._incoming = Incoming(node)
        self._room = Room(_ROOM_BYTES)

    def close(self) -> None:
        """Let the threads end."""
        self._incoming.workers.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            answer = await self._answer(scope, receive)
        except Disconnected as error:
            _LOG.info("another node went away: %s", error)
            return
        except Error as error:
            answer = encode_error(error)
        await send_answer(send, answer)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        method, path, headers = scope["method"], scope["path"], joined_headers(scope["headers"])
        if HEADER_PEER not in headers:
            raise Denied(
                f"{path[:200]} is for the nodes of one cluster, which sign what they send",
                reason="cluster_key",
            )
        said = self._incoming.said(method, scope["raw_path"], scope["query_string"], headers)
        if method != "POST":
            raise NotFound(f"nodes do not send {method} {path[:200]!r} to each other")
        with self._room.share() as share:
            seconds = self._limits.read_seconds
            body = await read_body(headers, receive, _BODY_BYTES_MAX, seconds, share)

            def work() -> None:
                self._incoming.check_body(said, body)
                if self._node.pushing is None:
                    raise Unavailable(
                        "this node has not joined the cluster yet; repeat it",
                        reason="closed",
                        retry_after=_JOINING_SECONDS,
                    )
                self._node.pushing.receive(said.sender, path, body)

            await self._incoming.workers.run(path, work)
        return Answer(NO_CONTENT, {}, b"")
