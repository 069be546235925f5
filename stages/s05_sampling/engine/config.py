"""How an engine is set up. Each field is also a flag of the server and an environment variable."""

from __future__ import annotations

from dataclasses import dataclass

from common.options import Options, option


@dataclass(frozen=True, slots=True)
class EngineConfig(Options):
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    dtype: str = option("auto", "auto, float32, bfloat16, float16")
    max_seq_len: int | None = option(
        None, "maximum length of prompt and answer together, in tokens (none: the model's window)", least=2
    )
