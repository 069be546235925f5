"""The engine and its HTTP server in this process: clients come over the network, and we can look at the queue itself."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import uvicorn

from ..engine import Engine
from ..engine.server.__main__ import listen
from ..engine.server.app import create_app


class LiveServer:
    """`with LiveServer(engine, "storyteller") as server:` serves at `server.url`, and closes the engine at the end."""

    def __init__(self, engine: Engine, model_name: str, port: int = 0):
        self.engine = engine
        self.app = create_app(lambda: engine, "Vitrine s06", model_name)
        self.socket = listen("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(self.app, log_level="critical", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)

    def __enter__(self) -> LiveServer:
        self.thread.start()
        while self.app.state.service.engine is None and self.thread.is_alive():
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.engine.close()  # first, so that its clients get a last output and the server need not cut them off
        self.server.should_exit = True
        self.thread.join(10)
        self.socket.close()
