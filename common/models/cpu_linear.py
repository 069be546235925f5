"""Matrix products on a CPU: of several routes to the same product, the one measured to be fastest for its shape.

In the paper and in the model a product is one line, `x @ W.T + b`, and on a GPU it stays `F.linear`. Everything here is about
computing that line on a processor; nothing here changes what it means.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Elements of a weight. Below LARGE, threads get in each other's way; above HUGE, a weight is the head of a vocabulary.
LARGE = 2**19
HUGE = 2**23
# How many elements of a weight are widened at a time: 2 MiB of float32 stay in the cache until they are used.
PIECE = 2**19


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [N, in], weight [rows, in], bias [rows] -> [N, rows].

    While it decodes, a CPU does little but read weights, and how fast it reads them depends on the routine. In float32,
    `F.linear` calls MKL. With the operands swapped (W x.T), rows of x become columns, and a few columns are cheaper than a few
    rows; a single one costs as much as two. oneDNN, which torch also ships, reads large weights faster.
    Milliseconds on two EPYC cores, torch 2.13:

        weight                     3072 x 768                        50257 x 768
        rows of x           1     4    16    64   256         1     4    16    64   256
        F.linear          1.2   2.9   2.8   4.7  11.3        17    54    56   123   334
        swapped           1.0   0.9   1.4   3.1   9.9        15    17    35    76   304
        oneDNN            0.8   1.6   1.5   3.3   8.8        11    23    29    59   187

    The choice depends on shapes alone, so the same batch is rounded in the same way on every run. Training goes through
    `F.linear`, because the other routes have no gradient here. For 16-bit types see `widened`.
    """
    n, size = x.shape[0], weight.numel()
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    if x.dtype != torch.float32:
        return F.linear(x, weight, bias) if n < 4 or multiplies(x.dtype) else widened(x, weight, bias)
    if n == 1 and size < LARGE:
        # Two real columns: a stride of 0 would take a slow path.
        x = torch.cat((x, x))
    if 2 <= x.shape[0] <= (16 if size < HUGE else 4):
        out = (weight @ x.t()).t()[:n].contiguous()
        return out if bias is None else out.add_(bias)
    if size < LARGE or not torch.backends.mkldnn.is_available():
        return F.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@cache
def multiplies(dtype: torch.dtype) -> bool:
    """Whether oneDNN can multiply this 16-bit type on this processor: from AVX-512 on, and on many Arm processors."""
    supports = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}
    if dtype not in supports:
        return True
    return torch.backends.mkldnn.is_available() and bool(getattr(torch.ops.mkldnn, supports[dtype])())


def computes_in(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The type in which `device` multiplies numbers of `dtype`: float32 on a processor without 16-bit products."""
    return dtype if device.type != "cpu" or multiplies(dtype) else torch.float32


def widened(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`linear` for 16-bit types on a processor that multiplies only float32: widens the weight piece by piece.

    The product is rounded to 16 bits once, at the end. 16 rows times a bfloat16 weight of 3072 x 768 take 1.5 to 1.8 ms this way
    and 4.8 in `F.linear`; 256 rows take 10 and 73 (cores of the table above). Below four rows `F.linear` is faster, because it
    reads half as many bytes.
    """
    columns = x.float().t()
    out = torch.empty(len(weight), len(x))
    for i in range(0, len(weight), step := max(1, PIECE // weight.shape[1])):
        torch.mm(weight[i : i + step].float(), columns, out=out[i : i + step])
    if bias is not None:
        out.add_(bias[:, None])
    return out.t().to(x.dtype, memory_format=torch.contiguous_format)
