"""Which embedder the settings give, and that nothing of it is made before its first use."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from palimp.clock import Clock
from palimp.errors import Error, Unavailable
from palimp.models.bundled import NAME
from palimp.models.choose import choose
from palimp.models.exchange import Endpoint
from palimp.observe import Metrics

from ...model_server import ModelServer


def chosen(provider: Any, model: str | None = None, **given: Any) -> Any:
    return choose(provider, model, Clock(), Metrics(), **given)


def test_none_is_none_and_bundled_is_that_of_the_package() -> None:
    assert chosen("none") is None
    embedder = chosen("bundled")
    assert (embedder.local, embedder.egress) == (True, "none")
    assert (embedder.name, embedder.dimensions) == (NAME, 256)
    assert embedder.embed(["tea"]).any()
    assert embedder.of(NAME) is embedder
    assert embedder.of("other") is None
    embedder.close()


@pytest.mark.parametrize(
    ("hosts", "listed", "egress"),
    [
        (["127.0.0.1"], (), "self_hosted"),
        (["10.0.0.7", "embedder"], (), "self_hosted"),
        (["models.example.com"], (), "outside"),
        (["models.example.com"], ("models.example.com",), "self_hosted"),
        (["127.0.0.1", "models.example.com"], (), "outside"),
    ],
)
def test_how_far_texts_travel_is_known_before_anything_is_asked(
    hosts: list[str], listed: tuple[str, ...], egress: str
) -> None:
    endpoints = [Endpoint(f"http://{host}/v1") for host in hosts]
    embedder = chosen("openai", "m", endpoints=endpoints, self_hosted_hosts=listed)
    assert (embedder.local, embedder.egress) == (False, egress)


def test_an_embedder_behind_endpoints_joins_and_keeps() -> None:
    with ModelServer() as server:
        embedder = chosen(
            "voyage", "m", endpoints=[Endpoint(server.url)], timeout=20, cache_bytes=1 << 20
        )
        assert embedder.name == "voyage:m/256"
        for _ in range(3):
            assert embedder.embed(["tea"], query=True).any()
        assert [seen.json["input"] for seen in server.seen] == [["memory"], ["tea"]]
        assert embedder.of("voyage:m/256") is embedder
        assert embedder.of("voyage:other/256").name == "voyage:other/256"
        embedder.close()
        with pytest.raises(Unavailable, match="closed"):
            embedder.embed(["rain"])


def test_a_version_and_a_dimension_reach_the_name() -> None:
    endpoints = [Endpoint("http://127.0.0.1:1/v1")]
    embedder = chosen("openai", "m", endpoints=endpoints, dimensions=64, version="v2")
    assert embedder.name == "openai:m/64#v2"


def test_local_without_a_model_is_bundled_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert chosen("local").name == NAME
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert "PALIMP_EMBED_MODEL" in warning.getMessage()


def test_local_without_the_extra_is_bundled_with_one_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    embedder = chosen("local", "all-MiniLM-L6-v2")
    assert (embedder.name, embedder.local) == (NAME, True)
    (warning,) = caplog.records
    assert "pip install 'palimp[onnx]'" in warning.getMessage()


@pytest.mark.parametrize("provider", ["onnx", "local"])
def test_a_model_of_this_machine_is_looked_for_with_the_first_text(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whether the extra is installed or not, a folder that holds nothing is an error of ours.
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    embedder = chosen(provider, str(tmp_path))
    assert (embedder.local, embedder.egress) == (False, "none")
    with pytest.raises(Error):
        embedder.embed(["tea"])


def test_choosing_imports_nothing_that_takes_time() -> None:
    program = (
        "import sys\n"
        "from palimp.clock import Clock\n"
        "from palimp.observe import Metrics\n"
        "from palimp.models.choose import choose\n"
        "from palimp.models.exchange import Endpoint\n"
        "e = [Endpoint('https://key@example.com/v1', 'k')]\n"
        "choose('openai', 'm', Clock(), Metrics(), endpoints=e)\n"
        "choose('onnx', 'm', Clock(), Metrics())\n"
        "choose('bundled', None, Clock(), Metrics())\n"
        "print(sorted({'numpy', 'httpx', 'ssl', 'onnxruntime', 'tokenizers'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
