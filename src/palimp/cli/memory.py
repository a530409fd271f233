"""`palimp memory`: the memories of a profile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, cast, get_args

import click

from ..api import (
    MEMORY_TYPES,
    Depth,
    Forget,
    Forgotten,
    ListNames,
    Memory,
    NamePage,
    Recall,
    Target,
    Tier,
    Wait,
    Written,
)
from ..api.annotating import AnnotatedAll
from ..api.feedback import Signal
from ..api.limits import BATCH_ITEMS_MAX, K_DEFAULT, PAGE_MAX
from ..api.recall import Channel
from ..client import Client
from ..client.fields import AnnotationFields
from ..errors import Error, Invalid
from . import clusters, relations, timeline
from .common import (
    Place,
    at_option,
    echo_json,
    echo_txid,
    given,
    json_lines,
    json_value,
    place_options,
    profile_argument,
    wait_option,
    when,
)
from .importing.command import import_

_TYPES = click.Choice(MEMORY_TYPES)


@click.group("memory")
def command() -> None:
    """Write, recall, supersede, forget memories."""


def _memory_fields(decorated: Any) -> Any:
    """Add the options that describe a memory."""
    for option in reversed(
        (
            click.option("--type", type=_TYPES, help="Kind of memory. [default: fact]"),
            click.option("--topic", help="A newer fact on the same topic supersedes this one."),
            click.option("--kind", help="Free word: preference, decision, ..."),
            click.option("--keywords", help="More words to be found by."),
            click.option("--tag", "tags", multiple=True, help="May be given several times."),
            click.option("--source", help="Who wrote it. [default: PALIMP_SOURCE]"),
            click.option("--session", help="Session it belongs to."),
            click.option("--agent", help="Agent it belongs to."),
            click.option("--speaker", help="Who said it."),
            click.option("--project", help="Project it belongs to."),
            click.option("--environment", help="Environment it belongs to."),
            click.option("--importance", type=float, help="0 to 1."),
            click.option("--observed-at", help="When it was true, e.g. 2026-03-02T08:41:00Z."),
            click.option("--ttl", type=float, help="Seconds a task lives. [default: 86400]"),
            click.option("--expires-at", help="From when on nothing shows it, whatever its type."),
            click.option("--dedup-key", help="Tells memories of the same words apart."),
            click.option("--dedup-window", type=float, help="Seconds in which its key is once."),
            click.option("--extracted-key", help="What it is the value of; a newer one replaces."),
        )
    ):
        decorated = option(decorated)
    return decorated


def filter_fields(decorated: Any) -> Any:
    """Add the options that choose memories."""
    for option in reversed(
        (
            click.option("--type", "type", multiple=True, type=_TYPES, help="Only these types."),
            click.option("--kind", multiple=True, help="Only these kinds."),
            click.option("--session", help="Only this session."),
            click.option("--source", help="Only this source."),
            click.option("--agent", help="Only this agent."),
            click.option("--speaker", help="Only this speaker."),
            click.option("--tag", "tags", multiple=True, help="Only with all these tags."),
            click.option("--since", help="Not before this time."),
            click.option("--until", help="Before this time."),
            click.option("--project", help="Only this project."),
            click.option("--project-or-none", help="Only this project, and what has none."),
            click.option(
                "--any-project", is_flag=True, default=None, help="All projects are meant."
            ),
            click.option("--environment", help="Only this environment."),
            click.option("--trust", help="Only what is trusted so."),
            click.option("--importance-min", type=float, help="Only at least this important."),
            click.option("--include-superseded", is_flag=True, default=None, help="Old ones too."),
            click.option("--tier", type=click.Choice(get_args(Tier)), help="Only this tier."),
            click.option("--flag", "flags", multiple=True, help="Only with all these flags."),
            click.option(
                "--metadata", callback=json_value, help="Only with this metadata: '{\"step\": 2}'."
            ),
        )
    ):
        decorated = option(decorated)
    return decorated


@command.command("remember")
@profile_argument
@click.argument("text")
@_memory_fields
@wait_option
@place_options
def remember(place: Place, profile: str, text: str, **fields: Any) -> None:
    """Write one memory.

    \b
    palimp memory remember alice "Prefers aisle seats" --topic user.seat
    """
    with place.profile(profile) as store:
        written = store.remember(text, **given(fields))
    _print_written(place, written)


@command.command("supersede")
@profile_argument
@click.argument("id")
@click.argument("text")
@_memory_fields
@wait_option
@place_options
def supersede(place: Place, profile: str, id: str, text: str, **fields: Any) -> None:
    """Replace memory ID by a newer one; the old one stays in its history."""
    with place.profile(profile) as store:
        written = store.supersede(id, text, **given(fields))
    _print_written(place, written)


@command.command("ingest")
@profile_argument
@click.argument("file", type=click.File("r", encoding="utf-8"))
@wait_option
@place_options
def ingest(place: Place, profile: str, file: IO[str], wait: Wait | None) -> None:
    """Write memories from FILE (`-`: standard input), one JSON object a line.

    Each has `text` and any of the fields of `palimp memory remember`. Every 1,000 lines are one
    transaction; a bad line stops it and is named, nothing of its thousand is written.
    """
    items: list[tuple[int, Any]] = []
    for number, value in json_lines(file):
        if isinstance(value, Invalid):
            raise value
        items.append((number, value))
    counts: dict[str, int] = {}
    txid = 0
    with place.profile(profile) as store:
        for start in range(0, len(items), BATCH_ITEMS_MAX):
            batch = items[start : start + BATCH_ITEMS_MAX]
            try:
                done = store.ingest((value for _, value in batch), wait=wait)
            except Error as error:
                line = batch[error.details.get("index", 0)][0]
                raise error.located(f"line {line}, after {start} memories were written") from error
            txid = done.txid
            if done.note is not None:
                click.echo(done.note, err=True)
            for result in done:
                counts[result.status] = counts.get(result.status, 0) + 1
    if items:
        echo_txid(txid)
    if place.as_json:
        echo_json({"counts": counts, "txid": txid})
        return
    click.echo(", ".join(f"{number} {status}" for status, number in counts.items()) or "no lines")


command.add_command(import_)
command.add_command(timeline.event)
for _command in (*relations.COMMANDS, *clusters.COMMANDS):
    command.add_command(_command)


@command.command("recall")
@profile_argument
@click.argument("query", required=False)
@click.option("--topic", help="Exact topic.")
@click.option("-k", type=int, default=K_DEFAULT, show_default=True, help="At most that many.")
@click.option("--min-score", type=float, help="Only at least this score (0 to 1).")
@click.option("--max-tokens", type=int, help="Together at most that many tokens.")
@click.option("--window", type=int, help="Neighbouring events on each side of a hit.")
@click.option("--explain", is_flag=True, help="Say what every signal was worth.")
@click.option("--steps", type=int, help="How far to follow relations, 1 to 3. [default: 1]")
@click.option("--depth", type=click.Choice(get_args(Depth)), help="How many tiers to search.")
@click.option("--weights", help="A set of weights, or factors: semantic=1,recency=0.5.")
@click.option(
    "--channel",
    "channels",
    multiple=True,
    type=click.Choice(get_args(Channel)),
    help="Search only so. [default: all]",
)
@click.option("--context", is_flag=True, help="Print text for a prompt instead.")
@filter_fields
@at_option
@place_options
def recall(
    place: Place,
    profile: str,
    query: str | None,
    k: int,
    context: bool,
    at: str | None,
    **options: Any,
) -> None:
    """Rank the memories that matter to QUERY.

    \b
    palimp memory recall alice "which seat does she like?" --explain
    palimp memory recall alice "which seat does she like?" --at before-run
    """
    with place.reading(profile, at) as store:
        options["weights"] = _weights(options["weights"])
        found = store.recall(query, k=k, **given(options))
    if place.as_json:
        echo_json(found)
    elif context:
        click.echo(found.as_context(options["max_tokens"]))
    else:
        _print_hits(found)


@command.command("get")
@profile_argument
@click.argument("id")
@at_option
@place_options
def get(place: Place, profile: str, id: str, at: str | None) -> None:
    """Show memory ID, superseded or not."""
    with place.reading(profile, at) as store:
        memory = store.get(id)
    if place.as_json:
        echo_json(memory)
        return
    for name, value in memory.to_dict().items():
        if value not in (None, [], {"text": memory.text}):
            shown = when(value) if name.endswith("_at") else value
            click.echo(f"{name:>16}  {shown}")


@command.command("find")
@profile_argument
@click.argument("handles", nargs=-1, required=True, type=int, metavar="HANDLE...")
@click.option("--deleted", is_flag=True, help="Softly deleted ones too.")
@at_option
@place_options
def find(
    place: Place, profile: str, handles: tuple[int, ...], deleted: bool, at: str | None
) -> None:
    """Show memories by their numbers; what is not there is left out."""
    with place.reading(profile, at) as store:
        found = store.find(handles, deleted=deleted)
    if place.as_json:
        echo_json(list(found))
        return
    for memory in found:
        _print_memory(memory)


@command.command("list")
@profile_argument
@click.option("--topic", help="Exact topic.")
@click.option("--limit", type=int, help="At most that many. [default: all]")
@filter_fields
@at_option
@place_options
def list_(place: Place, profile: str, limit: int | None, at: str | None, **filters: Any) -> None:
    """List memories, newest first."""
    if limit is not None and limit < 1:
        raise Invalid(f"limit is {limit}; give 1 or more")
    memories = []
    with place.reading(profile, at) as store:
        for memory in store.list(**given(filters)):
            memories.append(memory)
            if len(memories) == limit:
                break
    if place.as_json:
        echo_json(list(memories))
        return
    for memory in memories:
        _print_memory(memory)


@command.command("history")
@profile_argument
@click.argument("id", required=False)
@click.option("--topic", help="The history of a topic instead.")
@at_option
@place_options
def history(place: Place, profile: str, id: str | None, topic: str | None, at: str | None) -> None:
    """Show how memory ID, or a topic, changed: oldest first."""
    with place.reading(profile, at) as store:
        versions = store.history(id, topic=topic)
    if place.as_json:
        echo_json(versions)
        return
    for memory in versions:
        if memory.superseded_at is None:
            until = "holds now"
        else:
            until = f"until {when(memory.superseded_at)}"
            until += (
                f", by {memory.superseded_by}" if memory.superseded_by else ", by one forgotten"
            )
        click.echo(f"{when(memory.activated_at)}  {memory.text}")
        click.echo(f"                  {memory.id}  {until}")


@command.command("annotate")
@profile_argument
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--metadata", callback=json_value, help="JSON, in the place of what is there.")
@click.option("--tag", "tags", multiple=True, help="In the place of those there; '' for none.")
@click.option("--importance", type=float, help="0 to 1.")
@click.option("--confidence", type=float, help="0 to 1.")
@click.option("--trust", help="How far it is trusted, a word of your own.")
@click.option("--source", help="Who wrote it.")
@place_options
def annotate(
    place: Place, profile: str, ids: tuple[str, ...], tags: tuple[str, ...], **fields: Any
) -> None:
    """Change what is said about memories, not what they say; of several in one transaction."""
    fields = {name: value for name, value in fields.items() if value is not None}
    if tags:
        fields["tags"] = [tag for tag in tags if tag]
    with place.profile(profile) as store:
        if len(ids) > 1:
            said = cast("AnnotationFields", fields)
            _print_annotated(place, store.annotate_all(dict.fromkeys(ids, said)))
            return
        done = store.annotate(ids[0], **fields)
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"annotated {ids[0]}" if done.changed else f"{ids[0]} says so already")
    if done.note is not None:
        click.echo(f"  {done.note}")


def _print_annotated(place: Place, done: AnnotatedAll) -> None:
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    for one in done:
        said = {"changed": "annotated", "same": "says so already:", "skipped": "passed over:"}
        click.echo(f"{said[one.status]} {one.id}{'' if one.reason is None else f' ({one.reason})'}")
        if one.note is not None:
            click.echo(f"  {one.note}")


@command.command("forget")
@profile_argument
@click.argument("id")
@place_options
def forget(place: Place, profile: str, id: str) -> None:
    """Remove memory ID from the present: row, index entry and vectors."""
    with place.profile(profile) as store:
        # The client's method answers yes or no; here the txid is wanted too.
        done: Forgotten = store.client.call("memories.forget", store.target, Forget(id=id))
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    click.echo(f"forgotten {id}" if done.forgotten else f"there was no memory {id}")


@command.command("feedback")
@profile_argument
@click.argument("id")
@click.argument("signal", type=click.Choice(get_args(Signal)))
@click.option("--query", help="Only for this question.")
@place_options
def feedback(place: Place, profile: str, id: str, signal: Signal, query: str | None) -> None:
    """Say whether memory ID was useful, irrelevant, outdated or wrong; recall ranks by it."""
    with place.profile(profile) as store:
        done = store.feedback(id, signal, query)
    echo_txid(done.txid)
    if place.as_json:
        echo_json(done)
        return
    given = ", ".join(f"{name} {count}" for name, count in sorted(done.counts.items()))
    click.echo(f"{given}: counts {done.value:.2f}")


@command.command("feedback-summary")
@profile_argument
@at_option
@place_options
def feedback_summary(place: Place, profile: str, at: str | None) -> None:
    """Count what was said of the memories, by signal and by their trust."""
    with place.reading(profile, at) as store:
        found = store.feedback_summary()
    if place.as_json:
        echo_json(found)
        return
    for name, counts in (("all", found.by_signal), *found.by_trust.items()):
        said = ", ".join(f"{signal} {count}" for signal, count in counts.items() if count)
        click.echo(f"{name or 'no trust':>12}  {said or 'nothing'}")


@command.command("stats")
@profile_argument
@at_option
@place_options
def stats(place: Place, profile: str, at: str | None) -> None:
    """Count the memories by state, type, kind, trust and project."""
    with place.reading(profile, at) as store:
        found = store.stats()
    if place.as_json:
        echo_json(found)
        return
    for state, count in found.by_state.items():
        click.echo(f"{state:>20}  {count:,}")
    click.echo(f"{'superseded':>20}  {found.superseded:,}")
    click.echo(f"{'hold':>20}  {found.all.count:,}, {found.embedded:,} embedded")
    named = (("", found.by_type), ("kind ", found.by_kind), ("trust ", found.by_trust))
    for what, groups in (*named, ("project ", found.by_project)):
        for name, group in groups.items():
            if name:
                click.echo(f"{what + name:>20}  {group.count:,}")


@command.command("profiles")
@click.option("--all", "every", is_flag=True, help="Of every namespace: NAMESPACE--PROFILE.")
@place_options
def profiles(place: Place, every: bool) -> None:
    """List the profiles of a namespace."""
    with place.client() as mem:
        if every:
            found = list(_names(mem))
        else:
            found = [(one.namespace, one.name) for one in mem.profiles(namespace=place.namespace)]
    if place.as_json:
        echo_json({"profiles": [{"namespace": space, "profile": name} for space, name in found]})
        return
    for namespace, name in found:
        click.echo(f"{namespace}--{name}" if every else name)


def _weights(text: str | None) -> str | dict[str, float] | None:
    """Return the weights an option means: a name, or pairs of a factor and a number."""
    if text is None or "=" not in text:
        return text
    weights = {}
    for pair in text.split(","):
        name, _, number = pair.partition("=")
        try:
            weights[name.strip()] = float(number)
        except ValueError:
            raise Invalid(f"--weights: {pair!r:.80} is not FACTOR=NUMBER") from None
    return weights


def _names(mem: Client) -> Iterator[tuple[str, str]]:
    cursor = None
    while True:
        request = ListNames(limit=PAGE_MAX, cursor=cursor)
        page: NamePage = mem.call("names.list", Target(), request)
        yield from ((entry.namespace, entry.profile) for entry in page.names)
        cursor = page.next_cursor
        if cursor is None:
            return


def _print_written(place: Place, written: Written) -> None:
    echo_txid(written.txid)
    if place.as_json:
        echo_json(written)
        return
    click.echo(f"{written.status} {written.id}")
    if written.note is not None:
        click.echo(f"  {written.note}")
    for old in written.superseded:
        click.echo(f"  supersedes {old}")
    if written.note:
        click.echo(f"  {written.note}")


def _print_memory(memory: Memory) -> None:
    marks = [memory.type, when(memory.observed_at or memory.created_at)]
    marks += [
        f"{name} {value}" for name in ("topic", "speaker") if (value := getattr(memory, name))
    ]
    if memory.superseded_at is not None:
        marks.append("superseded")
    click.echo(f"{memory.id}  {', '.join(marks)}")
    click.echo(f"  {memory.text}")


def _print_hits(found: Recall) -> None:
    if not found.memories:
        click.echo("nothing found")
    for place, hit in enumerate(found, 1):
        channels = " + ".join(hit.channels)
        who = f", {hit.speaker}" if hit.speaker else ""
        date = when(hit.observed_at or hit.created_at)
        click.echo(f"{place}. {hit.score:.2f}  {hit.text}")
        click.echo(f"         {hit.type}{who}, {date}  found by {channels}  {hit.id}")
        for near in (*hit.before, *hit.after):
            mark = "before" if near in hit.before else "after"
            click.echo(f"         {mark}: {near.speaker or near.type}: {near.text}")
        for feature in hit.explain.features if hit.explain else ():
            click.echo(
                f"         {feature.share:.2f}  {feature.name:9}  weight {feature.weight:g}, "
                f"value {feature.value:.2f}, raw {feature.raw:.2f}"
            )
    for dropped in found.dropped:
        number = f" ({dropped.count})" if dropped.count > 1 else ""
        click.echo(f"left out: {dropped.what}{number}: {dropped.reason}")
