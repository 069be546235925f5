"""The engine at this stage. The HTTP server is in `.server`, which nothing here imports."""

from .attention import CachedAttention
from .config import EngineConfig
from .engine import Completion, Engine, Output
from .generate import Token, generate
from .kv_cache import KVCache
from .sampler import SamplerOutput, Sampling, SamplingParams, sample

__all__ = [
    "CachedAttention",
    "Completion",
    "Engine",
    "EngineConfig",
    "KVCache",
    "Output",
    "SamplerOutput",
    "Sampling",
    "SamplingParams",
    "Token",
    "generate",
    "sample",
]
