"""How llama.cpp's environment is made: a wheel where there is one, else llama-cpp-python compiled here."""

from __future__ import annotations

from typing import Final

from mrpack_runtime.recipe import Floor, Install, Probe, Recipe, Variant

_MIB: Final = 2**20
# Its attributes are renamed between releases (docs/engines.md).
_XLLAMACPP: Final = "2026.10.11549"
_LLAMA_CPP_PYTHON: Final = "0.3.36"


def _wheel(accelerator: str, index: str = "") -> Variant:
    return Variant(
        accelerator=accelerator,
        package="xllamacpp",
        version=_XLLAMACPP,
        steps=(Install(requirements=("xllamacpp=={version}",)),),
        size=150 * _MIB if accelerator == "cpu" else 1500 * _MIB,
        index=index,
        needs_index=bool(index),
    )


def _build(accelerator: str, flag: str, *tools: str) -> Variant:
    """`flag` is llama.cpp's CMake option for the accelerator."""
    return Variant(
        accelerator=accelerator,
        package="llama-cpp-python",
        version=_LLAMA_CPP_PYTHON,
        steps=(Install(requirements=("llama-cpp-python[server]=={version}",)),),
        size=1500 * _MIB,
        environment={"CMAKE_ARGS": flag} if flag else {},
        tools=("c++", *tools),
    )


RECIPE: Final = Recipe(
    engine="llama.cpp",
    variants=(
        _wheel("cpu"),
        _wheel("metal"),
        # The makers publish wheels for GPUs on indexes of their own: whoever names one needs no compiler.
        _wheel("cuda", index="xllamacpp-cuda"),
        _wheel("rocm", index="xllamacpp-rocm"),
        _wheel("vulkan", index="xllamacpp-vulkan"),
        _build("cuda", "-DGGML_CUDA=ON", "nvcc"),
        _build("rocm", "-DGGML_HIP=ON", "hipcc"),
        _build("vulkan", "-DGGML_VULKAN=ON", "glslc"),
        _build("opencl", "-DGGML_OPENCL=ON"),
        _build("cpu", ""),
    ),
    probes={
        "xllamacpp": Probe(imports=("xllamacpp",)),
        "llama-cpp-python": Probe(imports=("llama_cpp", "llama_cpp.server.app")),
    },
    floors={
        "llama-cpp-python": Floor("0.2.72", "CVE-2024-34359: chat templates of models ran code"),
    },
)
