"""Exercise 2: errors in OpenAI's shape.

pydantic checks the body and raises one exception with all its complaints, each a dict:

    {"type": "missing", "loc": ("body", "messages", 0, "content"), "msg": "Field required", "input": ...}

OpenAI's client expects something else, about one mistake:

    {"error": {"message": "messages.0.content: Field required", "type": "invalid_request_error",
               "param": "messages", "code": None}}

The rules:
- of several complaints, the first is reported;
- `message` is the path without "body", its parts joined by dots, then a colon, a space and pydantic's message;
- `param` is the first part of the path: the field to look at;
- type "extra_forbidden" says "unknown field" in place of pydantic's message;
- type "json_invalid" is about the text and not about a field: `message` is "the body is not JSON: " and what
  ["ctx"]["error"] says; `param` is None;
- a path with nothing but "body" means that the body is not an object: `message` is "the body must be a JSON object", and
  `param` is None.

`.venv/bin/python -m pytest stages/s04_http_server/exercises/test_ex2_openai_errors.py` checks your function.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def to_openai(complaints: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """pydantic's `errors()`, at least one, as the body of a 400."""
    raise NotImplementedError("write to_openai")
