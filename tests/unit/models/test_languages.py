"""Language models over real HTTP: what is sent, what is made of each answer, and every fault."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from palimp.clock import ManualClock
from palimp.errors import Invalid, Unavailable, Unconfigured
from palimp.models.language import LanguageModel, Malformed, Prompt
from palimp.models.languages import Provider, language_model, own_endpoint
from palimp.models.pool import Endpoint, Pool
from palimp.models.served import Served
from palimp.observe import Metrics
from palimp.spending import Spending

from ...model_server import (
    Answer,
    Fault,
    ModelServer,
    answered,
    broken,
    cut,
    html,
    invalid_json,
    limited,
    refused,
    slow,
    unauthorized,
)

KEY = "sk-secret-0123456789abcdef"
MODELS: dict[Provider, str] = {"openai": "gpt-4o-mini", "anthropic": "claude-opus-4-8"}
SCHEMA = {
    "type": "object",
    "properties": {"color": {"type": "string"}},
    "required": ["color"],
    "additionalProperties": False,
}
PROMPT = Prompt(instructions="Name the color.", text="> blue", schema=SCHEMA, name="paint")
SAID = '{"color": "blue"}'

Open = Callable[..., Served[Any]]


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(key=KEY) as server:
        yield server


@pytest.fixture
def open_(server: ModelServer) -> Iterator[Open]:
    opened: list[Served[Any]] = []

    def open_(
        provider: Provider = "openai",
        *,
        key: str | None = KEY,
        url: str = server.url,
        timeout: float = 5.0,
    ) -> Served[Any]:
        pool = Pool(
            (Endpoint(url, key),), ManualClock(), Metrics(), timeout=timeout, what="extract"
        )
        model = language_model(provider, MODELS[provider], pool)
        opened.append(model)
        return model

    yield open_
    for model in opened:
        model.close()


@pytest.fixture(params=["openai", "anthropic"])
def model(request: pytest.FixtureRequest, open_: Open) -> LanguageModel:
    return open_(request.param, timeout=0.5)


def ask(model: LanguageModel) -> str:
    return model.complete(PROMPT, Spending())


# What is sent


def test_openai_is_asked_for_a_strict_schema(server: ModelServer, open_: Open) -> None:
    server.say({"color": "blue"})
    model = open_()
    assert ask(model) == SAID
    (seen,) = server.seen
    assert seen.path == "/v1/chat/completions"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.json == {
        "model": "gpt-4o-mini",
        "messages": [
            {"role": "system", "content": "Name the color."},
            {"role": "user", "content": "> blue"},
        ],
        "max_tokens": 4096,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "paint", "strict": True, "schema": SCHEMA},
        },
    }
    assert (model.name, model.host, model.egress) == (
        "openai:gpt-4o-mini",
        "127.0.0.1",
        "self_hosted",
    )


def test_anthropic_is_made_to_use_a_tool(server: ModelServer, open_: Open) -> None:
    server.say({"color": "blue"})
    model = open_("anthropic")
    assert ask(model) == SAID
    (seen,) = server.seen
    assert seen.path == "/v1/messages"
    assert seen.headers["x-api-key"] == KEY
    assert seen.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in seen.headers
    asked = seen.json
    (tool,) = asked.pop("tools")
    assert (tool["name"], tool["input_schema"]) == ("paint", SCHEMA)
    assert asked == {
        "model": "claude-opus-4-8",
        "max_tokens": 4096,
        "system": "Name the color.",
        "messages": [{"role": "user", "content": "> blue"}],
        "tool_choice": {"type": "tool", "name": "paint", "disable_parallel_tool_use": True},
    }
    assert model.name == "anthropic:claude-opus-4-8"


def test_the_host_of_anthropic_may_be_given_alone(server: ModelServer, open_: Open) -> None:
    server.say({"color": "blue"})
    assert ask(open_("anthropic", url=server.root)) == SAID
    assert server.seen[0].path == "/v1/messages"


def test_a_server_of_ones_own_needs_no_key(server: ModelServer, open_: Open) -> None:
    server.key = None
    server.say({"color": "blue"}, {"color": "blue"})
    assert ask(open_(key=None)) == SAID
    assert ask(open_("anthropic", key=None)) == SAID
    for seen in server.seen:
        assert not {"authorization", "x-api-key"} & seen.headers.keys()


def test_half_a_character_does_not_stop_a_call(server: ModelServer, model: LanguageModel) -> None:
    server.say({"color": "blue"})
    prompt = Prompt(instructions="Name it.", text="> a\ud800b", schema=SCHEMA)
    assert model.complete(prompt, Spending()) == SAID
    assert server.seen[0].json["messages"][-1]["content"] == "> a?b"


# What not every server knows


def test_what_a_server_does_not_know_is_asked_for_otherwise_and_kept(
    server: ModelServer, open_: Open
) -> None:
    server.formats_refused = {"json_schema"}
    server.say({"color": "blue"}, {"color": "blue"})
    model = open_()
    assert ask(model) == ask(model) == SAID
    assert len(server.seen) == 4
    for seen in server.seen[2:]:
        assert seen.json["response_format"] == {"type": "json_object"}
        assert '"additionalProperties": false' in seen.json["messages"][0]["content"]


def test_what_knows_no_form_at_all_is_told_in_the_prompt(server: ModelServer, open_: Open) -> None:
    server.formats_refused = {"json_schema", "json_object"}
    server.say("Sure! " + SAID, SAID)
    model = open_()
    assert ask(model) == "Sure! " + SAID
    assert ask(model) == SAID
    assert len(server.seen) == 5
    last = server.seen[-1].json
    assert "response_format" not in last
    assert '"color": {"type": "string"}' in last["messages"][0]["content"]


@pytest.mark.parametrize("status", [400, 422])
def test_reasoning_models_bound_their_answer_by_another_name(
    server: ModelServer, open_: Open, status: int
) -> None:
    server.fail(refused(status, "unsupported_parameter"))
    server.say({"color": "blue"}, {"color": "blue"})
    model = open_()
    assert ask(model) == ask(model) == SAID
    for seen in server.seen[1:]:
        assert seen.json["max_completion_tokens"] == 4096
        assert "max_tokens" not in seen.json
        assert seen.json["response_format"]["type"] == "json_schema"
    assert len(server.seen) == 3


def test_a_model_that_cannot_be_forced_to_a_tool_gets_a_format(
    server: ModelServer, open_: Open
) -> None:
    server.fail(refused(400), None, refused(400))
    server.say(SAID, SAID)
    model = open_("anthropic")
    assert ask(model) == ask(model) == SAID
    forced, formatted, again, told = (seen.json for seen in server.seen)
    assert "tool_choice" in forced
    assert formatted == again
    assert formatted["output_config"]["format"] == {"type": "json_schema", "schema": SCHEMA}
    assert "tools" not in formatted
    assert "output_config" not in told
    assert '"color": {"type": "string"}' in told["system"]


def test_a_request_that_is_refused_in_every_form_is_an_error(
    server: ModelServer, model: LanguageModel
) -> None:
    server.standing = refused(400, "context_length_exceeded", f"your key is {KEY}")
    with pytest.raises(Invalid) as raised:
        ask(model)
    assert raised.value.details["status"] == 400
    assert KEY not in str(raised.value)
    tried = len(server.seen)
    with pytest.raises(Invalid):
        ask(model)
    # Nothing was learned from it about what the server knows.
    assert len(server.seen) == 2 * tried
    assert server.seen[tried].body == server.seen[0].body


# What comes instead of an answer


@pytest.mark.parametrize(
    "fault", [limited("1"), broken(500), broken(529), cut(), cut("midway"), html(), invalid_json()]
)
def test_what_passes_is_tried_again(
    server: ModelServer, model: LanguageModel, fault: Fault
) -> None:
    server.fail(fault)
    server.say({"color": "blue"})
    if fault.cut:
        # The server had its answer, which then did not arrive.
        server.say({"color": "blue"})
    assert ask(model) == SAID
    assert len(server.seen) == 2


@pytest.mark.parametrize("fault", [broken(500), html(), invalid_json(), slow(), limited("120")])
def test_what_does_not_pass_says_when_to_try_again(
    server: ModelServer, model: LanguageModel, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.standing = fault
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1") as raised:
        ask(model)
    assert not isinstance(raised.value, Malformed)
    assert raised.value.retry_after
    assert KEY not in caplog.text + str(raised.value) + repr(raised.value.details)
    assert "blue" not in caplog.text + str(raised.value)


def test_a_key_that_is_not_taken_is_said_at_once_and_shown_nowhere(
    server: ModelServer, model: LanguageModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.standing = unauthorized()
    with pytest.raises(Unconfigured, match="PALIMP_EXTRACT_API_KEY") as raised:
        ask(model)
    assert len(server.seen) == 1
    assert KEY not in caplog.text + str(raised.value) + repr(model) + repr(vars(model))


def test_a_key_in_the_url_is_used_and_shown_nowhere(
    server: ModelServer, open_: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.say({"color": "blue"})
    model = open_(key=None, url=f"{server.url}?key={KEY}")
    assert ask(model) == SAID
    server.standing = broken(500)
    with pytest.raises(Unavailable) as raised:
        ask(model)
    assert KEY in server.seen[0].path
    assert KEY not in caplog.text + str(raised.value) + model.name + model.host


# What comes as an answer and is none


@pytest.mark.parametrize(
    ("provider", "fault", "reason"),
    [
        ("openai", answered({"choices": []}), "malformed"),
        ("openai", answered({"error": "overloaded"}), "malformed"),
        ("openai", answered([1, 2]), "malformed"),
        ("openai", answered({"choices": [{"message": {"content": {"a": 1}}}]}), "malformed"),
        ("openai", answered({"choices": [{"message": {"content": None}}]}), "malformed"),
        ("openai", Answer(" \n"), "malformed"),
        ("openai", Answer('{"color": "bl', finish="length"), "truncated"),
        ("openai", Answer("", finish="content_filter"), "refused"),
        ("openai", Answer(None, refusal="I cannot help with that."), "refused"),
        ("anthropic", answered({"type": "error"}), "malformed"),
        ("anthropic", answered({"content": []}), "malformed"),
        ("anthropic", answered({"content": [{"type": "tool_use"}]}), "malformed"),
        ("anthropic", answered({"content": [{"text": "x"}]}), "malformed"),
        ("anthropic", Answer(None), "malformed"),
        ("anthropic", Answer({"color": "bl"}, finish="max_tokens"), "truncated"),
        ("anthropic", Answer("x", finish="model_context_window_exceeded"), "truncated"),
        ("anthropic", Answer("I cannot help with that.", finish="refusal"), "refused"),
    ],
)
def test_an_answer_of_no_use_is_named(
    server: ModelServer, open_: Open, provider: str, fault: Fault | Answer, reason: str
) -> None:
    if isinstance(fault, Fault):
        server.fail(fault)
    else:
        server.say(fault)
    with pytest.raises(Malformed) as raised:
        ask(open_(provider))
    assert raised.value.details["reason"] == reason
    assert len(raised.value.answers) == 1
    assert len(server.seen) == 1


def test_bytes_that_are_no_unicode_are_replaced(server: ModelServer, open_: Open) -> None:
    server.fail(Fault(body=b'{"choices": [{"message": {"content": "a\xff\xfe"}}]}'))
    assert ask(open_()) == "a\ufffd\ufffd"


def test_half_a_character_spoils_an_answer(server: ModelServer, open_: Open) -> None:
    server.fail(Fault(body=b'{"choices": [{"message": {"content": "a\\udc00"}}]}'))
    with pytest.raises(Malformed):
        ask(open_())


def test_anthropic_may_say_what_a_tool_was_to_take(server: ModelServer, open_: Open) -> None:
    server.say(SAID)
    assert ask(open_("anthropic")) == SAID


# What it cost


def test_tokens_are_those_the_server_counts(server: ModelServer, model: LanguageModel) -> None:
    server.say(Answer({"color": "blue"}, tokens=(123, 45)))
    spending = Spending()
    model.complete(PROMPT, spending)
    assert (spending.tokens_in, spending.tokens_out) == (123, 45)
    assert (spending.calls, spending.texts, spending.hosts) == (1, 1, {"127.0.0.1"})
    assert spending.bytes == len(server.seen[0].body)


@pytest.mark.parametrize("tokens", [None, (-5, 1 << 60)])
def test_where_it_does_not_they_are_estimated(
    server: ModelServer, model: LanguageModel, tokens: tuple[int, int] | None
) -> None:
    server.say(Answer({"color": "blue"}, tokens=tokens))
    spending = Spending()
    model.complete(PROMPT, spending)
    # "Name the color.> blue" and the answer, 21 and 17 bytes.
    assert (spending.tokens_in, spending.tokens_out) == (6, 5)


def test_what_was_no_answer_was_paid_for_all_the_same(
    server: ModelServer, model: LanguageModel
) -> None:
    server.fail(refused(400))
    server.say(Answer("x", finish="length" if "openai" in model.name else "max_tokens"))
    spending = Spending()
    with pytest.raises(Malformed):
        model.complete(PROMPT, spending)
    assert spending.calls == 2
    assert spending.bytes == sum(len(seen.body) for seen in server.seen)
    assert (spending.tokens_in, spending.tokens_out) == (40, 10)


@pytest.mark.parametrize("provider", MODELS)
def test_a_provider_has_an_address_of_its_own(provider: Provider) -> None:
    endpoint = own_endpoint(provider, KEY)
    pool = Pool((endpoint,), ManualClock(), Metrics(), timeout=1, what="assistant")
    model = language_model(provider, "m", pool)
    assert endpoint.url == f"https://api.{provider}.com/v1"
    assert (model.egress, model.host) == ("outside", f"api.{provider}.com")
    assert KEY not in repr(vars(model))
    model.close()
