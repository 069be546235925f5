"""The engine over HTTP, in OpenAI's protocol. `python -m ...engine.server --help` starts it."""

from .app import create_app

__all__ = ["create_app"]
