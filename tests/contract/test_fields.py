"""Fields: honoured where the stage claims the capability, refused by name where it does not, in OpenAI's error shape."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.fields import BROUGHT, RANGES, TOOL, WITHOUT_EFFECT, Brought, Range
from tests.contract.servers import Server
from tests.contract.subjects import Subject

pytestmark = pytest.mark.needs("http")
BODIES = json.loads((Path(__file__).parent / "bodies.json").read_text(encoding="utf-8"))


def ask(server: Server, endpoint: str, fields: dict[str, Any]) -> httpx.Response:
    """A request that is fine but for `fields`. Python's NaN, Infinity and long numbers go out as json writes them."""
    text: dict[str, Any] = {"prompt": "Hi"}
    if endpoint == "chat":
        text = {"messages": [{"role": "user", "content": "Hi"}]}
    body = {"model": server.model, "temperature": 0, "max_tokens": 1, **text, **fields}
    path = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}[endpoint]
    return server.http.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})


def refused(response: httpx.Response, *names: str, status: int = 400) -> str:
    """Checks that the answer is an error in OpenAI's shape that names one of `names` -> its message."""
    assert response.status_code == status, f"{response.status_code}: {response.text[:300]}"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    if names:
        assert error["param"] in names, error
        assert any(name in error["message"] for name in names), error
    assert "\n" not in error["message"]
    assert len(error["message"]) < 400
    return str(error["message"])


def cases(table: list[Any]) -> list[Any]:
    return [pytest.param(one, on, id=f"{one}-{on}") for one in table for on in one.on]


@pytest.mark.parametrize(("field", "endpoint"), cases(BROUGHT))
def test_a_field_is_refused_until_its_capability_comes(
    subject: Subject, server: Server, field: Brought, endpoint: str
):
    response = ask(server, endpoint, {**field.more, field.name: field.value})
    if field.capability in subject.capabilities:
        assert response.status_code == 200, response.text
    else:
        message = refused(response, field.name, *field.more)
        if "unknown field" not in message:
            assert "not supported by this server" in message
            assert response.json()["error"]["code"] == "unsupported_parameter"


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_values_that_ask_for_nothing_are_accepted_from_the_start(server: Server, endpoint: str):
    for field in (one for one in BROUGHT if endpoint in one.on):
        for value in field.nothing:
            response = ask(server, endpoint, {field.name: value})
            assert response.status_code == 200, f"{field.name} = {value!r}: {response.text}"


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_fields_without_effect_are_accepted_and_have_none(server: Server, endpoint: str):
    plain = ask(server, endpoint, {"max_tokens": 4}).json()
    for name, value in WITHOUT_EFFECT.items():
        response = ask(server, endpoint, {"max_tokens": 4, name: value})
        assert response.status_code == 200, f"{name}: {response.text}"
        assert response.json()["choices"] == plain["choices"], name
        assert ask(server, endpoint, {name: None}).status_code == 200, f"{name} = null"


@pytest.mark.parametrize(("field", "endpoint"), cases(RANGES))
def test_values_outside_a_fields_range_are_refused_by_name(
    subject: Subject, server: Server, field: Range, endpoint: str
):
    if field.capability not in subject.capabilities:
        return  # refused as a whole, which another test sees to
    for value in field.good:
        response = ask(server, endpoint, {**field.more, field.name: value})
        assert response.status_code == 200, f"{field.name} = {value!r}: {response.text}"
    for value in field.bad:
        response = ask(server, endpoint, {**field.more, field.name: value})
        # A number of that length may not even be JSON to the parser.
        names = () if isinstance(value, int) and value > 10**300 else (field.name,)
        assert not PYTHON.search(refused(response, *names)), response.text


PYTHON = re.compile(r"\b(dict|dictionary|list|tuple|str|int|float|bool|None|True|False|NoneType|valid)\b")


@pytest.mark.needs("chat")
def test_of_several_refusals_the_one_that_was_meant_is_named(server: Server):
    """A client that sends tools sets the choice and the format too; to be told of these helps nobody."""
    order = {
        "tools": [TOOL],
        "functions": [{"name": "f"}],
        "response_format": {"type": "json_object"},
        "tool_choice": "auto",
    }
    names = list(order)
    for first in range(len(names)):
        fields = {name: order[name] for name in reversed(names[first:])}
        response = ask(server, "chat", fields)
        message = refused(response, names[first])
        assert message.startswith(f"{names[first]} ")
        assert not PYTHON.search(message)


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_options_of_a_stream_need_one(server: Server, endpoint: str):
    for fields in ({}, {"stream": False}, {"stream": None}):
        message = refused(ask(server, endpoint, {"stream_options": {}, **fields}), "stream_options")
        assert "stream is true" in message


def test_whole_numbers_may_be_written_with_a_point(server: Server):
    assert ask(server, "completions", {"prompt": [5.0, 6], "max_tokens": 2.0}).status_code == 200
    for prompt in ([5.5], [5, True], [1e300], [[5.5]]):
        refused(ask(server, "completions", {"prompt": prompt}), "prompt")


@pytest.mark.needs("sampling")
def test_a_top_p_of_zero_is_greedy(server: Server):
    greedy = server.text("Once", 12)
    assert server.text("Once", 12, temperature=1.5, top_p=0) == greedy


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
@pytest.mark.parametrize(
    "name", ["temprature", "max_token", "", "a" * 5000, "é\n\u0000", "fo[o]", "__class__"]
)
def test_unknown_fields_are_refused_by_name(server: Server, endpoint: str, name: str):
    values: tuple[Any, ...] = (1, None, {})
    for value in values:
        message = refused(ask(server, endpoint, {name: value}))
        assert "unknown field" in message
        assert ascii(name)[1:-1][:60] in message


def test_the_refusal_of_a_nested_field_says_where_it_stands(server: Server):
    said = {"role": "user", "content": "Hi"}
    assert "messages.1.colour" in refused(server.chat(said, {**said, "colour": "red"}), "messages")
    assert "messages.0.content.1" in refused(
        server.chat({"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}),
        "messages",
    )
    assert "stream_options.x" in refused(server.complete("Hi", stream_options={"x": 1}), "stream_options")


@pytest.mark.parametrize(
    "prompt", [[], [[]], ["a", 1], [1, "a"], [None], {}, 5, None, True, [[1], "a"], [[["a"]]]]
)
def test_a_prompt_is_text_or_token_ids_or_a_list_of_either(server: Server, prompt: Any):
    assert not PYTHON.search(refused(server.complete(prompt), "prompt"))


@pytest.mark.parametrize("prompt", ["", [-1], [10**9], [10**30], [[1], [10**9]], ["fine", ""]])
def test_a_prompt_that_is_empty_or_outside_the_vocabulary_is_refused(server: Server, prompt: Any):
    refused(server.complete(prompt), "prompt")


MESSAGES = {
    "empty": [],
    "no list": "Hi",
    "no object": ["Hi"],
    "bad role": [{"role": "wizard", "content": "Hi"}],
    "no role": [{"content": "Hi"}],
    "no content": [{"role": "user"}],
    "null content": [{"role": "user", "content": None}],
    "number": [{"role": "user", "content": 5}],
    "tool calls": [{"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function"}]}],
    "tool result": [{"role": "tool", "content": "5", "tool_call_id": "1"}],
    "image": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}],
}


@pytest.mark.needs("chat")
@pytest.mark.parametrize("messages", MESSAGES.values(), ids=MESSAGES)
def test_messages_that_cannot_be_served_are_refused(server: Server, messages: Any):
    response = ask(server, "chat", {"messages": messages})
    assert not PYTHON.search(refused(response, "messages")), response.text


SAID = {"role": "user", "content": "Hi"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
# What clients put into messages that they send back or cache, and what is the same without it.
ECHOED: dict[str, dict[str, Any]] = {
    "parsed": {"role": "assistant", "content": "Good day.", "parsed": None, "refusal": None},
    "a parsed answer": {"role": "assistant", "content": "Good day.", "parsed": {"a": 1}},
    "reasoning": {"role": "assistant", "content": "Good day.", "reasoning": "so", "reasoning_content": "so"},
    "an unknown null": {"role": "assistant", "content": "Good day.", "colour": None},
    "what a provider added": {
        "role": "assistant",
        "content": "Good day.",
        "provider_specific_fields": {"refusal": None},
    },
    "cache_control": {"role": "assistant", "content": "Good day.", "cache_control": {"type": "ephemeral"}},
    "annotations": {"role": "assistant", "content": "Good day.", "annotations": [{"type": "url_citation"}]},
    "empty tool calls": {
        "role": "assistant",
        "content": "Good day.",
        "tool_calls": [],
        "function_call": None,
    },
    "parts": {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "Good ", "role": "assistant", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "day.", "annotations": [], "unknown": None},
        ],
    },
}


@pytest.mark.needs("chat")
@pytest.mark.parametrize("message", ECHOED.values(), ids=ECHOED)
def test_a_message_that_clients_decorate_is_the_plain_one(server: Server, message: dict[str, Any]):
    plain = {"role": "assistant", "content": "Good day."}
    answers = [ask(server, "chat", {"messages": [SAID, m, SAID], "max_tokens": 4}) for m in (plain, message)]
    assert [a.status_code for a in answers] == [200, 200], answers[1].text
    assert answers[0].json()["choices"] == answers[1].json()["choices"]
    assert answers[0].json()["usage"] == answers[1].json()["usage"]


@pytest.mark.needs("chat")
@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "tool", "content": "5", "tool_call_id": "1"},
    ],
)
def test_a_message_with_tool_calls_is_told_what_is_missing(server: Server, message: dict[str, Any]):
    response = ask(server, "chat", {"messages": [SAID, message]})
    assert "messages.1: tool calls are not supported" in refused(response, "messages")
    assert response.json()["error"]["code"] == "unsupported_parameter"


@pytest.mark.needs("chat")
def test_unknown_fields_with_a_value_are_refused_in_messages_too(server: Server):
    assert "messages.0.colour" in refused(server.chat({**SAID, "colour": "red"}), "messages")
    part = {"type": "text", "text": "Hi", "colour": "red"}
    assert "messages.0.content.0.colour" in refused(server.chat({**SAID, "content": [part]}), "messages")
    assert "temprature" in refused(server.chat(SAID, temprature=None), "temprature")


def test_required_fields_are_named_when_missing(server: Server):
    for path, field in (("/v1/completions", "prompt"), ("/v1/chat/completions", "messages")):
        refused(server.http.post(path, json={"model": server.model}), field)
    refused(server.http.post("/v1/completions", json={"prompt": "Hi"}), "model")


@pytest.mark.parametrize("model", ["gpt-4o", "", " ", "MODEL ", "../MODEL", "\u2028"])
def test_an_unknown_model_is_404_and_the_message_names_ours(server: Server, model: str):
    model = model.replace("MODEL", server.model)
    for endpoint in ("completions", "chat"):
        message = refused(ask(server, endpoint, {"model": model}), "model", status=404)
        assert repr(server.model) in message
    for value in (5, None, ["x"]):
        refused(ask(server, "completions", {"model": value}), "model")


@pytest.mark.parametrize("entry", BODIES, ids=lambda entry: entry["client"])
def test_bodies_of_real_clients_pass(subject: Subject, server: Server, entry: dict[str, Any]):
    if not set(entry["needs"]) <= subject.capabilities:
        return
    body = json.loads(json.dumps(entry["body"]).replace("MODEL", server.model))
    response = server.http.post(entry["path"], json=body)
    assert response.status_code == 200, response.text
    assert ("data: [DONE]" in response.text) == bool(body.get("stream"))
