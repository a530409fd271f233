"""Which models the settings name, what they refuse, and that no key is shown anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from palimp.errors import Invalid
from palimp.node import Settings, load_settings
from palimp.node.model_settings import (
    EmbeddingChoice,
    assistant_choice,
    embedding_choice,
    extraction_choice,
)

KEY = "sk-" + "s3cret" * 4


def embedding(**given: Any) -> EmbeddingChoice:
    return embedding_choice(load_settings(given, {}))


def endpoints(*pairs: tuple[str, str | None]) -> str:
    return json.dumps([{"url": url, "api_key": key} for url, key in pairs])


def test_nothing_set_is_the_bundled_embedder_and_no_language_model() -> None:
    assert embedding().provider == "bundled"
    assert extraction_choice(Settings()) is None
    assert assistant_choice(Settings()) is None


@pytest.mark.parametrize(
    "given",
    [
        {"embed_api_key": KEY},
        {"embed_endpoints": endpoints(("https://a.example.com/v1", KEY))},
        {"embed_provider": "voyage", "embed_api_key": KEY},
    ],
)
def test_a_key_or_endpoints_without_a_provider_mean_voyage(given: dict[str, str]) -> None:
    chosen = embedding(**given)
    assert (chosen.provider, chosen.model) == ("voyage", "voyage-3.5")
    assert load_settings(given, {}).shared()["embed_provider"] == "voyage"
    assert chosen.endpoints[0].api_key == KEY


def test_a_provider_has_an_address_and_a_model_of_its_own() -> None:
    chosen = embedding(embed_provider="openai", embed_api_key=KEY)
    assert chosen.model == "text-embedding-3-small"
    assert chosen.endpoints[0].url == "https://api.openai.com/v1"
    chosen = embedding(embed_api_key=KEY, embed_model="voyage-3-large")
    assert (chosen.endpoints[0].host, chosen.model) == ("api.voyageai.com", "voyage-3-large")


def test_a_server_of_ones_own_needs_no_key() -> None:
    chosen = embedding(embed_provider="openai", embed_base_url="http://127.0.0.1:11434/v1")
    assert chosen.endpoints[0].url == "http://127.0.0.1:11434/v1"
    assert chosen.endpoints[0].api_key is None


def test_everything_that_is_set_arrives() -> None:
    chosen = embedding(
        embed_provider="openai",
        embed_endpoints=endpoints(("http://a:1/v1", KEY), ("http://b:2/v1?key=7", " ")),
        embed_base_url="http://not.read",
        embed_api_key="not-read",
        embed_model="bge",
        embed_dim="1024",
        embed_version="2026-11",
        embed_timeout="2.5",
        embed_self_hosted_hosts=" A.example.com , [fd00::1],, b.example.com. ",
        embed_cache_bytes=0,
    )
    assert [e.url for e in chosen.endpoints] == ["http://a:1/v1", "http://b:2/v1"]
    assert [e.api_key for e in chosen.endpoints] == [KEY, None]
    assert (chosen.model, chosen.dimensions, chosen.version) == ("bge", 1024, "2026-11")
    assert (chosen.timeout, chosen.cache_bytes) == (2.5, 0)
    assert chosen.self_hosted_hosts == {"a.example.com", "fd00::1", "b.example.com"}


def test_what_does_not_concern_a_provider_is_no_error() -> None:
    chosen = embedding(embed_provider="bundled", embed_model="bge", embed_api_key=KEY, embed_dim=7)
    assert chosen.provider == "bundled"
    assert embedding(embed_provider="none", embed_base_url="http://a/").provider == "none"


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_blank_is_not_set(blank: str) -> None:
    names = [n for n in Settings.__struct_fields__ if n.startswith(("embed", "extract", "assist"))]
    texts = {name: blank for name in names if isinstance(getattr(Settings(), name), str | None)}
    assert len(texts) > 10
    assert load_settings(texts, {}) == Settings()
    environment = {f"PALIMP_{name.upper()}": blank for name in texts}
    assert load_settings({}, environment) == Settings()


def test_blanks_around_a_value_are_not_of_it() -> None:
    assert load_settings({}, {"PALIMP_EMBED_API_KEY": f" {KEY}\n"}).embed_api_key == KEY


REFUSED = [
    ({"embed_provider": "openai"}, "needs PALIMP_EMBED_API_KEY"),
    ({"embed_provider": "voyage"}, "needs PALIMP_EMBED_API_KEY"),
    ({"embed_provider": "onnx"}, "needs PALIMP_EMBED_MODEL"),
    ({"embed_base_url": f"http://{KEY}@host/v1"}, "set PALIMP_EMBED_PROVIDER to 'openai'"),
    ({"embed_provider": "openai", "embed_base_url": f"host/{KEY}"}, "PALIMP_EMBED_BASE_URL: the"),
    ({"embed_api_key": f"{KEY} {KEY}"}, "PALIMP_EMBED_BASE_URL: the key for api.voyageai.com"),
    ({"embed_api_key": KEY, "embed_version": f"a/{'b' * 9}"}, "PALIMP_EMBED_VERSION is"),
    ({"embed_dim": 8_193}, "setting embed_dim is 8,193; give 0 to 8,192"),
    ({"embed_timeout": 0}, "setting embed_timeout is 0"),
    ({"embed_api_key": 7}, "setting embed_api_key is a secret"),
    ({"extract_base_url": f"ftp://{KEY}"}, "PALIMP_EXTRACT_BASE_URL: the address of a model"),
    ({"assistant_base_url": f"ftp://{KEY}"}, "PALIMP_ASSISTANT_BASE_URL: the address of a"),
    ({"extract_provider": "voyage"}, "setting extract_provider is 'voyage'"),
    (
        {"extract_api_key": KEY, "assistant_provider": "openai"},
        "'openai', which needs PALIMP_ASSISTANT_API_KEY",
    ),
]


@pytest.mark.parametrize(("given", "said"), REFUSED)
def test_what_cannot_be_refuses_the_start(given: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid) as caught:
        load_settings(given, {})
    assert said in str(caught.value)
    assert KEY not in str(caught.value)
    # And in the chain of what is printed with it.
    assert KEY not in repr(caught.value.__cause__)


@pytest.mark.parametrize(
    "said",
    [
        KEY,
        f'"{KEY}"',
        "{}",
        "[]",
        "[7]",
        f'[{{"url": "{KEY}"}}]',
        f'[{{"api_key": "{KEY}"}}]',
        f'[{{"url": 7, "api_key": "{KEY}"}}]',
        f'[{{"url": "http://a", "{KEY}": 1}}]',
        f'[{{"url": "http://a", "api_key": ["{KEY}"]}}]',
        f'[{{"url": "http://a", "api_key": "{KEY}"}}',
        f'[{{"url": "http://a", "api_key": "{KEY} 7"}}]',
        json.dumps([{"url": "http://a"}] * 65),
        "[" * 100_000,
    ],
)
def test_malformed_endpoints_refuse_the_start_without_the_keys(said: str) -> None:
    with pytest.raises(Invalid, match="PALIMP_EMBED_ENDPOINTS") as caught:
        load_settings({}, {"PALIMP_EMBED_ENDPOINTS": said})
    error: BaseException | None = caught.value
    while error is not None:
        assert KEY not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_what_processes_agree_on_holds_no_key() -> None:
    def shared(**given: Any) -> dict[str, Any]:
        return load_settings({"embed_provider": "openai", "embed_model": "m", **given}, {}).shared()

    one = shared(embed_base_url=f"https://u:{KEY}@host:1/v1/?key={KEY}")
    assert one["embed_base_url"] == "https://host:1/v1"
    assert KEY not in repr(one)
    # Another key, the same place.
    assert one == shared(embed_base_url="https://host:1/v1", embed_api_key="other")
    several = [("http://b/v1", KEY), ("http://a/v1", None)]
    listed = shared(embed_endpoints=endpoints(*several))
    assert listed == shared(embed_endpoints=endpoints(*reversed(several)))
    assert listed["embed_base_url"] == "http://a/v1 http://b/v1"
    for other in ({"embed_dim": 8}, {"embed_version": "2"}, {"embed_model": "n"}):
        assert shared(embed_base_url="http://a", **other) != shared(embed_base_url="http://a")
    assert Settings().shared()["embed_provider"] == "bundled"


def test_settings_show_no_key() -> None:
    url = f"http://{KEY}@a.example.com?key={KEY}"
    settings = load_settings(
        {
            "embed_provider": "openai",
            "embed_base_url": url,
            "embed_api_key": KEY,
            "embed_endpoints": endpoints((url, KEY)),
            "extract_api_key": KEY,
            "extract_base_url": url,
            "assistant_api_key": KEY,
            "assistant_base_url": url,
        },
        {},
    )
    assert KEY not in repr(settings)
    chosen = (embedding_choice(settings), extraction_choice(settings), assistant_choice(settings))
    for one in chosen:
        assert one is not None
    assert KEY not in repr(chosen[0])


def test_the_model_that_extracts() -> None:
    chosen = extraction_choice(load_settings({"extract_api_key": KEY}, {}))
    assert chosen is not None
    assert (chosen.provider, chosen.model) == ("anthropic", "claude-opus-4-8")
    assert (chosen.endpoint, chosen.api_key) == (None, KEY)
    chosen = extraction_choice(
        load_settings({"extract_provider": "openai", "extract_api_key": KEY}, {})
    )
    assert chosen is not None
    assert chosen.model == "gpt-4o-mini"
    # A server of one's own, which needs no key, and is taken for one that speaks as OpenAI does.
    given = {"extract_base_url": "http://ollama:11434/v1", "extract_model": "qwen3"}
    chosen = extraction_choice(load_settings(given, {}))
    assert chosen is not None
    assert (chosen.family, chosen.provider, chosen.model) == ("extract", "openai", "qwen3")
    assert chosen.endpoint is not None
    assert chosen.endpoint.host == "ollama"
    # A model alone is nobody to ask.
    assert extraction_choice(load_settings({"extract_model": "qwen3"}, {})) is None


def test_the_model_that_answers_is_the_one_that_extracts_unless_it_is_another() -> None:
    base = {"extract_api_key": KEY, "extract_timeout": 7}
    assert assistant_choice(load_settings(base, {})) == extraction_choice(load_settings(base, {}))
    chosen = assistant_choice(load_settings(base | {"assistant_model": "claude-haiku"}, {}))
    assert chosen is not None
    assert (chosen.family, chosen.model, chosen.api_key) == ("extract", "claude-haiku", KEY)
    assert chosen.timeout == 7
    other = {"assistant_base_url": "http://ollama/v1", "assistant_model": "m"}
    chosen = assistant_choice(load_settings(base | other, {}))
    assert chosen is not None
    # Address and key go together: the key is for somebody else.
    assert (chosen.family, chosen.provider, chosen.api_key) == ("assistant", "openai", None)
    assert chosen.timeout == 60


@pytest.mark.parametrize("provider", ["bundled", "none"])
def test_who_names_no_model_outside_the_package_imports_nothing_for_it(provider: str) -> None:
    program = (
        "import sys\n"
        "from palimp.node import load_settings\n"
        f"load_settings({{'embed_provider': {provider!r}}}, {{}}).shared()\n"
        "print([name for name in sys.modules if 'model_settings' in name or '.models' in name])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
