"""The engine, to the outside: requests in, completions out. What speaks HTTP knows this class and nothing below it.

Any thread may add, abort and look; one thread steps. What passes between them passes through two deques, whose
`append` and `popleft` are atomic; who looks before he leaps does both under the lock.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from common.errors import UserError
from common.loader import load_model
from common.models import ModelConfig
from common.tokenizer import Tokenizer

from .attention import CachedAttention
from .config import EngineConfig
from .kv_cache import KVCache
from .request import Output, Request, Status
from .sampler import SamplerOutput, Sampling, SamplingParams, sample
from .text import TextStream

log = logging.getLogger("vitrine.engine")


class QueueFull(UserError):
    """Too many requests wait already."""


@dataclass(slots=True)
class Completion:
    """All of a request's output."""

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


def nobody(output: Output) -> None:
    """Reads the outputs of a request that has no reader."""


class Engine:
    """One model, one request at a time, the others in a queue."""

    def __init__(self, model: Any, tokenizer: Tokenizer, model_config: ModelConfig, config: EngineConfig):
        self.model, self.tokenizer, self.model_config, self.config = model, tokenizer, model_config, config
        self.max_seq_len = config.max_seq_len or model_config.max_positions
        if self.max_seq_len > model_config.max_positions:
            raise UserError(
                f"max_seq_len = {self.max_seq_len}, but the model's window is {model_config.max_positions}"
            )
        self.device, self.dtype = model.embed.weight.device, model.embed.weight.dtype
        self.attend = CachedAttention(KVCache(model.layers_info, self.max_seq_len, self.device, self.dtype))
        self.waiting: deque[Request] = deque()
        self.running: Request | None = None
        self.aborting: deque[str] = deque()
        self.requests: dict[str, Request] = {}  # those that wait or run, and the last finished ones
        self.ended: deque[str] = deque()  # ids of the finished ones, oldest first
        # Held to add, to abort, and to step where no thread does. One thread may take it twice: a reader may add, and the
        # garbage collector may close a stream in the middle of anything.
        self.lock = threading.RLock()
        self.thread: threading.Thread | None = None
        self.work = threading.Event()  # there may be something to do
        self.closed = False

    @classmethod
    def from_pretrained(cls, name_or_path: str, config: EngineConfig | None = None) -> Engine:
        """Raises UserError for a checkpoint, a device or a setting that cannot be used."""
        config = config or EngineConfig()
        model, tokenizer, model_config = load_model(name_or_path, config.device, config.dtype)
        return cls(model, tokenizer, model_config, config)

    # Any thread.

    def add(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        request_id: str | None = None,
        on_output: Callable[[Output], None] = nobody,
    ) -> Request:
        """Puts a request at the end of the queue. `on_output` gets each output, from the thread that steps.

        Raises:
            UserError: a prompt or parameters that can never be served, or an id that is taken.
            QueueFull: `max_waiting` requests wait already, or the engine is closed.
        """
        params, tokens = params or SamplingParams(), self.encode(prompt)
        max_tokens = self.max_tokens(tokens, params)
        if unknown := [t for t in params.logit_bias if not 0 <= t < self.model_config.vocab_size]:
            raise UserError(f"logit_bias: token id {unknown[0]} is not in the vocabulary")
        request_id = request_id or uuid.uuid4().hex
        eos_ids = () if params.ignore_eos else self.model_config.eos_token_ids
        with self.lock:
            if self.closed:
                raise QueueFull("the engine is shutting down")
            if request_id in self.requests:
                raise UserError(f"request_id: {request_id!r} is taken")
            if len(self.waiting) >= self.config.max_waiting:
                raise QueueFull(f"{len(self.waiting)} requests wait already; try again later")
            request = Request(
                id=request_id,
                tokens=tokens,
                num_prompt_tokens=len(tokens),
                params=params,
                max_tokens=max_tokens,
                eos_ids=eos_ids,
                stream=TextStream(self.tokenizer, params.stop, tokens),
                on_output=on_output,
            )
            self.requests[request_id] = request
            self.waiting.append(request)
        self.work.set()
        return request

    def abort(self, request_id: str) -> None:
        """Ends a request before the next step. An unknown or finished one is left alone."""
        with self.lock:
            request = self.requests.get(request_id)
            if request and not request.done:
                self.aborting.append(request_id)
                self.work.set()

    def generate(
        self, prompts: Sequence[Prompt], params: SamplingParams | Sequence[SamplingParams] | None = None
    ) -> list[Completion]:
        """Completes all prompts -> completions in the same order. `params`: one for all, or one each."""
        each = list(params) if isinstance(params, Sequence) else [params or SamplingParams()] * len(prompts)
        todo = deque((self.encode(p), own) for p, own in zip(prompts, each, strict=True))
        streams: deque[tuple[list[int], Iterator[Output]]] = deque()
        completions = []
        while todo or streams:
            while todo and len(streams) < self.config.max_waiting:
                tokens, own = todo.popleft()
                streams.append((tokens, self.stream(tokens, own)))
            tokens, outputs = streams.popleft()
            completion = Completion("", tokens)
            for output in outputs:
                completion.request_id = output.request_id
                completion.add(output)
            completions.append(completion)
        return completions

    def stream(
        self, prompt: Prompt, params: SamplingParams | None = None, request_id: str | None = None
    ) -> Iterator[Output]:
        """Completes one prompt, piece by piece. Closing the iterator ends the generation. Raises as `add` does."""
        outputs: SimpleQueue[Output] = SimpleQueue()
        request = self.add(prompt, params, request_id, outputs.put)
        drain = self._drain(request, outputs)
        next(drain)  # into its `try`: whoever drops it now, even unread, closes it
        return drain

    def _drain(self, request: Request, outputs: SimpleQueue[Output]) -> Iterator[Output]:
        try:
            yield Output(request.id, [], "")  # to `stream`
            while True:
                with self.lock:
                    while self.thread is None and outputs.empty():
                        self.step()  # nobody else does
                output = outputs.get()
                if output.error:
                    raise RuntimeError(f"request {request.id} failed: {output.error}")
                yield output
                if output.finish_reason:
                    return
        finally:
            if not request.done:
                self.abort(request.id)

    def start(self) -> None:
        """Starts the thread that steps, once."""
        with self.lock:
            if self.thread is None:
                self.thread = threading.Thread(target=self._loop, name="engine", daemon=True)
                self.thread.start()

    def close(self) -> None:
        """Ends all requests, and the thread. None can be added any more."""
        with self.lock:
            self.closed = True
            for request_id in list(self.requests):
                self.abort(request_id)
            if self.thread is None:
                self.step()  # nobody else ends them
        self.work.set()
        if self.thread and self.thread is not threading.current_thread():
            self.thread.join(timeout=10)

    def encode(self, prompt: Prompt) -> list[int]:
        """Raises UserError for an empty prompt and for ids outside the vocabulary."""
        tokens = self.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
        if not tokens:
            raise UserError("prompt: is empty, give at least one token")
        size = self.model_config.vocab_size
        if not all(0 <= t < size for t in tokens):
            raise UserError(f"prompt: token ids must be within 0..{size - 1}")
        return tokens

    def max_tokens(self, tokens: Sequence[int], params: SamplingParams) -> int:
        """How many tokens the request may add. Raises UserError, with the numbers, where they do not fit."""
        room = self.max_seq_len - len(tokens)
        wanted = room if params.max_tokens is None else params.max_tokens
        if wanted > room or room < 1:
            raise UserError(
                f"prompt: {len(tokens)} tokens and max_tokens {max(wanted, 1)} make {len(tokens) + max(wanted, 1)}, "
                f"but this server's window is {self.max_seq_len} tokens"
            )
        return wanted

    # The thread that steps.

    def _loop(self) -> None:
        while not self.closed or self.running or self.waiting:
            self.work.wait()  # asleep while there is nothing to do
            self.work.clear()
            while self.running or self.waiting or self.aborting:
                self.step()

    def step(self) -> list[Output]:
        """One token for the request whose turn it is."""
        request = self.schedule()
        if request is None:
            return []
        try:
            logits = self.run(request)
            out = sample(logits, Sampling.build([request], logits.device))
            return self.postprocess(request, out)
        except Exception as e:  # a request that cannot be served must not harm the next one
            log.exception("request %s failed", request.id)
            return [self.end(request, Status.FAILED, "error", f"{type(e).__name__}: {e}")]

    def schedule(self) -> Request | None:
        """Who runs: the running request until it is done, then the one that has waited longest."""
        while self.aborting:
            request = self.requests.get(self.aborting.popleft())
            if request and not request.done:
                self.end(request, Status.CANCELLED, "abort")
        if self.running is None and self.waiting:
            self.running = self.waiting.popleft()
            self.running.start()
            self.attend.cache.truncate_to(0)
        return self.running

    @torch.inference_mode()
    def run(self, request: Request) -> Tensor:
        """The tokens that the cache has not seen through the model -> logits [1, vocab] of the one that follows."""
        tokens = request.tokens[self.attend.cache.length :]
        start = self.attend.plan(len(tokens))
        positions = torch.arange(start, start + len(tokens), device=self.device)
        hidden = self.model(torch.tensor(tokens, device=self.device), positions, self.attend)
        return self.model.logits(hidden[-1:])

    def postprocess(self, request: Request, out: SamplerOutput) -> list[Output]:
        (token,) = out.tokens.tolist()
        text = request.write(request.num_tokens, token)
        if request.done:
            self.remove(request)
        return [self.deliver(request, request.output([token], text))]

    def end(self, request: Request, status: Status, reason: str, error: str | None = None) -> Output:
        """Ends a request that has not ended by itself. Text that is held back stays there: to ask for it may fail again."""
        request.finish(status, reason, error)
        self.remove(request)
        return self.deliver(request, request.output([], ""))

    def remove(self, request: Request) -> None:
        if request is self.running:
            self.running = None
        elif request in self.waiting:
            self.waiting.remove(request)
        self.ended.append(request.id)
        while len(self.ended) > self.config.history:
            self.requests.pop(self.ended.popleft(), None)

    def deliver(self, request: Request, output: Output) -> Output:
        try:
            request.on_output(output)
        except Exception:
            log.exception("request %s: its reader failed", request.id)
            self.abort(request.id)
        if output.finish_reason:
            request.on_output = nobody  # what the reader holds is not ours to remember
        return output
