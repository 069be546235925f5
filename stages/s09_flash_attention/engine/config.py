"""How an engine is set up. Each field is also a flag of the server and an environment variable."""

from __future__ import annotations

from dataclasses import dataclass, replace

from common.errors import UserError
from common.memory import fit_kv_cache
from common.models import Model
from common.options import Options, option


@dataclass(frozen=True, slots=True)
class EngineConfig(Options):
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    dtype: str = option("auto", "auto, float32, bfloat16, float16")
    max_seq_len: int | None = option(
        None, "maximum length of prompt and answer together, in tokens (none: the model's window)", least=2
    )
    max_waiting: int = option(256, "requests that may wait; one more is refused", least=1)
    history: int = option(256, "finished requests to remember, for the queue page", least=0)
    max_num_seqs: int | None = option(
        None, "requests that run at once; none: up to 16, as memory allows", least=1
    )
    max_num_batched_tokens: int = option(256, "token budget per step, over all requests", least=1)
    chunked_prefill: bool = option(
        True, "split long prompts across steps; if off, a prompt may exceed the budget"
    )
    batching_mode: str = option(
        "continuous",
        "static: a new batch starts when the last one is done, its prompts whole",
        choices=("continuous", "static"),
    )

    attention: str = option(
        "auto",
        "how attention is computed; auto: the fastest on the device",
        choices=("auto", "eager", "tiled", "sdpa", "varlen"),
    )

    def __post_init__(self) -> None:
        Options.__post_init__(self)
        if self.max_num_seqs and self.max_num_batched_tokens < self.max_num_seqs:
            raise UserError(
                f"max_num_batched_tokens = {self.max_num_batched_tokens} must be at least max_num_seqs = "
                f"{self.max_num_seqs}: each running request needs one token per step"
            )

    def fit(self, model: Model) -> EngineConfig:
        """Settles the size of the K/V cache. Raises UserError, with the numbers, if it does not fit into memory."""
        rows, length = fit_kv_cache(
            model, self.max_num_seqs, self.max_seq_len, most_rows=min(16, self.max_num_batched_tokens)
        )
        return replace(self, max_num_seqs=rows, max_seq_len=length)
