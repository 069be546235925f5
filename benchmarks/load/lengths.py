"""How many tokens: fixed, uniform or lognormal lengths, drawn with a seed and always within their bounds."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from common.errors import UserError

__all__ = ["Lengths", "fixed", "lognormal", "uniform"]

FORMS = "N, uniform:LOW:HIGH or lognormal:MEDIAN:SIGMA:MOST"


@dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution over whole numbers in [low, high]. Raises UserError unless 1 <= low <= high."""

    kind: str
    low: int
    high: int
    median: float = 0.0  # of "lognormal"
    sigma: float = 0.0  # of "lognormal": standard deviation of the logarithm

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise UserError(f"lengths {self}: must be at least 1, and the least not above the most")
        if self.kind == "lognormal" and not (self.median > 0 and 0 <= self.sigma < math.inf):
            raise UserError(f"lengths {self}: the median must be above 0 and sigma at least 0")

    def draw(self, rng: random.Random) -> int:
        if self.kind == "lognormal":
            drawn = round(min(rng.lognormvariate(math.log(self.median), self.sigma), self.high))
            return min(max(drawn, self.low), self.high)
        return rng.randint(self.low, self.high)

    def scaled(self, factor: float) -> Lengths:
        """All lengths times `factor`, rounded down, at least 1."""
        low, high = (max(1, int(n * factor)) for n in (self.low, self.high))
        return replace(self, low=low, high=high, median=self.median * factor)

    def __str__(self) -> str:
        if self.kind == "fixed":
            return str(self.low)
        if self.kind == "uniform":
            return f"uniform:{self.low}:{self.high}"
        return f"lognormal:{self.median:g}:{self.sigma:g}:{self.high}"

    @classmethod
    def parse(cls, text: str) -> Lengths:
        """What `str` gives. Raises UserError naming the forms."""
        kind, _, rest = text.partition(":") if ":" in text else ("fixed", "", text)
        try:
            numbers = [float(part) for part in rest.split(":")]
            if kind == "lognormal":
                median, sigma, most = numbers
                return lognormal(median, sigma, int(most))
            low, *more = (int(part) for part in rest.split(":"))
            if (kind, len(more)) in (("fixed", 0), ("uniform", 1)):
                return cls(kind, low, more[0] if more else low)
        except UserError:
            raise
        except (ValueError, OverflowError):
            pass
        raise UserError(f"lengths {text!r}: must be {FORMS}")


def fixed(length: int) -> Lengths:
    return Lengths("fixed", length, length)


def uniform(low: int, high: int) -> Lengths:
    return Lengths("uniform", low, high)


def lognormal(median: float, sigma: float, most: int) -> Lengths:
    """Many short ones and few long ones, as in chat logs; those above `most` become `most`."""
    return Lengths("lognormal", 1, most, median, sigma)
