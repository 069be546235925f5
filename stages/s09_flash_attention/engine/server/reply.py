"""The answer to one HTTP request: its choices, whole or as a stream of chunks."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from ..engine import Completion, Engine
from .errors import Refused, mid_stream_error
from .protocol import MAX_CHOICES, ChatCompletionRequest, CompletionRequest
from .streaming import EventStream, Outputs, unless_disconnected

if TYPE_CHECKING:
    from .app import Service


class Reply:
    """The answer to one request body, whose prompts are several texts or one conversation."""

    def __init__(self, service: Service, engine: Engine, body: CompletionRequest | ChatCompletionRequest):
        self.service, self.engine, self.body = service, engine, body
        self.chat = isinstance(body, ChatCompletionRequest)
        self.kind = "chat.completion" if self.chat else "text_completion"
        self.chunk_kind = "chat.completion.chunk" if self.chat else "text_completion"
        self.id = ("chatcmpl-" if self.chat else "cmpl-") + uuid.uuid4().hex
        self.field = "messages" if self.chat else "prompt"
        self.created = int(time.time())
        self.num_prompt_tokens = 0
        self.num_output_tokens = 0

    async def send(self, request: Request) -> Response:
        """Opens every choice before the first byte is sent, while an error can still set the status."""
        prompts: Sequence[str | list[int] | list[dict[str, str]]] = self.body.prompts()
        if not prompts:
            raise Refused("prompt", "prompt: is empty, give at least one token")
        choices = self.body.params(self.body.limit()[1])
        if self.chat:
            # A base model has no token that ends its turn, only a string: the beginning of the user's next line.
            ends = self.engine.tokenizer.chat_stop
            choices = [replace(params, stop=(*params.stop, *ends)) for params in choices]
        if len(prompts) * len(choices) > MAX_CHOICES:
            asked = f"{len(prompts)} prompts with {len(choices)} choices each"
            raise Refused("prompt", f"prompt: {asked} are more than {MAX_CHOICES} in one request")
        outputs = self.service.outputs()
        try:
            for prompt in prompts:
                tokens = await self.encode(prompt)
                self.num_prompt_tokens += len(tokens)
                for params in choices:
                    outputs.open(tokens, params, f"{self.id}-{len(outputs.ids)}")
            if self.body.stream:
                return EventStream(self.chunks(outputs), outputs, mid_stream_error)
            return JSONResponse(self.whole(await unless_disconnected(request, self.collect(outputs))))
        except BaseException:
            outputs.close()  # a later choice was refused, or the client has gone: the earlier ones have no reader
            raise

    async def encode(self, prompt: str | list[int] | list[dict[str, str]]) -> list[int]:
        """Token ids, made in a thread because a long text takes a while. Raises Refused if they do not fit the window."""
        texts = [prompt] if isinstance(prompt, str) else [m["content"] for m in prompt if isinstance(m, dict)]
        if texts:
            self.fit(self.service.least_tokens(sum(map(len, texts))), "at least ")
        else:
            self.fit(len(prompt))
        encode: Callable[[Any], list[int]] = self.engine.encode
        if self.chat:
            encode = self.engine.tokenizer.encode_chat
        tokens = await asyncio.to_thread(encode, prompt)
        self.fit(len(tokens))
        return tokens

    def fit(self, count: int, about: str = "") -> None:
        """Raises Refused, in words that clients look for, if `count` prompt tokens leave too little of the window."""
        window = self.engine.max_seq_len
        name, wanted = self.body.limit()
        numbers = f"This model's maximum context length is {window} tokens, and the prompt has {about}{count}"
        if count >= window:
            message = f"the prompt is too long. {numbers}"
            raise Refused(self.field, message, code="context_length_exceeded")
        if wanted is not None and count + wanted > window and not about:
            message = f"{name} is too large: {wanted}. {numbers}"
            raise Refused(name, message, code="context_length_exceeded")

    async def collect(self, outputs: Outputs) -> list[Completion]:
        completions = [Completion(name, []) for name in outputs.ids]
        async for choice, output in outputs:
            completions[choice].add(output)
        return completions

    def whole(self, done: Sequence[Completion]) -> dict[str, Any]:
        choices = []
        for i, c in enumerate(done):
            body = {"message": {"role": "assistant", "content": c.text}} if self.chat else {"text": c.text}
            choices.append({"index": i, **body, "logprobs": None, "finish_reason": c.finish_reason})
        self.num_output_tokens = sum(len(c.tokens) for c in done)
        return {
            **self.head(self.kind),
            "choices": choices,
            "usage": self.usage(),
            "metrics": self.service.metrics(done[-1].metrics),
        }

    async def chunks(self, outputs: Outputs) -> AsyncIterator[dict[str, Any]]:
        """A choice's role, its text piece by piece, and its finish reason: each in chunks of its own.

        The role comes with the first token and not before, because clients take the first chunk's time for the time
        to the first token. Many stop reading at the finish reason, so no text comes with it.
        """
        begun: set[int] = set()
        options = self.body.stream_options
        include_usage = bool(options and options.include_usage)
        async for choice, output in outputs:
            self.num_output_tokens += len(output.tokens)
            usage: dict[str, Any] = {"usage": None} if include_usage else {}
            if options and include_usage and options.continuous_usage_stats:
                usage = {"usage": self.usage()}
            if self.chat and choice not in begun:
                begun.add(choice)
                yield {**self.chunk(choice, {"role": "assistant", "content": ""}), **usage}
            if output.text:
                yield {**self.chunk(choice, {"content": output.text} if self.chat else output.text), **usage}
            if output.finish_reason:
                metrics = {"metrics": self.service.metrics(output.metrics)}
                last = self.chunk(choice, {} if self.chat else "", output.finish_reason)
                yield {**last, **usage, **metrics}
        if include_usage:
            yield {**self.head(self.chunk_kind), "choices": [], "usage": self.usage()}

    def usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.num_prompt_tokens,
            "completion_tokens": self.num_output_tokens,
            "total_tokens": self.num_prompt_tokens + self.num_output_tokens,
        }

    def head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.service.model_name}

    def chunk(self, index: int, delta: Any, reason: str | None = None) -> dict[str, Any]:
        body = {"delta": delta} if self.chat else {"text": delta}
        choice = {"index": index, **body, "logprobs": None, "finish_reason": reason}
        return {**self.head(self.chunk_kind), "choices": [choice]}
