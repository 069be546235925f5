"""OpenAI's request bodies, as far as this server honours them.

A field is honoured, accepted because it changes nothing here, or refused by name: a request never
silently gets less than it asked for.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from ..sampler import SamplingParams
from .errors import Refused, short
from .fields import Body, Ids, Integer, Limit, LogitBias, Metadata, Stop, Text

# What OpenAI's protocol has and this server does not, with the value that asks for nothing. A request may have several
# of them: the first in this order is the one that is named.
NOT_SUPPORTED: dict[str, Any] = {
    "tools": [],
    "functions": [],
    "response_format": {"type": "text"},
    "tool_choice": "none",
    "function_call": "none",
    "best_of": 1,
    "logprobs": False,
    "top_logprobs": 0,
    "echo": False,
    "suffix": "",
    "modalities": ["text"],
    "audio": None,
    "prediction": None,
    "reasoning_effort": None,
    "verbosity": None,
    "web_search_options": None,
    "moderation": None,
}


MAX_CHOICES = 128  # of one request: several prompts, several answers to each
SMALLEST_TOP_P = 1e-9  # stands in for 0: only the likeliest token is kept


class StreamOptions(Body):
    include_usage: bool = False  # in one more chunk, at the end
    continuous_usage_stats: bool = False  # and in each chunk, so far
    include_obfuscation: bool = False  # accepted, without effect


class GenerationRequest(Body):
    """What both endpoints share."""

    model: Text
    stop: Stop | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 1.0
    top_p: Annotated[float, Field(ge=0, le=1)] | None = 1.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    logit_bias: LogitBias | None = None
    seed: Annotated[Integer, Field(ge=-(2**63), lt=2**63)] | None = None
    n: Annotated[Integer, Field(ge=1, le=16)] | None = 1
    top_k: Annotated[Integer, Field(ge=-1, lt=2**31)] | None = 0  # this and the next two as vLLM spells them
    min_p: Annotated[float, Field(ge=0, le=1)] | None = 0.0
    repetition_penalty: Annotated[float, Field(ge=0.01, le=2)] | None = 1.0
    ignore_eos: bool = False  # our own: go on after the end token, for benchmarks
    # Accepted, without effect here.
    user: Text | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    parallel_tool_calls: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def refuse(cls, body: Any) -> Any:
        """Names the first field that asks for what this server cannot do; drops those that ask for nothing."""
        if not isinstance(body, dict):
            return body
        for name, neutral in NOT_SUPPORTED.items():
            value = body.get(name)
            if value is not None and (
                value != neutral or isinstance(value, bool) != isinstance(neutral, bool)
            ):
                shown = name if isinstance(value, (list, dict)) else f"{name} = {short(value)}"
                only = "leave it out" if neutral is None else f"leave it out, or send {json.dumps(neutral)}"
                raise Refused(
                    name,
                    f"{shown} is not supported by this server; {only}",
                    code="unsupported_parameter",
                )
        return {k: v for k, v in body.items() if k not in NOT_SUPPORTED}

    @model_validator(mode="after")
    def fits_together(self) -> GenerationRequest:
        if self.stream_options and not self.stream:
            raise Refused("stream_options", "stream_options: is only allowed when stream is true")
        return self

    def params(self, max_tokens: int | None) -> list[SamplingParams]:
        """The parameters for the engine, one object for each choice of a prompt."""
        one = SamplingParams(
            max_tokens=max_tokens,
            stop=tuple(self.stop or ()),
            ignore_eos=self.ignore_eos,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_k=max(self.top_k or 0, 0),  # -1 is off, too
            top_p=1.0 if self.top_p is None else max(self.top_p, SMALLEST_TOP_P),
            min_p=self.min_p or 0.0,
            repetition_penalty=self.repetition_penalty or 1.0,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            logit_bias=self.logit_bias or {},
            seed=self.seed,
        )
        return [replace(one, sample_index=i) for i in range(self.n or 1)]


def form_of_prompt(prompt: Any) -> str | None:
    first = prompt[0] if isinstance(prompt, list) and prompt else 0
    if isinstance(prompt, str):
        return "[text]"
    if not isinstance(prompt, list):
        return None
    return "[texts]" if isinstance(first, str) else "[lists of ids]" if isinstance(first, list) else "[ids]"


class CompletionRequest(GenerationRequest):
    prompt: Annotated[
        Annotated[Text, Tag("[text]")]
        | Annotated[Ids, Tag("[ids]")]
        | Annotated[list[Text], Field(fail_fast=True), Tag("[texts]")]
        | Annotated[list[Ids], Field(fail_fast=True), Tag("[lists of ids]")],
        Discriminator(
            form_of_prompt,
            custom_error_type="wrong_type",
            custom_error_message="must be a string, an array of token ids, or an array of either",
        ),
    ]
    max_tokens: Limit | None = 16

    def prompts(self) -> list[str | list[int]]:
        """One or several, as text or token ids."""
        p = self.prompt
        return list(p) if isinstance(p, list) and p and not isinstance(p[0], int) else [p]  # type: ignore[list-item]

    def limit(self) -> tuple[str, int | None]:
        """The field that bounds the answer, and the bound."""
        return "max_tokens", self.max_tokens


class MessagePart(Body):
    """A message or a part of one. Clients send answers back as they got them, unneeded fields included."""

    ignores_nulls = True
    cache_control: Any = None  # this and the next accepted, without effect
    annotations: Any = None


class TextPart(MessagePart):
    type: Literal["text"]
    text: Text
    role: Any = None  # accepted, without effect


class Message(MessagePart):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[Text, Tag("[text]")] | Annotated[list[TextPart], Field(fail_fast=True), Tag("[parts]")],
        Discriminator(
            lambda content: {str: "[text]", list: "[parts]"}.get(type(content)),
            custom_error_type="wrong_type",
            custom_error_message="must be a string or an array of text parts",
        ),
    ]
    # Accepted, without effect.
    name: Text | None = None
    parsed: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    provider_specific_fields: Any = None  # LiteLLM's
    # Empty or null only.
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[None], Field(max_length=0, fail_fast=True)] | None = None

    @model_validator(mode="before")
    @classmethod
    def refuse_tools(cls, message: Any) -> Any:
        """Runs before the check that would say that such a message has no content."""
        if isinstance(message, dict) and (
            message.get("tool_calls")
            or message.get("function_call")
            or message.get("role") in ("tool", "function")
        ):
            raise PydanticCustomError("unsupported_parameter", "tool calls are not supported by this server")
        return message

    def plain(self) -> dict[str, str]:
        """As chat templates know it: a role and a string."""
        content = (
            self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        )
        return {"role": "system" if self.role == "developer" else self.role, "content": content}


class ChatCompletionRequest(GenerationRequest):
    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None  # the newer name, which wins

    def prompts(self) -> list[list[dict[str, str]]]:
        """One conversation."""
        return [[message.plain() for message in self.messages]]

    def limit(self) -> tuple[str, int | None]:
        """As for completions; of its two names the newer one wins."""
        newer = self.max_completion_tokens
        return ("max_tokens", self.max_tokens) if newer is None else ("max_completion_tokens", newer)
