"""Nothing a caller said is in the log or the metrics of a node: no text, no token, no key.

Every operation is called with a word in every field that takes one, once as it should be and once
as it should not; so is a new one: it has to have a row here.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import sys
import threading
import typing
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from palimp.api import OPERATIONS, Operation
from palimp.api.routes import fill_path, placeholders
from palimp.api.wire import FILE_TYPES, carries_file
from palimp.governance.plugins.package import encode_files
from palimp.security.keys import SigningKey

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "governance" / "plugins"))

from packages import new_key, signed
from test_serve import Serving, serving

# In names of memories, words of documents, keys; in whatever case and coding it would come out.
MARK = "MarkedSecretText"
NAME = MARK.lower()
WITH_OTEL = importlib.util.find_spec("opentelemetry") is not None
SIGNER = new_key()
# A plugin of governance, signed by the mark.
PLUGIN = encode_files(signed(SIGNER, signer=MARK, metadata={"description": MARK}))
PLATFORM = "MarkedPlatformKeyOfThisTest"
WORDS = (NAME, base64.b64encode(MARK.encode()).decode()[:18].lower())
DB = "/v1/db/acme--alice"
MEMORY = "/v1/memory/acme/alice"
SQL = f"CREATE TABLE IF NOT EXISTS {MARK} (a); INSERT INTO {MARK} VALUES ('{MARK}')"


class Call(NamedTuple):
    """What is asked, of which operation."""

    operation: str
    path: str
    body: Any = None
    query: Mapping[str, str] = MappingProxyType({})


MEMORY_BODY = {
    "text": MARK, "type": "fact", "kind": MARK, "topic_key": MARK, "content": {MARK: MARK},
    "keywords": MARK, "tags": [MARK], "metadata": {MARK: MARK}, "source": MARK,
    "session_id": MARK, "agent_id": MARK, "speaker": MARK, "project": MARK, "environment": MARK,
    "trust": MARK, "dedup_key": MARK,
}  # fmt: skip
TURN = {"role": MARK, "content": {MARK: MARK}, "speaker": MARK}
# In an order in which each finds what it needs; `{id}` is the memory that was written last, and so on.
GOOD = [
    Call("databases.create", "/v1/databases", {"name": "acme--alice"}),
    # What governance has something to do with.
    Call("memories.ingest", f"{MEMORY}/memories", {"memories": [{"text": f"{MARK} 3", "kind": "working", "observed_at": 1}]}),
    Call("governance.run", f"{MEMORY}/governance/run", {}),
    Call("governance.consolidate", f"{MEMORY}/governance/consolidate", {}),
    Call("governance.reflect", f"{MEMORY}/governance/reflect", {"mode": "candidates"}),
    Call("governance.report", MEMORY + "/governance/runs/{run}"),
    Call("governance.undo", MEMORY + "/governance/runs/{run}/undo", {}),
    Call("memories.ingest", f"{MEMORY}/memories", {"memories": [MEMORY_BODY]}),
    Call("memories.supersede", MEMORY + "/memories/{id}/supersede", {"memory": {"text": MARK + " 2", "topic_key": MARK}}),
    Call("relations.add", f"{MEMORY}/relations", {"relations": [{"source": "{id}", "target": "{older}"}]}),
    Call("relations.list", f"{MEMORY}/relations", None, {"memory": "{id}"}),
    Call("relations.remove", f"{MEMORY}/relations", None, {"source": "{id}", "target": "{older}"}),
    Call("entities.link", f"{MEMORY}/entities", {"links": [{"id": "{id}", "entities": [{"name": MARK}]}]}),
    Call("entities.list", f"{MEMORY}/entities", None, {"name": MARK}),
    Call("sessions.append", f"{MEMORY}/sessions/{MARK}/turns", {"turns": [TURN]}),
    Call("timeline.append", f"{MEMORY}/timeline", {"events": [{"agent_id": MARK, "text": MARK, "session_id": MARK, "tags": [MARK]}]}),
    Call("timeline.list", f"{MEMORY}/timeline/search", {"contains": MARK}),
    Call("sessions.context", f"{MEMORY}/sessions/{MARK}/context", {}),
    Call("documents.insert", f"{DB}/docs/{NAME}/insert", {"docs": [{"_id": MARK, MARK: MARK}]}),
    Call("documents.index", f"{DB}/docs/{NAME}/indexes", {"path": MARK}),
    Call("documents.update", f"{DB}/docs/{NAME}/update", {"filter": {MARK: MARK}, "update": {"$set": {MARK: MARK + "2"}}}),
    Call("kv.put", f"{DB}/kv/{MARK}/{MARK}", MARK.encode()),
    Call("vectors.upsert", f"{DB}/vectors/{NAME}", {"id": MARK, "embedding": [1, 0], "metadata": {MARK: MARK}}),
    Call("sql.run", f"{DB}/sql", {"stmts": [{"q": one} for one in SQL.split("; ")]}),
    Call("sql.run", f"{DB}/sql", {"stmts": [{"q": f"INSERT INTO {MARK} VALUES (?)", "params": [MARK]}]}),
    Call("sync", f"{DB}/sync", {}),
    Call("checkpoints.create", f"{DB}/branches/main/checkpoint", {"name": NAME}),
    Call("branches.fork", f"{DB}/branches", {"name": "trial", "checkpoint": NAME}),
    Call("branches.diff", f"{DB}/branches/trial/diff"),
    Call("branches.merge", f"{DB}/branches/main/merge", {"source": "trial"}),
    Call("branches.apply", f"{DB}/branches/main/apply", {"source": "trial", "ids": ["{id}"]}),
    Call(
        "branches.pick",
        f"{DB}/branches/main/pick",
        {"source": "trial", "choose": {"ids": ["{id}"]}, "on_conflict": "ours"},
    ),
    Call("branches.revert", f"{DB}/branches/main/revert", {"since": NAME, "until": NAME}),
    # What reads.
    Call("memories.get", MEMORY + "/memories/{id}"),
    Call("memories.list", f"{MEMORY}/memories", None, {"topic_key": MARK, "tags": MARK}),
    Call("memories.history", f"{MEMORY}/history", None, {"topic_key": MARK}),
    Call("recall", f"{MEMORY}/recall", {"query": MARK, "topic_key": MARK, "session_id": MARK, "explain": True, "include_turns": True}),
    Call("sessions.window", f"{MEMORY}/sessions/{MARK}/turns"),
    Call("sessions.search", f"{MEMORY}/sessions/{MARK}/search", {"query": MARK}),
    Call("sessions.find", f"{MEMORY}/turns/find", {"handles": [1]}),
    Call("embed.texts", f"{MEMORY}/embed/texts", {"texts": [MARK]}),
    Call("documents.find", f"{DB}/docs/{NAME}/find", {"filter": {MARK: {"$ne": MARK}}, "sort": {MARK: 1}}),
    Call("kv.get", f"{DB}/kv/{MARK}/{MARK}"),
    Call("kv.list", f"{DB}/kv/{MARK}", None, {"prefix": MARK}),
    Call("vectors.search", f"{DB}/vectors/{NAME}/search", {"vector": [1, 0], "filter": {MARK: MARK}}),
    Call("vectors.get", f"{DB}/vectors/{NAME}/items/{MARK}"),
    Call("verify", f"{DB}/verify"),
    # What happens to a memory.
    Call("memories.feedback", MEMORY + "/memories/{id}/feedback", {"signal": "useful", "query": MARK}),
    Call("memories.annotate", MEMORY + "/memories/{id}/annotate", {"metadata": {MARK: MARK}, "tags": [MARK, "more"], "trust": MARK}),
    Call("memories.tier", MEMORY + "/memories/{id}/tier", {"tier": "cold"}),
    Call("memories.reassign", f"{MEMORY}/reassign", {"project": MARK, "to": MARK + " 2"}),
    Call("memories.annotate_all", f"{MEMORY}/annotations", {"items": [{"id": "{id}", "tags": [MARK]}, {"id": "mem_" + "0" * 32, "trust": MARK}]}),
    Call("memories.archive", MEMORY + "/memories/{id}/archive", {"reason": MARK}),
    Call("memories.restore", MEMORY + "/memories/{id}/restore", {"reason": MARK}),
    Call("memories.hold", MEMORY + "/memories/{id}/hold", {"reason": MARK}),
    Call("memories.release", MEMORY + "/memories/{id}/release", {"reason": MARK}),
    Call("memories.delete", MEMORY + "/memories/{id}/delete", {"reason": MARK}),
    Call("memories.restore", MEMORY + "/memories/{id}/restore", {}),
    Call("memories.move", f"{MEMORY}/lifecycle", {"move": "archive", "tags": [MARK], "reason": MARK, "dry_run": True}),
    Call("extract", f"{MEMORY}/extract", {"turns": [{"role": "user", "content": f"I live in {MARK}."}], "method": "rules", "source": MARK, "min_confidence": 1.0}),
    Call("proposals.decide", MEMORY + "/proposals/{proposal}/decide", {"decision": "accept"}),
    Call("extract", f"{MEMORY}/extract", {"turns": [{"role": "user", "content": f"I work at {MARK}."}], "method": "rules", "review": True}),
    Call("reviews.merge", MEMORY + "/reviews/{review}/merge", {}),
    Call("lineage.forget", f"{MEMORY}/lineage/forget", {"source": MARK, "dry_run": True}),
    Call("clusters.summarize", f"{MEMORY}/summaries", {"ids": ["{id}", "{older}"], "method": "extractive"}),
    Call("erasures.create", f"{MEMORY}/erasures", {"source": f"{MARK} 2", "grace": 3600, "reason": MARK}),
    Call("erasures.run", MEMORY + "/erasures/{erasure}/run", {}),
    Call("erasures.cancel", MEMORY + "/erasures/{erasure}"),
    Call("lifecycle.run", f"{MEMORY}/lifecycle/run", {}),
    Call("tasks.create", "/v1/tasks", {"kind": "erase", "namespaces": ["acme"], "erase": {"session_id": MARK}, "dry_run": True}),
    Call("tasks.list", "/v1/tasks"),
    Call("tasks.get", "/v1/tasks/{task}"),
    Call("tasks.cancel", "/v1/tasks/{task}"),
    Call("tasks.retry", "/v1/tasks/{task}/retry", {}),
    Call("tenants.create", "/v1/tenants", {"dialect": "memorysync", "name": MARK}),
    Call("tenants.list", "/v1/tenants", None, {"dialect": "memorysync"}),
    Call("tenants.delete", "/v1/tenants/delete", {"dialect": "memorysync", "name": MARK}),
    Call("tenants.create", "/v1/tenants", {"dialect": "memtrace", "name": MARK}),
    Call("arc.bind", "/v1/arc", {"org": "{tenant}", "url": "http://127.0.0.1:9", "database": "db", "api_key": MARK}),
    Call("arc.get", "/v1/arc/{tenant}"),
    Call("arc.parked", "/v1/arc/{tenant}/parked"),
    Call("arc.retry", "/v1/arc/{tenant}/parked/retry", {}),
    Call("arc.drop", "/v1/arc/{tenant}/parked/drop", {}),
    Call("arc.remove", "/v1/arc/{tenant}"),
    Call("tenants.delete", "/v1/tenants/delete", {"dialect": "memtrace", "name": "{tenant}"}),
    Call("credentials.create", "/v1/credentials", {"dialect": "memoria", "subject": MARK, "name": MARK, "detail": {MARK: MARK}}),
    Call("credentials.list", "/v1/credentials", None, {"subject": MARK}),
    Call("credentials.rotate", "/v1/credentials/{credential}/rotate", {}),
    Call("credentials.revoke", "/v1/credentials/{credential}"),
    Call("embed.reembed", f"{MEMORY}/embed/reembed", {"limit": 10}),
    Call("policy.set_profile", f"{MEMORY}/policy", {"policy": {"encryption": {"fields": True}}}),
    Call("keys.seal_fields", f"{MEMORY}/keys/seal-fields", {"limit": 10}),
    Call("keys.rotate", "/v1/namespaces/acme/keys/rotate", {}),
    Call("keys.reencrypt", f"{MEMORY}/keys/reencrypt", {"limit": 10}),
    Call("keys.retire", "/v1/namespaces/acme/keys/retire", {"force": True}),
    Call("keys.retire_masters", "/v1/keys/retire", {}),
    Call("catalog.recover", "/v1/catalog/recover", {}),
    # What removes.
    Call("documents.delete", f"{DB}/docs/{NAME}/delete", {"filter": {"_id": MARK}}),
    Call("documents.drop", f"{DB}/docs/{NAME}"),
    Call("kv.delete", f"{DB}/kv/{MARK}/{MARK}"),
    Call("vectors.delete", f"{DB}/vectors/{NAME}/items/{MARK}"),
    Call("vectors.drop", f"{DB}/vectors/{NAME}"),
    Call("sessions.remove", f"{MEMORY}/turns/remove", {"handles": [1]}),
    Call("sessions.end", f"{MEMORY}/sessions/{MARK}", None, {"turns": "true"}),
    Call("rewind", f"{DB}/branches/main/rewind", {"to": NAME}),
    Call("memories.forget", MEMORY + "/memories/{id}"),
    Call("checkpoints.delete", f"{DB}/branches/main/checkpoints/{NAME}"),
    Call("branches.delete", f"{DB}/branches/trial"),
    Call("import", "/v1/db/acme--copy/import", b"{export}"),
    Call("wake", f"{DB}/wake", {}),
    Call("maintain", "/v1/maintain", {}),
    Call("policy.set_namespace", "/v1/namespaces/acme/policy", {"policy": {"audit": {"enabled": True, "include_reads": True}}}),
    Call("policy.set_profile", f"{MEMORY}/policy", {"policy": {"memory": {"task_ttl_max_secs": 3600}, "encryption": {"fields": True}}}),
    Call("tokens.mint_database", "/v1/databases/acme--alice/tokens", {"scope": "write"}),
    Call("tokens.mint_namespace", "/v1/namespaces/acme/tokens", {"scope": "admin"}),
    Call("plugins.add_signer", "/v1/plugins/signers", {"signer": MARK, "public_key": SIGNER.public}),
    Call("plugins.publish", "/v1/plugins", {"files": PLUGIN}),
    Call("plugins.activate", "/v1/plugins/domains/governance/activate", {"plugin_key": "governance:calm:v1", "version": "1.0.0", "binding": MARK, "subject": MARK}),
    Call("plugins.remove_signer", f"/v1/plugins/signers/{MARK}"),
    Call("databases.delete", "/v1/databases/acme--copy"),
    Call("namespaces.delete", "/v1/namespaces/acme"),
]  # fmt: skip
# Names of databases and branches are shown on purpose.
SHOWN = {"namespace": "acme", "profile": "alice", "db": "acme--alice", "branch": "main"}


def bad_calls() -> Iterator[tuple[Operation, str, Any, dict[str, str]]]:
    """Yield for each operation a call with the mark in every place, also where none belongs."""
    for row in OPERATIONS.values():
        names = placeholders(row.path)
        fields = {one.name: marked(one.type) for one in msgspec.structs.fields(row.request)}
        body: Any = None if row.method in ("GET", "DELETE") else {**fields, MARK: MARK}
        if carries_file(row):
            body = f"{MARK} is no file of ours".encode()
        query = dict.fromkeys(fields, MARK) if body is None else {MARK: MARK}
        for shown in (SHOWN, {}):
            yield (
                row,
                fill_path(row.path, {name: shown.get(name, MARK) for name in names}),
                body,
                query,
            )


def marked(kind: Any) -> Any:
    """Return something like what a field takes, with the mark in it."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {one.encode_name: marked(one.type) for one in msgspec.structs.fields(kind)}
    if typing.get_origin(kind) is tuple:
        return [marked(typing.get_args(kind)[0])]
    return MARK


class Collector:
    """Takes spans, and keeps the bytes."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        house = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                house.got.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Said(NamedTuple):
    """What a node said to those who watch it, and the secrets it knew."""

    one: Serving
    metrics: str
    spans: list[bytes]
    secrets: list[str]


class Caller:
    """Calls a node with a credential, and knows the memory that was written last."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, timeout=60)
        self.ids = {"id": ""}
        self.export = b""
        self.tokens: list[str] = []
        self.wrong: list[str] = []

    def send(
        self, row: Operation, path: str, body: Any, query: Mapping[str, str], token: str
    ) -> Any:
        headers = {"authorization": f"Bearer {token}"}
        if isinstance(body, bytes):
            headers["content-type"] = FILE_TYPES[0]
            given: dict[str, Any] = {"content": body.replace(b"{export}", self.export)}
        else:
            given = {} if body is None else {"json": json.loads(self.filled(json.dumps(body)))}
        asked = json.loads(self.filled(json.dumps(dict(query))))
        return self.http.request(
            row.method, self.filled(path), params=asked, headers=headers, **given
        )

    def filled(self, text: str) -> str:
        """Return a text with the ids for the names of them in it."""
        for name, value in self.ids.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def call(self, call: Call) -> None:
        """Carry out a call that is as it should be."""
        row = OPERATIONS[call.operation]
        answer = self.send(row, call.path, call.body, call.query, PLATFORM)
        if answer.status_code != row.success:
            self.wrong.append(f"{call.operation}: {answer.status_code} {answer.text[:300]}")
            return
        if call.operation in ("memories.ingest", "memories.supersede"):
            found = answer.json()
            self.ids["older"] = self.ids.get("id", "")
            self.ids["id"] = found["results"][0]["id"] if "results" in found else found["id"]
        if call.operation == "extract":
            found = answer.json()
            self.ids["proposal"] = found["proposals"][0]["id"]
            self.ids["review"] = (found["review"] or {}).get("review", "")
        if call.operation == "erasures.create":
            self.ids["erasure"] = answer.json()["id"]
        if call.operation == "governance.run":
            self.ids["run"] = answer.json()["id"]
        if call.operation == "tasks.create":
            self.ids["task"] = answer.json()["id"]
        if call.operation in ("credentials.create", "credentials.rotate"):
            self.ids["credential"] = answer.json()["id"]
            self.tokens.append(answer.json()["secret"])
        if call.operation == "tenants.create":
            self.ids["tenant"] = answer.json()["name"]
        if call.operation.startswith("tokens."):
            self.tokens.append(answer.json()["token"])
        if call.operation == "sync":
            self.export = self.send(
                OPERATIONS["export"], f"{DB}/export", None, {}, PLATFORM
            ).content


def test_every_operation_that_writes_has_a_call_here() -> None:
    writing = {row.name for row in OPERATIONS.values() if row.writes}
    assert writing <= {call.operation for call in GOOD}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Said:
    """A node that was asked for everything and has stopped."""
    path = tmp_path_factory.mktemp("hygiene")
    key = SigningKey.generate().export()
    settings = {
        "PALIMP_LOG_LEVEL": "debug", "PALIMP_AUTH": "on", "PALIMP_SINGLE_NODE": "1",
        "PALIMP_PLATFORM_KEY": PLATFORM, "PALIMP_AUTH_KEY": key, "PALIMP_EMBED_PROVIDER": "bundled",
        "PALIMP_SHIP_INTERVAL": "0.05", "PALIMP_CONTROL_RATE": "1000",
        "PALIMP_MASTER_KEY": base64.b64encode(bytes(range(32))).decode(),
        "PALIMP_HOT_IDLE_SECS": "0.2", "PALIMP_AUTH_FAILURE_RATE": "1000000",
        # A secret of another program.
        "AWS_SECRET_ACCESS_KEY": MARK,
    }  # fmt: skip
    with ExitStack() as stack:
        collector = Collector()
        stack.callback(collector.close)
        if WITH_OTEL:
            settings["PALIMP_OTEL_ENDPOINT"] = collector.url
        one = stack.enter_context(serving(path / "m", **settings))
        caller = Caller(one.url)
        stack.callback(caller.http.close)
        for call in GOOD[:-2]:
            caller.call(call)
        for row, where, body, query in bad_calls():
            if not row.name.startswith(("databases.delete", "namespaces.delete")):
                for token in (PLATFORM, MARK, f"eyJ{MARK}.{MARK}.{MARK}"):
                    caller.send(row, where, body, query, token)
        for call in GOOD[-2:]:
            caller.call(call)
        found = caller.http.get("/metrics", headers={"authorization": f"Bearer {PLATFORM}"})
        assert not caller.wrong, "\n".join(caller.wrong)
        assert one.stop() == 0
    secrets = [PLATFORM, key, settings["PALIMP_MASTER_KEY"], *caller.tokens]
    return Said(one, found.text, collector.got, secrets)


def test_nothing_that_was_said_is_in_the_log(said: Said) -> None:
    lines = [json.dumps(entry, ensure_ascii=False).lower() for entry in said.one.log]
    wrong = [line for line in lines for word in WORDS if word in line]
    assert not wrong, wrong[:5]
    for secret in said.secrets:
        # No part of it either: a token's claims are readable by everybody.
        parts = [part for part in secret.lower().split(".") if len(part) > 8]
        assert not [line for line in lines for part in parts if part[:40] in line]


def test_nothing_that_was_said_is_in_the_metrics(said: Said) -> None:
    if "palimp_" not in said.metrics:
        pytest.skip("needs prometheus_client")
    assert not [word for word in WORDS if word in said.metrics.lower()]
    assert not [secret for secret in said.secrets if secret[:20] in said.metrics]
    assert 'palimp_operations_done_total{operation="memories.ingest"}' in said.metrics


@pytest.mark.skipif(not WITH_OTEL, reason="needs the extra otel")
def test_nothing_that_was_said_is_in_the_spans(said: Said) -> None:
    everything = b"".join(said.spans).lower()
    assert b"memories.ingest" in everything
    assert b"acme--alice" in everything
    assert not [word for word in WORDS if word.encode() in everything]
    assert not [secret for secret in said.secrets if secret[:20].lower().encode() in everything]


def test_every_operation_was_asked_for_and_answered(said: Said) -> None:
    """So that those before are about something."""
    log = said.one.log
    messages = [entry["message"] for entry in log if entry["logger"] == "palimp.http"]
    named = {message.split(" ")[1] for message in messages}
    assert set(OPERATIONS) - {"databases.delete", "namespaces.delete"} <= named
    done = {m.split(" ")[1] for m in messages if m.split(" ")[3] in ("200", "201", "204")}
    assert {call.operation for call in GOOD} <= done
    assert not [entry for entry in log if "exception" in entry], "a defect was met"
    assert {entry["level"] for entry in log} > {"info"}


def test_the_password_of_a_catalog_that_is_down_is_not_shown(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    url = f"postgresql://palimp:{MARK}@127.0.0.1:1/palimp"
    with serving(tmp_path / "m", PALIMP_CATALOG_URL=url, PALIMP_LOG_LEVEL="debug") as one:
        one.ask("/v1/memory/default/alice/memories", {"memories": [{"text": "a"}]})
        assert one.stop() == 0
    assert "starting without a catalog" in json.dumps(one.log)
    assert MARK not in json.dumps(one.log)
