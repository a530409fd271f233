"""Remote stores at header level: what obstore sends, and what its answers are made into."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from palimp.clock import Clock
from palimp.errors import Denied, Invalid, Unavailable, Unconfigured
from palimp.store import AlreadyThere, VersionMismatch, open_store, self_test
from palimp.store.connecting import connect
from palimp.store.remote import RemoteStore

from .cloud_double import CloudDouble

KINDS = ["s3", "gs", "az"]
AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@pytest.fixture(autouse=True)
def _obstore() -> None:
    try:
        import obstore  # noqa: F401
    except ImportError:
        if os.environ.get("CI") == "true":
            pytest.fail("obstore is not installed")
        pytest.skip("obstore is not installed")


def store_of(double: CloudDouble, **options: str) -> RemoteStore:
    google = {
        "gcs_base_url": double.url,
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    config = {
        "s3": {
            "endpoint": double.url,
            "access_key_id": "a",
            "secret_access_key": "b",
            "region": "r",
        },
        "gs": {"service_account_key": json.dumps(google)},
        "az": {
            "endpoint": f"{double.url}/account",
            "account_name": "account",
            "account_key": AZURE_KEY,
        },
    }[double.kind]
    return connect(
        double.kind,
        "bucket",
        "pre/fix",
        clock=Clock(),
        config=config,
        client_options={"allow_http": "true", **options},
    )


@pytest.fixture(params=KINDS)
def double(request: pytest.FixtureRequest) -> Iterator[CloudDouble]:
    double = CloudDouble(request.param)
    yield double
    double.stop()


@pytest.fixture
def s3() -> Iterator[CloudDouble]:
    double = CloudDouble("s3")
    yield double
    double.stop()


def test_conditions_go_as_headers(double: CloudDouble) -> None:
    store = store_of(double)
    first = store.create("k", b"1")
    store.replace("k", b"2", first)
    create, replace = double.conditions()
    if double.kind == "gs":
        assert create == {"x-goog-if-generation-match": "0"}
        assert replace == {"x-goog-if-generation-match": first.generation}
    else:
        assert create == {"if-none-match": "*"}
        assert replace == {"if-match": first.tag}
    assert all("pre/fix/k" in unquote(path) for _, path, _ in double.log)


def test_refused_conditions_are_lost_races(double: CloudDouble) -> None:
    store = store_of(double)
    first = store.create("k", b"1")
    with pytest.raises(AlreadyThere):
        store.create("k", b"2")
    second = store.replace("k", b"2", first)
    with pytest.raises(VersionMismatch):
        store.replace("k", b"3", first)
    assert store.get("k") == (b"2", second)
    assert store.get("none") is None
    assert store.get_range("k", 0, 9) == b"2"
    assert store.get_range("k", 5, 9) == b""
    store.delete("k")
    store.delete("k")


def test_the_self_test_tells_real_conditions_from_ignored_ones(double: CloudDouble) -> None:
    store = store_of(double)
    self_test(store)
    assert double.objects == {}
    double.ignores_conditions = True
    with pytest.raises(Unconfigured, match="a second create of one key succeeded"):
        self_test(store)
    assert double.objects == {}


def test_a_time_out_is_in_doubt_and_the_write_lands(double: CloudDouble) -> None:
    store = store_of(double, timeout="200ms")
    double.wait_seconds = 0.6
    with pytest.raises(Unavailable) as caught:
        store.create("k", b"1")
    assert caught.value.details == {"reason": "store", "in_doubt": True}
    double.wait_seconds = 0
    assert [data for data, _ in double.objects.values()] == [b"1"]
    assert sum(method == "PUT" for method, _, _ in double.log) == 1


def test_nobody_there_is_unavailable(double: CloudDouble) -> None:
    store = store_of(double)
    double.stop()
    with pytest.raises(Unavailable, match="create k") as caught:
        store.create("k", b"1")
    assert caught.value.retry_after
    double.__init__(double.kind)  # type: ignore[misc]  # for the fixture to stop


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (403, "forbidden")])
def test_credentials_are_denied(double: CloudDouble, status: int, code: str) -> None:
    store = store_of(double)
    double.answer = (status, b"")
    for call in (
        lambda: store.create("k", b"1"),
        lambda: store.get("k"),
        lambda: store.get_range("k", 0, 1),
        lambda: store.list(),
        lambda: store.delete("k"),
    ):
        with pytest.raises(Denied) as caught:
            call()
        assert caught.value.code == code


def test_a_missing_bucket_is_not_a_missing_object(double: CloudDouble) -> None:
    store = store_of(double)
    double.answer = (404, b"<Error><Code>NoSuchBucket</Code></Error>")
    if double.kind == "az":
        double.answer = (404, b"<Error><Code>ContainerNotFound</Code></Error>")
    for call in (lambda: store.create("k", b"1"), lambda: store.get("k"), lambda: store.list()):
        with pytest.raises(Unconfigured, match="there is no such bucket"):
            call()


def test_reads_are_repeated_and_writes_are_not(s3: CloudDouble) -> None:
    store = store_of(s3)
    s3.answer = (500, b"")
    with pytest.raises(Unavailable):
        store.create("k", b"1")
    assert len(s3.log) == 1
    with pytest.raises(Unavailable) as caught:
        store.get("k")
    assert len(s3.log) == 5
    assert caught.value.details["in_doubt"] is False


def test_a_listing_out_of_order_is_refused(s3: CloudDouble) -> None:
    store = store_of(s3)
    row = (
        "<Contents><Key>pre/fix/{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        "<ETag>t</ETag><Size>1</Size></Contents>"
    )
    s3.answer = (
        200,
        f"<ListBucketResult>{row.format('b')}{row.format('a')}</ListBucketResult>".encode(),
    )
    with pytest.raises(Unconfigured, match="out of order"):
        store.list()


def test_objects_of_others_are_not_listed(s3: CloudDouble) -> None:
    store = store_of(s3)
    for name in ("Capital", "with space", "mine"):
        s3.objects[f"/bucket/pre/fix/{name}"] = (b"", 1)
    s3.objects["/bucket/pre/fixed/no"] = (b"", 1)
    assert [entry.key for entry in store.list().entries] == ["mine"]


def test_the_environment_is_enough(s3: CloudDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT": s3.url,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "eu-west-1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    self_test(open_store("s3://bucket/some/prefix"))
    assert {path.split("?")[0].rsplit("/", 2)[0] for _, path, _ in s3.log} >= {
        "/bucket/some/prefix"
    }
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(Unconfigured, match="AWS_ALLOW_HTTP"):
        self_test(open_store("s3://bucket"))


def test_credentials_in_the_url_are_refused_and_a_long_key_is_named(s3: CloudDouble) -> None:
    with pytest.raises(Invalid, match=r"credentials belong in AWS_\*"):
        open_store("s3://key:secret@bucket")
    with pytest.raises(Invalid, match="longer than"):
        store_of(s3).get("/".join(["a" * 204] * 5))


def test_no_message_carries_an_azure_signature() -> None:
    double = CloudDouble("az")
    store = connect(
        "az",
        "bucket",
        "",
        clock=Clock(),
        config={
            "endpoint": f"{double.url}/account",
            "account_name": "account",
            "sas_key": "sv=2021&sig=very-secret",
        },
        client_options={"allow_http": "true"},
    )
    double.answer = (500, b"")
    with pytest.raises(Unavailable) as caught:
        store.create("k", b"1")
    double.stop()
    assert "very-secret" in double.log[0][1]
    assert "very-secret" not in "".join(traceback.format_exception(caught.value))


def test_after_a_fork_it_refuses_instead_of_waiting_for_ever(s3: CloudDouble) -> None:
    code = (
        "import os, sys\n"
        "from palimp.store import open_store\n"
        "from palimp.errors import Unavailable\n"
        "store = open_store('s3://bucket')\n"
        "store.create('k', b'1')\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    try: store.get('k')\n"
        "    except Unavailable as error: os._exit(7 if error.details['reason'] == 'forked' else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    environment = {
        **os.environ,
        "AWS_ENDPOINT": s3.url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=30)
    assert done.returncode == 7


def test_without_obstore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(Unconfigured, match=r"pip install 'palimp\[cloud\]'"):
        open_store("s3://bucket")
