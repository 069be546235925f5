"""The engine at this stage. The HTTP server is in `.server`, which nothing here imports."""

from .attention import PaddedAttention
from .batch import PaddedBatch
from .config import EngineConfig
from .engine import Completion, Engine, QueueFull
from .kv_cache import KVCache
from .request import Output, Request, Status
from .sampler import SamplerOutput, Sampling, SamplingParams, sample

__all__ = [
    "Completion",
    "Engine",
    "EngineConfig",
    "KVCache",
    "Output",
    "PaddedAttention",
    "PaddedBatch",
    "QueueFull",
    "Request",
    "SamplerOutput",
    "Sampling",
    "SamplingParams",
    "Status",
    "sample",
]
