"""How requests fail: one exception for refusals, OpenAI's error shape, and messages in the words of JSON."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from common.errors import UserError

from ..engine import EngineFailed
from ..scheduler import QueueFull

log = logging.getLogger("vitrine.server")


class Refused(Exception):
    """A request that gets an error response. Not a ValueError, which pydantic would wrap."""

    def __init__(self, param: str | None, message: str, status: int = 400, code: str | None = None):
        super().__init__(message)
        self.param, self.message, self.status, self.code = param, message, status, code


class ClientGone(Exception):
    """The client has hung up: there is no one to answer."""


def stopping() -> Refused:
    return Refused(None, "the server is stopping", 503, "stopping")


def failed() -> Refused:
    return Refused(None, "the engine has failed; the server needs a restart", 503, "engine_failed")


def error(message: str, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error body in OpenAI's shape."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def mid_stream_error(e: Exception) -> dict[str, Any]:
    """The same, for an answer whose status line has already been sent."""
    if isinstance(e, Refused):
        return error(e.message, e.status, e.param, e.code)
    if isinstance(e, UserError):
        return error(str(e), 400)
    log.error("a request failed", exc_info=e)
    return error("the request failed inside the engine", 500)


def add_errors(app: FastAPI) -> None:
    """Every error is sent in OpenAI's shape."""

    @app.exception_handler(Refused)
    async def refused(request: Request, e: Refused) -> Response:
        # A server that is loading or stopping is back in a moment.
        headers = {"Retry-After": "1"} if e.status == 503 else None
        return JSONResponse(error(e.message, e.status, e.param, e.code), e.status, headers)

    @app.exception_handler(QueueFull)
    async def queue_full(request: Request, e: QueueFull) -> Response:
        if request.app.state.service.stopping:  # since this request was let in
            return await refused(request, stopping())
        return JSONResponse(error(str(e), 429, code="queue_full"), 429, headers={"Retry-After": "1"})

    @app.exception_handler(EngineFailed)
    async def engine_failed(request: Request, e: EngineFailed) -> Response:
        return await refused(request, failed())

    @app.exception_handler(UserError)
    async def user_error(request: Request, e: UserError) -> Response:
        field = re.match(r"(\w+)(?::| = )", str(e))
        return JSONResponse(error(str(e), 400, field and field[1]), 400)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, e: RequestValidationError) -> Response:
        return JSONResponse(explain(e, request.headers.get("content-type", "")), 400)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, e: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {e.detail}"
        if e.__cause__:  # FastAPI could not parse the body, and only some of the reasons are JSONDecodeErrors
            message = f"the body is not JSON: {parse_failure(e.__cause__)}"
        return JSONResponse(error(message, e.status_code), e.status_code, headers=e.headers)

    @app.exception_handler(ClientGone)
    async def client_gone(request: Request, e: ClientGone) -> Response:
        return Response(status_code=499)


# pydantic's complaints in JSON's words. What is not listed here keeps pydantic's own message.
COMPLAINTS = {
    "missing": "is required",
    "extra_forbidden": "unknown field",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "int_parsing_size": "is too large",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "list_type": "must be an array",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "none_required": "must be null",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be greater than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "too_short": "must have at least {min_length} item",
    "too_long": "must have at most {max_length} items",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "literal_error": "must be {expected}",
}
WITHOUT_VALUE = {"missing", "extra_forbidden", "too_short", "too_long", "string_too_short", "string_too_long"}


def explain(e: RequestValidationError, content_type: str) -> dict[str, Any]:
    """An error body for one of pydantic's complaints: about the most deeply nested value, which came closest to a fit."""
    worst = max(e.errors(), key=lambda one: len(one["loc"]))
    kind, context, given = worst["type"], worst.get("ctx", {}), worst.get("input")
    if kind == "json_invalid":
        return error(f"the body is not JSON: {context['error']} at character {worst['loc'][-1]}", 400)
    *within, last = (str(part) for part in worst["loc"])
    # Between the names are the types that were tried: "list[int]", "function-before[utf8(), str]".
    path = [ascii(part)[1:-1] for part in within[1:] if "[" not in part]
    if within and ("[" not in last or kind == "extra_forbidden"):
        path.append(ascii(last)[1:-1])
    if not path:
        return error(not_an_object(given, content_type), 400)
    complaint = COMPLAINTS.get(kind, worst["msg"].removeprefix("Value error, ")).format(**context)
    if kind in COMPLAINTS and kind not in WITHOUT_VALUE:
        complaint += f", not {short(given)}"
    code = kind if kind == "unsupported_parameter" else None
    return error(f"{'.'.join(path)[:200]}: {complaint}", 400, path[0][:80], code)


def not_an_object(body: Any, content_type: str) -> str:
    if body is None:
        return "the body must be a JSON object, but is empty or null"
    if isinstance(body, bytes):  # not parsed
        return f"the body must be JSON, sent with Content-Type: application/json, not {short(content_type)}"
    return f"the body must be a JSON object, not {short(body)}"


def parse_failure(e: BaseException) -> str:
    if isinstance(e, UnicodeDecodeError):
        return f"invalid {e.encoding} at byte {e.start}"
    return "it is nested too deeply" if isinstance(e, RecursionError) else "a number has too many digits"


def short(value: Any) -> str:
    """A value as an error message may show it: JSON, printable, of bounded length."""
    if isinstance(value, (list, dict)):
        return "an array" if isinstance(value, list) else "an object"
    if isinstance(value, int) and abs(value) > 10**50:
        return "an integer that large"
    text = json.dumps(value[:60] if isinstance(value, str) else value, default=lambda v: type(v).__name__)
    return text if len(text) <= 60 else text[:57] + "..."


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """What every error looks like."""

    error: ErrorDetail


REASONS = {
    400: "the request is malformed, or asks for what this server cannot do",
    404: "the model, or what the path names, does not exist",
    413: "the body is too large",
    415: "the body is compressed",
    429: "too many requests are waiting",
    503: "the server is loading or stopping, or has failed",
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document: the errors that a route sends."""
    listed: dict[int | str, dict[str, Any]] = {
        status: {"model": ErrorBody, "description": REASONS[status]} for status in statuses
    }
    return {**listed, "default": {"model": ErrorBody, "description": "any other error"}}
