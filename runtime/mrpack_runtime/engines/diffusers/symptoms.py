"""What Diffusers writes when a pipeline cannot be loaded; from the logs of 0.42.1 and torch 2.13."""

from __future__ import annotations

import re
from typing import Final

from mrpack_runtime.engine.symptoms import Symptom

SYMPTOMS: Final = (
    Symptom(
        re.compile(r"(CUDA|MPS backend|HIP) out of memory|OutOfMemoryError"),
        "the GPU has not enough memory for this pipeline",
        "set diffusers.cpu_offload=model, or diffusers.device=cpu",
    ),
    Symptom(
        re.compile(r"DefaultCPUAllocator: (can't allocate|not enough) memory"),
        "this machine has not enough memory for this pipeline",
        "set diffusers.dtype=bfloat16, or take a smaller model",
    ),
    Symptom(re.compile(r"^error: (?P<words>.+)"), r"\g<words>"),
)
