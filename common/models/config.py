"""What a `config.json` says, as a checked dataclass. Each family's own fields are in the family's file.

A published `config.json` mixes what the computation needs with what only training or other heads of the
model use. So every family sorts the keys it may meet into three lists: *used*, *harmless* (ignored) and *only*
(understood, but supported at one value). A key in none of them is refused by name: an option we do not know
of may change every output, and a wrong answer is worse than an error.

Both spellings in use are read: that of published files (`rope_theta`, `rope_scaling`, `torch_dtype`) and the one
that transformers 5 writes (`rope_parameters`, `layer_types`, `dtype`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.errors import UserError

# Written into every config by some version of transformers; none of them changes a forward pass.
HARMLESS = frozenset(
    """architectures transformers_version dtype torch_dtype use_cache initializer_range _name_or_path name_or_path
    return_dict output_attentions output_hidden_states pad_token_id problem_type chunk_size_feed_forward id2label
    label2id attention_dropout model_type auto_map unsloth_fixed task_specific_params _attn_implementation_autoset
    use_bfloat16 cache_implementation max_length bos_token_id eos_token_id""".split()
)
ONLY = {"is_encoder_decoder": False, "add_cross_attention": False, "quantization_config": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What every family has. Sizes are counts, `raw` is the `config.json` it was read from."""

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

    def __post_init__(self) -> None:
        for name in (
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_layers",
            "num_heads",
            "num_kv_heads",
        ):
            positive(name, getattr(self, name))
        positive("head_dim", self.head_dim)
        positive("max_positions", self.max_positions)
        if self.num_heads % self.num_kv_heads:
            raise UserError(
                f"config.json: num_attention_heads {self.num_heads} is no multiple of num_key_value_heads {self.num_kv_heads}"
            )


@dataclass(frozen=True, slots=True)
class Rope:
    """One rotary embedding: its base and how it is stretched (kind "default" is not)."""

    theta: float
    kind: str = "default"
    scaling: Mapping[str, float] = field(default_factory=dict)


ROPE_KEYS = {
    "default": set(),
    "linear": {"factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
}


def positive(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise UserError(f"config.json: {name} is {value!r}, but must be a positive whole number")


def check_keys(
    raw: Mapping[str, Any],
    used: Iterable[str],
    harmless: Iterable[str] = (),
    only: Mapping[str, Any] | None = None,
) -> None:
    """Raises UserError for a required key that is missing, an unknown key, and a value that is not supported."""
    known = {*used, *harmless} | HARMLESS
    for key, value in raw.items():
        wanted = {**ONLY, **(only or {})}
        if key in wanted:
            if value is not None and value != wanted[key]:
                raise UserError(f"config.json: {key} = {value!r} is not supported, only {wanted[key]!r}")
        elif key not in known:
            raise UserError(
                f"config.json: unknown key {key!r} (= {value!r}) for model_type {raw.get('model_type')!r}"
            )


def need(raw: Mapping[str, Any], key: str) -> Any:
    if raw.get(key) is None:
        raise UserError(f"config.json: {key!r} is missing")
    return raw[key]


def token_ids(raw: Mapping[str, Any]) -> dict[str, Any]:
    """bos and eos; the latter may be one id, several or none."""
    eos = raw.get("eos_token_id")
    return {
        "bos_token_id": raw.get("bos_token_id"),
        "eos_token_ids": () if eos is None else tuple(eos) if isinstance(eos, list) else (eos,),
    }


def read_rope(parameters: Mapping[str, Any] | None, theta: float) -> Rope:
    """From `rope_parameters` or the older `rope_scaling` (whose theta stands beside it).

    Raises:
        UserError: a kind of scaling we do not have, or a key that it lacks or does not know.
    """
    given = dict(parameters or {})
    kind = given.pop("rope_type", given.pop("type", "default"))
    given.pop("type", None)
    theta = given.pop("rope_theta", theta)
    if given.pop("partial_rotary_factor", 1.0) != 1.0:
        raise UserError("config.json: partial_rotary_factor is not supported, only 1.0")
    if kind not in ROPE_KEYS:
        raise UserError(f"config.json: RoPE scaling {kind!r} is not supported, only {', '.join(ROPE_KEYS)}")
    if set(given) != ROPE_KEYS[kind]:
        raise UserError(
            f"config.json: RoPE scaling {kind!r} takes {sorted(ROPE_KEYS[kind])}, got {sorted(given)}"
        )
    return Rope(float(theta), kind, given)


def layer_windows(kinds: list[str], num_layers: int, window: int | None) -> tuple[int | None, ...]:
    """`layer_types` -> the window of each layer, which counts the token itself; None: all tokens."""
    if len(kinds) != num_layers or set(kinds) - {"full_attention", "sliding_attention"}:
        raise UserError(
            f"config.json: layer_types must name 'full_attention' or 'sliding_attention' for each of {num_layers} layers, got {kinds}"
        )
    if "sliding_attention" in kinds:
        positive("sliding_window", window)
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)
