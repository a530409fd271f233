"""Everything that can be asked of Palimpsest can be asked on the command line."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from palimp import Client
from palimp.api import OPERATIONS
from palimp.cli.main import cli

sys.path.insert(0, str(Path(__file__).parents[1] / "governance" / "plugins"))

from packages import new_key, signed

SIGNER = new_key()

# One command for every operation, in an order in which each finds what it needs. {id} is the
# memory that the first one wrote.
COMMANDS = {
    # So old that governance has something to do.
    "memories.ingest": "memory remember alice hello --kind working --observed-at 2020-01-01",
    "memories.get": "memory get alice {id}",
    "memories.find": "memory find alice 1",
    "memories.list": "memory list alice",
    "memories.history": "memory history alice {id}",
    "recall": "memory recall alice hello",
    # Nobody has memories, so that no model is called.
    "ask": "ask nobody hello",
    "memories.annotate": "memory annotate alice {id} --importance 0.4 --tag seat",
    "memories.annotate_all": "memory annotate alice {id} mem_0 --trust T2",
    "memories.tier": "lifecycle tier alice {id} warm",
    "memories.reassign": "lifecycle reassign alice site --to shop",
    "governance.run": "governance run alice",
    "governance.reports": "governance report alice",
    "governance.report": "governance report alice {run}",
    "governance.status": "governance status alice",
    "governance.undo": "governance undo alice {run}",
    "governance.consolidate": "governance consolidate alice",
    "governance.reflect": "governance reflect alice --mode candidates",
    "memories.archive": "lifecycle archive alice {id}",
    "memories.restore": "lifecycle restore alice {id}",
    "memories.hold": "lifecycle hold alice {id} --reason claim",
    "memories.release": "lifecycle release alice {id}",
    "memories.delete": "lifecycle delete alice {id}",
    "memories.move": "lifecycle move alice restore --state soft_deleted --type fact",
    "lifecycle.run": "lifecycle run alice",
    "memories.events": "lifecycle events alice {id}",
    "events.list": "lifecycle history alice",
    "memories.lineage": "lifecycle lineage alice {id}",
    "memories.feedback": "memory feedback alice {id} useful",
    "feedback.summary": "memory feedback-summary alice",
    "memories.stats": "memory stats alice",
    "memories.supersede": "memory supersede alice {id} goodbye",
    "entities.link": "memory link alice {id} Anna --type person",
    "entities.list": "memory entities alice {id}",
    "entities.unlinked": "memory unlinked alice",
    "relations.add": "memory relate alice {id} {other}",
    "relations.list": "memory relations alice {id}",
    "relations.remove": "memory unrelate alice {id} {other}",
    "memories.scores": "memory scores alice {id}",
    "clusters.list": "memory clusters alice",
    "clusters.summarize": "memory summarize alice {id} {other}",
    "memories.forget": "memory forget alice {id}",
    "sessions.append": "session append alice s1 user hello",
    "sessions.list": "session list alice",
    "sessions.window": "session window alice s1",
    "sessions.search": "session search alice s1 hello",
    "extract": "extract alice --session s1 --method rules --review",
    "proposals.list": "proposals list alice@{review}",
    "proposals.get": "proposals show alice@{review} {proposal}",
    "proposals.decide": "proposals dismiss alice@{review} {proposal}",
    "reviews.show": "review show alice {review}",
    "reviews.merge": "review merge alice {review}",
    "lineage.forget": "lineage forget alice --session s1",
    "sessions.find": "session find alice 1",
    "sessions.remove": "session remove alice s1 1",
    "sessions.context": "session context alice s1",
    "sessions.end": "session end alice s1",
    "timeline.append": "memory event alice builder hello",
    "timeline.list": "timeline alice",
    "timeline.stats": "timeline alice --count",
    "documents.insert": 'docs insert alice trips {{"seat":12}}',
    "documents.index": "docs index alice trips seat",
    "documents.indexes": "docs indexes alice trips",
    "documents.find": "docs find alice trips",
    "documents.count": "docs count alice trips",
    "documents.update": 'docs update alice trips {{}} {{"$set":{{"seat":13}}}}',
    "documents.delete": "docs delete alice trips {{}}",
    "documents.collections": "docs list alice",
    "documents.drop": "docs drop alice trips",
    "kv.put": "kv put alice theme dark",
    "kv.get": "kv get alice theme",
    "kv.list": "kv list alice",
    "kv.delete": "kv delete alice theme",
    "vectors.upsert": "vectors upsert alice docs a [1,0]",
    "vectors.search": "vectors search alice docs [1,0]",
    "vectors.get": "vectors get alice docs a",
    "vectors.list": "vectors list alice docs",
    "vectors.info": "vectors info alice docs",
    "vectors.collections": "vectors collections alice",
    "vectors.delete": "vectors delete alice docs a",
    "vectors.drop": "vectors drop alice docs",
    "sql.run": "sql alice CREATE/**/TABLE/**/t(a)",
    "erasures.create": "erasure request alice {id} --grace 3600",
    "erasures.list": "erasure list alice",
    "erasures.get": "erasure status alice {erasure}",
    "erasures.run": "erasure run alice {erasure}",
    "erasures.cancel": "erasure cancel alice {erasure}",
    "subject.export": "subject export alice --out held",
    "checkpoints.create": "branch checkpoint alice before",
    "checkpoints.list": "branch checkpoints alice",
    "points.list": "branch points alice",
    "rewind": "branch rewind alice before",
    "branches.revert": "branch revert alice before before",
    "checkpoints.delete": "branch drop alice before",
    "branches.fork": "branch fork alice trial",
    "branches.list": "branch list alice",
    "branches.diff": "branch diff alice@trial",
    "branches.merge": "branch merge alice trial",
    "branches.apply": "branch apply alice trial {id}",
    "branches.pick": "branch pick alice trial {id}",
    "branches.delete": "branch delete alice@trial",
    "sync": "branch sync alice",
    "wake": "branch wake alice",
    "export": "export alice alice.db",
    "import": "import alice.db copy",
    "verify": "verify alice",
    "manifest": "debug manifest alice",
    "profiles.list": "memory profiles",
    "names.list": "memory profiles --all",
    "node.info": "debug node",
    "catalog.recover": "catalog rebuild",
    "maintain": "maintain",
    "databases.create": "db create acme--alice",
    "databases.list": "db list",
    "tokens.mint_database": "token create acme--alice",
    "tokens.mint_namespace": "token create-ns acme",
    "databases.delete": "db delete acme--alice --yes",
    "embed.status": "embed status alice",
    "embed.texts": "embed texts alice hello",
    "embed.reembed": "embed reembed alice",
    "policy.set_namespace": 'policy set acme --policy {{"audit":{{"enabled":true}}}}',
    "policy.get_namespace": "policy get acme",
    "policy.set_profile": "policy clear acme --profile alice",
    "policy.get_profile": "policy get acme --profile alice",
    "audit.query": "audit export acme --action token.",
    "audit.verify": "audit verify acme",
    "usage.database": "db usage default--alice",
    "usage.namespace": "namespace usage default",
    "tasks.create": "fleet run verify --all",
    "tasks.list": "fleet list",
    "tasks.get": "fleet show {task}",
    "tasks.cancel": "fleet cancel {task}",
    "tasks.retry": "fleet retry {task}",
    "tenants.create": "org --dialect memorysync create acme",
    "tenants.list": "org --dialect memorysync list",
    "tenants.delete": "org --dialect memorysync delete acme --yes",
    "arc.bind": "org add-arc {org} --url http://127.0.0.1:9 --database memory",
    "arc.get": "org show-arc {org}",
    "arc.parked": "org parked {org}",
    "arc.retry": "org parked {org} --retry",
    "arc.drop": "org parked {org} --drop",
    "arc.remove": "org remove-arc {org}",
    "credentials.create": "key --dialect memoria create --user alice --name laptop",
    "credentials.list": "key --dialect memoria list",
    "credentials.get": "key --dialect memoria show {credential}",
    "credentials.rotate": "key --dialect memoria rotate {credential}",
    "credentials.revoke": "key --dialect memoria revoke {credential}",
    "keys.status": "keys status",
    "keys.profiles": "keys status --namespace default",
    "keys.rotate": "keys rotate",
    "keys.reencrypt": "keys reencrypt alice",
    "keys.seal_fields": "keys seal-fields --namespace default",
    "keys.retire": "keys retire --namespace default",
    "keys.retire_masters": "keys retire",
    "plugins.add_signer": f"governance plugin signer-add me {SIGNER.public}",
    "plugins.signers": "governance plugin signer-list",
    "plugins.publish": "governance plugin publish calm",
    "plugins.list": "governance plugin list",
    "plugins.activate": "governance plugin activate governance:calm:v1 ^1.0",
    "plugins.events": "governance plugin events",
    "plugins.remove_signer": "governance plugin signer-remove me",
    "namespaces.list": "namespace list",
    "namespaces.delete": "namespace delete default --yes",
}
# Where the answer of a write has no txid, because it concerns no content.
NO_TXID = {"branches.delete", "checkpoints.delete", "maintain"} | {
    name
    for name in OPERATIONS
    if name.startswith(
        (
            "databases.",
            "erasures.",
            "keys.",
            "namespaces.",
            "policy.",
            "tasks.",
            "tokens.",
            "credentials.",
            "tenants.",
            "arc.",
            "plugins.",
            "catalog.",
        )
    )
}


try:
    import sqlalchemy  # noqa: F401
except ImportError:
    WITH_CATALOG = False
else:
    WITH_CATALOG = True

SERVING = re.compile(r"serving (http://[\d.:]+)")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run a node on a free port and yield its URL."""
    command = [sys.executable, "-m", "palimp", "serve", "--data", str(folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as node:
        assert node.stderr is not None
        try:
            found = next(filter(None, map(SERVING.search, node.stderr)), None)
            assert found is not None, "the node ended before it served"
            yield found[1]
        finally:
            node.terminate()


@pytest.fixture(params=["folder", "node"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[str]]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "calm").mkdir()
    for path, data in signed(SIGNER).items():
        (tmp_path / "calm" / path).write_bytes(data)
    # Else there is no key to sign tokens with.
    monkeypatch.setenv("PALIMP_SINGLE_NODE", "1")
    monkeypatch.setenv("PALIMP_MASTER_KEY", base64.b64encode(b"k" * 32).decode())
    monkeypatch.setenv("PALIMP_ASSISTANT_PROVIDER", "openai")
    monkeypatch.setenv("PALIMP_ASSISTANT_BASE_URL", "http://127.0.0.1:9/v1")
    if WITH_CATALOG:
        monkeypatch.setenv("PALIMP_CATALOG_URL", f"sqlite:///{tmp_path}/catalog.db")
    if request.param == "folder":
        yield ["--data", "m"]
        return
    with served(tmp_path / "m") as url:
        yield ["--url", url]


def test_every_operation_has_a_command() -> None:
    assert set(COMMANDS) == set(OPERATIONS)


def test_every_command_does_its_operation_in_json_and_names_the_txid_of_a_write(
    place: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    original = Client.call

    def call(self: Client, operation: str, *more: Any) -> Any:
        called.append(operation)
        return original(self, operation, *more)

    monkeypatch.setattr(Client, "call", call)
    other = run = ""
    identity = erasure = review = proposal = task = credential = org = ""
    for operation, command in COMMANDS.items():
        if (
            operation.startswith(("tasks.", "usage.", "credentials.", "tenants.", "arc."))
            and not WITH_CATALOG
        ):
            continue
        if operation == "arc.bind":
            made = CliRunner().invoke(cli, ["org", "create", "Acme", "--json", *place])
            org = json.loads(made.stdout)["name"]
        called.clear()
        named = {"id": identity, "erasure": erasure, "review": review, "proposal": proposal}
        named |= {"task": task, "credential": credential, "other": other, "run": run, "org": org}
        # There `--url` is the Arc's.
        there = ["--node", *place[1:]] if operation == "arc.bind" and "--url" in place else place
        words = command.format(**named).split()
        found = CliRunner().invoke(cli, [*words, "--json", *there], catch_exceptions=False)
        assert found.exit_code == 0, (command, found.output)
        assert operation in called, command
        answer = json.loads(found.stdout)
        identity = identity or answer["id"]
        if operation == "memories.supersede":
            other = answer["id"]
        if operation == "erasures.create":
            erasure = answer["id"]
        if operation == "governance.run":
            run = answer["id"]
        if operation == "tasks.create":
            task = answer["id"]
        if operation in ("credentials.create", "credentials.rotate"):
            credential = answer["id"]
        if operation == "extract":
            review, proposal = answer["review"]["review"], answer["proposals"][0]["id"]
        row = OPERATIONS[operation]
        fields = {field.name for field in msgspec.structs.fields(row.result)}
        if row.writes:
            assert ("txid" in fields) == (operation not in NO_TXID), operation
        if row.writes and operation not in NO_TXID:
            assert re.fullmatch(r"txid: \d+\n", found.stderr), command
            assert f'"txid": {found.stderr[6:-1]}' in found.stdout, command


def test_what_people_see_of_profiles_branches_and_nodes(place: list[str]) -> None:
    def run(line: str) -> str:
        found = CliRunner().invoke(cli, [*line.split(), *place], catch_exceptions=False)
        assert found.exit_code == 0, found.output
        return found.stdout

    run("memory remember alice hello --namespace acme")
    run("memory remember bob hello")
    assert run("memory profiles") == "bob\n"
    assert run("memory profiles --namespace acme") == "alice\n"
    assert sorted(run("memory profiles --all").split()) == ["acme--alice", "default--bob"]
    assert run("branch wake bob") == "bob is here\n"
    assert json.loads(run("debug node"))["object_store"]
