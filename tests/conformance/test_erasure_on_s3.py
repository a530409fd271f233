"""Erasing from a bucket: gone from one that keeps no versions, named as a blocker by one that does."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import palimp
from palimp import ltx
from palimp.ids import random_id
from palimp.store import open_store

from .store_backends import BUCKET, S3Proxy, need, s3_service

SECRET = "xylophone"
_VERSIONED = (
    b'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Status>%s</Status></VersioningConfiguration>"
)
Open = Callable[[str], palimp.Client]


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Proxy]:
    need("obstore", "obstore")
    need("moto", "moto")
    with s3_service() as proxy:
        yield proxy


@pytest.fixture
def opened(s3: S3Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens folders by name on buckets by name; the environment says where they are."""
    for name, value in {
        "AWS_ENDPOINT": s3.url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)

    def open_bucket(bucket: str) -> palimp.Client:
        url = f"s3://{bucket}/{tmp_path.name}"
        return palimp.open(tmp_path / bucket, object_store=url, embed_provider="none")

    return open_bucket


def asked(s3: S3Proxy, method: str, path: str, body: bytes = b"") -> bytes:
    """Ask the bucket's server for something that no store of ours asks for."""
    connection = http.client.HTTPConnection(urlsplit(s3.url).netloc, timeout=30)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        assert answer.status < 300, answer.read()
        return answer.read()
    finally:
        connection.close()


def contents(bucket: str, place: str) -> bytes:
    """Return every object below a place, segments unpacked."""
    store, found = open_store(f"s3://{bucket}/{place}"), []
    try:
        for entry in store.list().entries:
            stored = store.get(entry.key)
            assert stored is not None
            found.append(stored.data)
            if entry.key.endswith(".ltx"):
                header = ltx.Header.decode(stored.data)
                found += [page for _, page in ltx.trusted_pages(stored.data, header)]
    finally:
        store.close()
    return b"\n".join(found)


def test_nothing_of_it_is_in_the_bucket(opened: Open, tmp_path: Path) -> None:
    with opened(BUCKET) as mem:
        alice = mem.profile("alice")
        told = alice.remember(f"The {SECRET} code is 4711", durability="durable")
        alice.checkpoint("before")
        alice.fork("trial")
        alice.remember("Likes tea")
        assert SECRET.encode() in contents(BUCKET, tmp_path.name)
        job = alice.erase(told.id, grace=0)
        assert job.status == "done"
    assert SECRET.encode() not in contents(BUCKET, tmp_path.name)


@pytest.mark.parametrize("state", [b"Enabled", b"Suspended"])
def test_a_bucket_that_keeps_versions_blocks(opened: Open, s3: S3Proxy, state: bytes) -> None:
    bucket = random_id("b").replace("_", "-")
    asked(s3, "PUT", f"/{bucket}")
    asked(s3, "PUT", f"/{bucket}?versioning", _VERSIONED % b"Enabled")
    with opened(bucket) as mem:
        alice = mem.profile("alice")
        told = alice.remember(f"The {SECRET} code is 4711")
        alice.checkpoint("before")
        # What was kept so far is kept, also when no more versions are made.
        asked(s3, "PUT", f"/{bucket}?versioning", _VERSIONED % state)
        job = alice.erase(told.id, grace=0)
        assert job.status == "blocked"
        (blocker,) = job.blocked_by
        assert blocker.kind == "versioned_bucket"
        assert blocker.name.startswith(f"s3://{bucket}/")
        assert job.receipt is None
        # Nobody sees it all the same.
        assert [one.text for one in alice.list()] == []
        assert [one.text for one in alice.at("before").list()] == []
        assert job.cancel().status == "cancelled"
        assert len(list(alice.at("before").list())) == 1
        assert alice.erase(profile=True).status == "blocked"
