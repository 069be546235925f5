"""Random-weight checkpoints in published shapes: speed does not depend on what the weights say.

    python -m benchmarks.checkpoints gpt2-124m gpt2-xl --dtype bfloat16

Written in Hugging Face's layout, so that our loader and the peers read the same numbers, into a cache folder outside
the repository, once. Such a model writes nonsense, but always the same nonsense, so greedy outputs can be compared.
Which shapes there are, `common.bench.shapes` says; how weights are drawn, `common.loader.build_model`.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.bench.shapes import PUBLISHED
from common.errors import UserError
from common.loader import CHECKPOINTS, DTYPES, build_model, find_checkpoint, save_model
from common.models import read_config
from common.terminal.command_line import choice, choose, run, stage_parser
from common.terminal.console import note

__all__ = ["cache_folder", "checkpoint", "main", "whole", "write_random"]

CLASSES = {
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
}
SPECIAL = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}  # of the tokenizer below
TOKENIZER = CHECKPOINTS / "storyteller"  # a random model has no tokenizer of its own


def cache_folder() -> Path:
    """Where large files go that can be made again: ~/.cache/vitrine, or in XDG_CACHE_HOME."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home else Path.home() / ".cache") / "vitrine"


def checkpoint(name: str, dtype: str = "float32", out: Path | None = None) -> Path:
    """The folder of a checkpoint; for a published shape one with random weights, made where it is not there yet.

    Args:
        name: a published shape, or what `common.loader.find_checkpoint` takes.
        dtype: of the random weights.
        out: the folder to put the shape's folder in; None is the cache.

    Raises:
        UserError: where there is no such checkpoint, or no room for it.
    """
    if name not in PUBLISHED:
        return find_checkpoint(name)
    folder = (out or cache_folder() / "checkpoints") / f"{name}-{choose('dtype', dtype, DTYPES)}"
    if not folder.is_dir():  # it gets this name only when it is whole
        note(f"{name}: writing random {dtype} weights to {folder}")
        write_random(PUBLISHED[name], folder, dtype)
    return folder


def write_random(shape: dict[str, Any], folder: Path, dtype: str = "float32") -> None:
    """Writes a checkpoint of this shape: config, weights, and storyteller's tokenizer with as many tokens as needed.

    The seed is fixed, but a GPU, which is used where there is one, draws other numbers than a CPU.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = read_config({"architectures": [CLASSES[shape["model_type"]]], **shape, **SPECIAL})
    with whole(folder) as part:
        save_model(build_model(config, device, dtype), part, DTYPES[dtype])
        write_tokenizer(part, config.vocab_size, config.max_positions)
    if device == "cuda":
        torch.cuda.empty_cache()


def write_tokenizer(folder: Path, size: int, positions: int) -> None:
    """storyteller's tokenizer; ids beyond its own decode to " t4096" and so on, so that any output has a text."""
    content = json.loads((TOKENIZER / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    if size < len(vocabulary):
        raise UserError(f"vocab_size = {size} is less than the {len(vocabulary)} of the tokenizer")
    # Ġ is how byte-level BPE writes a space.
    vocabulary |= {f"Ġt{i}": i for i in range(len(vocabulary), size)}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    roles = json.loads((TOKENIZER / "tokenizer_config.json").read_text(encoding="utf-8"))
    roles["model_max_length"] = positions
    (folder / "tokenizer_config.json").write_text(json.dumps(roles, indent=2), encoding="utf-8")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A folder to write to, which gets the name `path` when the block ends well and is removed when it does not.

    Raises UserError where the disk cannot take it.
    """
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{path.name}.", dir=path.parent))
        yield part
        if not path.is_dir():  # another process may have made it meanwhile
            part.rename(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def main(argv: Sequence[str] | None = None) -> int:
    examples = ["gpt2-124m", "gpt2-xl llama-3.2-1b --dtype bfloat16", "qwen3-0.6b --out /tmp/models"]
    parser = stage_parser("python -m benchmarks.checkpoints", "Random weights in published shapes.", examples)
    known = tuple(PUBLISHED)
    parser.add_argument("names", nargs="+", type=choice(*known), metavar="NAME", help=", ".join(known))
    parser.add_argument("--dtype", type=choice(*DTYPES), default="float32", help=", ".join(DTYPES))
    home = str(cache_folder() / "checkpoints").replace(str(Path.home()), "~")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"where to ({home})")
    args = parser.parse_args(argv)
    for name in args.names:
        print(checkpoint(name, args.dtype, args.out))
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
