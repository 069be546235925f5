"""How an engine is set up. Each field is a flag of the server and an environment variable too."""

from __future__ import annotations

from dataclasses import dataclass

from common.errors import UserError
from common.options import Options, option


@dataclass(frozen=True, slots=True)
class EngineConfig(Options):
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    dtype: str = option("auto", "auto, float32, bfloat16, float16")
    max_seq_len: int | None = option(
        None, "longest prompt and answer together, in tokens; none: the model's window", least=2
    )
    max_waiting: int = option(256, "requests that may wait; one more is refused", least=1)
    history: int = option(256, "finished requests to remember, for the queue page", least=0)
    max_num_seqs: int = option(16, "requests that run at once", least=1)
    max_num_batched_tokens: int = option(256, "tokens in one step, over all requests", least=1)
    chunked_prefill: bool = option(
        True, "prompts may be run in chunks; if not, the step's budget does not bind them"
    )
    batching_mode: str = option(
        "continuous",
        "static: a new batch begins when the last one is done, its prompts whole",
        choices=("continuous", "static"),
    )

    def __post_init__(self) -> None:
        Options.__post_init__(self)
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise UserError(
                f"max_num_batched_tokens = {self.max_num_batched_tokens} must be at least max_num_seqs = "
                f"{self.max_num_seqs}: each running request needs a token of every step"
            )
