"""From chat messages to the text that a model was trained on: the checkpoint's Jinja template, in a sandbox.

Chat templates are written for the environment that transformers gives them. This one is the same, so the renderings are equal.
Tokens are made elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from common.errors import UserError
from common.fields import Fields, show

__all__ = ["FALLBACK_STOP", "FALLBACK_TEMPLATE", "Message", "find_template", "render"]

Message = Mapping[str, Any]

# For base models, which have no template: a dialogue in plain text. Without FALLBACK_STOP the model would write the user's next
# line too.
FALLBACK_TEMPLATE = """\
{% for message in messages %}
{% if message['role'] == 'system' %}
{{ message['content'] }}

{% else %}
{{ message['role'] | capitalize }}: {{ message['content'] }}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}
Assistant:{% endif %}"""
FALLBACK_STOP = ("\nUser:",)


class _Generation(Extension):
    """`{% generation %}` marks the assistant's words for training; here its body is rendered as it is."""

    tags = {"generation"}  # noqa: RUF012  (Jinja's interface)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def find_template(folder: Path, config: Fields) -> str | None:
    """chat_template.jinja, else `chat_template` of tokenizer_config.json: text, or a list of named ones ("default")."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8: {error}") from None
    template = config.raw.get("chat_template")
    if isinstance(template, list) and all(isinstance(entry, dict) for entry in template):
        named = {str(entry.get("name")): entry.get("template") for entry in template}
        template = named.get("default", next(iter(named.values())) if len(named) == 1 else None)
        if template is None:
            raise config.error(f"chat_template has no entry named default, only {', '.join(named)}")
    if template is not None and not isinstance(template, str):
        raise config.error(
            f"chat_template is {show(template)}, but must be text or a list of {{name, template}}"
        )
    return template


def render(template: str, messages: Sequence[Message], **variables: object) -> str:
    """The template's text for `messages`. variables: what else it may read (bos_token, ...).

    Raises UserError for malformed messages and for whatever the template itself refuses.
    """
    _check(messages)
    try:
        return _compile(template).render(messages=messages, **variables)
    except jinja2.TemplateError as error:
        raise UserError(f"messages: the chat template says: {' '.join(str(error).split())}") from error
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        # The template met a value of a type that it does not expect, such as null as content.
        raise UserError(f"messages: the chat template cannot render them: {error}") from error


def _check(messages: object) -> None:
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise UserError("messages: a non-empty list of {role, content} is needed")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise UserError(f"messages[{index}]: needs a role, such as system, user or assistant")


@lru_cache(maxsize=16)
def _compile(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(template)


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Plain JSON; Jinja's own filter escapes for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
