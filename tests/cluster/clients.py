"""Clients that write and read at the same time, repeat what failed, and take everything down."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from .history import CACHED, Attempt, Call, Recorder, now
from .links import Door

SESSION = "s"
PLATFORM_KEY = "p" * 32
# Nodes that listen on loopback do not ask for it.
CREDENTIAL = {"authorization": f"Bearer {PLATFORM_KEY}"}
# A request has so long for its answer; a call, with its repeats, so long altogether.
REQUEST_SECONDS = 4.0
CALL_SECONDS = 12.0
WINDOW = 300
LIST = 1000
# So often a floor that no node reaches is asked for, then it is given up: what it came from is
# on a recovered branch.
FLOOR_TRIES = 3
_SETTLED = range(400, 500)
# Of 4xx, those that say nothing about what was done.
_UNSETTLED = (408, 421, 429)


class Answered(NamedTuple):
    """A status (0: none came), and the body of JSON."""

    status: int
    body: dict[str, Any]

    @property
    def reason(self) -> str:
        details = self.body.get("details", {})
        return str(details.get("reason") or self.body.get("code") or "")

    @property
    def in_doubt(self) -> bool:
        """Whether a write may have been carried out though it was not acknowledged."""
        if self.status in (0, 500, 502, 504, 408):
            return True
        return bool(self.body.get("details", {}).get("in_doubt"))


def send(
    door: Door,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    seconds: float = REQUEST_SECONDS,
) -> Answered:
    """Send one request on a connection of its own."""
    connection = http.client.HTTPConnection(door.host, door.port, timeout=seconds)
    try:
        data = None if body is None else json.dumps(body)
        sent = {"content-type": "application/json", **CREDENTIAL, **(headers or {})}
        connection.request(method, path, data, sent)
        answer = connection.getresponse()
        return Answered(answer.status, json.loads(answer.read() or b"{}"))
    except ConnectionRefusedError:
        # Nobody heard it.
        return Answered(503, {"details": {"reason": "refused"}})
    except (OSError, http.client.HTTPException, json.JSONDecodeError):
        return Answered(0, {})
    finally:
        connection.close()


class Client(threading.Thread):
    """One caller: mostly writes, in between reads with the floor of what it was told last."""

    def __init__(
        self,
        name: str,
        doors: Sequence[tuple[str, Door]],
        profiles: Sequence[str],
        recorder: Recorder,
        seed: str,
        pause: float = 0.02,
    ) -> None:
        super().__init__(daemon=True, name=name)
        self._doors = doors
        self._profiles = profiles
        self._recorder = recorder
        self._rng = random.Random(seed)
        self._pause = pause
        self._over = threading.Event()
        self._floors = dict.fromkeys(profiles, 0)
        self._unreached = dict.fromkeys(profiles, 0)
        self._memories: dict[str, list[tuple[str, str]]] = {profile: [] for profile in profiles}
        self._count = 0

    def finish(self) -> None:
        """Begin nothing more, and wait for the last call."""
        self._over.set()
        self.join(CALL_SECONDS * 2)
        assert not self.is_alive(), f"{self.name} does not end"

    def run(self) -> None:
        while not self._over.is_set():
            profile = self._rng.choice(self._profiles)
            if self._rng.random() < 0.6:
                self._write(profile)
            else:
                self._read(profile)
            time.sleep(self._rng.random() * self._pause * 2)

    # -- writing ------------------------------------------------------------------------------

    def _write(self, profile: str) -> None:
        self._count += 1
        text = f"{self.name}w{self._count}"
        call = Call(
            client=self.name,
            what=self._rng.choice(("append", "remember")),
            profile=profile,
            begin=now(),
            request_id=f"id-{text}",
            text=text,
            durable=self._rng.random() < 0.3,
        )
        if call.what == "append":
            path = f"{_profile(profile)}/sessions/{SESSION}/turns"
            body = {"turns": [{"role": "user", "content": text}]}
        else:
            path = f"{_profile(profile)}/memories"
            body = {"memories": [{"text": text}]}
        headers = {"palimp-request-id": call.request_id}
        if call.durable:
            headers["palimp-durability"] = "durable"
        answer, doubt = self._repeat(call, "POST", path, body, headers)
        if answer.status == 201:
            call.outcome, call.txid = "ok", answer.body["txid"]
            if call.what == "append":
                call.seq = answer.body["seqs"][0]
            else:
                self._memories[profile].append((text, answer.body["results"][0]["id"]))
            self._floors[profile] = max(self._floors[profile], call.txid)
        else:
            call.outcome = "maybe" if doubt else "refused"
        self._recorder.call(call)

    def _repeat(
        self, call: Call, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[Answered, bool]:
        """Send until it is settled or the time is over; also whether any attempt is in doubt."""
        doubt = False
        door = self._rng.choice(self._doors)
        while True:
            begun = now()
            answer = send(door[1], method, path, body, headers)
            doubt |= answer.in_doubt
            reason = "" if answer.status in (200, 201) else answer.reason
            call.end = now()
            attempt = Attempt(door[0], begun, call.end, answer.status, reason, answer.in_doubt)
            call.attempts.append(attempt)
            done = answer.status in (200, 201)
            if done or (answer.status in _SETTLED and answer.status not in _UNSETTLED):
                return answer, doubt
            if call.end - call.begin > CALL_SECONDS or self._over.is_set():
                return answer, doubt
            time.sleep(0.05 + self._rng.random() * 0.3)
            if self._rng.random() < 0.7:
                door = self._rng.choice(self._doors)

    # -- reading ------------------------------------------------------------------------------

    def _read(self, profile: str) -> None:
        memories = self._memories[profile]
        whats = ["window", "list", *(["get", "recall"] if memories else [])]
        call = Call(
            client=self.name,
            what=self._rng.choice(whats),
            profile=profile,
            begin=now(),
            request_id=f"read-{self.name}-{self._count}",
            floor=self._floors[profile] if self._rng.random() < 0.7 else 0,
            consistency=CACHED if self._rng.random() < 0.5 else "primary",
        )
        headers = {"palimp-consistency": call.consistency}
        if call.floor:
            headers["palimp-min-txid"] = str(call.floor)
        one = self._rng.choice(memories[-50:]) if memories else ("", "")
        answer, _ = self._repeat(call, *_request(call.what, profile, one), headers)
        self._take(call, answer, one)
        self._recorder.call(call)

    def _take(self, call: Call, answer: Answered, one: tuple[str, str]) -> None:
        body = answer.body
        if answer.status == 200:
            call.outcome = "ok"
            call.txid = body.get("txid", 0)
            _shown(call, body, one)
            self._floors[call.profile] = max(self._floors[call.profile], call.txid)
            self._unreached[call.profile] = 0
        elif answer.status == 404:
            # That it is not there is an answer, too; it is of a state that has the floor.
            call.outcome, call.txid = "ok", call.floor
            call.asked = (one[0],) if call.what == "get" else None
        elif call.floor and answer.reason == "behind":
            self._unreached[call.profile] += 1
            if self._unreached[call.profile] >= FLOOR_TRIES:
                self._floors[call.profile] = self._unreached[call.profile] = 0


def _profile(profile: str) -> str:
    return f"/v1/memory/default/{profile}"


def _request(what: str, profile: str, one: tuple[str, str]) -> tuple[str, str, Any]:
    place = _profile(profile)
    if what == "window":
        return "GET", f"{place}/sessions/{SESSION}/turns?{urlencode({'last': WINDOW})}", None
    if what == "list":
        return "GET", f"{place}/memories?{urlencode({'limit': LIST})}", None
    if what == "get":
        return "GET", f"{place}/memories/{one[1]}", None
    return "POST", f"{place}/recall", {"query": one[0], "k": 5}


def _shown(call: Call, body: dict[str, Any], one: tuple[str, str]) -> None:
    """Take down what an answer shows, and what it could have shown."""
    if call.what == "window":
        turns = body["turns"]
        call.found = tuple(turn["content"] for turn in turns)
        call.low = turns[0]["seq"] if len(turns) >= WINDOW else 1
    elif call.what == "list":
        call.found = tuple(memory["text"] for memory in body["memories"])
        # Of a page that is not the last, nobody knows which should be on it.
        call.asked = call.found if body["next_cursor"] else None
    elif call.what == "get":
        call.found, call.asked = (body["memory"]["text"],), (one[0],)
    else:
        call.asked = (one[0],)
        call.found = tuple(hit["text"] for hit in body["memories"] if hit["text"] == one[0])
