"""The engine: profiles' databases by name, their branches, and every point of their history."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from ..clock import Clock
from ..decoding import from_json
from ..errors import Conflict, Error, Invalid, NotFound, Unavailable
from ..ids import MAIN, PROFILE_CHARS_MAX, parse_database_spec
from ..observe import Metrics, logger
from ..points import Point
from ..store import ObjectStore
from . import protocol
from .branch import Boundary, Branch
from .claims import Claims, Leaser, database_name
from .described import BranchInfo, Checkpoint, Exported, Forked, described
from .driver import Outside, drive
from .files import BranchFiles
from .gauges import Gauges, measure
from .keeper import Keeper
from .lanes import LaneQueue, Lanes
from .local_database import Repeat, Template
from .lookup import Address, Lookup
from .options import Complete, LookInto, Options, Parts, complete_nothing
from .past import Past, PastDatabase
from .pressure import RETRY_SECONDS, DiskRoom
from .protocol import Found, Located
from .protocol.records import Name, encode
from .protocol.requests import RecordEpoch
from .removing import Removing
from .residents import Key, Residents
from .rewinding import Rewind, rewind
from .upkeep import Upkeep, look_after
from .using import Use
from .wal import committed_image

# What a first write does not need is imported by what does: opening a folder waits for the rest.
if TYPE_CHECKING:
    from .erasing import Erasing
    from .following import Following
    from .handover import Handover
    from .renewing import Renewing
    from .verify import Verification

__all__ = ["BranchInfo", "Checkpoint", "Engine", "Exported", "Forked"]

_LOG = logger("engine")
# A lane waits for the store nearly all of its time; a folder of this machine answers at once.
_LANE_THREADS, _LANE_THREADS_LOCAL = 16, 8


def is_local(store: ObjectStore) -> bool:
    """Whether a store is in this process or in a folder of this machine, going by its name."""
    return store.name.partition("://")[0] in ("file", "mem")


class Engine:
    """Opens branches by name; makes a profile with its first write. Thread-safe.

    `root` holds the local files (`hot/`) and `cache` the restored earlier states; both can be
    rebuilt from the store, except what was not shipped yet. `node` names this node in messages and
    manifests. `prepare` fills a new database, `check` looks at one before it is used, `complete`
    adds to a new one what later writes make of the objects of these names. `leaser` says which
    databases this node may write, where several share the store.
    """

    def __init__(
        self,
        root: Path,
        cache: Path,
        store: ObjectStore,
        *,
        prepare: Callable[[apsw.Connection], None],
        check: Callable[[apsw.Connection, str], None],
        node: str,
        clock: Clock,
        complete: Complete = complete_nothing,
        options: Options | None = None,
        metrics: Metrics | None = None,
        leaser: Leaser | None = None,
    ) -> None:
        self.options = options or Options()
        self.store = store
        self.node = node
        self._root = root
        self._clock = clock
        self._outside = Outside(store, clock, self._record_epoch)
        self._template = Template(prepare)
        self._complete = complete
        self._keeper = Keeper(
            clock, self.options.ship_interval, self._tick_seconds(), self._ship, self._tick
        )
        self._pressure: Unavailable | None = None
        self._parts = Parts(
            root=root,
            store=store,
            outside=self._outside,
            lanes=Lanes(_LANE_THREADS_LOCAL if is_local(store) else _LANE_THREADS, clock),
            options=self.options,
            clock=clock,
            metrics=metrics or Metrics(),
            node=node,
            check=check,
            make_file=self._template.write_to,
            dirty=self._keeper.dirty,
            hurry=self._keeper.hurry,
            check_pressure=self._check_pressure,
            claims=None if leaser is None else Claims(leaser, clock),
        )
        self._lookup = Lookup(self._outside, self.options.patience)
        self._residents = Residents(self._parts)
        self._past = Past(cache / "at", self._parts)
        self._removing = Removing(self._parts, self._residents, self._lookup, self._past)
        self.handover: Handover | None = None
        if self._parts.claims is not None:
            from .handover import Handover

            self.handover = Handover(self._parts, self._residents, self._parts.claims)
        # One after the other: they are not urgent, and may be many.
        self._left_lane = LaneQueue()
        left = BranchFiles.left_open(root)
        self._left_open = set(left)
        for key in left:
            # From here on they are shipped, and taken out of the set, beside this.
            self._keeper.hurry(key)

    @cached_property
    def erasing(self) -> Erasing:
        """The steps of an erasure."""
        from .erasing import Erasing

        parts = self._parts, self._residents, self._lookup, self._past, self._removing
        return Erasing(*parts)

    @cached_property
    def renewing(self) -> Renewing:
        """Storing again what was sealed with an older key."""
        from .renewing import Renewing

        return Renewing(self._parts, self._residents, self._lookup)

    @cached_property
    def following(self) -> Following:
        """Branches that are read here and written elsewhere."""
        from .following import Following

        return Following(self._parts, self._residents)

    # -- the present ------------------------------------------------------------------------------

    def use(self, address: Address, *, create: bool) -> Use:
        """Return a context that gives a branch, or None where it was never written.

        With `create` a profile is made then. Raises `NotFound` for a branch other than main that
        does not exist.
        """
        return Use(self._lookup, self._residents, address, create=create)

    def hold(self, address: Address) -> None:
        """Attach a profile to this node's lease, so that what is read of it here is current.

        Raises `Unavailable` as `Claims.hold` does; without leases it is this node's anyway.
        """
        if self._parts.claims is not None:
            self._parts.claims.hold(database_name(address))

    def look_anew(self, address: Address) -> None:
        """Ask the store at the next read of a branch, however lately that was done."""
        key = self._lookup.known(address)
        branch = None if key is None else self._residents.get(key)
        if branch is not None:
            branch.copy.look_anew()

    @property
    def claims(self) -> Claims | None:
        """The databases attached to this node's lease; None where no other node writes."""
        return self._parts.claims

    def names(
        self, namespace: str | None = None, after: tuple[str, str] | None = None, limit: int = 1_000
    ) -> tuple[list[tuple[str, str]], bool]:
        """Return namespaces and names of profiles, and whether there may be more: `Lookup.names`.

        Those of a namespace, or of the whole store, after one of them.
        """
        return self._lookup.names(namespace, after, limit)

    def namespaces(self, after: str | None = None, limit: int = 1_000) -> list[str]:
        """Return up to `limit` namespaces that have profiles, after one; a request for each."""
        found: list[str] = []
        while len(found) < limit:
            # Beyond every name in the one before.
            start = None if after is None else (after, "z" * (PROFILE_CHARS_MAX + 1))
            page, _ = self.names(after=start, limit=1)
            if not page:
                break
            after = page[0][0]
            found.append(after)
        return found

    def all_names(self) -> Iterator[tuple[str, str]]:
        """Yield namespace and name of every profile in the store."""
        after, more = None, True
        while more:
            page, more = self.names(after=after)
            yield from page
            after = page[-1] if page else after

    def wake(self, address: Address) -> int:
        """Make sure the branch has a local file; return its txid."""
        with self._existing(address) as branch:
            return branch.read(lambda _: None).txid

    def sync(self, address: Address) -> Boundary:
        """Ship what is committed; when it returns all of it survives this machine."""
        with self._existing(address) as branch:
            return branch.sync()

    # -- points -----------------------------------------------------------------------------------

    @contextmanager
    def past(self, address: Address, point: Point) -> Iterator[PastDatabase]:
        """Yield the state at a point, read-only, while the present goes on."""
        with self._existing(address) as branch:
            if branch.unshipped and point.kind == "time":
                branch.sync()
            with self._past.use(branch, point) as found:
                yield found

    def boundaries(self, address: Address) -> list[Boundary]:
        """Return what can be read, forked from and returned to, ascending."""
        with self._existing(address) as branch:
            timeline = branch.timeline()
            return [Boundary(txid, at) for txid, at in timeline.times().items()]

    def checkpoint(self, address: Address, name: str) -> Boundary:
        """Ship what is committed and name it; the name stays until it is dropped.

        The same name for the same txid again changes nothing; for another one it is a `Conflict`.
        """
        with self._existing(address) as branch:
            reached = branch.sync()
            branch.change(
                lambda lane: protocol.add_checkpoint(lane, name, reached.txid),
                f"checkpoint {name!r}",
            )
            return reached

    def checkpoints(self, address: Address) -> list[Checkpoint]:
        """Return the checkpoints by txid; those of one in the order in which they were made."""
        with self._existing(address) as branch:
            timeline = branch.timeline()
            held, times = timeline.manifest.checkpoints.items(), timeline.times()
            # The manifest has them as they were made.
            found = [Checkpoint(name, txid, times[txid]) for name, txid in held]
            return sorted(found, key=lambda one: one.txid)

    def drop_checkpoint(self, address: Address, name: str) -> None:
        """Forget a name; `NotFound` where there is none."""
        with self._existing(address) as branch:
            branch.change(
                lambda lane: protocol.drop_checkpoint(lane, name), f"dropping checkpoint {name!r}"
            )

    def rewind(self, address: Address, point: Point, repeat: Repeat | None = None) -> Rewind:
        """Make the content what it was at `point`; see `rewinding.rewind`."""
        with self._existing(address) as branch:
            return rewind(branch, self._parts, point, repeat)

    # -- branches ---------------------------------------------------------------------------------

    def fork(
        self,
        address: Address,
        name: str,
        point: Point | None = None,
        ttl_ms: int | None = None,
        repeat: Repeat | None = None,
    ) -> Forked:
        """Make a branch from a point of this one (None: from everything acknowledged so far).

        Copies references, no data. With `ttl_ms` it is a burner: removed after that time.
        """
        if name == MAIN:
            raise Conflict("branch 'main' exists already", code="already_exists")
        with self._existing(address) as branch:
            if point is None or point.kind == "time":
                branch.sync()
            txid = None if point is None else branch.timeline().resolve(point)
            wanted = protocol.Wanted(branch.key[1], name, txid, ttl_ms, _child_id(name, repeat))
            freed = self.erasing.freed(address, branch.key)
            child = self._drive(protocol.fork(branch.key[0], wanted, freed))
            ttl_at = None if ttl_ms is None else self._clock.now_ms() + ttl_ms
            return Forked(child.branch_id, child.txid, ttl_at)

    def branches(self, address: Address) -> list[BranchInfo]:
        """Return the branches of a profile: main first, then by name."""
        db_id = self._find(address._replace(branch=MAIN)).db_id
        return described(self._drive(protocol.list_branches(db_id)))

    def delete_branch(self, address: Address) -> None:
        """Delete a branch; whoever writes to it is fenced. Other branches keep what they share."""
        if address.branch == MAIN:
            raise Invalid(
                f"branch 'main' of profile {address.profile!r} cannot be deleted: it is the "
                "profile. Rewind it, or delete another branch"
            )
        found = self._find(address)
        key = (found.db_id, found.branch_id)
        bury = protocol.remove_branch(key[0], address.branch)
        self._removing.branch(key, self.options.patience, lambda: self._drive(bury))
        self._quietly(lambda: self._drive(protocol.collect_deleted(*key)))

    # -- whole databases --------------------------------------------------------------------------

    def create_profile(self, address: Address) -> Found:
        """Make a profile that does not exist, without writing to it; `Conflict` where it does."""
        assert address.branch == MAIN, "a branch comes of a fork"
        made: Found = self._drive(protocol.make_profile(*address[:2]))
        return made

    def name(self, address: Address) -> Name | None:
        """Return what the store says of a name, also after its profile was deleted."""
        found: Name | None = self._drive(protocol.read_name(*address[:2]))
        return found

    def delete_profile(self, address: Address) -> None:
        """Delete a profile with all its branches; whoever writes to them is fenced.

        What was not shipped goes too. `NotFound` where there is none.
        """
        name = self.name(address)
        db_id = name.db_id if name is not None else None
        if db_id is None:
            raise _never_written(address)
        self._drive(protocol.delete_profile(*address[:2]))
        self._removing.database(db_id)

    def export(self, address: Address, point: Point | None = None) -> Exported:
        """Return the content at a point (None: now) as a plain SQLite file."""
        from .exchange import plain_file

        cache = self._root.parent / "cache"
        cache.mkdir(mode=0o700, exist_ok=True)
        if point is None:
            with self._existing(address) as branch:
                image, txid, _ = branch.read(committed_image)
        else:
            with self.past(address, point) as past:
                image, txid = past.path.read_bytes(), past.txid
        return Exported(plain_file(image, cache, {**address._asdict(), "txid": txid}), txid)

    def import_(self, address: Address, data: bytes, look: LookInto | None = None) -> int:
        """Make a profile of a file that `export` made; when it returns the store has it.

        Raises `Conflict` unless the profile was never written, `Invalid` for another file. `look`
        may read what stands in it before that, and raise.
        """
        from .importing import checked_file, import_database

        if address.branch != MAIN:
            raise Invalid(f"{address} is a branch; import into a profile that was never written")
        # Before anything is made: a refused file leaves no name behind.
        with (
            checked_file(self._root, self._template, self._complete, data, look) as given,
            self.use(address, create=True) as branch,
        ):
            assert branch is not None
            if branch.copy.written:
                raise Conflict(
                    f"profile {address.profile!r} was written already; import into another name",
                    code="already_exists",
                )
            return import_database(branch, self._parts, given)

    def verify(self, address: Address) -> Verification:
        """Read everything the history of a profile consists of, and say what is wrong with it."""
        from .verify import verify_database

        # Without opening any: what cannot be restored is just what is looked for.
        db_id = self._find(address._replace(branch=MAIN)).db_id
        found = self._drive(protocol.list_branches(db_id))
        named = [(name, branch_id) for name, branch_id, manifest in found if manifest is not None]
        return verify_database(self.store, db_id, named)

    def manifest(self, address: Address) -> dict[str, Any]:
        """Return what the manifest of a branch says."""
        with self._existing(address) as branch:
            if branch.manifest is None:
                raise NotFound(f"{branch.name} was never shipped", code="database_not_found")
            return from_json(encode(branch.manifest), dict[str, Any])

    def maintain(self, address: Address) -> Upkeep:
        """Ship, fold, thin out and collect what is due of a profile and its branches."""
        total = Upkeep()
        with self._existing(address._replace(branch=MAIN)) as main:
            db_id = main.key[0]
            before = {name: one for name, one, _ in self._drive(protocol.list_branches(db_id))}
            removed = self._drive(protocol.expire(db_id, self._clock.now_ms()))
            for name in removed:
                if name in before:
                    key = (db_id, before[name])
                    # Where it is in use now, its files go when it is not.
                    self._quietly(lambda key=key: self._removing.branch(key, 0))  # type: ignore[misc]
                    self._drive(protocol.collect_deleted(*key))
            for name, branch_id, _ in self._drive(protocol.list_branches(db_id)):
                there = address._replace(branch=name)
                try:
                    with self._residents.use((db_id, branch_id), there) as branch:
                        if branch.open():
                            work = partial(look_after, branch, self._parts)
                            total = total.plus(branch.in_lane(work, "looking after it"))
                except NotFound as error:
                    # Deleted since it was listed.
                    _LOG.debug("%s needs no upkeep: %s", there, error)
        return total.plus(Upkeep(branches_expired=len(removed)))

    def close(self, seconds: float = 30.0) -> None:
        """Ship and close everything, within about so many seconds; nothing can be used after it."""
        self._keeper.close()
        for key in list(self._left_open):
            # In its lane, after what is under way of it.
            job = self._parts.lanes.submit(self._left_lane, partial(self._ship_left_open, key))
            self._quietly(partial(job.wait, seconds, f"{key[0]}: shipping at close"))
        self._residents.close(seconds)
        self._past.purge()
        self.store.close()

    # -- for whoever watches it -------------------------------------------------------------------

    @property
    def pressure(self) -> Unavailable | None:
        """Why writes are refused just now, None where they are not."""
        return self._pressure

    def used(self) -> list[tuple[Address, float]]:
        """Return the branches that are in use here, each with when it was used last (monotonic)."""
        # One that was opened by its ids, because a killed process left it, has no name to go by.
        named = [one for one in self._residents.all() if one.address.profile != one.key[0]]
        return [(one.address, one.used_at) for one in named]

    def gauges(self) -> Gauges:
        """Return how much is here, and what waits."""
        return measure(self._residents.all(), self._keeper.since, self._clock.monotonic())

    @property
    def backlog_bytes(self) -> int:
        """How much was written and waits for the store."""
        return sum(branch.backlog_bytes for branch in self._residents.all())

    # -- inside -----------------------------------------------------------------------------------

    @contextmanager
    def _existing(self, address: Address) -> Iterator[Branch]:
        """Yield a branch that was written; `NotFound` otherwise."""
        with self.use(address, create=False) as branch:
            if branch is None:
                raise _never_written(address)
            yield branch

    def _find(self, address: Address) -> Located:
        """Return where a branch is without opening it; `NotFound` where there is none."""
        found = self._lookup.find(address)
        if found is None:
            raise _never_written(address)
        return found

    def _drive(self, steps: Any) -> Any:
        return drive(steps, self._outside, self.options.patience)

    def _record_epoch(self, request: RecordEpoch) -> None:
        files = BranchFiles(self._root, request.db_id, request.branch_id)
        files.record_epoch(request.epoch, request.nonce)

    def _ship(self, key: Key) -> None:
        branch = self._residents.get(key)
        if branch is None:
            self._parts.lanes.submit(self._left_lane, partial(self._ship_left_open, key))
            return

        def work() -> None:
            try:
                branch.ship_or_own()
            except Error:
                self._keeper.failed(key)
                raise
            self._keeper.succeeded(key)
            self._quietly(lambda: look_after(branch, self._parts, only_if_long=True))

        self._parts.lanes.submit(branch.queue, work)

    def _ship_left_open(self, key: Key) -> None:
        """Ship what a process that was killed left of a branch nobody has used since."""
        left = BranchFiles(self._root, *key).left_name()
        # One that is not known is not needed, unless other nodes have to be asked.
        address = _address(left) if left else Address("database", *key)
        try:
            with self._residents.use(key, address) as branch:
                if branch.open():
                    branch.ship_soon().wait(self.options.patience, f"{branch.name}: shipping")
                    self._keeper.succeeded(key)
            self._left_open.discard(key)
        except NotFound:
            # Deleted meanwhile, by somebody else.
            BranchFiles(self._root, *key).mark_closed()
            self._left_open.discard(key)
        except Error:
            self._keeper.failed(key)
            raise

    def _tick_seconds(self) -> float:
        return max(0.05, min(RETRY_SECONDS, self.options.hot_idle / 4, self.options.warm_idle / 4))

    def _tick(self) -> None:
        self._residents.tiers(self._look_after)
        for branch in self._residents.due_for_upkeep():
            self._parts.lanes.submit(branch.queue, partial(self._look_after, branch))
        if self.handover is not None:
            self.handover.tick()
        room = DiskRoom(self._root, self.options, self.store.name)
        self._pressure = room.pressure(self.backlog_bytes, self._make_room)

    def _make_room(self) -> None:
        self._residents.shrink_to(0, self._look_after)
        self._past.purge()

    def _look_after(self, branch: Branch) -> None:
        look_after(branch, self._parts)

    def _check_pressure(self, name: str) -> None:
        if self._pressure is not None:
            raise self._pressure.located(name)

    def _quietly(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Error as error:
            _LOG.warning("left for the next time: %s", error)


def _never_written(address: Address) -> NotFound:
    return NotFound(
        f"profile {address.profile!r} in namespace {address.namespace!r} was never written",
        code="database_not_found",
    )


def _child_id(name: str, repeat: Repeat | None) -> str | None:
    """Return the id of the branch that a request makes, so that its repeat finds it made."""
    if repeat is None:
        return None
    seed = b"%s\0%s\0%s" % (name.encode(), repeat.id.encode(), repeat.digest)
    return "n_" + hashlib.blake2b(seed, digest_size=16).hexdigest()


def _address(name: str) -> Address:
    namespace, profile, branch = parse_database_spec(name)
    return Address(namespace, profile, branch or MAIN)
