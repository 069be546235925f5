"""The engine as its users see it: requests in, outputs out. The HTTP server knows this class and nothing below it.

Any thread may add and abort; one thread steps. They share two deques, whose `append` and `popleft` are atomic; a check
followed by an action happens under the lock.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

from common.errors import UserError
from common.loader import load_model
from common.models import Model, ModelConfig
from common.options import has_type, shown
from common.tokenizer import Tokenizer

from .batch import Batch
from .config import EngineConfig
from .request import Output, Request, Status
from .runner import ModelRunner
from .sampler import SamplingParams, sample
from .scheduler import QueueFull, Scheduler
from .text import TextStream

log = logging.getLogger("vitrine.engine")

# Text, or token ids.
Prompt = str | Sequence[int]


class EngineFailed(RuntimeError):
    """The engine's thread has ended with an error; it takes no more requests."""


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


class Stream(Iterator[Output]):
    """The outputs of one request as they come. Closing or dropping it aborts the request."""

    def __init__(
        self, engine: Engine, tokens: list[int], params: SamplingParams | None, request_id: str | None = None
    ):
        self.engine = engine
        self.outputs: SimpleQueue[Output] = SimpleQueue()
        self.request = engine.add(tokens, params, request_id, self.outputs.put)
        self.ended = False

    def __next__(self) -> Output:
        if self.ended:
            raise StopIteration
        with self.engine.lock:
            # An engine without a thread is stepped by its readers.
            while self.engine.thread is None and self.outputs.empty():
                self.engine.guarded_step()
        output = self.outputs.get()
        self.ended = output.finish_reason is not None
        if output.error:
            raise RuntimeError(f"request {self.request.id} failed: {output.error}")
        return output

    def close(self) -> None:
        self.ended = True
        self.engine.abort(self.request.id)

    def __del__(self) -> None:
        # A refused request leaves nothing to close.
        if hasattr(self, "request"):
            self.close()


def discard(output: Output) -> None:
    """The default `on_output`: drops the output."""


class Engine:
    """One model, and the requests that it serves."""

    def __init__(self, model: Model, tokenizer: Tokenizer, model_config: ModelConfig, config: EngineConfig):
        self.model, self.tokenizer, self.model_config = model, tokenizer, model_config
        self.config = config = config.fit(model)
        self.max_seq_len = config.max_seq_len or model_config.max_positions
        self.device, self.dtype = model.device, model.dtype
        self.runner = ModelRunner(model, config)
        self.scheduler = Scheduler(config)
        self.aborting: deque[str] = deque()
        # Unfinished requests and the last finished ones, by id; `ended` lists the latter, oldest first.
        self.requests: dict[str, Request] = {}
        self.ended: deque[str] = deque()
        # Held to add, to abort, and to step without a thread. Reentrant: `on_output` may add a request, and the garbage
        # collector may close a stream in the middle of anything.
        self.lock = threading.RLock()
        self.thread: threading.Thread | None = None
        # Set when there may be something to do.
        self.work = threading.Event()
        self.closed = False
        # Why the engine's loop ended, if it did.
        self.failure: str | None = None
        self.on_failure: Callable[[Exception], None] | None = None

    @classmethod
    def from_pretrained(cls, name_or_path: str, config: EngineConfig | None = None) -> Engine:
        """Raises UserError for a checkpoint, a device or a setting that cannot be used."""
        config = config or EngineConfig()
        model, tokenizer, model_config = load_model(name_or_path, config.device, config.dtype)
        return cls(model, tokenizer, model_config, config)

    # May be called from any thread.

    def encode(self, prompt: Prompt) -> list[int]:
        """The token ids of a prompt. Raises UserError for an empty one and for ids outside the vocabulary."""
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
        """How many tokens the request may add. Raises UserError, with the numbers, if they do not fit the window."""
        room = self.max_seq_len - len(tokens)
        wanted = room if params.max_tokens is None else params.max_tokens
        if wanted > room or room < 1:
            raise UserError(
                f"prompt: {len(tokens)} tokens and max_tokens {max(wanted, 1)} make {len(tokens) + max(wanted, 1)}, "
                f"but this server's window is {self.max_seq_len} tokens"
            )
        return wanted

    def add(
        self,
        tokens: Sequence[int],
        params: SamplingParams | None = None,
        request_id: str | None = None,
        on_output: Callable[[Output], None] = discard,
    ) -> Request:
        """Puts a request at the end of the queue.

        Args:
            tokens: the prompt, as `encode` returned it.
            on_output: called with each output, in the engine's thread.

        Raises:
            UserError: a prompt or parameters that can never be served, or an id that is taken.
            QueueFull: `max_waiting` requests are waiting already, or the engine is closed.
            EngineFailed: the engine's thread has ended with an error.
        """
        params = params or SamplingParams()
        max_tokens = self.max_tokens(tokens, params)
        if unknown := [t for t in params.logit_bias if not 0 <= t < self.model_config.vocab_size]:
            raise UserError(f"logit_bias: token id {unknown[0]} is not in the vocabulary")
        request = Request(
            id=request_id or uuid.uuid4().hex,
            tokens=list(tokens),
            num_prompt_tokens=len(tokens),
            params=params,
            max_tokens=max_tokens,
            eos_ids=() if params.ignore_eos else self.model_config.eos_token_ids,
            stream=TextStream(self.tokenizer, params.stop, tokens),
            on_output=on_output,
        )
        with self.lock:
            if self.failure:
                raise EngineFailed(self.failure)
            if self.closed:
                raise QueueFull("the engine is shutting down")
            if request.id in self.requests:
                raise UserError(f"request_id: {request.id!r} is taken")
            self.scheduler.add(request)
            self.requests[request.id] = request
        self.work.set()
        return request

    def abort(self, request_id: str) -> None:
        """Ends a request before the next step. An unknown or finished one is left alone."""
        with self.lock:
            request = self.requests.get(request_id)
            if request and not request.done:
                self.aborting.append(request_id)
                self.work.set()

    def stream(
        self, prompt: Prompt, params: SamplingParams | None = None, request_id: str | None = None
    ) -> Stream:
        """Completes one prompt, piece by piece. Raises what `encode` and `add` raise."""
        return Stream(self, self.encode(prompt), params, request_id)

    def generate(
        self, prompts: Sequence[Prompt], params: SamplingParams | Sequence[SamplingParams] | None = None
    ) -> list[Completion]:
        """Completes all prompts, in order. `params`: one for all of them, or one for each."""
        encoded = [self.encode(prompt) for prompt in ([prompts] if isinstance(prompts, str) else prompts)]
        each = list(params) if isinstance(params, Sequence) else [params or SamplingParams()] * len(encoded)
        if len(each) != len(encoded):
            raise UserError(f"params: {len(each)} for {len(encoded)} prompts; give one, or one for each")
        todo = deque(zip(encoded, each, strict=True))
        streams: deque[Stream] = deque()
        completions = []
        while todo or streams:
            while todo and len(streams) < self.config.max_waiting:
                streams.append(Stream(self, *todo.popleft()))
            stream = streams.popleft()
            request = stream.request
            completion = Completion(request.id, request.tokens[: request.num_prompt_tokens])
            for output in stream:
                completion.add(output)
            completions.append(completion)
        return completions

    def start(self, on_failure: Callable[[Exception], None] | None = None) -> None:
        """Starts the thread that steps, if it has not been started. The thread calls `on_failure` if an error ends it."""
        with self.lock:
            if self.thread is None:
                self.on_failure = on_failure
                self.thread = threading.Thread(target=self.loop, name="engine", daemon=True)
                self.thread.start()

    def close(self) -> None:
        """Ends all requests, and the thread. No request can be added after this."""
        with self.lock:
            self.closed = True
            for request_id in list(self.requests):
                self.abort(request_id)
            if self.thread is None:
                self.guarded_step()
        self.work.set()
        if self.thread and self.thread is not threading.current_thread():
            self.thread.join(timeout=10)

    # Called by the engine's thread, or by a reader that holds the lock.

    def loop(self) -> None:
        while not self.failure and not (self.closed and self.scheduler.is_finished):
            # Sleeps while there is nothing to do.
            self.work.wait()
            self.work.clear()
            while not self.failure and (self.aborting or not self.scheduler.is_finished):
                self.guarded_step()

    def guarded_step(self) -> None:
        """One step. An error outside `run` and `sample` fails all requests, and the engine."""
        try:
            self.step()
        except Exception as e:
            log.critical("the engine has failed", exc_info=e)
            with self.lock:
                self.failure = f"{type(e).__name__}: {e}"
                for request in [r for r in self.requests.values() if not r.done]:
                    request.finish(Status.FAILED, "error", self.failure)
                    self.deliver([request.output([], "")])
            if self.on_failure:
                self.on_failure(e)

    def step(self) -> list[Output]:
        """Runs what the scheduler chose. Only a failure in `run` or `sample` may be the fault of a single request."""
        self.end_aborted()
        if self.scheduler.is_finished:
            return []
        batch = self.scheduler.schedule()
        try:
            logits = self.runner.run(batch)
            out = sample(logits, batch.sampling)
        except Exception as e:
            return self.step_apart(batch, e)
        return self.deliver(self.scheduler.postprocess(batch, out))

    def step_apart(self, batch: Batch, error: Exception) -> list[Output]:
        """The same step, one request at a time, so that only the one at fault fails. Writing K/V twice is harmless."""
        if len(batch.scheduled) > 1:
            log.warning(
                "a step of %d requests failed; trying each alone", len(batch.scheduled), exc_info=error
            )
        outputs = []
        for s in batch.scheduled:
            if s.request.done:
                continue
            alone = Batch([s])
            try:
                out = sample(self.runner.run(alone), alone.sampling)
            except Exception as e:
                outputs += self.deliver([self.scheduler.fail(s.request, e)])
            else:
                outputs += self.deliver(self.scheduler.postprocess(alone, out))
        return outputs

    def end_aborted(self) -> None:
        while self.aborting:
            request = self.requests.get(self.aborting.popleft())
            if request and not request.done:
                self.deliver([self.scheduler.end(request, Status.CANCELLED, "abort")])

    def deliver(self, outputs: list[Output]) -> list[Output]:
        """Hands each output to its reader, and forgets the oldest finished requests."""
        for output in outputs:
            request = self.requests[output.request_id]
            try:
                request.on_output(output)
            except Exception:
                log.exception("request %s: on_output failed", request.id)
                self.abort(request.id)
            if output.finish_reason:
                # The callback would keep the client's queue alive.
                request.on_output = discard
                self.ended.append(request.id)
        while len(self.ended) > self.config.history:
            self.requests.pop(self.ended.popleft(), None)
        return outputs
