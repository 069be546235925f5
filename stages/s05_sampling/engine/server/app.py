"""The routes. They translate between HTTP and the engine's requests, and do nothing else."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from common.errors import UserError
from common.memory import peak_memory

from ..engine import Completion, Engine, Prompt
from .limits import BodyLimit
from .protocol import MAX_CHOICES, ChatCompletionRequest, CompletionRequest, GenerationRequest, Refused, error
from .streaming import ClientGone, EventStream, Outputs, in_daemon, unless_disconnected

log = logging.getLogger("vitrine.server")


class Service:
    """What all routes share: the engine, once it is loaded."""

    def __init__(self, model_name: str):
        self.model_name = model_name
        self.engine: Engine | None = None
        self.load_seconds = 0.0
        self.created = int(time.time())
        self.threads = ThreadPoolExecutor(64, thread_name_prefix="request")

    def ready(self, model: str | None = None) -> Engine:
        """Raises Refused: 503 while the model loads, 404 for another model than ours."""
        if self.engine is None:
            raise Refused(None, "the model is still loading", 503, "loading")
        if model is not None and model != self.model_name:
            raise Refused(
                "model",
                f"model {model!a} does not exist; this server has {self.model_name!a}",
                404,
                "model_not_found",
            )
        return self.engine

    def metrics(self, timing: dict[str, float] | None) -> dict[str, Any]:
        engine = self.ready()
        where = {"device": str(engine.device), "dtype": str(engine.dtype).removeprefix("torch.")}
        return {**(timing or {}), **where, "memory_bytes": peak_memory(engine.device)}


def create_app(
    load: Callable[[], Engine],
    title: str = "Vitrine",
    model_name: str = "storyteller",
    max_body_bytes: int = 4 << 20,
    on_failure: Callable[[BaseException], None] | None = None,
) -> FastAPI:
    """The application.

    Args:
        load: makes the engine; called in a thread at start-up. Until it returns, /health answers 503.
        model_name: what requests call the model.
        max_body_bytes: a larger request is refused with 413.
        on_failure: told what `load` raised.
    """
    service = Service(model_name)

    async def start() -> None:
        began = time.perf_counter()
        try:
            service.engine = await in_daemon(load)
            service.load_seconds = time.perf_counter() - began
            log.info("ready: %s loaded in %.2f s", model_name, service.load_seconds)
        except Exception as e:  # to be told to stop while loading is no failure
            if on_failure:
                on_failure(e)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(start())
        yield
        loading.cancel()
        if service.engine:
            with suppress(TimeoutError):  # a step may take longer than a stop should
                await asyncio.wait_for(in_daemon(service.engine.close), 1)

    app = FastAPI(title=title, lifespan=lifespan)
    app.state.service = service
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes)
    add_errors(app)

    @app.get("/")
    def index() -> dict[str, Any]:
        """What this server is and where things are."""
        endpoints = [
            "POST /v1/completions",
            "POST /v1/chat/completions",
            "GET /v1/models",
            "GET /health",
            "GET /docs",
        ]
        return {"name": title, "model": model_name, "endpoints": endpoints}

    @app.get("/health")
    async def health() -> Response:
        """503 until the model is loaded."""
        if service.engine is None:
            return JSONResponse({"status": "loading", "model": model_name}, 503)
        engine = service.engine
        where = {"device": str(engine.device), "dtype": str(engine.dtype).removeprefix("torch.")}
        return JSONResponse(
            {"status": "ok", "model": model_name, **where, "load_seconds": round(service.load_seconds, 3)}
        )

    def card() -> dict[str, Any]:
        return {"id": model_name, "object": "model", "created": service.created, "owned_by": "vitrine"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [card()]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        if name != model_name:
            raise Refused(
                "model",
                f"model {name!a} does not exist; this server has {model_name!a}",
                404,
                "model_not_found",
            )
        return card()

    @app.post("/v1/completions")
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Continues one or several prompts."""
        engine = service.ready(body.model)
        reply = Reply(service, body, "cmpl-" + uuid.uuid4().hex, "text_completion", "text_completion")
        return await reply.send(request, engine, body.prompts(), body.max_tokens)

    @app.post("/v1/chat/completions")
    async def chat_completions(body: ChatCompletionRequest, request: Request) -> Response:
        """Answers the last message of a conversation."""
        engine = service.ready(body.model)
        tokens = await asyncio.to_thread(engine.tokenizer.encode_chat, [m.plain() for m in body.messages])
        reply = Reply(
            service, body, "chatcmpl-" + uuid.uuid4().hex, "chat.completion", "chat.completion.chunk"
        )
        return await reply.send(request, engine, [tokens], body.max_completion_tokens or body.max_tokens)

    return app


class Reply:
    """One HTTP request's choices, whole or as a stream of chunks."""

    def __init__(self, service: Service, body: GenerationRequest, id: str, kind: str, chunk_kind: str):
        self.service, self.body, self.id = service, body, id
        self.kind, self.chunk_kind = kind, chunk_kind
        self.chat = kind == "chat.completion"
        self.created = int(time.time())
        self.num_prompt_tokens = 0

    async def send(
        self, request: Request, engine: Engine, prompts: Sequence[Prompt], max_tokens: int | None
    ) -> Response:
        """Opens every choice before the first byte leaves: an error still finds its status."""
        if not prompts:
            raise Refused("prompt", "prompt: is empty, give at least one token")
        choices = self.body.params(max_tokens)
        if len(prompts) * len(choices) > MAX_CHOICES:
            asked = f"{len(prompts)} prompts with {len(choices)} choices each"
            raise Refused("prompt", f"prompt: {asked} are more than {MAX_CHOICES} in one request")
        outputs = Outputs(engine, self.service.threads)
        try:
            for prompt in prompts:
                tokens = await asyncio.to_thread(engine.encode, prompt)
                self.num_prompt_tokens += len(tokens)
                for params in choices:
                    outputs.open(tokens, params, f"{self.id}-{len(outputs.ids)}")
            if self.body.stream:
                return EventStream(self.chunks(outputs), outputs, mid_stream_error)
            return JSONResponse(self.whole(await unless_disconnected(request, self.collect(outputs))))
        except BaseException:
            outputs.close()  # a later choice was refused, or the client has gone: nobody waits for the earlier ones
            raise

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
        return {
            **self.head(self.kind),
            "choices": choices,
            "usage": self.usage(sum(len(c.tokens) for c in done)),
            "metrics": self.service.metrics(done[-1].metrics),
        }

    async def chunks(self, outputs: Outputs) -> AsyncIterator[dict[str, Any]]:
        count = 0
        options = self.body.stream_options
        more: dict[str, Any] = {"usage": None} if options and options.include_usage else {}
        for choice in range(len(outputs.ids) if self.chat else 0):
            yield {**self.chunk(choice, {"role": "assistant", "content": ""}, None), **more}
        async for choice, output in outputs:
            count += len(output.tokens)
            last = {"metrics": self.service.metrics(output.metrics)} if output.finish_reason else {}
            if output.text or output.finish_reason:
                delta = {"content": output.text} if self.chat else output.text
                yield {**self.chunk(choice, delta, output.finish_reason), **more, **last}
        if more:
            yield {**self.head(self.chunk_kind), "choices": [], "usage": self.usage(count)}

    def usage(self, completion: int) -> dict[str, int]:
        prompt = self.num_prompt_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.service.model_name}

    def chunk(self, index: int, delta: Any, reason: str | None) -> dict[str, Any]:
        body = {"delta": delta} if self.chat else {"text": delta}
        choice = {"index": index, **body, "logprobs": None, "finish_reason": reason}
        return {**self.head(self.chunk_kind), "choices": [choice]}


def mid_stream_error(e: Exception) -> dict[str, Any]:
    if isinstance(e, UserError):
        return error(str(e), 400)
    log.error("a request failed", exc_info=e)
    return error("the request failed inside the engine", 500)


def add_errors(app: FastAPI) -> None:
    """Every error leaves in OpenAI's shape."""

    @app.exception_handler(Refused)
    async def refused(request: Request, e: Refused) -> Response:
        return JSONResponse(error(e.message, e.status, e.param, e.code), e.status)

    @app.exception_handler(UserError)
    async def user_error(request: Request, e: UserError) -> Response:
        param = str(e).partition(":")[0]
        return JSONResponse(error(str(e), 400, param if param.isidentifier() else None), 400)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, e: RequestValidationError) -> Response:
        message, param = explain(e)
        return JSONResponse(error(message, 400, param), 400)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, e: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {e.detail}"
        return JSONResponse(error(message, e.status_code), e.status_code, headers=e.headers)

    @app.exception_handler(ClientGone)
    async def client_gone(request: Request, e: ClientGone) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(Exception)
    async def unexpected(request: Request, e: Exception) -> Response:
        log.error("unexpected error", exc_info=e)
        return JSONResponse(error("unexpected error inside the server", 500), 500)


def explain(e: RequestValidationError) -> tuple[str, str | None]:
    """One of pydantic's complaints as (message, field): where a value may have several forms, about the nearest one."""
    worst = max(e.errors(), key=lambda one: len(one["loc"]))
    *within, last = (str(part) for part in worst["loc"])
    # Between the names stand those of types that were tried: "list[int]", "function-before[utf8(), str]".
    path = [ascii(part)[1:-1] for part in within[1:] if "[" not in part]
    if within and ("[" not in last or worst["type"] == "extra_forbidden"):
        path.append(ascii(last)[1:-1])
    if worst["type"] == "json_invalid":
        return f"the body is not JSON: {worst.get('ctx', {}).get('error', 'cannot be parsed')}", None
    if not path:
        return "the body must be a JSON object, sent with Content-Type: application/json", None
    message = (
        "unknown field" if worst["type"] == "extra_forbidden" else worst["msg"].removeprefix("Value error, ")
    )
    return f"{'.'.join(path)[:200]}: {message}", path[0][:80]
