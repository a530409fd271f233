"""All Arcs of a node: the spool, what drains it, and who is bound to which."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from pathlib import Path

from ..clock import Clock
from ..errors import Kept, NotFound, Unavailable
from ..observe import Metrics, logger
from .binding import ArcBinding, ArcOptions, check_binding
from .client import ArcClient
from .drain import Drain
from .rows import Import, Parked
from .spool import Spool
from .store import ArcEvents

__all__ = ["SPOOL_FILE", "ArcPool"]

SPOOL_FILE = Path("spool") / "arc.db"
_CLOSE_SECONDS = 10.0
_PARKED_MAX = 1_000
_LOG = logger("arc")


class ArcPool:
    """Owns the spool under `data_dir`, the threads that drain it, and a client an organisation.

    One process a folder. The spool's file is made by the first binding. Thread-safe.
    """

    def __init__(self, data_dir: Path, options: ArcOptions, clock: Clock, metrics: Metrics) -> None:
        self._path = Path(data_dir) / SPOOL_FILE
        self._options = options
        self._clock = clock
        self._metrics = metrics
        self._lock = threading.RLock()
        self._stores: dict[str, tuple[ArcClient, ArcEvents]] = {}
        self._spool: Spool | None = None
        self._drain: Drain | None = None
        self._started = False
        self._closed = False
        self._wanted = threading.Event()
        self._pinger: threading.Thread | None = None

    def start(self) -> None:
        """Begin to drain, and to look after the Arcs."""
        with self._lock:
            if self._path.exists():
                self._opened()
            self._started = True
            if self._drain is not None:
                self._drain.start()
            self._pinger = threading.Thread(
                target=self._look_after, name="palimp-arc-ping", daemon=True
            )
            self._pinger.start()

    def close(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Send what there is, for so long at most; what is left stays in the spool."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            spool, drain, pinger = self._spool, self._drain, self._pinger
            clients = [client for client, _ in self._stores.values()]
        self._wanted.set()
        if drain is not None and spool is not None:
            until = self._clock.monotonic() + seconds
            for client in clients:
                org, sent = client.binding.org, False
                with Kept() as kept:
                    sent = drain.flush(org, until - self._clock.monotonic())
                if not sent:
                    _LOG.warning(
                        "events for %s stay in the spool: it is closed",
                        org,
                        exc_info=kept.error,
                    )
            drain.stop(max(0.1, until - self._clock.monotonic()))
        for client in clients:
            client.close()
        if drain is not None and spool is not None:
            # Whose connection was just closed ends at once.
            drain.stop(self._options.connect_timeout)
            spool.close()
        if pinger is not None:
            pinger.join(self._options.connect_timeout)

    def bind(self, binding: ArcBinding) -> None:
        """Let an organisation's events be in this Arc from now on; the same again is nothing.

        Raises `Invalid` for one that cannot be; whether Arc answers is not asked (`ping`).
        """
        binding = check_binding(binding)
        with self._lock:
            if self._closed:
                raise Unavailable("this node is closing", reason="closing")
            before = self._stores.get(binding.org)
            if before is not None and before[0].binding == binding:
                return
            spool, drain = self._opened()
            client = ArcClient(binding, self._options, self._clock)
            store = ArcEvents(client, spool, drain, self._options, self._clock, self._metrics)
            self._stores[binding.org] = client, store
            drain.bind(client)
        if before is not None:
            before[0].close()
        self._wanted.set()

    def unbind(self, org: str) -> None:
        """Send no more of an organisation's; what is in the spool stays there (`pending`)."""
        with self._lock:
            before = self._stores.pop(org, None)
            if before is None:
                return
            if self._drain is not None:
                self._drain.unbind(org)
        before[0].close()

    def of(self, org: str) -> ArcEvents | None:
        """Return the event store of an organisation; None where it has no Arc."""
        found = self._stores.get(org)
        return None if found is None else found[1]

    def bound(self) -> frozenset[str]:
        """Return which organisations have an Arc."""
        return frozenset(self._stores)

    def health(self) -> dict[str, bool]:
        """Return, for each organisation that has an Arc, whether it answered last time."""
        with self._lock:
            return {org: bool(client.reachable) for org, (client, _) in self._stores.items()}

    def ping(self, org: str) -> bool:
        """Ask an organisation's Arc whether it is well, now; `NotFound` where it has none."""
        found = self._stores.get(org)
        if found is None:
            raise NotFound(f"{org} has no Arc; run `palimp org add-arc`")
        return found[0].ping()

    def flush(self, org: str, seconds: float) -> bool:
        """Send what is pending; whether all of it is in Arc, or parked, within so many seconds."""
        return self._drain is None or self._drain.flush(org, seconds)

    def import_events(self, org: str, imports: Sequence[Import]) -> int:
        """Spool events that were kept elsewhere before, with their times; return how many are new.

        One whose `source` came before is not taken twice, so that a call may be repeated after a
        crash. `Unavailable` (`overloaded`): nothing of this call was taken, repeat it later.
        """
        with self._lock:
            spool, drain = self._opened()
        new = spool.add_imports(org, imports)
        drain.wake(org)
        return new

    def forget_imports(self, org: str) -> None:
        """Forget which sources were imported: nothing of them is imported again."""
        if self._spool is not None:
            self._spool.forget_imports(org)

    def pending(self) -> dict[str, int]:
        """Return how many events wait for their Arc, also of organisations that have none now."""
        return {} if self._spool is None else self._spool.pending()

    def parked(self, org: str | None = None, *, limit: int = 100, after: int = 0) -> list[Parked]:
        """Return events that Arc refused, in their order, behind the number `after`."""
        if self._spool is None:
            return []
        return self._spool.parked(org, min(limit, _PARKED_MAX), after)

    def count_parked(self, org: str) -> int:
        """Return how many events of an organisation Arc refused."""
        return 0 if self._spool is None else self._spool.count_parked(org)

    def retry_parked(self, org: str, ids: Collection[int] | None = None) -> int:
        """Send parked events again, these or all of an organisation; return how many."""
        if self._spool is None or self._drain is None:
            return 0
        count = self._spool.retry(org, ids)
        self._drain.wake(org)
        return count

    def drop_parked(self, org: str, ids: Collection[int] | None = None) -> int:
        """Remove parked events for good, these or all of an organisation; return how many."""
        return 0 if self._spool is None else self._spool.drop(org, ids)

    def forget(self, org: str) -> int:
        """Remove all that is spooled for an organisation that is no more; return how many."""
        self.unbind(org)
        return 0 if self._spool is None else self._spool.forget(org)

    def gauges(self) -> dict[str, float]:
        """Return the spool in numbers, under their names in `METRICS`."""
        open_spool = None if self._closed else self._spool
        found = (0, 0, 0, 0.0) if open_spool is None else open_spool.gauges()
        names = ("arc_spool_events", "arc_spool_bytes", "arc_spool_parked", "arc_spool_seconds")
        return dict(zip(names, map(float, found), strict=True))

    def _opened(self) -> tuple[Spool, Drain]:
        if self._spool is None or self._drain is None:
            options = self._options
            self._spool = Spool(
                self._path,
                self._clock,
                bytes_max=options.spool_bytes,
                # A question that began before a row was sent may be answered so much later.
                recent_seconds=options.settle_seconds + options.query_timeout,
            )
            self._drain = Drain(self._spool, options, self._clock, self._metrics)
            if self._started:
                self._drain.start()
        return self._spool, self._drain

    def _look_after(self) -> None:
        """Ask each Arc whether it is well, again and again; say when one is lost, and is back."""
        known: dict[str, bool] = {}
        while not self._closed:
            self._wanted.clear()
            with self._lock:
                clients = [client for client, _ in self._stores.values()]
            asked: dict[str, bool] = {}
            for client in clients:
                url = client.binding.url
                with Kept() as kept:
                    # Many organisations may be in one Arc.
                    client.reachable = asked[url] if url in asked else client.ping()
                    asked[url] = client.reachable
                if kept.error is not None and not self._closed:
                    _LOG.error("a ping of Arc at %s broke off", client.place, exc_info=kept.error)
            for client in clients:
                self._note(known, client, bool(client.reachable))
            self._wanted.wait(self._options.connect_timeout)

    @staticmethod
    def _note(known: dict[str, bool], client: ArcClient, is_well: bool) -> None:
        place, before = client.place, known.get(client.place)
        known[place] = is_well
        if before is None and is_well:
            _LOG.info("Arc at %s is reached", place)
        elif not is_well and before is not False:
            _LOG.warning("Arc at %s is not reached", place)
        elif is_well and before is False:
            _LOG.info("Arc at %s is reached again", place)
