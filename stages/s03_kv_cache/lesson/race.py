"""Every side once, and whether all of them write the same: before the clock runs, and what the timed runs wrote."""

from __future__ import annotations

import copy
import gc
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from common.equality import STEPS_16_BITS

from .. import engine
from .cases import PROMPT, Case
from .runs import Twin, check_against, check_steps, generated, stepwise, timed

CHECKED = 256  # tokens in total that are compared before the clock runs on a CPU; on a GPU all are


def warmed(case: Case) -> int:
    """Up to which length every side has written the text before it is timed.

    On a GPU that must be all of it: the first time that transformers' attention meets a length, cuDNN builds a plan for it,
    which takes several times as long as the token. Timed cold, that would look like a slow decode.
    """
    return case.total if case.device.type == "cuda" else min(CHECKED, case.total)


def check(case: Case, without: ModuleType, twin: Twin) -> str:
    """Same tokens on all sides, before any is timed -> what was found, in words. Raises AssertionError."""
    total = warmed(case)
    theirs = twin.run(case.prompt, total)
    ours = list(generated(engine, case.model, case.prompt, total))
    against = check_against(twin, engine, case.model, case.prompt, ours, theirs.tokens)
    text = [*case.prompt, *ours]
    _, steps = stepwise(without, case.model, text, PROMPT, total, every=case.sampled or 8)
    alone = check_steps(text, steps, case.dtype)
    found = f"with transformers {against}; with and without a cache {alone}"
    if case.dtype != torch.float32:
        found += (
            f" (16 bits: a differing token is a near tie within {STEPS_16_BITS} bfloat16 steps of the best); "
            + check_exact(case)
        )
    return found


def check_exact(case: Case) -> str:
    """The same in float32, where ties are rare: what 16 bits cannot tell apart."""
    model: Any = copy.deepcopy(case.model)
    model.float().dtype = torch.float32
    with tempfile.TemporaryDirectory() as folder:
        twin = Twin(model, Path(folder))
        theirs = twin.run(case.prompt, 128)
        ours = list(generated(engine, model, case.prompt, 128))
        tally = check_against(twin, engine, model, case.prompt, ours, theirs.tokens)
    return f"in float32 with transformers {tally}"


def run_once(case: Case, without: ModuleType, twin: Twin, uncached_total: int) -> None:
    """Every side once, one after the other."""
    gc.collect()
    cached = timed(PROMPT, generated(engine, case.model, case.prompt, case.total))
    theirs = twin.run(case.prompt, case.total)
    text = [*case.prompt, *cached.tokens]
    uncached, steps = stepwise(without, case.model, text, PROMPT, uncached_total, case.sampled)
    check_steps(text, steps, case.dtype, case.tally)
    for side, one in (("with", cached), ("transformers", theirs), ("without", uncached)):
        case.runs.setdefault(side, []).append(one)


def check_runs(case: Case, twin: Twin) -> str:
    """That the timed runs wrote the same too. 16 bits are compared with transformers before timing only."""
    first, *others = case.runs["with"]
    if any(other.tokens != first.tokens for other in others):
        raise AssertionError("two runs with the cache wrote different tokens")
    found = f"with and without a cache {case.tally}"
    if case.dtype == torch.float32:
        theirs = case.runs["transformers"][0].tokens
        against = check_against(twin, engine, case.model, case.prompt, first.tokens, theirs)
        found = f"with transformers {against}; {found}"
    return found
