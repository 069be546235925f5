"""Checks exercise 2, with complaints made by FastAPI's own validation."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid")
    role: Literal["user", "assistant"]
    content: str


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    messages: list[Message] = Field(min_length=1)
    max_tokens: int = Field(16, ge=1)


def answer(sent: bytes) -> dict[str, Any]:
    """The error that an app with your function answers to `sent`."""
    app = FastAPI()

    @app.exception_handler(RequestValidationError)
    async def invalid(request, e):
        return JSONResponse(exercise.to_openai(e.errors()), 400)

    @app.post("/chat")
    async def chat(body: Body):
        return {}

    return asyncio.run(post(app, sent))


async def post(app, content):
    out: list[dict[str, Any]] = []
    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/chat", "query_string": b"", "headers": headers}

    async def receive():
        return {"type": "http.request", "body": content}

    async def send(message):
        out.append(message)

    await app(scope, receive, send)
    assert out[0]["status"] == 400, "this body is no mistake"
    return json.loads(out[1]["body"])["error"]


GOOD = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("change", "message", "param"),
    [
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1", "max_tokens"),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required", "messages"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages.0.role: Input should be 'user' or 'assistant'", "messages"),
        ({"colour": "red"}, "colour: unknown field", "colour"),
        ({"messages": [{"role": "user", "content": "", "mood": 1}]}, "messages.0.mood: unknown field", "messages"),
        ({"max_tokens": 0, "colour": "red"}, "max_tokens: Input should be greater than or equal to 1", "max_tokens"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_field(change, message, param):
    expected = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
    assert answer(json.dumps(GOOD | change).encode()) == expected


def test_a_body_that_is_not_json_names_no_field():
    error = answer(b'{"messages": ')
    assert error["message"].startswith("the body is not JSON: ")
    assert len(error["message"]) > len("the body is not JSON: ")
    assert error["param"] is None


@pytest.mark.parametrize("sent", [b"[1]", b'"hi"', b"3"])
def test_a_body_that_is_not_an_object_names_no_field(sent):
    error = answer(sent)
    assert (error["message"], error["param"]) == ("the body must be a JSON object", None)
