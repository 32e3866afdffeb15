"""A LoRA adapter as PEFT writes it, for the models of tiny_safetensors: with it they say something else."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from tests.fakes.raw_safetensors import Content, safetensors
from tests.fakes.tiny_safetensors import write_files

RANK: Final = 4
_WIDTH: Final = 64
_PLACE: Final = "base_model.model.model.layers.1.self_attn.o_proj"


def write_adapter(folder: Path) -> Path:
    """Adds a large vector, by what the last layer attends to, to what the model thinks."""
    signs = np.where(np.arange(_WIDTH * RANK) % 3, 1, -1).astype("<f4")
    return write_files(
        folder,
        {
            "adapter_config.json": {
                "peft_type": "LORA",
                "task_type": "CAUSAL_LM",
                "r": RANK,
                "lora_alpha": 4096,
                "lora_dropout": 0.0,
                "bias": "none",
                "target_modules": ["o_proj"],
                "base_model_name_or_path": None,
            },
            "adapter_model.safetensors": safetensors(
                {
                    f"{_PLACE}.lora_A.weight": Content("F32", (RANK, _WIDTH), signs.tobytes()),
                    f"{_PLACE}.lora_B.weight": Content("F32", (_WIDTH, RANK), signs.tobytes()),
                }
            ),
            "README.md": "# An adapter\n",
        },
    )
