"""The engine as the outside sees it: requests in, completions out. The HTTP server uses this class and nothing below."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from common.errors import UserError
from common.loader import load_model
from common.models import Model, ModelConfig
from common.options import has_type, shown
from common.tokenizer import Tokenizer

from .config import EngineConfig
from .generate import generate
from .sampler import SamplingParams


@dataclass(slots=True)
class Timing:
    """When a request reached its milestones, in seconds of `time.perf_counter`."""

    arrived: float = field(default_factory=time.perf_counter)
    first_token: float = 0.0
    finished: float = 0.0

    def metrics(self, num_tokens: int) -> dict[str, float]:
        """What the client is told: times in seconds, and output tokens per second after the first token."""
        decode = self.finished - self.first_token
        return {
            "ttft": self.first_token - self.arrived,
            "latency": self.finished - self.arrived,
            "tokens_per_second": (num_tokens - 1) / decode if num_tokens > 1 and decode > 0 else 0.0,
        }


@dataclass(frozen=True, slots=True)
class Output:
    """What one step produced for one request. `text` is empty while a character or a possible stop string is incomplete."""

    request_id: str
    tokens: list[int]
    text: str
    finish_reason: str | None = None  # on the last output: "stop", "length" or "abort"
    metrics: dict[str, float] | None = None  # on the last output


@dataclass(slots=True)
class Completion:
    """The whole output of one request."""

    request_id: str
    prompt_tokens: list[int]
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: str | None = None
    metrics: dict[str, float] | None = None

    def add(self, output: Output) -> None:
        self.tokens += output.tokens
        self.text += output.text
        self.finish_reason, self.metrics = output.finish_reason, output.metrics


Prompt = str | Sequence[int]  # text, or token ids


class Engine:
    """One model, one request at a time. Its methods may be called from any thread."""

    def __init__(self, model: Model, tokenizer: Tokenizer, model_config: ModelConfig, config: EngineConfig):
        self.model, self.tokenizer, self.model_config, self.config = model, tokenizer, model_config, config
        self.max_seq_len = config.max_seq_len or model_config.max_positions
        if self.max_seq_len > model_config.max_positions:
            raise UserError(
                f"max_seq_len = {self.max_seq_len}, but the model's window is {model_config.max_positions}"
            )
        self.device, self.dtype = model.device, model.dtype
        self.lock = threading.Lock()  # the thread that holds it may run the model
        self.active: set[str] = set()  # ids of waiting and running requests; `abort` takes an id out

    @classmethod
    def from_pretrained(cls, name_or_path: str, config: EngineConfig | None = None) -> Engine:
        """Loads a checkpoint. Raises UserError for a checkpoint, a device or a setting that cannot be used."""
        config = config or EngineConfig()
        model, tokenizer, model_config = load_model(name_or_path, config.device, config.dtype)
        return cls(model, tokenizer, model_config, config)

    def generate(
        self, prompts: Sequence[Prompt], params: SamplingParams | Sequence[SamplingParams] | None = None
    ) -> list[Completion]:
        """Completes all prompts, in order. `params`: one for all of them, or one for each."""
        prompts = [prompts] if isinstance(prompts, str) else prompts
        each = list(params) if isinstance(params, Sequence) else [params or SamplingParams()] * len(prompts)
        if len(each) != len(prompts):
            raise UserError(f"params: {len(each)} for {len(prompts)} prompts; give one, or one for each")
        completions = []
        for prompt, own in zip(prompts, each, strict=True):
            tokens = self.encode(prompt)
            completion = Completion("", tokens)
            for output in self.stream(tokens, own):
                completion.request_id = output.request_id
                completion.add(output)
            completions.append(completion)
        return completions

    def stream(
        self, prompt: Prompt, params: SamplingParams | None = None, request_id: str | None = None
    ) -> Iterator[Output]:
        """Completes one prompt piece by piece. Closing the iterator ends the generation.

        Raises:
            UserError: at the call, not at the first token, for a request that can never be served.
        """
        params, tokens = params or SamplingParams(), self.encode(prompt)
        max_tokens = self.max_tokens(tokens, params)
        request_id = request_id or uuid.uuid4().hex
        self.active.add(request_id)
        return self._run(request_id, tokens, max_tokens, params)

    def abort(self, request_id: str) -> None:
        """Ends a request before its next token. An unknown or finished one is left alone."""
        self.active.discard(request_id)

    def close(self) -> None:
        """Ends all requests."""
        self.active.clear()

    def encode(self, prompt: Prompt) -> list[int]:
        """Text or token ids to token ids. Raises UserError for an empty prompt or an id outside the vocabulary."""
        tokens = self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
        if not isinstance(tokens, Sequence) or not all(has_type(token, int) for token in tokens):
            raise UserError(f"prompt: must be text or a list of token ids, not {shown(prompt)}")
        if not tokens:
            raise UserError("prompt: is empty, give at least one token")
        size = self.model_config.vocab_size
        if not all(0 <= t < size for t in tokens):
            raise UserError(f"prompt: token ids must be within 0..{size - 1}")
        return list(tokens)

    def max_tokens(self, tokens: Sequence[int], params: SamplingParams) -> int:
        """How many tokens the request may add. Raises UserError, with the numbers, if they do not fit."""
        room = self.max_seq_len - len(tokens)
        wanted = room if params.max_tokens is None else params.max_tokens
        if wanted > room or room < 1:
            raise UserError(
                f"prompt: {len(tokens)} tokens and max_tokens {max(wanted, 1)} make {len(tokens) + max(wanted, 1)}, "
                f"but this server's window is {self.max_seq_len} tokens"
            )
        return wanted

    def _run(
        self, request_id: str, tokens: list[int], max_tokens: int, params: SamplingParams
    ) -> Iterator[Output]:
        timing, count = Timing(), 0
        eos_ids = () if params.ignore_eos else self.model_config.eos_token_ids
        try:
            with self.lock:
                if request_id not in self.active:  # aborted while it waited: skip the prefill
                    yield Output(request_id, [], "", "abort")
                    return
                for token in generate(
                    self.model,
                    tokens,
                    max_tokens,
                    eos_ids=eos_ids,
                    stop=params.stop,
                    tokenizer=self.tokenizer,
                ):
                    now = time.perf_counter()
                    count += 1
                    timing.first_token = timing.first_token or now
                    timing.finished = now
                    reason = token.finish_reason or (None if request_id in self.active else "abort")
                    metrics = timing.metrics(count) if reason else None
                    yield Output(request_id, [token.id], token.text, reason, metrics)
                    if reason:
                        return
        finally:
            self.active.discard(request_id)
