"""The name of a file that was quantized."""

from __future__ import annotations

import pytest

from mrpack.model.quantization import find_quantization
from mrpack.verbs.quantize import file_name


@pytest.mark.parametrize(
    ("source", "own", "made"),
    [
        ("SmolLM2-135M.F16.gguf", "F16", "SmolLM2-135M.Q4_K_M.gguf"),
        ("smollm2-135m-f16.gguf", "F16", "smollm2-135m-Q4_K_M.gguf"),
        ("smollm2_bf16.gguf", "BF16", "smollm2_Q4_K_M.gguf"),
        ("smollm2-fp16.gguf", "F16", "smollm2-Q4_K_M.gguf"),
        ("smollm2-Q8_0.gguf", "Q8_0", "smollm2-Q4_K_M.gguf"),
        ("model_q8_0.gguf", "Q8_0", "model_Q4_K_M.gguf"),
        ("model.gguf", "F16", "model-Q4_K_M.gguf"),
        ("F16.gguf", "F16", "F16-Q4_K_M.gguf"),
        ("m-F16-00001-of-00003.gguf", "F16", "m-Q4_K_M.gguf"),
        # A label that is not the file's own is part of its name.
        ("from-Q8_0.gguf", "F16", "from-Q8_0-Q4_K_M.gguf"),
    ],
)
def test_the_quantization_in_a_name_is_replaced(source: str, own: str, made: str) -> None:
    wanted = find_quantization("Q4_K_M")
    assert wanted is not None
    assert file_name(source, find_quantization(own), wanted) == made
