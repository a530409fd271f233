"""The catalog on SQLite, PostgreSQL and what speaks MySQL's protocol."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    Select,
    Table,
    case,
    create_engine,
    delete,
    event,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from ..clock import Clock, format_ms
from ..errors import Invalid, Unavailable
from .faults import catalog_faults
from .inserting import Inserts
from .journal import Journal
from .recovering import recover
from .rows import Batch, DatabaseRow, Indexed, Levels, Span
from .schema import migrate
from .tables import DATABASES, META, PENDING, SOURCES, USAGE

__all__ = ["SqlCatalog"]

_CONNECT_SECONDS = 5
_BUSY_SECONDS = 10
# Nobody is to wait for long for a database that is in trouble.
_OPTIONS = "-c statement_timeout=10000 -c lock_timeout=10000"
_UNACKNOWLEDGED_MS = 10_000
# In UTC, so that no hour comes twice; what does not fit is refused instead of cut.
_SESSION = "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'"
_POOL_SIZE = 2
_SOURCE_DAYS = 30
_DAY_MS = 86_400_000
_NOTHING = Levels(0, 0, 0)
_LEVELS = ("bytes", "memories", "branches")
_EMBED = "embed"
_STORE = "store"


class SqlCatalog:
    """Keeps the index of databases and their usage; `operations.usage.Catalog`. Thread-safe.

    The tables are made and migrated with the first use, or by `prepare`. Every method raises
    `Unavailable` where the database is down; the next call tries again. Once it was said by `bind`
    whose it is, also `Invalid` where it is another store's.
    """

    def __init__(self, engine: Engine, name: str, clock: Clock, secrets: tuple[str, ...]) -> None:
        self.name = name
        self.dialect = engine.dialect.name
        self._store: str | None = None
        self._journal: Journal | None = None
        self.engine = engine
        self.clock = clock
        self._secrets = secrets
        self._prepared = False
        self.inserts = Inserts(engine.dialect.name)

    @classmethod
    def on_file(cls, path: Path, clock: Clock) -> SqlCatalog:
        """Return the catalog in a file, which is made when it does not exist."""
        # A connection is opened in no time, and none is carried over a fork or between threads.
        engine = create_engine(
            URL.create("sqlite", database=str(path)),
            poolclass=NullPool,
            connect_args={"timeout": _BUSY_SECONDS},
        )
        event.listen(engine, "connect", _manual_transactions)
        event.listen(engine, "begin", _begin_at_once)
        return cls(engine, f"sqlite:///{path}", clock, ())

    @classmethod
    def on_postgresql(cls, url: str, clock: Clock) -> SqlCatalog:
        """Return the catalog in a database of PostgreSQL; what the URL says wins."""
        wanted = {
            "connect_timeout": _CONNECT_SECONDS,
            "options": _OPTIONS,
            "application_name": "palimp",
            "tcp_user_timeout": _UNACKNOWLEDGED_MS,
        }
        return cls._on_server(_parsed(url, "postgresql+psycopg", 5432), wanted, clock)

    @classmethod
    def on_mysql(cls, url: str, clock: Clock) -> SqlCatalog:
        """Return the catalog in a database that speaks MySQL's protocol; what the URL says wins."""
        wanted = {
            "charset": "utf8mb4",
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _BUSY_SECONDS,
            "write_timeout": _BUSY_SECONDS,
            "init_command": _SESSION,
        }
        # Each statement sees what was committed before it, as on PostgreSQL.
        how = {"isolation_level": "READ COMMITTED"}
        found = cls._on_server(_parsed(url, "mysql+pymysql", 3306), wanted, clock, **how)
        event.listen(found.engine, "connect", partial(_plain_upserts, found.engine))
        return found

    @classmethod
    def _on_server(
        cls, url: URL, wanted: dict[str, object], clock: Clock, **how: Any
    ) -> SqlCatalog:
        engine = create_engine(
            url,
            # After a restart of the server old connections are dead: one is asked before its use.
            pool_pre_ping=True,
            pool_size=_POOL_SIZE,
            pool_timeout=_BUSY_SECONDS,
            connect_args={n: v for n, v in wanted.items() if n not in url.query},
            **how,
        )
        host = f"{url.host or url.query.get('host', 'localhost')}:{url.port}"
        secrets = (url.password, *(v for n, v in url.query.items() if "pass" in n))
        shown = tuple(one for one in secrets if isinstance(one, str) and one)
        name = f"{url.get_backend_name()}://{host}/{url.database or ''}"
        return cls(engine, name, clock, shown)

    def prepare(self) -> None:
        """Make and migrate the tables, and have in new ones what the journal has.

        Nothing where that was done. Raises `Unavailable`, with reason `format` where a newer
        release migrated them; `Invalid` where they are of another store.
        """
        # Without a lock of ours: who waits for a database that is down lets nobody else wait.
        if not self._prepared:
            with catalog_faults(self.name, self._secrets):
                migrate(self.engine, self.name, self.clock)
                self._check_store()
            if self._journal is not None:
                # Before anybody reads: without its keys a dialect would let everybody in.
                recover(self, self._journal)
            self._prepared = True

    def bind(self, store: str, journal: Journal | None = None) -> None:
        """Be the catalog of the object store with this id and journal, from the next use on."""
        self._store, self._journal, self._prepared = store, journal, False

    def _check_store(self) -> None:
        """Note which store the catalog is of, where nobody did before; refuse another one."""
        if self._store is None:
            return
        query = select(META.c.text).where(META.c.key == _STORE)
        with self.engine.begin() as connection:
            found = connection.scalar(query)
            if found is None:
                mine = {"key": _STORE, "value": 0, "text": self._store}
                self.inserts.new(connection, META, mine)
                # Somebody else may have been first.
                found = connection.scalar(query)
        if found != self._store:
            raise Invalid(
                f"catalog {self.name} is of object store {found}, and this node is on "
                f"{self._store}: a catalog is of one store. Set PALIMP_CATALOG_URL to another, or "
                "an empty, database"
            )

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    # -- what processes report --------------------------------------------------------------------

    def record(self, batch: Batch) -> None:
        """Write a batch, all of it or nothing; one that was written before changes nothing.

        After `Unavailable` it may have been written: send the same batch again.
        """
        with self.changing() as connection:
            query = select(SOURCES.c.number).where(SOURCES.c.source == batch.source)
            if (connection.scalar(query) or 0) >= batch.number:
                return
            if batch.number == 1:
                old = batch.at - _SOURCE_DAYS * _DAY_MS
                connection.execute(delete(SOURCES).where(SOURCES.c.at < old))
            source = {"source": batch.source, "number": batch.number, "at": batch.at}
            taken = partial(_taken, names=("number", "at"))
            self.inserts.or_change(connection, SOURCES, [source], taken)
            self._count(connection, batch)
            self._sample(connection, batch.databases)
            self._note_pending(connection, batch)
            self._drop(connection, batch)

    def _count(self, connection: Connection, batch: Batch) -> None:
        # In one order everywhere: two nodes that wait for each other's rows would be a deadlock.
        rows = [one._asdict() for one in sorted(batch.counts)]
        if rows:
            self.inserts.or_change(connection, USAGE, rows, _added)

    def _sample(self, connection: Connection, found: Sequence[DatabaseRow]) -> None:
        ordered = sorted(found, key=lambda one: one.database)
        generation = _generation(connection)
        rows = [
            {**one.database._asdict(), **_levels(one), "generation": generation} for one in ordered
        ]
        if rows:
            self.inserts.or_change(connection, DATABASES, rows, _sampled)
        self._sample_day(connection, [one for one in ordered if one.levels is not None])

    def _sample_day(self, connection: Connection, found: Sequence[DatabaseRow]) -> None:
        rows = [
            {
                "namespace": one.database.namespace,
                "profile": one.database.profile,
                "day": _day(one.sampled_at),
                **_levels(one),
                **_NO_COUNTS,
            }
            for one in found
        ]
        if rows:
            newer = partial(_if_newer, USAGE, names=_LEVELS)
            self.inserts.or_change(connection, USAGE, rows, newer)

    def _note_pending(self, connection: Connection, batch: Batch) -> None:
        rows = []
        for one in sorted(batch.databases, key=lambda one: one.database):
            if one.unembedded == 0:
                older = PENDING.c.sampled_at <= one.sampled_at
                named = _named(PENDING, one.database.namespace, one.database.profile)
                connection.execute(delete(PENDING).where(*named, older))
            elif one.unembedded is not None:
                rows.append(
                    {
                        "namespace": one.database.namespace,
                        "profile": one.database.profile,
                        "work": _EMBED,
                        "rows": one.unembedded,
                        "since": one.sampled_at,
                        "node": batch.node,
                        "sampled_at": one.sampled_at,
                    }
                )
        if rows:
            newer = partial(_if_newer, PENDING, names=("rows", "node"))
            self.inserts.or_change(connection, PENDING, rows, newer)

    def _drop(self, connection: Connection, batch: Batch) -> None:
        gone = sorted(batch.gone)
        for namespace, profile in gone:
            for table in (DATABASES, PENDING):
                connection.execute(delete(table).where(*_named(table, namespace, profile)))
        # From then on it takes no room.
        empty = (Indexed(namespace, profile, "", 0) for namespace, profile in gone)
        self._sample_day(connection, [DatabaseRow(one, _NOTHING, batch.at) for one in empty])

    # -- what operators ask -----------------------------------------------------------------------

    def profiles(self, namespace: str) -> list[str]:
        """Return the databases of a namespace that the index has."""
        query = select(DATABASES.c.profile).where(DATABASES.c.namespace == namespace)
        with self.changing() as connection:
            return list(connection.scalars(query.order_by(DATABASES.c.profile)))

    def pending(self, node: str, before: int, limit: int) -> list[tuple[str, str]]:
        """Return up to `limit` databases that wait for work, those that wait longest first.

        Those that `node` reported, or that nobody looked at since `before` (ms); after them those
        of which nobody knows, as after a rebuild.
        """
        forsaken = or_(PENDING.c.node == node, PENDING.c.sampled_at < before)
        known = select(PENDING.c.namespace, PENDING.c.profile).where(forsaken)
        known = known.order_by(PENDING.c.since, PENDING.c.namespace, PENDING.c.profile)
        unknown = select(DATABASES.c.namespace, DATABASES.c.profile)
        unknown = unknown.where(DATABASES.c.sampled_at.is_(None))
        unknown = unknown.order_by(DATABASES.c.namespace, DATABASES.c.profile)
        found: dict[tuple[str, str], None] = {}
        with self.changing() as connection:
            for query in (known, unknown):
                for namespace, profile in connection.execute(query.limit(limit)):
                    found[namespace, profile] = None
        return list(found)[:limit]

    def usage(self, namespace: str, profile: str | None, first: str, last: str) -> Span | None:
        """Return what was used of a database, or of all of a namespace, from day to day.

        None where the catalog never heard of it.
        """
        with self.changing() as connection:
            there = select(func.count()).select_from(DATABASES)
            known = connection.scalar(there.where(*_named(DATABASES, namespace, profile))) or 0
            ever = select(USAGE.c.day).where(*_named(USAGE, namespace, profile)).limit(1)
            if not known and connection.scalar(ever) is None:
                return None
            changes: dict[str, Levels] = {}
            for query, sign in _level_queries(namespace, profile, first, last):
                for day, *amounts in connection.execute(query):
                    before = changes.get(day, _NOTHING)
                    added = (sign * int(amount) for amount in amounts)
                    changes[day] = Levels(*(a + b for a, b in zip(before, added, strict=True)))
            opening = changes.pop("", _NOTHING)
            counted = connection.execute(_count_query(namespace, profile, first, last))
            counts = {day: (int(w), int(r), int(t)) for day, w, r, t in counted if w or r or t}
            return Span(known, opening, changes, counts)

    # -- making the index again -------------------------------------------------------------------

    def begin_rebuild(self) -> int:
        """Begin a generation; see `rebuild.Index`."""
        with self.changing() as connection:
            changed = update(META).where(META.c.key == "generation")
            connection.execute(changed.values(value=META.c.value + 1))
            return _generation(connection)

    def index(self, databases: Sequence[Indexed], generation: int) -> None:
        """Write databases as the store has them."""
        rows = [{**one._asdict(), "generation": generation} for one in sorted(databases)]
        if not rows:
            return
        with self.changing() as connection:
            self.inserts.or_change(connection, DATABASES, rows, _indexed)

    def end_rebuild(self, generation: int) -> int:
        """Remove what is of an earlier generation; return how many."""
        with self.changing() as connection:
            old = delete(DATABASES).where(DATABASES.c.generation < generation)
            removed = connection.execute(old).rowcount
            there = select(DATABASES.c.namespace).where(
                DATABASES.c.namespace == PENDING.c.namespace,
                DATABASES.c.profile == PENDING.c.profile,
            )
            connection.execute(delete(PENDING).where(~there.exists()))
            return removed

    @contextmanager
    def changing(self) -> Iterator[Connection]:
        """Yield a connection in a transaction; where it failed the tables are looked at again."""
        self.prepare()
        try:
            with self.transaction() as connection:
                yield connection
        except Unavailable:
            self._prepared = False
            raise

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection in a transaction, with the tables as they are."""
        with catalog_faults(self.name, self._secrets), self.engine.begin() as connection:
            yield connection


def _parsed(url: str, driver: str, port: int) -> URL:
    try:
        parsed = make_url(url).set(drivername=driver)
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise Invalid(
            "PALIMP_CATALOG_URL cannot be read; give "
            f"{driver.partition('+')[0]}://user:password@host:{port}/database, with %40 for an @ "
            "in the password"
        ) from None
    return parsed if parsed.port else parsed.set(port=port)


_NO_COUNTS = {"writes": 0, "recalls": 0, "model_tokens": 0}


def _manual_transactions(connection: Any, _record: object) -> None:
    # The driver's own transactions begin too late, and not at all before a CREATE.
    connection.isolation_level = None


def _plain_upserts(engine: Engine, _connection: Any, _record: object) -> None:
    # `VALUES(column)` is understood by all that speak the protocol; the newer form by MySQL alone.
    dialect: Any = engine.dialect
    dialect._requires_alias_for_on_duplicate_key = False  # noqa: SLF001 - nothing else says it


def _begin_at_once(connection: Connection) -> None:
    # Who reads first and writes then would be refused where somebody else wrote in between.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _taken(given: Any, names: Sequence[str]) -> list[tuple[str, Any]]:
    return [(name, given[name]) for name in names]


def _added(given: Any) -> list[tuple[str, Any]]:
    return [(name, USAGE.c[name] + given[name]) for name in _NO_COUNTS]


def _sampled(given: Any) -> list[tuple[str, Any]]:
    known = _taken(given, ("db_id", "created_at", "generation"))
    return [*known, *_if_newer(DATABASES, given, _LEVELS)]


def _indexed(given: Any) -> list[tuple[str, Any]]:
    same = DATABASES.c.db_id == given.db_id
    later = DATABASES.c.generation > given.generation
    # Of another database of that name nobody knows how large this one is.
    levels = [
        (name, case((same, DATABASES.c[name]), else_=None)) for name in (*_LEVELS, "sampled_at")
    ]
    generation = case((later, DATABASES.c.generation), else_=given.generation)
    return [*levels, ("generation", generation), *_taken(given, ("db_id", "created_at"))]


def _if_newer(table: Table, given: Any, names: Sequence[str]) -> list[tuple[str, Any]]:
    """Take levels that are newer than those of the row: nodes report late after an outage."""
    at, old = given.sampled_at, table.c.sampled_at
    newer = at.is_not(None) & (old.is_(None) | (at >= old))
    # Last what it is decided by.
    return [
        (name, case((newer, given[name]), else_=table.c[name])) for name in (*names, "sampled_at")
    ]


def _levels(row: DatabaseRow) -> dict[str, int | None]:
    if row.levels is None:
        return dict.fromkeys((*_LEVELS, "sampled_at"))
    return {**row.levels._asdict(), "sampled_at": row.sampled_at}


def _generation(connection: Connection) -> int:
    found: int = connection.scalar(select(META.c.value).where(META.c.key == "generation")) or 1
    return found


def _named(table: Table, namespace: str, profile: str | None) -> list[Any]:
    found = [table.c.namespace == namespace]
    return found if profile is None else [*found, table.c.profile == profile]


def _level_queries(
    namespace: str, profile: str | None, first: str, last: str
) -> list[tuple[Select[Any], int]]:
    """Return the sums of what begins to hold on a day (+1), and of what ceases to (-1).

    What was before the first day is under the empty day. A level holds until the next of its
    database, so it is added where it begins and taken away where that next one does.
    """
    following = func.lead(USAGE.c.day).over(partition_by=USAGE.c.profile, order_by=USAGE.c.day)
    known = [*_named(USAGE, namespace, profile), USAGE.c.day <= last, USAGE.c.bytes.is_not(None)]
    columns = [USAGE.c[name] for name in _LEVELS]
    held = select(USAGE.c.day, following.label("following"), *columns).where(*known).subquery()
    found = []
    for day, sign in ((held.c.day, 1), (held.c.following, -1)):
        # By the name of the column: PostgreSQL takes two parameters of one value for two values.
        placed = case((day < first, ""), else_=day).label("placed")
        sums = [func.sum(held.c[name]) for name in _LEVELS]
        found.append((select(placed, *sums).where(day.is_not(None)).group_by("placed"), sign))
    return found


def _count_query(namespace: str, profile: str | None, first: str, last: str) -> Select[Any]:
    sums = [func.sum(USAGE.c[name]) for name in _NO_COUNTS]
    within = USAGE.c.day.between(first, last)
    query = select(USAGE.c.day, *sums).where(*_named(USAGE, namespace, profile), within)
    return query.group_by(USAGE.c.day)


def _day(ms: int) -> str:
    return format_ms(ms, pattern="%Y-%m-%d")
