"""The routes. They translate between HTTP and the engine's requests, and do nothing else."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakSet

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from common.memory import peak_memory

from ..engine import Engine
from .errors import Refused, add_errors, answers, failed, stopping
from .limits import BodyLimit, longest_token
from .middleware import Envelope, LastResort, add_cors
from .protocol import ChatCompletionRequest, CompletionRequest
from .reply import Reply
from .streaming import Mailbox, Outputs, in_daemon

log = logging.getLogger("vitrine.server")


class Service:
    """What all routes share: the engine, once it is loaded, and the answers under way."""

    def __init__(self, model_name: str):
        self.model_name = model_name
        self.engine: Engine | None = None
        self.longest_token: int | None = None
        self.load_seconds = 0.0
        self.created = int(time.time())
        self.mailbox: Mailbox | None = None  # of the event loop, once it runs
        self.stopping = False
        self.open: WeakSet[Outputs] = WeakSet()

    @property
    def status(self) -> str:
        if self.engine and self.engine.failure:
            return "failed"
        return "stopping" if self.stopping else "loading" if self.engine is None else "ok"

    def ready(self, model: str | None = None) -> Engine:
        """Raises Refused: 503 while the model loads, the server stops or the engine has failed, 404 for any other model."""
        if self.stopping:
            raise stopping()
        if self.engine is None:
            raise Refused(None, "the model is still loading", 503, "loading")
        if self.engine.failure:
            raise failed()
        if model is not None and model != self.model_name:
            raise Refused(
                "model",
                f"model {model!a} does not exist; this server has {self.model_name!a}",
                404,
                "model_not_found",
            )
        return self.engine

    def outputs(self) -> Outputs:
        """The outputs of a new answer, which `stop` will end."""
        assert self.mailbox
        outputs = Outputs(self.ready(), self.mailbox)
        self.open.add(outputs)
        return outputs

    def stop(self) -> None:
        """Ends all answers under way with an error, and refuses new ones. Called in a thread."""
        self.stopping = True
        if self.mailbox:
            self.mailbox.loop.call_soon_threadsafe(self.end_answers)
        if self.engine:
            self.engine.close()

    def end_answers(self) -> None:
        for outputs in list(self.open):
            outputs.stop()

    def least_tokens(self, num_characters: int) -> int:
        """The fewest tokens that a text of this length can have, known before it is encoded."""
        return -(-num_characters // self.longest_token) if self.longest_token else 0

    def where(self) -> dict[str, str]:
        engine = self.engine
        return (
            {"device": str(engine.device), "dtype": str(engine.dtype).removeprefix("torch.")}
            if engine
            else {}
        )

    def metrics(self, timing: dict[str, float] | None) -> dict[str, Any]:
        memory = {"memory_bytes": peak_memory(self.engine.device)} if self.engine else {}
        return {**(timing or {}), **self.where(), **memory}


def create_app(
    load: Callable[[], Engine],
    title: str = "Vitrine",
    model_name: str = "storyteller",
    max_body_bytes: int = 4 << 20,
    on_failure: Callable[[BaseException], None] | None = None,
    allow_origins: Sequence[str] = (),
) -> FastAPI:
    """The application.

    Args:
        load: makes the engine; called in a thread at start-up. Until it returns, /health answers 503.
        model_name: what requests call the model.
        max_body_bytes: a larger request is refused with 413.
        on_failure: called with what `load` raised, or, in the engine's thread, with what ended it.
        allow_origins: origins whose pages may call this server, "*" for all; if empty, pages from this machine.
    """
    service = Service(model_name)

    async def start() -> None:
        began = time.perf_counter()
        try:
            engine = await in_daemon(load)
            engine.start(on_failure)
            service.longest_token = await in_daemon(lambda: longest_token(engine.tokenizer))
            service.engine = engine
            service.load_seconds = time.perf_counter() - began
            log.info("ready: %s loaded in %.2f s", model_name, service.load_seconds)
        except Exception as e:  # not CancelledError: a stop while loading is not a failure
            if on_failure:
                on_failure(e)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.mailbox = Mailbox()
        loading = asyncio.create_task(start())
        yield
        loading.cancel()
        if service.engine:
            with suppress(TimeoutError):  # a step may take longer than a stop should
                await asyncio.wait_for(in_daemon(service.engine.close), 1)

    app = FastAPI(title=title, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    add_errors(app)
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes)
    app.add_middleware(LastResort)
    add_cors(app, allow_origins)
    app.add_middleware(Envelope)  # the last one added is the outermost

    @app.get("/")
    def index() -> dict[str, Any]:
        """What this server is and where things are."""
        endpoints = [
            "POST /v1/completions",
            "POST /v1/chat/completions",
            "GET /v1/models",
            "GET /v1/requests",
            "GET /queue",
            "GET /health",
            "GET /docs",
        ]
        return {"name": title, "model": model_name, "endpoints": endpoints}

    @app.get("/health", responses={503: {"description": "loading, stopping, or failed"}})
    async def health() -> Response:
        """Whether the model is loaded and serves."""
        state = {"status": service.status, "model": model_name}
        if service.engine and service.engine.failure:
            state["reason"] = service.engine.failure
        if service.status != "ok":
            return JSONResponse(state, 503, {"Retry-After": "1"})
        attention = service.engine.runner.attend.runs if service.engine else ""
        more = {"attention": attention, "load_seconds": round(service.load_seconds, 3)}
        return JSONResponse({**state, **service.where(), **more})

    def card() -> dict[str, Any]:
        window = service.engine.max_seq_len if service.engine else None
        one = {"id": model_name, "object": "model", "created": service.created, "owned_by": "vitrine"}
        return {**one, "max_model_len": window}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one model that this server has."""
        return {"object": "list", "data": [card()]}

    @app.get("/v1/models/{name:path}", responses=answers(404))
    async def model(name: str) -> dict[str, Any]:
        """The model, by its name."""
        if name != model_name:
            raise Refused(
                "model",
                f"model {name!a} does not exist; this server has {model_name!a}",
                404,
                "model_not_found",
            )
        return card()

    @app.get("/v1/requests", responses=answers(503))
    async def requests() -> dict[str, Any]:
        """The queue, and the last finished requests, newest first."""
        engine = service.ready()
        known = [r.snapshot() for r in reversed(list(engine.requests.values()))]
        bound = engine.config.max_waiting
        # A token id takes 28 bytes and its entry in the list 8; the rest of a request takes less than 4 kB.
        limits = {"max_waiting": bound, "max_bytes": bound * (engine.max_seq_len * 36 + 4096)}
        return {"waiting": len(engine.scheduler.waiting), **limits, "requests": known}

    @app.get("/v1/requests/{request_id}", responses=answers(404, 503))
    async def one_request(request_id: str) -> dict[str, Any]:
        """One request, or all choices of one response."""
        known = list(service.ready().requests.values())
        found = [r.snapshot() for r in known if r.id == request_id or r.id.rpartition("-")[0] == request_id]
        if not found:
            raise Refused("request_id", f"request {request_id!a} is not known (any more)", 404, "not_found")
        return {"id": request_id, "requests": found}

    @app.get("/queue")
    async def queue_page() -> Response:
        """The queue as a web page."""
        return HTMLResponse((Path(__file__).parent / "queue.html").read_text(encoding="utf-8"))

    @app.post("/v1/completions", responses=answers(400, 404, 413, 415, 429, 503))
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Continues one or several prompts."""
        return await Reply(service, service.ready(body.model), body).send(request)

    @app.post("/v1/chat/completions", responses=answers(400, 404, 413, 415, 429, 503))
    async def chat_completions(body: ChatCompletionRequest, request: Request) -> Response:
        """Answers the last message of a conversation."""
        return await Reply(service, service.ready(body.model), body).send(request)

    @app.post("/v1/responses", include_in_schema=False)
    async def responses() -> Response:
        raise Refused(None, "this server has no Responses API; use /v1/chat/completions", 404)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """Shows the OpenAPI document. A page of our own: FastAPI's fetches its scripts from elsewhere."""
        return HTMLResponse((Path(__file__).parent / "docs.html").read_text(encoding="utf-8"))

    return app
