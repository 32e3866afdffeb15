"""LoRA adapters as vLLM loads them: folders as PEFT writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from mrpack.errors import InvalidArtifact, Unsupported
from mrpack.model.document import read_document
from mrpack.readable import open_file
from mrpack_runtime.engine import ModelBundle

_CONFIG: Final = "adapter_config.json"
# What `--max-lora-rank` takes (vLLM 0.32.0).
_RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def adapter_arguments(bundle: ModelBundle) -> list[str]:
    """Names for the server, so that the model with its adapter answers to the model's own name.

    Raises:
        Unsupported: several adapters, of another program, or of a rank that vLLM does not take.
        InvalidArtifact: an adapter's config is malformed.
    """
    folders = list(dict.fromkeys(path.parent for path in bundle.adapters))
    if not folders:
        return ["--served-model-name", bundle.name]
    if len(folders) > 1:
        raise Unsupported(f"vLLM applies one LoRA adapter at a time, and the model has {len(folders)}")
    module = {"name": bundle.name, "path": str(folders[0])}
    # The name of the model without it, which no reference can be.
    return [
        *("--served-model-name", f"{bundle.name}#base", "--enable-lora"),
        *("--max-lora-rank", str(_rank(folders[0])), "--lora-modules", json.dumps(module)),
    ]


def _rank(folder: Path) -> int:
    path = folder / _CONFIG
    if not path.is_file():
        raise Unsupported(
            f"vLLM takes LoRA adapters as PEFT writes them, and beside {folder.name} there is no {_CONFIG}"
        )
    rank = read_document(open_file(path)).get("r")
    if not isinstance(rank, int):
        raise InvalidArtifact("has no rank `r`", where=str(path))
    fitting = next((size for size in _RANKS if size >= rank), None)
    if fitting is None:
        raise Unsupported(f"vLLM takes LoRA adapters of rank {_RANKS[-1]} at most, and this has {rank}")
    return fitting
