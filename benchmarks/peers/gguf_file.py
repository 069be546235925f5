"""A GGUF file from a checkpoint in Hugging Face's layout, for llama.cpp: the same numbers under its names.

What differs from the checkpoint: GPT-2's matrices are turned over, Llama's query and key rows are ordered for a RoPE
that pairs neighbours, Gemma's norms hold their whole factor, and stretched RoPE comes as factors. No tokenizer is
written: only token ids go in and out. The names of tensors and keys are those of the `gguf` package.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.loader import load_config, read_tensors
from common.models import MODELS, ModelConfig
from common.models.config import Rope
from common.models.layers import inverse_frequencies

ARCHITECTURES = {"gpt2": "GPT2", "llama": "LLAMA", "qwen3": "QWEN3", "gemma3_text": "GEMMA3"}
FILE = "model.gguf"


def refused(config: ModelConfig) -> str | None:
    """Why a model has no GGUF of ours."""
    kind = config.model_type
    if kind not in ARCHITECTURES:
        return f"no GGUF of {kind}; there are those of {', '.join(ARCHITECTURES)}"
    if kind == "gemma3_text" and getattr(config, "scale", 0.0) != config.head_dim**-0.5:
        return "Gemma 3 with attention scores scaled by other than the head size"
    if kind == "qwen3" and any(getattr(config, "windows", ())):
        return "Qwen 3 with a sliding window"
    return None


def write_gguf(folder: Path, part: Path, dtype: str) -> None:
    """Writes `part`/model.gguf: matrices in `dtype`, the rest (norms, biases, positions) in float32."""
    import gguf

    config = load_config(folder)
    arch = getattr(gguf.MODEL_ARCH, ARCHITECTURES[config.model_type])
    writer = gguf.GGUFWriter(part / FILE, gguf.MODEL_ARCH_NAMES[arch])
    add_keys(writer, config, gguf)
    names = gguf.get_tensor_name_map(arch, config.num_layers)
    for name, tensor in read_tensors(folder):
        if unused(name, config):
            continue
        theirs = names.get_name(_prefixed(name, config), try_suffixes=(".weight", ".bias"))
        if theirs is None:
            raise ValueError(f"tensor {name!r} has no name in GGUF")
        add_tensor(writer, theirs, changed(name, tensor, config), dtype, gguf)
    rope = getattr(config, "rope", None)
    if isinstance(rope, Rope) and rope.kind == "llama3":
        add_tensor(writer, "rope_freqs.weight", rope_factors(rope, config.head_dim), "float32", gguf)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_keys(writer: Any, config: ModelConfig, gguf: Any) -> None:
    """The shape, in GGUF's words."""
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")
    if config.model_type == "gpt2":
        writer.add_layer_norm_eps(config.norm_eps)
        return
    writer.add_layer_norm_rms_eps(config.norm_eps)
    rope: Rope = getattr(config, "rope")  # noqa: B009  (only these families have one)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(rope.theta)
    if rope.kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope.scaling["factor"])
    if config.model_type == "gemma3_text":
        windows: tuple[int | None, ...] = getattr(config, "windows")  # noqa: B009
        writer.add_sliding_window(next(filter(None, windows)))
        writer.add_sliding_window_pattern([window is not None for window in windows])
        writer.add_rope_freq_base_swa(getattr(config, "local_rope").theta)  # noqa: B009


def add_tensor(writer: Any, name: str, tensor: Tensor, dtype: str, gguf: Any) -> None:
    kind = "float32" if tensor.dim() < 2 or name.startswith("position_embd") else dtype
    tensor = tensor.to(getattr(torch, kind)).contiguous()
    if kind == "bfloat16":  # NumPy has none: its bytes, and what they mean
        writer.add_tensor(name, tensor.view(torch.uint8).numpy(), raw_dtype=gguf.GGMLQuantizationType.BF16)
    else:
        writer.add_tensor(name, tensor.numpy())


def unused(name: str, config: ModelConfig) -> bool:
    """Masks, frequencies, and a tied head that is stored a second time."""
    model = MODELS[config.model_type]
    return (name == "lm_head.weight" and config.tie_word_embeddings) or any(
        re.fullmatch(pattern, name) for pattern in model.ignored
    )


def changed(name: str, tensor: Tensor, config: ModelConfig) -> Tensor:
    """A tensor as llama.cpp wants it."""
    if config.model_type == "gpt2" and re.search(r"\.c_(attn|proj|fc)\.weight$", name):
        return tensor.t()
    if config.model_type == "gemma3_text" and name.endswith("norm.weight"):
        return tensor.float() + 1.0
    if config.model_type == "llama" and (found := re.search(r"\.([qk])_proj\.", name)):
        return neighbours(tensor, config.num_heads if found[1] == "q" else config.num_kv_heads)
    return tensor


def neighbours(tensor: Tensor, heads: int) -> Tensor:
    """Rows [heads * D, ...]: dimension i, whose partner is i + D/2, goes to 2i and its partner beside it."""
    return tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(tensor.shape)


def rope_factors(rope: Rope, head_dim: int) -> Tensor:
    """By how much each frequency is divided: [D/2]."""
    return inverse_frequencies(Rope(rope.theta), head_dim) / inverse_frequencies(rope, head_dim)


def _prefixed(name: str, config: ModelConfig) -> str:
    prefix = MODELS[config.model_type].prefix
    return name if not prefix or name.startswith((prefix, "lm_head")) else prefix + name
