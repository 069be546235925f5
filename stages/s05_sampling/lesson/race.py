"""An experiment: does adding noise and taking the highest really draw from a distribution? It counts many draws.

python -m stages.s05_sampling.lesson.race
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch

from common.terminal.command_line import number, run, stage_parser
from common.terminal.console import note, table

from ..engine.noise import gumbel

TOKENS = {"king": 0.5, "poor": 0.25, "queen": 0.15, "dragon": 0.1}
SEED = 7


def main(argv: Sequence[str] | None = None) -> int:
    parser = stage_parser(
        "python -m stages.s05_sampling.lesson.race", "Counts draws by noise and argmax.", [""]
    )
    parser.add_argument(
        "--draws", type=number(int, 1), default=100_000, metavar="N", help="number of draws (%(default)s)"
    )
    count = parser.parse_args(argv).draws
    positions = torch.arange(count)
    noise = gumbel(torch.stack([torch.full_like(positions, SEED), positions]), torch.arange(len(TOKENS)))
    logits = torch.tensor(list(TOKENS.values())).log()
    wins = torch.bincount((logits + noise).argmax(-1), minlength=len(TOKENS)) / count
    alone = torch.bincount(noise.argmax(-1), minlength=len(TOKENS)) / count
    rows = [
        [token, f"{p:.3f}", f"{float(wins[i]):.3f}", f"{float(alone[i]):.3f}"]
        for i, (token, p) in enumerate(TOKENS.items())
    ]
    table(None, ["token", "probability", "highest ln p + g", "highest g alone"], rows)
    note(f"Shares of {count:,} draws.")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
