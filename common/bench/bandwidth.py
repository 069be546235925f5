"""The bounds that a step runs against: bytes it must read over bytes per second, operations over operations per second.

Producing one token reads every weight once and the keys and values of the context once; the arithmetic on them is
cheap. So bandwidth over bytes is the best tokens/s possible, and tokens/s without its share of it says little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol

from common.bench.timing import Timer

if TYPE_CHECKING:
    import torch

__all__ = [
    "against_bound",
    "decode_bound",
    "decode_bytes",
    "kv_bytes",
    "kv_bytes_per_token",
    "matmul_rate",
    "read_bandwidth",
    "total_bytes",
    "weight_bytes",
]

# Far larger than any last-level cache (CPU) or L2 (GPU), small enough for a laptop.
_BUFFER_BYTES = {"cpu": 512 * 2**20, "mps": 512 * 2**20, "cuda": 2**31}


class CacheShape(Protocol):
    """What of a `LayerInfo` decides the size of its K/V."""

    @property
    def window(self) -> int | None: ...
    @property
    def num_kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...


def read_bandwidth(device: str | torch.device = "cpu") -> float:
    """Bytes per second that `device` reads from its memory, with torch's current threads. Measured once a process."""
    import torch

    return _measured(str(device), torch.get_num_threads())


@lru_cache
def _measured(device: str, threads: int) -> float:
    import torch

    size = _BUFFER_BYTES[device.partition(":")[0]]
    # Written to, because untouched pages would all be one page of zeros.
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    reading = _best(source.sum, device)
    copying = _best(lambda: target.copy_(source), device)
    return max(size / reading, 2 * size / copying)  # a copy moves each byte twice


def _best(function: Callable[[], object], device: str | torch.device, runs: int = 7, calls: int = 4) -> float:
    """Fastest seconds of one call: noise only ever adds. Several calls a run hide the wait for a GPU."""
    seconds = []
    for _ in range(runs):
        with Timer(device) as timer:
            for _ in range(calls):
                function()
        seconds.append(timer.seconds / calls)
    return min(seconds)


@lru_cache
def matmul_rate(device: str | torch.device, dtype: torch.dtype) -> float:
    """Operations per second of a large matrix product: what arithmetic gives here at best. Measured once a process.

    A processor may be faster in float32 than in the 16 bits that were asked for; an engine that widens has that rate.
    """
    import torch

    kind = torch.device(device).type
    size = 8192 if kind == "cuda" else 1024
    fastest = []
    for one in {dtype, torch.float32} if kind == "cpu" else {dtype}:
        a, b = (torch.randn(size, size, device=device).to(one) for _ in range(2))
        fastest.append(_best(partial(torch.mm, a, b), device, runs=8, calls=1))
    return 2 * size**3 / min(fastest)


def _stored(model: torch.nn.Module) -> dict[str, Any]:
    """Everything a checkpoint of `model` would hold; what is computed at start (rotary tables) is not among it."""
    return model.state_dict(keep_vars=True)


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of the tensors, one that is shared (a tied head) counted once."""
    return sum(tensor.numel() * tensor.element_size() for tensor in {id(t): t for t in tensors}.values())


def total_bytes(model: torch.nn.Module) -> int:
    """Bytes of all weights in memory."""
    return _bytes(_stored(model).values())


def weight_bytes(model: Any) -> int:
    """Bytes of weights that a decode step reads: all but the embedding tables, of which it reads a row.

    A tied table counts, once: as the head it is read in full.
    """
    from common.models.layers import Embedding

    tables = {name for name, module in model.named_modules() if isinstance(module, Embedding)}
    return _bytes(tensor for name, tensor in _stored(model).items() if name.rpartition(".")[0] not in tables)


def kv_bytes_per_token(layers_info: Iterable[CacheShape], itemsize: int) -> int:
    """Bytes of K and V that one token adds to the cache. itemsize: bytes of one number."""
    return sum(2 * layer.num_kv_heads * layer.head_dim * itemsize for layer in layers_info)


def kv_bytes(layers_info: Iterable[CacheShape], context: int, itemsize: int) -> int:
    """Bytes of K and V that one decode step reads at `context` tokens; a window limits what its layer reads."""
    return sum(
        kv_bytes_per_token([layer], itemsize)
        * (context if layer.window is None else min(context, layer.window))
        for layer in layers_info
    )


def decode_bytes(model: Any, context: int, batch: int = 1, itemsize: int | None = None) -> int:
    """Bytes a decode step of `batch` requests with `context` tokens each must read.

    The weights are read once for all of them. itemsize: bytes of a number in the cache (default: as the head's weight).
    """
    size: int = itemsize or model.head.weight.element_size()
    return weight_bytes(model) + batch * kv_bytes(model.layers_info, context, size)


def decode_bound(
    model: Any, context: int, bandwidth: float, batch: int = 1, itemsize: int | None = None
) -> float:
    """Tokens/s that no decoding of `batch` requests can exceed. bandwidth: bytes/s, e.g. `read_bandwidth(device)`."""
    return batch * bandwidth / decode_bytes(model, context, batch, itemsize)


def against_bound(tokens_per_second: float, bound: float) -> str:
    """How benchmarks print tokens/s: "265 tokens/s, 32 % of the 828 that memory bandwidth allows"."""
    share = 100 * tokens_per_second / bound
    return (
        f"{tokens_per_second:,.0f} tokens/s, {share:.0f} % of the {bound:,.0f} that memory bandwidth allows"
    )
