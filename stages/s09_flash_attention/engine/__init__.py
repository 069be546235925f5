"""The engine at this stage. The HTTP server is in `.server`, which nothing here imports."""

from .config import EngineConfig
from .engine import Completion, Engine, EngineFailed, Stream
from .request import Output, Request, Status
from .sampler import SamplingParams
from .scheduler import QueueFull

__all__ = [
    "Completion",
    "Engine",
    "EngineConfig",
    "EngineFailed",
    "Output",
    "QueueFull",
    "Request",
    "SamplingParams",
    "Status",
    "Stream",
]
