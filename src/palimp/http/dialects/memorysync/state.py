"""What a framework keeps between runs: values by key, in namespaces of segments. No memories.

Each is one of our keys and values, sealed where the policy seals. Its key is made of hashes of the
source, the segments and the name, so that a prefix of segments is a prefix of keys and no name is
too long; the names stand in the value, with the vector of its text.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import hypot
from operator import mul
from typing import Any

import msgspec

from ....api import DeleteKey, GetValue, KeyPage, ListKeys, PutValue
from ....api.embed import EmbeddedTexts, EmbedTexts
from ....api.limits import PAGE_MAX
from ....decoding import from_json
from ....errors import Error, NotFound
from ..foreign import Route
from .call import Call
from .learning import Lesson, learn, unlearn
from .refusals import unprocessable
from .shapes import checked_metadata, stamp
from .whom import SOURCE, source_of, user_of

__all__ = ["ROUTES"]

_SPACE = "memorysync.state"
_JSON = "application/json"
_SEGMENTS_MAX, _NAME_CHARS_MAX = 20, 1_024
_LIST_DEFAULT, _LIST_MAX = 100, 5_000
_SEARCH_DEFAULT, _SEARCH_MAX = 10, 100
_OFFSET_MAX = 1_000_000
_EMBED_CHARS_MAX = 8_000
# Numbers of values begin above those of turns, which share their form.
_FIRST_ID = 10**12
_WORD = re.compile(r"\w+")
# A value is read, compared and written: no two writers of one key between these.
_LOCKS = [threading.Lock() for _ in range(64)]


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a value. `text` is None where it is the value's JSON."""

    namespace: list[str]
    key: str
    value: dict[str, Any]
    source: str
    created_at: int
    updated_at: int
    text: str | None = None
    model: str | None = None
    vector: str | None = None

    @property
    def words(self) -> str:
        """What a search ranks."""
        return _json(self.value) if self.text is None else self.text


def put(call: Call) -> Any:
    """Keep a value in the place of what its key held; the same again changes nothing."""
    about = user_of(call)
    source, namespace = source_of(call) or SOURCE, _namespace(call)
    name, value, text = _key_name(call), call.fields("value"), call.text("text", required=False)
    if value is None:
        raise unprocessable("value: Field required", "value")
    index, extract = call.flag("index", default=True), call.flag("extract")
    replace, metadata = call.flag("replace_derived_facts"), checked_metadata(call)
    place = _place(source, namespace) + _hash(name, 16)
    identity = _id(source, namespace, name)
    with _alone(f"{about.namespace}/{about.profile}/{place}"):
        held = _get(about, place)
        if held is not None and (held.value, held.text) == (value, text):
            return _put(_item(held), created=False)
        now = about.node.context.clock.now_ms()
        kept = _Kept(
            namespace=namespace,
            key=name,
            value=value,
            source=source,
            created_at=now if held is None else held.created_at,
            updated_at=now,
            text=text,
        )
        if index:
            kept = _indexed(about, kept)
        data = msgspec.json.encode(kept)
        about.do("kv.put", PutValue(ns=_SPACE, key=place, data=data, content_type=_JSON))
    gone = []
    if replace and held is not None:
        gone = unlearn(about, "distilled_from", {identity})
    learned = False
    if extract:
        lesson = Lesson(kept.words, source, metadata or {}, {"distilled_from": identity})
        learned = learn(about, [lesson]) != ["skipped"]
    return _put(_item(kept), created=True, request=call.asked.id if learned else None, gone=gone)


def get(call: Call) -> Any:
    """Return the value of a key; None where it has none."""
    about = user_of(call)
    source, namespace, name = source_of(call) or SOURCE, _namespace(call), _key_name(call)
    held = _get(about, _place(source, namespace) + _hash(name, 16))
    return {"item": None if held is None else _item(held)}


def list_values(call: Call) -> Any:
    """Return the values under a prefix of segments, those changed last first."""
    about = user_of(call)
    limit, offset = call.number("limit", _LIST_DEFAULT, 1, _LIST_MAX), _offset(call)
    found = _under(call, about)
    found.sort(key=lambda one: one.updated_at, reverse=True)
    return {"items": [_item(one) for one in found[offset : offset + limit]], "total": len(found)}


def search(call: Call) -> Any:
    """Rank the values under a prefix: by cosine where both have vectors, else by their words."""
    about = user_of(call)
    query, limit = call.text("query"), call.number("limit", _SEARCH_DEFAULT, 1, _SEARCH_MAX)
    if not query.strip():
        raise unprocessable("query is empty", "query")
    found = _under(call, about)
    asked = None
    if any(one.vector is not None for one in found):
        asked = _vectors(about, [query], query=True)
    words = set(_WORD.findall(query.casefold()))
    scored = [(_score(one, asked, words), one) for one in found]
    scored.sort(key=lambda pair: (-pair[0], -pair[1].updated_at))
    items = [{**_item(one), "score": score} for score, one in scored[:limit]]
    return {"items": items, "total": len(found)}


def delete(call: Call) -> Any:
    """Remove keys of a namespace, or all of them."""
    about = user_of(call)
    source, namespace = source_of(call) or SOURCE, _namespace(call)
    place, names = _place(source, namespace), call.texts("keys")
    if names is None:
        names = [one.key for one in _values(about, place)]
    gone: list[str] = []
    for name in dict.fromkeys(names):
        key = place + _hash(name, 16)
        with _alone(f"{about.namespace}/{about.profile}/{key}"):
            if about.do("kv.delete", DeleteKey(ns=_SPACE, key=key)).deleted:
                gone.append(_id(source, namespace, name))
    facts = []
    if gone and call.flag("delete_derived_facts"):
        facts = unlearn(about, "distilled_from", set(gone))
    return {"deleted_ids": gone, "deleted_fact_ids": facts}


def namespaces(call: Call) -> Any:
    """Return the namespaces that hold anything, cut to `max_depth` segments where that is given."""
    about = user_of(call)
    source, prefix = source_of(call) or SOURCE, _segments(call, "prefix")
    depth = call.number("max_depth", _SEGMENTS_MAX, 1, _SEGMENTS_MAX)
    limit, offset = call.number("limit", _LIST_DEFAULT, 1, _LIST_MAX), _offset(call)
    # Of each one value is read: it has the names that the keys do not.
    firsts: dict[str, str] = {}
    for key in _keys(about, _stem(source, prefix)):
        firsts.setdefault(key.partition(":")[0], key)
    found = set()
    for key in firsts.values():
        held = _get(about, key)
        if held is not None:
            found.add(tuple(held.namespace[:depth]))
    listed = sorted(found)[offset : offset + limit]
    return {"namespaces": [list(one) for one in listed]}


# -- what is kept ------------------------------------------------------------------------------


def _get(call: Call, place: str) -> _Kept | None:
    try:
        found = call.do("kv.get", GetValue(ns=_SPACE, key=place))
    except NotFound:
        return None
    return from_json(found.data, _Kept)


def _pages(call: Call, stem: str, *, values: bool) -> Iterator[KeyPage]:
    cursor = None
    while True:
        request = ListKeys(ns=_SPACE, prefix=stem, limit=PAGE_MAX, cursor=cursor, values=values)
        page: KeyPage = call.do("kv.list", request)
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return


def _keys(call: Call, stem: str) -> Iterable[str]:
    return (key for page in _pages(call, stem, values=False) for key in page.keys)


def _values(call: Call, stem: str) -> list[_Kept]:
    return [
        from_json(entry.data, _Kept)
        for page in _pages(call, stem, values=True)
        for entry in page.entries or ()
        if not entry.decryption_failed
    ]


def _under(call: Call, about: Call) -> list[_Kept]:
    source = source_of(call) or SOURCE
    return _values(about, _stem(source, _segments(call, "namespace_prefix")))


@contextmanager
def _alone(key: str) -> Iterator[None]:
    with _LOCKS[hash(key) % len(_LOCKS)]:
        yield


# -- where it is kept --------------------------------------------------------------------------


def _stem(source: str, segments: Sequence[str]) -> str:
    """Return how keys under a prefix of segments begin: each segment ends with its own mark."""
    return "".join(f"{_hash(one, 8)}/" for one in (source, *segments))


def _place(source: str, segments: Sequence[str]) -> str:
    """Return how keys of exactly one namespace begin."""
    return f"{_stem(source, segments)}:"


def _hash(text: str, size: int) -> str:
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=size).hexdigest()


def _id(source: str, namespace: Sequence[str], key: str) -> str:
    """Return the id of a key's value: the same for as long as the key is what it is."""
    number = int(_hash(_json([source, *namespace, key]), 6), 16)
    return f"h_{_FIRST_ID + number}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


# -- what is sent and asked --------------------------------------------------------------------


def _item(held: _Kept) -> dict[str, Any]:
    return {
        "id": _id(held.source, held.namespace, held.key),
        "namespace": held.namespace,
        "key": held.key,
        "value": held.value,
        "text": held.words,
        "source": held.source,
        "created_at": stamp(held.created_at),
        "updated_at": stamp(held.updated_at),
    }


def _put(
    item: dict[str, Any], *, created: bool, request: str | None = None, gone: Sequence[str] = ()
) -> dict[str, Any]:
    return {
        "item": item,
        "created": created,
        "request_id": request,
        "deleted_fact_ids": list(gone),
        "status": "ok",
    }


def _namespace(call: Call) -> list[str]:
    found = _segments(call, "namespace")
    if not found:
        raise unprocessable(f"namespace must have 1 to {_SEGMENTS_MAX} segments", "namespace")
    return found


def _segments(call: Call, name: str) -> list[str]:
    found = call.texts(name) or []
    if len(found) > _SEGMENTS_MAX or not all(1 <= len(one) <= _NAME_CHARS_MAX for one in found):
        raise unprocessable(
            f"{name} has at most {_SEGMENTS_MAX} segments of 1 to {_NAME_CHARS_MAX:,} characters",
            name,
        )
    return found


def _key_name(call: Call) -> str:
    found = call.text("key")
    if not 1 <= len(found) <= _NAME_CHARS_MAX:
        raise unprocessable(f"key must have 1 to {_NAME_CHARS_MAX:,} characters", "key")
    return found


def _offset(call: Call) -> int:
    return call.number("offset", 0, 0, _OFFSET_MAX)


# -- how it is ranked --------------------------------------------------------------------------


def _indexed(call: Call, kept: _Kept) -> _Kept:
    """Return a value with the vector of its text; without one where none can be made."""
    if not kept.words.strip():
        return kept
    made = _vectors(call, [kept.words[:_EMBED_CHARS_MAX]])
    if made is None:
        return kept
    data = array("f", made.vectors[0]).tobytes()
    vector = base64.b64encode(data).decode()
    return msgspec.structs.replace(kept, model=made.model, vector=vector)


def _vectors(call: Call, texts: list[str], *, query: bool = False) -> EmbeddedTexts | None:
    """Return the vectors of texts; None where nothing may or can embed them: words do then."""
    request = EmbedTexts(texts=tuple(texts), query=query)
    try:
        found: EmbeddedTexts = call.do("embed.texts", request)
    except Error as error:
        if error.code == "invalid_request":
            raise
        return None
    return found


def _score(held: _Kept, asked: EmbeddedTexts | None, words: set[str]) -> float:
    if asked is not None and held.vector is not None and held.model == asked.model:
        mine = array("f", base64.b64decode(held.vector))
        theirs = asked.vectors[0]
        lengths = hypot(*mine) * hypot(*theirs)
        return sum(map(mul, mine, theirs)) / lengths if lengths else 0.0
    if not words:
        return 0.0
    return len(words & set(_WORD.findall(held.words.casefold()))) / len(words)


_TEST = "tests/dialects/memorysync/test_state.py"

ROUTES: tuple[Route, ...] = (
    Route("POST", "/v1/state/put", "user", put, _TEST, needs="memory:add"),
    Route("POST", "/v1/state/get", "user", get, _TEST, needs="memory:read"),
    Route("POST", "/v1/state/list", "user", list_values, _TEST, needs="memory:read"),
    Route("POST", "/v1/state/search", "user", search, _TEST, needs="memory:read"),
    Route("POST", "/v1/state/delete", "user", delete, _TEST, needs="memory:delete"),
    Route("POST", "/v1/state/namespaces", "user", namespaces, _TEST, needs="memory:read"),
)
