"""What every family's model offers: the engines are written against this, and never against one family.

The loader sets `device`, `dtype` and `kv_dtype` when it gives the model its memory. The weights cannot tell:
a quantised embedding has a type of its own, and a model's modules may have been replaced before it was filled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .layers import LayerInfo, Target

# attend(layer, q [N, Hq, D], k [N, Hkv, D], v [N, Hkv, D]) -> [N, Hq, D]
Attend = Callable[[LayerInfo, Tensor, Tensor, Tensor], Tensor]


@runtime_checkable
class Model(Protocol):
    """A decoder over a flat list of N tokens; `attend` is the one place where they meet."""

    config: ModelConfig
    embed: Any
    blocks: Any  # blocks(hidden, positions, attend) -> hidden
    norm: Any
    head: Any
    weight_map: dict[str, list[Target]]  # checkpoint name -> the rows of the modules that it fills
    device: torch.device  # where the tokens and positions must be
    dtype: torch.dtype  # of the weights and of the hidden states
    kv_dtype: torch.dtype  # in which K and V are best kept: float32 where a CPU cannot multiply `dtype`

    @property
    def layers_info(self) -> list[LayerInfo]:
        """One entry per layer, the only source of a cache's shapes."""
        ...

    def __call__(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """tokens [N], positions [N] -> hidden states [N, hidden_size]."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [R, hidden_size] -> [R, vocab_size]."""
        ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]: ...

    def get_submodule(self, target: str) -> nn.Module: ...
