"""OpenAI's request and response bodies, as far as this server honours them, and its error shape.

A field is honoured, accepted because it changes nothing here, or refused by name: a request never gets less than it
asked for without a word.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ..sampler import SamplingParams

# What OpenAI's protocol has and this server has not, with the value at which it means nothing.
NOT_SUPPORTED: dict[str, Any] = {
    "best_of": 1,
    "logprobs": False,
    "top_logprobs": 0,
    "echo": False,
    "suffix": "",
    "response_format": {"type": "text"},
    "tools": [],
    "tool_choice": "none",
    "parallel_tool_calls": True,
    "functions": [],
    "function_call": "none",
    "modalities": ["text"],
    "audio": None,
    "prediction": None,
    "reasoning_effort": None,
    "verbosity": None,
    "web_search_options": None,
    "moderation": None,
}


MAX_CHOICES = 128  # of one request: several prompts, several answers to each


def utf8(text: str) -> str:
    """JSON can spell halves of a surrogate pair, which are no text. Raises ValueError."""
    if isinstance(text, str) and not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("holds half of a surrogate pair, which is no character") from None
    return text


def pairs(metadata: Any) -> Any:
    """Raises ValueError for more pairs than OpenAI allows, before each is looked at."""
    if isinstance(metadata, dict) and len(metadata) > 16:
        raise ValueError(f"has {len(metadata)} pairs, but at most 16 are possible")
    return metadata


Text = Annotated[str, BeforeValidator(utf8)]
Key = Annotated[Text, Field(max_length=64)]
Metadata = Annotated[dict[Key, Annotated[Text, Field(max_length=512)]], BeforeValidator(pairs)]
Limit = Annotated[int, Field(ge=1, lt=2**31)]  # JSON knows numbers of any length
TokenId = Annotated[
    int, BeforeValidator(lambda v: int(v) if isinstance(v, str) and v.isdecimal() else v), Field(ge=0)
]
Stop = Annotated[
    list[Text],
    Field(max_length=16, fail_fast=True),
    BeforeValidator(lambda v: [v] if isinstance(v, str) else v),
]


def few(bias: Any) -> Any:
    """Raises ValueError for more entries than anybody needs, before each is looked at."""
    if isinstance(bias, dict) and len(bias) > 1024:
        raise ValueError(f"has {len(bias)} entries, but at most 1024 are possible")
    return bias


LogitBias = Annotated[dict[TokenId, Annotated[float, Field(ge=-100, le=100)]], BeforeValidator(few)]


class Body(BaseModel):
    """pydantic lists all that is wrong, and a body of a few MB can hold a million mistakes: so lists fail at the first
    one (fail_fast), and of unknown fields only the first is shown to it.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def tidy(cls, body: Any) -> Any:
        """As OpenAI has it, null means not given."""
        if not isinstance(body, dict):
            return body
        known = {k: v for k, v in body.items() if k in cls.model_fields and v is not None}
        unknown = next((k for k in body if k not in cls.model_fields), None)
        return known if unknown is None else {**known, unknown: body[unknown]}


class StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: bool = False  # accepted, without effect


class GenerationRequest(Body):
    """What both endpoints share."""

    model: Text
    stop: Stop | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 1.0
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    logit_bias: LogitBias | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = 1
    top_k: Annotated[int, Field(ge=0, lt=2**31)] | None = 0  # this and the next two as vLLM spells them
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

    @model_validator(mode="before")
    @classmethod
    def refuse(cls, body: Any) -> Any:
        """Names the first field that asks for what this server cannot do; drops those that ask for nothing."""
        if not isinstance(body, dict):
            return body
        for name in [k for k in body if k in NOT_SUPPORTED]:
            value, neutral = body[name], NOT_SUPPORTED[name]
            if value is not None and (
                value != neutral or isinstance(value, bool) != isinstance(neutral, bool)
            ):
                only = "" if neutral is None else f", only {neutral!r}"
                raise Refused(name, f"{name} = {short(value)} is not supported by this server{only}")
        return {k: v for k, v in body.items() if k not in NOT_SUPPORTED}

    def params(self, max_tokens: int | None) -> list[SamplingParams]:
        """What the engine is asked for: one for each choice of a prompt."""
        one = SamplingParams(
            max_tokens=max_tokens,
            stop=tuple(self.stop or ()),
            ignore_eos=self.ignore_eos,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_k=self.top_k or 0,
            top_p=self.top_p or 1.0,
            min_p=self.min_p or 0.0,
            repetition_penalty=self.repetition_penalty or 1.0,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            logit_bias=self.logit_bias or {},
            seed=self.seed,
        )
        return [replace(one, sample_index=i) for i in range(self.n or 1)]


class CompletionRequest(GenerationRequest):
    prompt: (
        Text
        | Annotated[list[int], Field(fail_fast=True)]
        | Annotated[list[Text], Field(fail_fast=True)]
        | Annotated[list[Annotated[list[int], Field(fail_fast=True)]], Field(fail_fast=True)]
    )
    max_tokens: Limit | None = 16

    def prompts(self) -> list[str | list[int]]:
        """One or several, as text or token ids."""
        p = self.prompt
        return list(p) if isinstance(p, list) and p and not isinstance(p[0], int) else [p]  # type: ignore[list-item]


class TextPart(Body):
    type: Literal["text"]
    text: Text


class Message(Body):
    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(fail_fast=True)]
    name: Text | None = None
    # What an answer carries besides, for clients send answers back as they got them; empty or null.
    refusal: None = None
    audio: None = None
    function_call: None = None
    tool_calls: Annotated[list[None], Field(max_length=0, fail_fast=True)] | None = None
    annotations: Annotated[list[None], Field(max_length=0, fail_fast=True)] | None = None

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


class Refused(Exception):
    """A request that gets an error response: not a ValueError, which pydantic would wrap."""

    def __init__(self, param: str | None, message: str, status: int = 400, code: str | None = None):
        super().__init__(message)
        self.param, self.message, self.status, self.code = param, message, status, code


def error(message: str, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error body in OpenAI's shape."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def short(value: Any) -> str:
    """A value as an error message may show it: printable ASCII of bounded length."""
    text = ascii(value) if isinstance(value, (str, int, float, bool)) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
