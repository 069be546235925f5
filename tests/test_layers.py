"""`common.models.cpu_linear`: one product, several routes to it. All of them must give it."""

from __future__ import annotations

import pytest
import torch

from common.models import cpu_linear

SHAPES = {
    "small": (96, 64),
    "in pieces, the last one short": (1030, 1024),
    "a vocabulary's head": (cpu_linear.HUGE // 256 + 1, 256),
}
ROWS = (1, 2, 3, 4, 5, 16, 17, 64)


def operands(shape: tuple[int, int], rows: int, dtype: torch.dtype, biased: bool):
    draw = torch.Generator().manual_seed(rows)
    x, weight = (torch.randn(n, shape[1], generator=draw).to(dtype) for n in (rows, shape[0]))
    bias = torch.randn(shape[0], generator=draw).to(dtype) if biased else None
    exact = x.double() @ weight.double().t() + (bias.double() if biased else 0.0)
    return x, weight, bias, exact


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@torch.inference_mode()
def test_linear_is_the_product_for_every_number_of_rows(shape, biased):
    for rows in ROWS:
        x, weight, bias, exact = operands(shape, rows, torch.float32, biased)
        out = cpu_linear.linear(x, weight, bias)
        assert out.is_contiguous() and out.dtype == x.dtype
        torch.testing.assert_close(out.double(), exact, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("multiplies", [False, True])
@torch.inference_mode()
def test_linear_in_16_bits_is_rounded_once_with_and_without_such_arithmetic(monkeypatch, dtype, multiplies):
    monkeypatch.setattr(cpu_linear, "multiplies", lambda dtype: multiplies)
    for shape in ((96, 64), (1030, 1024)):
        for rows in ROWS:
            x, weight, bias, exact = operands(shape, rows, dtype, biased=True)
            out = cpu_linear.linear(x, weight, bias)
            assert out.is_contiguous() and out.dtype == dtype
            if rows >= 4 and not multiplies:  # torch's own may round the product before the bias comes
                error = (out.double() - exact).abs()
                assert (error <= 0.51 * torch.finfo(dtype).eps * exact.abs() + 1e-3).all()
            torch.testing.assert_close(out.double(), exact, rtol=0.02, atol=0.3)


@torch.inference_mode()
def test_a_weight_is_widened_in_pieces_that_a_cache_holds(monkeypatch):
    seen, product = [], torch.mm

    def spied(a, b, out):
        seen.append(a.numel())
        return product(a, b, out=out)

    monkeypatch.setattr(torch, "mm", spied)
    x, weight, bias, _ = operands((2048, 1024), 8, torch.bfloat16, biased=True)
    cpu_linear.widened(x, weight, bias)
    assert seen == [cpu_linear.PIECE] * (weight.numel() // cpu_linear.PIECE)


def test_linear_has_a_gradient():
    x, weight, bias, _ = operands((1030, 1024), 8, torch.bfloat16, biased=True)
    weight.requires_grad_()
    cpu_linear.linear(x, weight, bias).sum().backward()
    assert weight.grad is not None


def test_a_torch_without_onednn_has_no_products_of_16_bits(monkeypatch):
    cpu_linear.multiplies.cache_clear()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not cpu_linear.multiplies(torch.bfloat16) and cpu_linear.multiplies(torch.float32)
    cpu_linear.multiplies.cache_clear()
