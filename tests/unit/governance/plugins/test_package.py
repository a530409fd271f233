"""Manifests, digests and signatures."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from palimp.errors import Denied, Invalid
from palimp.governance.plugins.manifest import MANIFEST, parse_manifest
from palimp.governance.plugins.package import (
    BYTES_MAX,
    FILES_MAX,
    check_signature,
    decode_files,
    encode_files,
    open_package,
    read_folder,
)

sys.path.insert(0, str(Path(__file__).parent))

from packages import files, manifest, new_key, signed

KEY = new_key()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "No"}, "name is 'No'; give 3 to 128 of a-z"),
        ({"name": "governance-"}, "something has to follow its prefix"),
        ({"name": None}, "object missing required field `name`"),
        ({"name": 7}, r"name: expected `str`, got `int`"),
        ({"surprise": 1}, "object contains unknown field `surprise`"),
        ({"version": "1.0"}, "version '1.0' is no version"),
        ({"api_version": "v2"}, "this host speaks 'v1'"),
        ({"runtime": "rhai"}, "runtime 'rhai' is not run here; write the hooks in Python"),
        ({"runtime": "grpc"}, "runtime 'grpc' is not run here"),
        ({"runtime": "lua"}, "runtime is 'lua'; give 'python'"),
        ({"entry": {"rhai": {}}}, "entry: object contains unknown field `rhai`"),
        ({"entry": {"python": {"module": "../x", "object": "y"}}}, "entry.python.module is '../x'"),
        ({"entry": {"python": {"module": "x", "object": ""}}}, "entry.python.object is ''"),
        ({"capabilities": []}, "capabilities is empty"),
        ({"capabilities": ["governance"]}, "give domain.action"),
        ({"capabilities": ["retrieval.rerank"]}, "this host asks for governance.plan"),
        ({"capabilities": ["governance.plan", "governance.plan"]}, "names one twice"),
        ({"compatibility": {}}, "compatibility is empty"),
        ({"compatibility": {"palimp": ">=7"}}, "the plugin is for palimp >=7, and this is"),
        ({"compatibility": {"memoria": "soon"}}, "compatibility.memoria 'soon' is no range"),
        ({"permissions": {"network": True}}, "permissions.network is never given"),
        ({"permissions": {"filesystem": True}}, "permissions.filesystem is never given"),
        ({"permissions": {"env": ["HOME"]}}, "permissions.env is 'HOME'"),
        ({"limits": {"timeout_ms": 0}}, "limits.timeout_ms is 0; give 1 to 1,500"),
        ({"limits": {"timeout_ms": 1501}}, "limits.timeout_ms is 1,501; give 1 to 1,500"),
        ({"limits": {"max_memory_mb": 129}}, "limits.max_memory_mb is 129; give 1 to 128"),
        ({"limits": {"max_output_bytes": 262_145}}, "limits.max_output_bytes is 262,145"),
        ({"metadata": {"description": "x" * 1_001}}, "metadata.description has 1,001 characters"),
        ({"integrity": {"sha256": "", "signer": "a b"}}, "integrity.signer is 'a b'"),
    ],
)
def test_a_manifest_is_refused_by_the_field(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(Invalid) as raised:
        parse_manifest(manifest(**fields))
    assert says in str(raised.value)
    assert str(raised.value).startswith("manifest.json")


def test_what_a_manifest_says() -> None:
    found = parse_manifest(manifest(version="2.3.4", compatibility={"memoria": "^0.1"}))
    assert found.plugin_key == "governance:calm:v2"
    assert (found.limits.timeout_ms, found.limits.max_memory_mb) == (1_500, 128)
    assert parse_manifest(manifest(name="memoria-governance-x")).plugin_key == "governance:x:v1"
    assert parse_manifest(manifest(name="quiet-one")).plugin_key == "governance:quiet-one:v1"


def test_the_digest_is_that_of_the_description() -> None:
    made = {**files(), "a.txt": b"data"}
    plain = json.dumps(manifest(), sort_keys=True, separators=(",", ":")).encode()
    whole = hashlib.sha256()
    for path, data in (("a.txt", b"data"), ("calm.py", made["calm.py"]), (MANIFEST, plain)):
        whole.update(path.encode() + b"\0" + hashlib.sha256(data).digest())
    assert open_package(made, stated=False).sha256 == whole.hexdigest()
    # Neither spaces nor the order of fields matter, nor what the manifest states of itself.
    again = {**made, MANIFEST: json.dumps(dict(reversed(manifest().items())), indent=3).encode()}
    assert open_package(again, stated=False).sha256 == whole.hexdigest()


def test_what_is_signed_is_known_by_its_signer() -> None:
    package = open_package(signed(KEY))
    assert check_signature(package, {"me": KEY.public, "you": new_key().public}) == "me"


@pytest.mark.parametrize(
    "change",
    [
        {"calm.py": b"def hook(given): return {}"},
        {"more.py": b""},
        {"calm.py": None, "other/calm.py": files()["calm.py"], "calm/__init__.py": b""},
    ],
    ids=["altered", "added", "moved"],
)
def test_a_tampered_file_is_refused(change: dict[str, bytes | None]) -> None:
    made = {**signed(KEY), **change}
    with pytest.raises(Invalid, match="a file was changed after it was signed"):
        open_package({path: data for path, data in made.items() if data is not None})


def test_a_tampered_manifest_is_refused() -> None:
    made = signed(KEY)
    plain = json.loads(made[MANIFEST])
    with pytest.raises(Invalid, match="a file was changed"):
        open_package({**made, MANIFEST: json.dumps({**plain, "version": "1.0.1"}).encode()})
    # Whoever also states the new digest has no signature of it.
    plain["version"] = "1.0.1"
    bare = {**made, MANIFEST: json.dumps({**plain, "integrity": None}).encode()}
    plain["integrity"]["sha256"] = open_package(bare, stated=False).sha256
    forged = open_package({**made, MANIFEST: json.dumps(plain).encode()})
    with pytest.raises(Denied, match="is not that of me: it was made with another key"):
        check_signature(forged, {"me": KEY.public})


def test_a_signature_is_held_against_the_key_that_is_known() -> None:
    package = open_package(signed(KEY))
    with pytest.raises(Denied, match="signed by 'me', who is no signer here"):
        check_signature(package, {})
    with pytest.raises(Denied, match="is not that of me"):
        check_signature(package, {"me": new_key().public})
    with pytest.raises(Denied, match="is not signed"):
        check_signature(open_package(files(), stated=False), {"me": KEY.public})
    assert package.manifest.integrity is not None
    torn = json.loads(signed(KEY)[MANIFEST])
    torn["integrity"]["signature"] = "!!"
    with pytest.raises(Denied, match="is not that of me"):
        check_signature(
            open_package({**signed(KEY), MANIFEST: json.dumps(torn).encode()}), {"me": KEY.public}
        )


@pytest.mark.parametrize(
    "path",
    [
        "../x.py", "/etc/x.py", "a/../x.py", "a//x.py", "./x.py", "a\\x.py", ".hidden", "a/.x",
        "", "x\0.py", "C:/x.py", "x" * 201, "/".join("abcdefghij") + ".py", "ä.py", "a/", "~/x", "x\n",
    ],
)  # fmt: skip
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(Invalid, match="cannot be in a package: give relative paths"):
        open_package({**files(), path: b""}, stated=False)


def test_what_is_too_large_is_refused() -> None:
    many = {f"f{number}": b"" for number in range(FILES_MAX - 1)}
    with pytest.raises(Invalid, match=f"the package has {FILES_MAX + 1} files") as raised:
        open_package({**files(), **many}, stated=False)
    assert raised.value.code == "payload_too_large"
    with pytest.raises(Invalid, match=r"1,0\d\d,\d\d\d bytes, and is too large"):
        open_package({**files(), "data": bytes(BYTES_MAX)}, stated=False)


def test_what_is_no_package_is_refused() -> None:
    with pytest.raises(Invalid, match="the package has no manifest"):
        open_package({"calm.py": b""})
    with pytest.raises(Invalid, match="integrity is missing"):
        open_package(files())
    with pytest.raises(Invalid, match=r"has neither calm\.py nor calm/__init__\.py"):
        open_package({MANIFEST: files()[MANIFEST]}, stated=False)
    for text in (b"[]", b"{", b"\xff", b'{"name":1,"name":2}', b"[" * 100_000, b'{"a":"\\ud800"}'):
        with pytest.raises(Invalid, match=r"manifest\.json (is not JSON|must be a JSON object)"):
            open_package({**files(), MANIFEST: text}, stated=False)


def test_files_travel_as_base64() -> None:
    assert decode_files(encode_files(files())) == files()
    with pytest.raises(Invalid, match=r"files\['calm.py'\] is not base64"):
        decode_files({"calm.py": "§"})
    assert encode_files({"a": b"x"}) == {"a": base64.b64encode(b"x").decode()}


def test_a_folder_is_read_without_what_was_left_behind(tmp_path: Path) -> None:
    for path, data in {**files(), "lib/more.py": b"1", ".git/x": b"", "__pycache__/y": b""}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    assert read_folder(tmp_path) == {**files(), "lib/more.py": b"1"}


def test_a_folder_with_more_than_plain_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "calm.py").symlink_to("/etc/passwd")
    with pytest.raises(Invalid, match=r"'calm.py' in .* is a link or a device"):
        read_folder(tmp_path)
    (tmp_path / "calm.py").unlink()
    (tmp_path / "linked").symlink_to(tmp_path)
    with pytest.raises(Invalid, match="is a link"):
        read_folder(tmp_path)
    (tmp_path / "linked").unlink()
    (tmp_path / "huge").touch()
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(BYTES_MAX + 1)
    with pytest.raises(Invalid, match="with 'huge' the package is too large"):
        read_folder(tmp_path)
    with pytest.raises(Invalid, match="is no folder"):
        read_folder(tmp_path / "nothing")
