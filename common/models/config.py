"""A `config.json`, checked: every key has its type, and an unknown key is refused by name.

A published `config.json` mixes what the computation needs with what only training, generation or other heads use. Each family
reads the keys that it needs; the rest is either known to be harmless or supported with one value only. Anything else is an
error: an option that we do not know may change every output, and a wrong answer is worse than an error. A key that is null asks
for nothing.

Both spellings in use are read: the one of published files (`rope_theta`, `rope_scaling`, `torch_dtype`) and the one that
transformers 5 writes (`rope_parameters`, `layer_types`, `dtype`). Defaults are those of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.fields import REQUIRED, Fields

# What versions of transformers, trainers and converters have written into configs without changing a forward pass.
HARMLESS = frozenset(
    """
    model_type architectures transformers_version dtype torch_dtype auto_map _name_or_path name_or_path _commit_hash
    use_cache return_dict output_attentions output_hidden_states output_scores return_dict_in_generate torchscript use_bfloat16
    initializer_range attention_dropout gradient_checkpointing chunk_size_feed_forward remove_invalid_values tf_legacy_loss
    attn_implementation _attn_implementation _attn_implementation_internal _attn_implementation_autoset _flash_attn_2_enabled
    id2label label2id num_labels _num_labels problem_type finetuning_task task_specific_params tokenizer_class prefix
    bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id forced_bos_token_id forced_eos_token_id
    do_sample temperature top_k top_p typical_p num_beams num_beam_groups num_return_sequences early_stopping max_length min_length
    max_new_tokens diversity_penalty length_penalty repetition_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size
    bad_words_ids suppress_tokens begin_suppress_tokens exponential_decay_length_penalty cache_implementation
    is_decoder output_past n_special predict_special_tokens xla_device tie_encoder_decoder cross_attention_hidden_size
    max_sequence_length pretraining_tp is_llama_config transformers.js_config unsloth_fixed unsloth_version
    """.split()
)
# Supported with this value only.
ONLY = {
    "is_encoder_decoder": False,
    "add_cross_attention": False,
    "pruned_heads": {},
    "quantization_config": None,
    "rope_interleaved": False,
    "partial_rotary_factor": 1.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What every family has. Sizes are counts, `raw` is the `config.json` that they were read from."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int  # Hq
    num_kv_heads: int  # Hkv
    head_dim: int  # D
    max_positions: int
    tie_word_embeddings: bool
    norm_eps: float
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    raw: dict[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Rope:
    """One rotary embedding: its base and how it is stretched (kind "default" is not)."""

    theta: float
    kind: str = "default"
    scaling: Mapping[str, float] = field(default_factory=dict)


def finish(fields: Fields, harmless: str = "", **only: Any) -> dict[str, Any]:
    """Refuses the keys that no family asked for. Returns what every config has besides its sizes."""
    more = {
        "bos_token_id": next(iter(fields.token_ids("bos_token_id")), None),
        "eos_token_ids": fields.token_ids("eos_token_id"),
    }
    fields.done(HARMLESS | {*harmless.split()}, ONLY | only)
    return {"model_type": fields.raw["model_type"], "raw": dict(fields.raw)} | more


ROPE_KEYS = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


def read_decoder(fields: Fields, **defaults: Any) -> dict[str, Any]:
    """The keys that Llama and its descendants share. defaults: where a family's differ from Llama's."""
    d: dict[str, Any] = {
        "vocab_size": REQUIRED, "hidden_size": REQUIRED, "intermediate_size": REQUIRED, "num_hidden_layers": REQUIRED,
        "num_attention_heads": REQUIRED, "num_key_value_heads": None, "head_dim": None, "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
    } | defaults  # fmt: skip
    size, heads = (fields.integer(key, d[key]) for key in ("hidden_size", "num_attention_heads"))
    kv_heads = fields.integer("num_key_value_heads", d["num_key_value_heads"]) or heads
    if heads % kv_heads:
        raise fields.error(f"num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}")
    head_dim = fields.integer("head_dim", d["head_dim"])
    if head_dim is None and size % heads:
        raise fields.error(f"hidden_size {size} is not a multiple of num_attention_heads {heads}")
    head_dim = head_dim or size // heads
    if head_dim % 2:
        raise fields.error(f"head_dim is {head_dim}, but must be even: RoPE turns pairs of dimensions")
    return dict(
        hidden_size=size,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=fields.integer("vocab_size", d["vocab_size"]),
        intermediate_size=fields.integer("intermediate_size", d["intermediate_size"]),
        num_layers=fields.integer("num_hidden_layers", d["num_hidden_layers"]),
        max_positions=fields.integer("max_position_embeddings", d["max_position_embeddings"]),
        tie_word_embeddings=fields.flag("tie_word_embeddings", d["tie_word_embeddings"]),
        norm_eps=fields.number("rms_norm_eps", 1e-6),
        attention_bias=fields.flag("attention_bias", False),
    )


def read_rope(fields: Fields, max_positions: int, theta: float = 10_000.0) -> Rope:
    """From `rope_parameters`, which holds theta too, or from `rope_scaling`, which wins where a file has both."""
    rope = rope_of(fields.object("rope_parameters"), fields.number("rope_theta", theta), max_positions)
    older = fields.object("rope_scaling")
    return rope_of(older, rope.theta, max_positions) if older else rope


def rope_of(given: Fields | None, theta: float, max_positions: int) -> Rope:
    """Raises UserError for a kind of scaling that we do not have, and for a key that is missing or unknown."""
    if given is None:
        return Rope(theta)
    kind = given.choice("rope_type", tuple(ROPE_KEYS), given.choice("type", tuple(ROPE_KEYS), "default"))
    theta = given.number("rope_theta", theta)
    # transformers takes the window for the original one where a file does not name that.
    defaults = {"original_max_position_embeddings": float(max_positions)}
    scaling = {key: given.number(key, defaults.get(key, REQUIRED)) for key in ROPE_KEYS[kind]}
    if kind == "llama3" and scaling["low_freq_factor"] == scaling["high_freq_factor"]:
        raise given.error("low_freq_factor and high_freq_factor must differ")
    given.done(only={"partial_rotary_factor": 1.0})
    return Rope(theta, kind, scaling)


def read_windows(
    fields: Fields, num_layers: int, window: int | None, default: list[str]
) -> tuple[int | None, ...]:
    """`layer_types` -> the window of each layer, which counts the token itself; None means all tokens."""
    kinds = fields.names("layer_types", ("full_attention", "sliding_attention")) or default
    if len(kinds) != num_layers:
        raise fields.error(f"layer_types names {len(kinds)} layers, but there are {num_layers}")
    if "sliding_attention" in kinds and window is None:
        raise fields.error("sliding_window is null, but layer_types asks for a window")
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)
