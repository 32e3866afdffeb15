"""How the environment of Diffusers is made: torch for the accelerator, and no torchvision."""

from __future__ import annotations

from typing import Final

from mrpack_runtime.recipe import Floor, Install, Probe, Recipe, Variant

_GIB: Final = 2**30
_REQUIREMENTS: Final = (
    # An index for processors has it as 2.13.0+cpu, which counts as newer than 2.13.0.
    "torch==2.13.0",
    "diffusers=={version}",
    "transformers==5.23.0",
    "accelerate==1.15.0",
    # LoRA adapters.
    "peft==0.21.2",
    "safetensors==0.8.0",
    "huggingface_hub>=2.4,<3",
    "pillow>=12.3",
    "sentencepiece",
    "protobuf",
)

# torch 2.13.0 asks for CUDA 13 on every Linux.
_FOR_GPUS: Final = "pip's own index has torch for NVIDIA's GPUs alone, about 6 GiB more"


def _variant(accelerator: str, size: int, index: str, torch_backend: str) -> Variant:
    return Variant(
        accelerator=accelerator,
        package="diffusers",
        version="0.42.1",
        steps=(Install(requirements=_REQUIREMENTS),),
        size=size,
        index=index,
        needs_index=accelerator == "rocm",
        torch_backend=torch_backend,
        plain_torch=_FOR_GPUS if accelerator == "cpu" else "",
    )


RECIPE: Final = Recipe(
    engine="diffusers",
    variants=(
        _variant("cpu", int(1.6 * _GIB), "pytorch-cpu", "cpu"),
        _variant("cuda", 8 * _GIB, "pytorch-cuda", "auto"),
        _variant("rocm", 20 * _GIB, "pytorch-rocm", "auto"),
        _variant("metal", 2 * _GIB, "", ""),
    ),
    probes={
        "diffusers": Probe(imports=("torch", "PIL", "transformers", "accelerate", "diffusers")),
    },
    floors={
        "diffusers": Floor(
            "0.38.0", "CVE-2026-44513: code of a local pipeline ran although it was not trusted"
        ),
    },
)
