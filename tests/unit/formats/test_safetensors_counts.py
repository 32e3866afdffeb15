"""How many parameters a Safetensors model has, however its quantizer packed them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mrpack.formats.safetensors import read_weights
from tests.fakes.raw_safetensors import Content, safetensors
from tests.fakes.safetensors_models import compressed_tensors, in_memory, one_file


def parameters(tensors: Mapping[str, Content], config: dict | None = None) -> int:
    weights = read_weights(one_file(tensors, **({"config__json": config} if config else {})))
    assert weights is not None
    return weights.parameters


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_gptq_is_counted_unpacked(bits):
    tensors = {
        "l.qweight": Content("I32", [64 * bits // 32, 96]),
        "l.qzeros": Content("I32", [2, 96 * bits // 32]),
        "l.scales": Content("F16", [2, 96]),
        "l.g_idx": Content("I32", [64]),
        "l.bias": Content("F16", [96]),
        "norm.weight": Content("F16", [64]),
    }
    total = 64 * 96 + 96 + 64
    assert parameters(tensors, {"quantization_config": {"quant_method": "gptq", "bits": bits}}) == total
    assert parameters(tensors) == total
    del tensors["l.g_idx"]
    assert parameters(tensors, {"quantization_config": {"quant_method": "gptq", "bits": bits}}) == total


def test_awq_is_counted_unpacked():
    tensors = {
        "l.qweight": Content("I32", [64, 96 // 8]),
        "l.qzeros": Content("I32", [2, 96 // 8]),
        "l.scales": Content("F16", [2, 96]),
    }
    assert parameters(tensors) == 64 * 96


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_bitsandbytes_of_4_bits_is_counted_unpacked(kind):
    tensors = {
        "l.weight": Content("U8", [64 * 96 // 2, 1]),
        "l.weight.absmax": Content("U8", [96]),
        "l.weight.nested_absmax": Content("F32", [1]),
        "l.weight.nested_quant_map": Content("F32", [256]),
        "l.weight.quant_map": Content("F32", [16]),
        f"l.weight.quant_state.bitsandbytes__{kind}": Content("U8", [90]),
    }
    assert parameters(tensors) == 64 * 96


def test_bitsandbytes_of_8_bits_is_counted_as_it_lies():
    tensors = {
        "l.weight": Content("I8", [64, 96]),
        "l.SCB": Content("F32", [64]),
        "l.weight_format": Content("U8", []),
    }
    assert parameters(tensors) == 64 * 96


@pytest.mark.parametrize("bits", [4, 8])
def test_compressed_tensors_are_counted_unpacked(bits):
    tensors = {
        "l.weight_packed": Content("I32", [96, 64 * bits // 32]),
        "l.weight_scale": Content("BF16", [96, 1]),
        "l.weight_shape": Content("I64", [2]),
        "l.weight_zero_point": Content("I32", [12, 1]),
        "l.weight_g_idx": Content("I32", [64]),
    }
    settings = compressed_tensors({"num_bits": bits, "type": "int"})
    assert parameters(tensors, {"quantization_config": settings}) == 64 * 96


def test_floats_of_4_bits_are_counted_unpacked():
    compressed = {
        "l.weight_packed": Content("U8", [96, 32]),
        "l.weight_scale": Content("F8_E4M3", [96, 4]),
        "l.weight_global_scale": Content("F32", [1]),
        "l.input_global_scale": Content("F32", [1]),
    }
    assert parameters(compressed) == 96 * 64
    model_optimizer = {
        "l.weight": Content("U8", [96, 32]),
        "l.weight_scale": Content("F8_E4M3", [96, 4]),
        "l.weight_scale_2": Content("F32", []),
        "l.input_scale": Content("F32", []),
    }
    assert parameters(model_optimizer) == 96 * 64
    gpt_oss = {
        "mlp.experts.down_proj_blocks": Content("U8", [2, 96, 2, 16]),
        "mlp.experts.down_proj_scales": Content("U8", [2, 96, 2]),
        "mlp.experts.down_proj_bias": Content("BF16", [2, 96]),
    }
    assert parameters(gpt_oss) == 2 * 96 * 64 + 2 * 96
    assert parameters({"l.weight": Content("F4", [96, 64])}) == 96 * 64


def test_fp8_is_counted_without_its_scales():
    tensors = {"l.weight": Content("F8_E4M3", [64, 96]), "l.weight_scale_inv": Content("F32", [1, 1])}
    assert parameters(tensors) == 64 * 96


def test_bitnet_has_four_values_in_a_byte():
    tensors = {"l.weight": Content("U8", [24, 64]), "l.weight_scale": Content("BF16", [1])}
    assert parameters(tensors, {"quantization_config": {"quant_method": "bitnet"}}) == 96 * 64


def test_mlx_is_counted_unpacked_also_with_other_bits_in_some_layers():
    tensors = {
        "a.weight": Content("U32", [96, 64 * 4 // 32]),
        "a.scales": Content("F16", [96, 1]),
        "a.biases": Content("F16", [96, 1]),
        "b.weight": Content("U32", [96, 64 * 6 // 32]),
        "b.scales": Content("F16", [96, 2]),
        "b.biases": Content("F16", [96, 2]),
    }
    settings = {"group_size": 64, "bits": 4, "b": {"group_size": 32, "bits": 6}}
    assert parameters(tensors, {"quantization": settings}) == 2 * 96 * 64


def test_scales_of_a_model_that_is_not_quantized_are_parameters():
    tensors = {
        "l.weight": Content("F32", [4, 4]),
        "l.scales": Content("F32", [4]),
        "l.weight_scale": Content("F32", [4]),
        "l.biases": Content("F32", [4]),
        "position_ids": Content("I64", [5]),
    }
    assert parameters(tensors) == 16 + 12 + 5


def test_companions_may_lie_in_another_shard():
    scheme = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    files = in_memory(
        {
            "config.json": scheme,
            "model-00001-of-00002.safetensors": safetensors({"l.qweight": Content("I32", [8, 96])}),
            "model-00002-of-00002.safetensors": safetensors({"l.scales": Content("F16", [2, 96])}),
        }
    )
    assert read_weights(files).parameters == 64 * 96
