"""Where an operation is carried out, when several nodes share a store: at the node that has it.

The node that is asked first finds out which that is, and sends the operation there; it asks the
lease store and goes on where it was wrong, for as long as the request has time. The node it is sent
to carries it out or refuses: it sends nothing on, so that nothing goes in a circle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ..api import NO_OPTIONS, OPERATIONS, GetValue, Operation, Options, PeerInfo, Target
from ..api.base import Request, Result
from ..api.repeats import NO_REPEAT, WITHOUT_ID, done_before, doubtful
from ..clock import Clock
from ..engine import Address, Engine
from ..errors import Error, Invalid, NotFound, Unavailable
from ..ids import (
    NAMESPACE_CHARS_MAX,
    DatabaseName,
    check_name,
    jitter,
    parse_database_name,
)
from ..lease import Leases, Peer, preferred
from ..observe import Metrics, logger
from ..operations import Context, Principal, handler_of
from .forwarding import Lines
from .peering import Peering
from .sending import Sender, Task

__all__ = ["Cluster"]

_LOG = logger("node")
# What is done again at once where it is known who has it; else after a pause.
_PAUSE_SECONDS, _PAUSE_SECONDS_MAX = 0.05, 0.5
# With less than that left nothing is begun: it would be given up half way.
_LEAST_SECONDS = 0.2
# A node that could not be reached is given nothing that nobody has, for so long.
_SUSPECT_SECONDS = 5.0
# Of the time a request may take; the rest is for its way back.
_TIME_SHARE = 0.9
# Why an operation was not begun: it is sent where it belongs.
_ELSEWHERE = ("owned", "moving", "lease", "fenced", "closed", "unreachable")
# Those whose node is not to be tried again at once.
_AVOIDED = ("lease", "closed", "unreachable", "silent")

Here = Callable[[Options], Result]


class Cluster:
    """Routes the operations of one node; `operations.Owners`. Thread-safe.

    Before `join` everything is carried out here, as far as there is a lease for it.
    """

    def __init__(
        self,
        leases: Leases,
        engine: Engine,
        peering: Peering,
        clock: Clock,
        metrics: Metrics,
        *,
        seconds: float,
    ) -> None:
        self.leases = leases
        self.peering = peering
        self.lines = Lines(clock)
        self.sender = Sender(peering, self.lines, self._is_expected, clock, metrics)
        self._engine = engine
        self._clock = clock
        self._seconds = seconds * _TIME_SHARE
        self._me: Peer | None = None
        self._leaving = False
        self._suspects: dict[str, float] = {}

    @property
    def me(self) -> Peer | None:
        """What this node says of itself; None before it joined."""
        return self._me

    @property
    def leaving(self) -> bool:
        """Whether it hands over what it has."""
        return self._leaving

    def join(self, me: Peer) -> None:
        """Be one of the cluster's nodes; raises as `Leases.start` does."""
        self.leases.start(me)
        self._me = me

    def leave(self, seconds: float) -> None:
        """Hand over every database, within about so many seconds; requests go on to be answered.

        What cannot be handed over stays, and is taken from this node when its lease is over.
        """
        self._leaving = True
        if self._me is None:
            return
        try:
            self.leases.drain()
        except Unavailable as error:
            _LOG.warning("the other nodes could not be told that this one is going: %s", error)
        handover, claims = self._engine.handover, self._engine.claims
        assert handover is not None
        assert claims is not None
        names = claims.names()
        given = handover.release(names, seconds)
        _LOG.info("handed over %d of %d databases", len(given), len(names))

    def close(self) -> None:
        """Let go of the lease and of connections."""
        self.leases.close()
        self.lines.close()

    # -- for operations ---------------------------------------------------------------------------

    def hold(self, address: Address) -> None:
        """Make this the node of a profile, if it is not; `Unavailable` where another is."""
        claims = self._engine.claims
        assert claims is not None
        name = DatabaseName(*address[:2])
        if self._leaving and claims.since(str(name)) is None:
            raise _stopping(str(name))
        self._engine.hold(address)

    def carry_out(
        self, context: Context, operation: str, target: Target, request: Request
    ) -> Result:
        """Carry out an operation on a profile at the node that has it, as part of another."""

        def here(_options: Options) -> Result:
            context.hold(target)
            return handler_of(operation)(context, target, request)

        row = OPERATIONS[operation]
        return self.route(row, target, request, NO_OPTIONS, context.principal, here)

    def mine(self, namespace: str, profile: str) -> bool:
        """Whether a profile is this node's, as last heard, or should be where nobody has it."""
        name = str(DatabaseName(namespace, profile))
        return not self._leaving and self.place(name, set(), ask=False) is None

    def peers(self) -> tuple[PeerInfo, ...]:
        """Return the nodes that are alive, as last heard."""
        return tuple(
            PeerInfo(node=one.node, address=one.address, release=one.release, draining=one.draining)
            for one in self.leases.peers()
        )

    # -- routing ----------------------------------------------------------------------------------

    def route(
        self,
        operation: Operation,
        target: Target,
        request: Request,
        options: Options,
        principal: Principal,
        here: Here,
    ) -> Result:
        """Carry out an operation where it belongs; `here` does it at this node.

        Raises what the operation raises, wherever it was carried out.
        """
        name = None if self._me is None else _database(operation, target, request)
        if name is None:
            return here(options)
        if not operation.writes and _is_cached(request, options):
            found = self._cached(name, target, options, here)
            if found is not None:
                return found
            options = msgspec.structs.replace(options, consistency="primary")
        task = Task(operation, target, request, options, principal, str(name))
        return _Course(self, task, here, self._seconds).run()

    def _cached(
        self, name: DatabaseName, target: Target, options: Options, here: Here
    ) -> Result | None:
        """Read what is here; None where that is older than the caller has seen."""
        options = msgspec.structs.replace(options, consistency="cached")
        floor = options.min_txid
        if floor is None:
            return here(options)
        for anew in (False, True):
            if anew:
                self._engine.look_anew(Address(*name, target.branch))
            try:
                result = here(options)
            except NotFound:
                # Of which state it was not found in, an error does not say.
                continue
            except Unavailable as error:
                if error.details.get("reason") != "behind":
                    raise
                continue
            # What names no txid may be of any.
            return None if getattr(result, "txid", None) is None else result
        return None

    # -- for the course of one operation ----------------------------------------------------------

    def place(self, name: str, avoided: set[str], *, ask: bool) -> Peer | None:
        """Return the node that has a database, or should; None: this one.

        With `ask` the lease store is asked, else it is what was heard last.
        """
        holder = self._ask(name) if ask else self.leases.holder(name)
        if holder is None:
            peers = self.leases.peers()
            now = self._clock.monotonic()
            suspects = {node for node, until in list(self._suspects.items()) if until > now}
            left = [one for one in peers if one.node not in avoided | suspects]
            holder = preferred(left, name) or preferred(peers, name)
        return None if holder is None or holder.node == self._here else holder

    def _ask(self, name: str) -> Peer | None:
        try:
            return self.leases.ask(name)
        except Unavailable as error:
            # What was heard last is as good as any: whoever is asked knows whether it is so.
            _LOG.debug("%s is looked for where it was last: %s", name, error)
            return self.leases.holder(name)

    def peer(self, node: str) -> Peer | None:
        """Return a node that is alive, as last heard."""
        return next((one for one in self.leases.peers() if one.node == node), None)

    def named(self, node: str, other: Peer | None) -> Peer | None:
        """Return the node that a refusal named, `other` where nobody knows it; None: this one."""
        return None if node == self.leases.node else self.peer(node) or other

    def suspect(self, node: str) -> None:
        """Give a node nothing for a while that nobody has."""
        self._suspects[node] = self._clock.monotonic() + _SUSPECT_SECONDS

    def send(self, peer: Peer, task: Task, seconds: float) -> Result:
        """Have a task carried out by another node, which has so many seconds for it."""
        return self.sender.send(peer, task, seconds)

    @property
    def clock(self) -> Clock:
        """The node's."""
        return self._clock

    @property
    def _here(self) -> str:
        return self.leases.node

    def _is_expected(self, peer: Peer, name: str) -> bool:
        """Whether a node that is silent may still be at work on what it was sent."""
        holder = self.leases.holder(name)
        if holder is not None and holder.node != peer.node:
            return False
        return self.peer(peer.node) is not None


class _Course:
    """The way of one operation from node to node, until it is done or its time is over."""

    def __init__(self, cluster: Cluster, task: Task, here: Here, seconds: float) -> None:
        self._cluster = cluster
        self._task = task
        self._here = here
        self._end = cluster.clock.monotonic() + seconds
        self._avoided: set[str] = set()
        self._doubt = False
        self._tries = 0

    def run(self) -> Result:
        """Return what the operation gives."""
        cluster, name = self._cluster, self._task.name
        peer = cluster.place(name, self._avoided, ask=False)
        while True:
            try:
                return self._attempt(peer)
            except Error as error:
                done = self._done(error)
                if done is not None:
                    return done
                refused = error
            where = cluster.leases.node if peer is None else peer.node
            known = refused.details.get("reason") == "owned" and not self._tries
            pause = 0.0 if known else self._pause()
            reason = self._go_on(refused, pause, here=peer is None)
            self._tries += 1
            cluster.clock.sleep(pause)
            if reason in _AVOIDED:
                self._avoided.add(where)
            if reason in ("unreachable", "silent"):
                cluster.suspect(where)
            peer = cluster.place(name, self._avoided, ask=not known)
            if known:
                peer = cluster.named(str(refused.details.get("node")), peer)

    def _attempt(self, peer: Peer | None) -> Result:
        if peer is None:
            return self._here(self._task.options)
        if self._task.operation.writes and self._task.options.request_id is None:
            # From here on the same in all attempts, wherever they are made.
            self._task = self._task.with_id()
        return self._cluster.send(peer, self._task, self._left())

    def _done(self, error: Error) -> Result | None:
        """Return the result where an error shows that an attempt before was carried out."""
        if not self._doubt:
            return None
        task = self._task
        return done_before(task.operation.name, task.target, task.request, error)

    def _go_on(self, error: Error, pause: float, *, here: bool) -> str:
        """Return why it is tried again; raise the error where it is not."""
        task, reason = self._task, str(error.details.get("reason"))
        begun = bool(error.details.get("in_doubt"))
        again = isinstance(error, Unavailable) and (
            (reason in _ELSEWHERE and not begun)
            # No answer came, or only that of a node that was stopped meanwhile.
            or (reason in ("silent", "closed") and task.operation.name not in NO_REPEAT)
        )
        if here and self._cluster.leaving and reason in ("closed", "lease"):
            # There is no other node, or none that could be found.
            again = again and len(self._cluster.leases.peers()) > 1
        if begun and task.operation.writes:
            self._doubt = True
        if again and self._left() > pause + _LEAST_SECONDS:
            return reason
        if self._doubt:
            error = doubtful(task.operation.name, error)
            if error.details.get("in_doubt") and task.operation.name not in WITHOUT_ID:
                # With this the caller can repeat it, as long as it takes.
                error.details["request_id"] = task.options.request_id
        raise error

    def _pause(self) -> float:
        pause: float = min(_PAUSE_SECONDS_MAX, _PAUSE_SECONDS * 2.0 ** min(self._tries, 8))
        return pause * (0.5 + jitter())

    def _left(self) -> float:
        return self._end - self._cluster.clock.monotonic()


def _database(operation: Operation, target: Target, request: Request) -> DatabaseName | None:
    """Return the database an operation is about; None where it is about none, or names none."""
    try:
        if target.namespace is not None and target.profile is not None:
            return DatabaseName(
                check_name(target.namespace, "namespace", chars_max=NAMESPACE_CHARS_MAX),
                check_name(target.profile, "profile"),
            )
        if operation.name == "databases.create":
            name: Any = getattr(request, "name", None)
            return parse_database_name(name) if isinstance(name, str) else None
    except Invalid:
        # Refused where it is carried out: here.
        return None
    return None


def _is_cached(request: Request, options: Options) -> bool:
    if options.consistency is not None:
        return options.consistency == "cached"
    return isinstance(request, GetValue) and request.consistency == "cached"


def _stopping(name: str) -> Unavailable:
    return Unavailable(
        f"{name}: this node is stopping and takes nothing more; repeat it at another",
        reason="closed",
        retry_after=1.0,
    )
