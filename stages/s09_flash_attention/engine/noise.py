"""Gumbel noise that is a hash of (key, position, token id): no generator, so no state that other draws could move on."""

from __future__ import annotations

from torch import Tensor

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15, an odd number near 2**64 over the golden ratio


def gumbel(noise: Tensor, ids: Tensor) -> Tensor:
    """noise [2, R] (key, position), ids [vocab] -> a standard Gumbel variate for each, [R, vocab] float32, never infinite.

    Each key seeds a splitmix64 generator. Its numbers seed one generator per position, whose numbers are for the tokens.
    """
    key, position = noise
    bits = mix(mix(key + position * GOLDEN)[:, None] + ids * GOLDEN)
    bits &= 2**63 - 1
    # Tokens win by large noise, which comes from small numbers, and those keep their 24 digits in a float.
    uniform = bits.float().add_(1).mul_(2.0**-63).clamp_(max=1 - 2.0**-24)
    return uniform.neg_().log1p_().neg_().log_().neg_()


def mix(x: Tensor) -> Tensor:
    """splitmix64 (Steele et al., 2014) on int64: the first number of seed x; for x + i * GOLDEN, the number i places later."""
    x = fold(x + GOLDEN, 30).mul_(-4658895280553007687)
    x = fold(x, 27).mul_(-7723592293110705685)
    return fold(x, 31)


def fold(x: Tensor, shift: int) -> Tensor:
    """x ^ (x >> shift), in place; the mask removes the copies of the sign bit."""
    return x.bitwise_xor_((x >> shift).bitwise_and_(2 ** (64 - shift) - 1))
