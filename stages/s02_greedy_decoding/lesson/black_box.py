"""The black box: transformers' own `generate()` on the same checkpoint, and whether it gives the same tokens.

For comparing and timing. The engine never needs transformers, so it is imported only when a BlackBox is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from common.equality import Tally, assert_same_tokens, near_tie_rule

from .outcome import Outcome


class Stopwatch:
    """Takes the place of a transformers streamer: it receives the prompt, then each token as soon as it is chosen."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, tokens: Tensor) -> None:
        self.times.append(perf_counter())

    def end(self) -> None:
        pass


class BlackBox:
    """A checkpoint in transformers. Raises ImportError where transformers is not installed."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype):
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
        self.model = model.to(device).eval()

    def generate(
        self,
        tokens: Sequence[int],
        max_new_tokens: int,
        eos_ids: Sequence[int] = (),
        use_cache: bool = True,
    ) -> tuple[Outcome, list[Tensor]]:
        """Greedy decoding. Returns the outcome (without text), and the logits [vocab_size] of each of its tokens."""
        from transformers import GenerationConfig

        # All settings are ours: a checkpoint's own may ask for sampling or penalties.
        self.model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=list(eos_ids) or None,
            pad_token_id=eos_ids[0] if eos_ids else 0,
            use_cache=use_cache,
            return_dict_in_generate=True,
            output_logits=True,
        )
        prompt = torch.tensor([list(tokens)], device=self.model.device)
        watch = Stopwatch()
        made = self.model.generate(prompt, attention_mask=torch.ones_like(prompt), streamer=watch)
        new = made.sequences[0, len(tokens) :].tolist()
        seconds = [after - before for before, after in zip(watch.times, watch.times[1:], strict=False)]
        reason = "stop" if new[-1] in eos_ids else "length"
        return Outcome(new, seconds, finish_reason=reason), [step[0] for step in made.logits]

    def check(
        self,
        ours: Callable[[list[int]], Sequence[int]],
        theirs: Sequence[int],
        logits: Sequence[Tensor],
        tally: Tally | None = None,
    ) -> Tally:
        """Compares by the near-tie rule of `common.equality`, the black box being the reference.

        Args:
            ours: from the first tokens of the answer to the rest of it; called with [] first.
            theirs, logits: the reference's answer, and what each of its tokens was chosen from.
            tally: continues the counts of earlier calls.

        Raises:
            AssertionError: at the first token that really differs.
        """
        rule = near_tie_rule(self.model.dtype)
        return assert_same_tokens(ours, theirs, lambda at: logits[at].float(), tally=tally, **rule)
