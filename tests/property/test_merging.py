"""Two states of a profile that went on from one, changed at will, and what a merge makes of them."""

from typing import Any

import apsw
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palimp.api import MemoryInput
from palimp.api.annotating import Annotate
from palimp.errors import Conflict, NotFound
from palimp.ids import PUBLIC_ID_KEY
from palimp.profile import PlainSealer, compare, memories
from palimp.profile.indexing import MEMORIES
from palimp.profile.memories import states
from palimp.profile.memories.annotate import annotate, annotation
from palimp.profile.relations.tables import LINKS, RELATIONS, is_made
from palimp.profile.schema import prepare
from palimp.profile.vectors import store_given
from tests.property.test_model import assert_same_index

SEALER = PlainSealer()
TEXTS = ("likes tea", "likes coffee", "lives in Lyon", "lives in Nice", "met Bob", "owns a boat")
TOPICS = (None, None, "drink", "home")
OPERATIONS = ("add", "event", "supersede", "forget", "delete", "archive", "restore", "label")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(OPERATIONS),
        st.integers(0, 5),
        st.sampled_from(TEXTS),
        st.sampled_from(TOPICS),
    ),
    max_size=8,
)


class Clock:
    """A time for each step: no two are the same."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def next(self) -> int:
        self.now += 1_000
        return self.now


def fresh() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    with connection:
        prepare(connection)
    return connection


def copy(source: apsw.Connection) -> apsw.Connection:
    target = apsw.Connection(":memory:")
    with target.backup("main", source, "main") as backup:
        backup.step()
    return target


def change(connection: apsw.Connection, steps: Any, clock: Clock) -> None:
    """Carry out steps; one that does not fit what is there is passed over."""
    for kind, number, text, topic in steps:
        writer = memories.Writer(clock.next(), PUBLIC_ID_KEY, SEALER)
        ids = [i for (i,) in connection.execute("SELECT id FROM __palimp_memories ORDER BY handle")]
        try:
            with connection:
                step(connection, kind, ids[number % len(ids)] if ids else None, text, topic, writer)
        except (Conflict, NotFound):
            continue


def step(
    connection: apsw.Connection,
    kind: str,
    identity: str | None,
    text: str,
    topic: str | None,
    writer: memories.Writer,
) -> None:
    if kind in ("add", "event"):
        event = {"type": "event", "session": "s"} if kind == "event" else {"topic": topic}
        given = MemoryInput(text=text, tags=("t",) if topic else (), **event)
        done = memories.ingest(connection, [memories.draft(given)], writer)
        if done.fresh:
            store_given(connection, MEMORIES, done.fresh[0], [len(text), 1.0, 0.5])
    elif identity is None:
        return
    elif kind == "supersede":
        memories.supersede(connection, identity, MemoryInput(text=text + "!"), writer)
    elif kind == "forget":
        memories.forget(connection, identity, SEALER, writer.now_ms)
    elif kind == "label":
        said = Annotate(id=identity, trust="T1", tags=(text.split()[0],) if topic else None)
        annotate(connection, annotation(said), SEALER, states.Act(writer.now_ms))
    else:
        act = states.Act(writer.now_ms, "somebody", "user_request", None, 86_400_000)
        states.change(connection, identity, kind, act, SEALER)


def merge(
    base: apsw.Connection,
    ours: apsw.Connection,
    theirs: apsw.Connection,
    side: str,
    clock: Clock,
) -> list[compare.Group]:
    """Merge as operations do, everything that clashes decided for one side; return what clashed."""
    changes = compare.changed(base, theirs, SEALER)
    asked = compare.Ours(
        lambda identity: compare.version(ours, identity),
        lambda type_, topic: compare.holder(ours, type_, topic),
    )
    groups = compare.groups(changes, asked, SEALER)
    take = [one for one in groups if not one.clashes or side == "theirs"]
    displaced = [
        pair for one in take for pair in compare.displaced(one, asked, compare.held(theirs))
    ]
    steps = sorted(
        (step for one in take for step in one.steps.values()),
        key=lambda step: 0 if step.theirs is None else step.theirs.handle,
    )
    luggage = compare.pack(theirs, ((step.id, step.theirs) for step in steps), SEALER)
    writer = memories.Writer(clock.next(), PUBLIC_ID_KEY, SEALER)
    with ours:
        compare.bring(ours, compare.Task(steps, luggage, displaced, 86_400_000), writer)
    return [one for one in groups if one.clashes]


def everything(connection: apsw.Connection) -> dict[str, Any]:
    """Return what there is to know of each memory, whatever its number."""
    return {one: pair.now._replace(handle=0) for one, pair in compare.every(connection).items()}


def check(connection: apsw.Connection) -> None:
    """The indexes are those of the rows, vectors have codes, and nothing points nowhere."""
    assert_same_index(connection, MEMORIES)
    assert (
        connection.execute(
            f"""SELECT count(*) FROM {MEMORIES.vectors} v
        LEFT JOIN {MEMORIES.codes} c ON c.code = v.code AND c.handle = v.slot >> 8
        LEFT JOIN __palimp_memories m ON m.handle = v.slot >> 8
        WHERE c.code IS NULL OR m.handle IS NULL"""
        ).get
        == 0
    )
    assert (
        connection.execute(
            "SELECT count(*) FROM __palimp_memories WHERE superseded_by IS NOT NULL "
            "AND superseded_at IS NULL"
        ).get
        == 0
    )
    if is_made(connection):
        for table, column in ((LINKS, "handle"), (RELATIONS, "source"), (RELATIONS, "target")):
            assert (
                connection.execute(
                    f"""SELECT count(*) FROM {table} WHERE {column} NOT IN
                (SELECT handle FROM __palimp_memories)
                AND {column} NOT IN (SELECT handle FROM {states.DELETED})"""
                ).get
                == 0
            )


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(STEPS, STEPS, STEPS)
def test_a_merge_loses_nothing_and_is_done_once(first: Any, mine: Any, others: Any) -> None:
    clock = Clock()
    base = fresh()
    change(base, first, clock)
    ours, theirs = copy(base), copy(base)
    change(ours, mine, clock)
    change(theirs, others, clock)
    before, there = everything(ours), everything(theirs)
    changed_here = compare.changed(base, ours, SEALER)
    changed_there = compare.changed(base, theirs, SEALER)

    careful = copy(ours)
    clashed = merge(base, careful, theirs, "ours", clock)
    check(careful)
    after = everything(careful)
    held_back = {one for group in clashed for one in group.steps}
    for identity in changed_here:
        if identity not in changed_there or identity in held_back:
            assert same(after.get(identity), before.get(identity)), "what only we changed stays"
    for identity in changed_there:
        if identity not in held_back and identity not in changed_here:
            assert same(after.get(identity), there.get(identity)), "what only they changed comes"
    again = everything(careful)
    merge(base, careful, theirs, "ours", clock)
    assert everything(careful) == again, "merged again it changes nothing"

    merge(base, ours, theirs, "theirs", clock)
    check(ours)
    taken = everything(ours)
    for identity, version in before.items():
        if version.holds and identity in there and there[identity].holds:
            assert taken[identity].holds, "what holds on both sides goes on"
    for identity, pair in changed_there.items():
        both_learnt = pair.base is None and identity in before and before[identity].holds
        if not both_learnt:
            assert same(taken.get(identity), there.get(identity)), "decided for them it is theirs"
    merge(base, ours, theirs, "theirs", clock)
    assert everything(ours) == taken


def same(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return not compare.differences(one, other, SEALER)
