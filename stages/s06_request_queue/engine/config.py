"""How an engine is set up. Each field is also a flag of the server and an environment variable."""

from __future__ import annotations

from dataclasses import dataclass, replace

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

    def fit(self, model: Model) -> EngineConfig:
        """Settles the size of the K/V cache. Raises UserError, with the numbers, if it does not fit into memory."""
        _, length = fit_kv_cache(model, 1, self.max_seq_len)
        return replace(self, max_seq_len=length)
