"""One small Triton kernel, run and compared with torch: does Triton work on this machine?

`doctor` starts it as a process of its own, because TRITON_INTERPRET must be set before Triton is imported
and must not change the process that asks. Prints one line; exits 1 where the values differ.

    TRITON_INTERPRET=1 python -m common.tutorial.learner.kernel_check cpu
"""

from __future__ import annotations

import sys

import torch
import triton
import triton.language as tl

EPS = 1e-5


@triton.jit
def rms_norm(x, weight, out, size, eps, BLOCK: tl.constexpr):
    """One program normalises one row: x [rows, size] -> out [rows, size]."""
    row = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    mask = columns < size
    values = tl.load(x + row * size + columns, mask=mask, other=0.0)
    scale = 1.0 / tl.sqrt(tl.sum(values * values, axis=0) / size + eps)
    tl.store(out + row * size + columns, values * scale * tl.load(weight + columns, mask=mask), mask=mask)


def largest_error(device: str, rows: int = 5, size: int = 200) -> float:
    """The largest difference between the kernel's rows and torch's; `size` is not a power of two, so the mask works."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, size, generator=generator).to(device)
    weight = torch.randn(size, generator=generator).to(device)
    out = torch.full_like(x, float("nan"))
    rms_norm[(rows,)](x, weight, out, size, EPS, BLOCK=triton.next_power_of_2(size))
    expected = torch.nn.functional.rms_norm(x, (size,), weight, EPS)
    return float((out - expected).abs().max())


def main() -> int:
    error = largest_error(sys.argv[1] if len(sys.argv) > 1 else "cpu")
    print(f"triton {triton.__version__}: largest error {error:.1e}")
    return 0 if error < 1e-4 else 1  # a NaN, from a row that was never written, fails too


if __name__ == "__main__":
    sys.exit(main())
