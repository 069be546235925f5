"""Solution of exercise 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def to_openai(complaints: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """pydantic's `errors()`, at least one, as the body of a 400."""
    message, param = explain(complaints[0])
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": None}}


def explain(complaint: dict[str, Any]) -> tuple[str, str | None]:
    path = [str(part) for part in complaint["loc"] if part != "body"]
    if complaint["type"] == "json_invalid":
        return f"the body is not JSON: {complaint['ctx']['error']}", None
    if not path:
        return "the body must be a JSON object", None
    text = "unknown field" if complaint["type"] == "extra_forbidden" else complaint["msg"]
    return f"{'.'.join(path)}: {text}", path[0]
