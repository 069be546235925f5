"""The engine at this stage. The HTTP server is in `.server`, which nothing here imports."""

from .attention import RaggedAttention
from .batch import Batch, Inputs, Scheduled
from .config import EngineConfig
from .engine import Completion, Engine, QueueFull
from .kv_cache import KVCache, RowAllocator
from .request import Output, Request, Status
from .runner import ModelRunner
from .sampler import SamplerOutput, Sampling, SamplingParams, sample
from .scheduler import Scheduler

__all__ = [
    "Batch",
    "Completion",
    "Engine",
    "EngineConfig",
    "Inputs",
    "KVCache",
    "ModelRunner",
    "Output",
    "QueueFull",
    "RaggedAttention",
    "Request",
    "RowAllocator",
    "SamplerOutput",
    "Sampling",
    "SamplingParams",
    "Scheduled",
    "Scheduler",
    "Status",
    "sample",
]
