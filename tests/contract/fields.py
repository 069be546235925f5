"""What requests may ask for, as data: which capability brings a field, and which values are possible.

The stages know nothing of each other, so it is here that the story stands of which stage learns what. The tests in
test_fields.py flip by themselves when a stage claims the capability.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

BOTH = ("completions", "chat")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@dataclass(frozen=True, slots=True)
class Brought:
    """A field that is refused, naming it, until a capability brings it."""

    name: str
    capability: str  # one that no stage claims: never honoured
    value: Any  # asks for something
    nothing: tuple[Any, ...] = ()  # values that ask for nothing, accepted by all
    on: tuple[str, ...] = BOTH
    more: dict[str, Any] = field(default_factory=dict)  # what must go with it

    def __str__(self) -> str:
        return self.name


BROUGHT = [
    Brought("temperature", "sampling", 0.7, (0, 0.0, None)),
    Brought("top_p", "sampling", 0.5, (1, 1.0, None)),
    Brought("top_k", "sampling", 5),
    Brought("min_p", "sampling", 0.1),
    Brought("seed", "seed", 42, (None,)),
    Brought("n", "n", 2, (1, None)),
    Brought("presence_penalty", "penalties", 0.5, (0, 0.0, None)),
    Brought("frequency_penalty", "penalties", -0.5, (0, 0.0, None)),
    Brought("repetition_penalty", "penalties", 1.3),
    Brought("logit_bias", "logit_bias", {"5": 10}, ({}, None)),
    Brought("best_of", "best_of", 2, (1, None), ("completions",)),
    Brought("suffix", "suffix", "The end.", ("", None), ("completions",)),
    Brought("echo", "prompt_logprobs", True, (False, None), ("completions",)),
    Brought("logprobs", "logprobs", 2, (None,), ("completions",)),
    Brought("logprobs", "logprobs", True, (False, None), ("chat",)),
    Brought("top_logprobs", "logprobs", 2, (0, None), ("chat",), {"logprobs": True}),
    Brought(
        "response_format", "structured_output", {"type": "json_object"}, ({"type": "text"}, None), ("chat",)
    ),
    Brought("tools", "tools", [TOOL], ([], None), ("chat",)),
    Brought("tool_choice", "tools", "auto", ("none", None), ("chat",), {"tools": [TOOL]}),
    Brought("functions", "tools", [{"name": "f"}], ([], None), ("chat",)),
    Brought("function_call", "tools", "auto", ("none", None), ("chat",)),
    Brought("modalities", "audio", ["text", "audio"], (["text"], None), ("chat",)),
    Brought("audio", "audio", {"voice": "alloy", "format": "wav"}, (None,), ("chat",)),
    Brought("prediction", "prediction", {"type": "content", "content": "x"}, (None,), ("chat",)),
    Brought("reasoning_effort", "reasoning", "low", (None,), ("chat",)),
    Brought("verbosity", "reasoning", "low", (None,), ("chat",)),
    Brought("web_search_options", "web_search", {}, (None,), ("chat",)),
    Brought("moderation", "moderation", {"model": "m"}, (None,), ("chat",)),
]

# Fields that clients send and that change nothing here: accepted by all stages.
WITHOUT_EFFECT: dict[str, Any] = {
    "user": "user-1234",
    "metadata": {"trace": "a1", "": "", "größe": "🦊"},
    "store": False,
    "service_tier": "auto",
    "safety_identifier": "hashed",
    "prompt_cache_key": "key",
    "prompt_cache_options": {"ttl": "30m"},
    "prompt_cache_retention": "24h",
    "parallel_tool_calls": False,
}

# Client-side arguments of the official client's `create`, which never reach a body.
NOT_IN_BODY = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}


@dataclass(frozen=True, slots=True)
class Range:
    """Values at and just outside the edges of a field, from the stage on that honours it."""

    name: str
    capability: str
    good: tuple[Any, ...]
    bad: tuple[Any, ...]
    on: tuple[str, ...] = BOTH
    more: dict[str, Any] = field(default_factory=dict)  # what must go with it

    def __str__(self) -> str:
        return self.name


NO_NUMBER: tuple[Any, ...] = ("1", [], {}, True)
HUGE = 10**400  # more than a float holds
RANGES = [
    Range("max_tokens", "http", (1, 2, 2.0), (0, -1, 1.5, HUGE, *NO_NUMBER)),
    Range("max_completion_tokens", "chat", (1, 2, 2.0), (0, -1, 1.5, HUGE, *NO_NUMBER), ("chat",)),
    Range("stop", "http", ("x", ["x"] * 16, [], None), ("", [""], ["x"] * 17, 5, {}, [5], ["x", None])),
    Range("stream", "http", (False, None), ("yes", 1, 0, [], {})),
    Range("stream_options", "http",
          ({}, None, {"include_usage": True, "continuous_usage_stats": True, "include_obfuscation": False}),
          (True, [], {"include_usage": "yes"}, {"unknown": 1}, {"unknown": None}), more={"stream": True}),
    Range("user", "http", ("", "x" * 1000), (5, [], {})),
    Range("metadata", "http",
          ({}, {str(i): "x" for i in range(16)}, {"k" * 64: "v" * 512}, {"🦊" * 64: "🦊" * 512}),
          (5, [], "x", {str(i): "x" for i in range(17)}, {"k" * 65: "v"}, {"k": "v" * 513}, {"k": 5}, {"k": None},
           {"k": {"deep": "er"}})),
    Range("temperature", "sampling", (0, 1, 2.0), (-0.01, 2.01, float("nan"), float("inf"), HUGE, *NO_NUMBER)),
    Range("top_p", "sampling", (0, 1e-9, 0.5, 1), (-0.1, 1.01, float("nan"), *NO_NUMBER)),
    Range("top_k", "sampling", (-1, 0, 1, 3.0, 10**6), (-2, 1.5, *NO_NUMBER)),
    Range("min_p", "sampling", (0, 1), (-0.01, 1.01, float("nan"), *NO_NUMBER)),
    Range("seed", "seed", (0, 7.0, -(2**63), 2**63 - 1), (2**63, -(2**63) - 1, 1.5, "1", [], True)),
    Range("n", "n", (1, 2, 2.0), (0, -1, 1.5, 10**9, HUGE, *NO_NUMBER)),
    Range("presence_penalty", "penalties", (-2, 2), (-2.01, 2.01, float("nan"), *NO_NUMBER)),
    Range("frequency_penalty", "penalties", (-2, 2), (-2.01, 2.01, float("nan"), *NO_NUMBER)),
    Range("repetition_penalty", "penalties", (0.01, 2), (0, -1, 2.01, float("inf"), *NO_NUMBER)),
    Range("logit_bias", "logit_bias", ({}, {"0": -100, "1": 100}, {"2": 0.5}),
          ({"0": 100.1}, {"0": -101}, {"-1": 1}, {"x": 1}, {"0": "1"}, {"99999999": 1}, {"0": float("nan")}, 5, [])),
]  # fmt: skip
