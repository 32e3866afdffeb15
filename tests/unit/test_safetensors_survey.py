"""What an artifact says about a Safetensors model, and which folders are none."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import InvalidArtifact, NotFound
from mrpack.formats.safetensors import read_weights, survey
from mrpack.model.config import ModelConfig
from mrpack.readable import ReadableFile
from tests.fakes.raw_safetensors import Content, index, safetensors
from tests.fakes.tiny_safetensors import (
    LLAMA_PARAMETERS,
    QWEN2_PARAMETERS,
    opened,
    write_files,
    write_llama,
    write_qwen2,
)


def in_memory(files: Mapping[str, bytes | str | dict]) -> list[ReadableFile]:
    opened_files = []
    for name, content in files.items():
        text = json.dumps(content) if isinstance(content, dict) else content
        raw = text.encode() if isinstance(text, str) else text
        opened_files.append(
            ReadableFile(
                name=name,
                where=name,
                size=len(raw),
                read_at=lambda offset, count, raw=raw: raw[offset : offset + count],
            )
        )
    return opened_files


def one_file(
    tensors: Mapping[str, Content] | None = None, **others: bytes | str | dict
) -> list[ReadableFile]:
    """A model in one file, and other files, `__` standing for the dot in their names."""
    weights = safetensors(tensors or {"w": Content("BF16", [8, 8])})
    named = {name.replace("__", "."): content for name, content in others.items()}
    return in_memory({"model.safetensors": weights, **named})


def parameters(tensors: Mapping[str, Content], config: dict | None = None) -> int:
    weights = read_weights(one_file(tensors, **({"config__json": config} if config else {})))
    assert weights is not None
    return weights.parameters


@pytest.mark.parametrize("shards", [1, 2, 3, 21])
def test_a_llama_is_described_alike_however_it_is_split(tmp_path, shards):
    config = survey(opened(write_llama(tmp_path, shards=shards)))
    size = sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert config == ModelConfig(
        format="safetensors",
        quantization="BF16",
        parameters="139.58K",
        architecture="LlamaForCausalLM",
        size=f"{size / 1000:.2f}kB",
        metadata={"format": "pt", "tensor_count": "21"},
        context_size=512,
    )
    assert read_weights(opened(tmp_path)).parameters == LLAMA_PARAMETERS


def test_a_qwen2_is_described(tmp_path):
    config = survey(opened(write_qwen2(tmp_path, shards=2)))
    assert (config.architecture, config.parameters) == ("Qwen2ForCausalLM", f"{QWEN2_PARAMETERS / 1000:.2f}K")


def test_tiny_models_are_the_same_bytes_every_time(tmp_path):
    first, second = write_llama(tmp_path / "a", shards=2), write_llama(tmp_path / "b", shards=2)
    assert [file.read(limit=10**6) for file in opened(first)] == [
        file.read(limit=10**6) for file in opened(second)
    ]


def test_labels_without_a_config_come_from_the_weights():
    weights = safetensors(
        {"a": Content("BF16", [10, 20]), "b": Content("F32", [3])},
        {"format": "pt", "architecture": "LlamaForCausalLM"},
    )
    assert survey(in_memory({"model.safetensors": weights})) == ModelConfig(
        format="safetensors",
        quantization="BF16",
        parameters="203.00",
        architecture="LlamaForCausalLM",
        size=f"{len(weights)}.00B",
        metadata={"architecture": "LlamaForCausalLM", "format": "pt", "tensor_count": "2"},
    )


def test_the_data_type_of_most_bytes_names_the_quantization_not_that_of_most_tensors():
    tensors = {f"norm.{number}": Content("F32", [4]) for number in range(9)} | {"w": Content("F16", [64, 64])}
    assert survey(one_file(tensors)).quantization == "F16"


def test_a_model_of_no_tensors_is_of_unknown_quantization():
    config = survey(in_memory({"model.safetensors": safetensors({})}))
    assert (config.quantization, config.parameters) == ("unknown", "0.00")


def test_a_folder_without_weights_is_not_found():
    files = in_memory({"config.json": {}, "model.gguf": b"GGUF"})
    assert read_weights(files) is None
    with pytest.raises(NotFound, match="no Safetensors weights"):
        survey(files)


def test_long_training_logs_stay_out_of_the_config():
    weights = safetensors({"w": Content("F16", [2])}, {"format": "pt", "ss_tag_frequency": "x" * 100_000})
    assert survey(in_memory({"lora.safetensors": weights})).metadata == {"format": "pt", "tensor_count": "1"}


CONTEXTS = {
    "plain": ({"max_position_embeddings": 4096}, 4096),
    "GPT-2": ({"n_ctx": 1024, "n_positions": 512}, 1024),
    "T5": ({"n_positions": 512, "max_length": 20}, 512),
    "MPT": ({"max_seq_len": 2048}, 2048),
    "ChatGLM": ({"seq_length": 8192, "max_length": 20}, 8192),
    "last resort": ({"max_length": 512}, 512),
    "float falls through": ({"max_position_embeddings": 4096.0, "n_ctx": 7}, 7),
    "text falls through": ({"max_position_embeddings": "4096", "n_ctx": 7}, 7),
    "bool falls through": ({"max_position_embeddings": True, "n_ctx": 7}, 7),
    "null falls through": ({"max_position_embeddings": None, "n_ctx": 7}, 7),
    "zero falls through": ({"max_position_embeddings": 0, "n_ctx": 7}, 7),
    "more than 32 bits": ({"max_position_embeddings": 2**31}, None),
    "longest": ({"max_position_embeddings": 2**31 - 1}, 2**31 - 1),
    "vision model": ({"text_config": {"max_position_embeddings": 131_072}}, 131_072),
    "vision model with its own": (
        {"max_position_embeddings": 8, "text_config": {"max_position_embeddings": 9}},
        8,
    ),
    "InternVL": ({"llm_config": {"max_position_embeddings": 32_768}}, 32_768),
    "Omni": ({"thinker_config": {"text_config": {"max_position_embeddings": 32_768}}}, 32_768),
    "vision alone": ({"vision_config": {"max_position_embeddings": 77}}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_the_context_size_is_found(name):
    config, expected = CONTEXTS[name]
    assert survey(one_file(config__json=config)).context_size == expected


ARCHITECTURES = {
    "class": ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, "LlamaForCausalLM"),
    "type": ({"model_type": "llama"}, "llama"),
    "no class": ({"architectures": None, "model_type": "llama"}, "llama"),
    "empty": ({"architectures": [], "model_type": "llama"}, "llama"),
    "not text": ({"architectures": [7], "model_type": "llama"}, "llama"),
    "outer class": (
        {
            "architectures": ["LlavaForConditionalGeneration"],
            "text_config": {"architectures": ["LlamaForCausalLM"]},
        },
        "LlavaForConditionalGeneration",
    ),
    "inner class": (
        {"model_type": "x", "text_config": {"architectures": ["QwenForCausalLM"]}},
        "QwenForCausalLM",
    ),
    "nothing": ({}, ""),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_architecture_is_found(name):
    config, expected = ARCHITECTURES[name]
    assert survey(one_file(config__json=config)).architecture == expected


def _compressed(weights: dict, inputs: dict | None = None, form: str = "pack-quantized") -> dict:
    group = {"weights": weights, "input_activations": inputs, "targets": ["Linear"]}
    return {"quant_method": "compressed-tensors", "format": form, "config_groups": {"group_0": group}}


INT4, INT8 = {"num_bits": 4, "type": "int"}, {"num_bits": 8, "type": "int"}
FP4, FP8 = {"num_bits": 4, "type": "float"}, {"num_bits": 8, "type": "float"}
SCHEMES = {
    "GPTQ": ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "GPTQ-INT4"),
    "GPTQ of 3 bits": ({"quant_method": "gptq", "bits": 3}, "GPTQ-INT3"),
    "GPTQ without bits": ({"quant_method": "gptq"}, "GPTQ"),
    "GPTQ from before it had a name": ({"bits": 8, "desc_act": False}, "GPTQ-INT8"),
    "AWQ": ({"quant_method": "awq", "bits": 4, "version": "gemm"}, "AWQ-INT4"),
    "AWQ from before it had a name": ({"w_bit": 4, "zero_point": True}, "AWQ-INT4"),
    "AutoRound": ({"quant_method": "auto-round", "bits": 4}, "AUTOROUND-INT4"),
    "FP8": ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "FP8"),
    "FBGEMM": ({"quant_method": "fbgemm_fp8"}, "FP8"),
    "NF4": (
        {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "load_in_8bit": False,
            "bnb_4bit_quant_type": "nf4",
        },
        "BNB-NF4",
    ),
    "FP4": ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, "BNB-FP4"),
    "LLM.int8": ({"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": True}, "BNB-INT8"),
    "bitsandbytes from before it had a name": ({"load_in_8bit": True, "load_in_4bit": False}, "BNB-INT8"),
    "bitsandbytes of nothing": ({"quant_method": "bitsandbytes"}, "BF16"),
    "W4A16": (_compressed(INT4), "W4A16"),
    "W8A16": (_compressed(INT8), "W8A16"),
    "W8A8": (_compressed(INT8, INT8, "int-quantized"), "W8A8-INT8"),
    "W4A8": (_compressed(INT4, INT8), "W4A8-INT8"),
    "W4A8 of floats": (_compressed(INT4, FP8), "W4A8-FP8"),
    "FP8 of compressed-tensors": (_compressed(FP8, FP8, "float-quantized"), "FP8"),
    "FP8 weights alone": (_compressed(FP8, None, "float-quantized"), "W8A16-FP8"),
    "NVFP4": (_compressed(FP4, FP4, "nvfp4-pack-quantized"), "NVFP4"),
    "NVFP4 weights alone": (_compressed(FP4, None, "nvfp4-pack-quantized"), "NVFP4A16"),
    "MXFP4 of compressed-tensors": (_compressed(FP4, FP4, "mxfp4-pack-quantized"), "MXFP4"),
    "two groups": (
        {
            "quant_method": "compressed-tensors",
            "config_groups": {"a": {"weights": INT4}, "b": {"weights": FP8, "input_activations": FP8}},
        },
        "FP8+W4A16",
    ),
    "sparse alone": (
        {"quant_method": "compressed-tensors", "config_groups": {}, "sparsity_config": {}},
        "BF16",
    ),
    "cache alone": (
        {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": None}}},
        "BF16",
    ),
    "gpt-oss": ({"quant_method": "mxfp4", "modules_to_not_convert": []}, "MXFP4"),
    "Model Optimizer": ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "NVFP4"),
    "Model Optimizer of AWQ": ({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}, "W4A8_AWQ"),
    "Quanto": ({"quant_method": "quanto", "weights": "int4"}, "QUANTO-INT4"),
    "HQQ": ({"quant_method": "hqq", "quant_config": {}}, "HQQ"),
    "EETQ": ({"quant_method": "eetq"}, "EETQ-INT8"),
    "torchao": ({"quant_method": "torchao"}, "TORCHAO"),
    "a method of tomorrow": ({"quant_method": "vendor/super-quant"}, "SUPER_QUANT"),
    "terminal escapes": ({"quant_method": "\x1b[31mred"}, "31MRED"),
    "settings that say nothing": ({"bits": 4}, "BF16"),
    "nothing": ({}, "BF16"),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_the_quantization_is_found(name):
    settings, label = SCHEMES[name]
    assert survey(one_file(config__json={"quantization_config": settings})).quantization == label
    nested = {"text_config": {"quantization_config": settings}}
    assert survey(one_file(config__json=nested)).quantization == label


@pytest.mark.parametrize(
    ("name", "settings", "label"),
    [
        ("quantize_config.json", {"bits": 4, "group_size": 128, "desc_act": True}, "GPTQ-INT4"),
        ("quantize_config.json", {"bits": 4, "quant_method": "awq"}, "AWQ-INT4"),
        (
            "quant_config.json",
            {"zero_point": True, "q_group_size": 128, "w_bit": 4, "version": "GEMM"},
            "AWQ-INT4",
        ),
        ("hf_quant_config.json", {"producer": {}, "quantization": {"quant_algo": "FP8"}}, "FP8"),
        (
            "hf_quant_config.json",
            {"quantization": {"quant_algo": None, "kv_cache_quant_algo": "FP8"}},
            "BF16",
        ),
        ("hf_quant_config.json", {"quantization": "FP8"}, "BF16"),
    ],
)
def test_quantizers_that_leave_a_file_of_their_own_are_honoured(name, settings, label):
    files = [*one_file(config__json={}), *in_memory({name: settings})]
    assert survey(files).quantization == label


def test_config_json_is_believed_before_side_files():
    files = one_file(
        config__json={"quantization_config": {"quant_method": "awq", "bits": 4}},
        quantize_config__json={"bits": 8},
    )
    assert survey(files).quantization == "AWQ-INT4"


def test_mlx_repeats_its_settings_without_a_name():
    settings = {"group_size": 64, "bits": 4}
    files = one_file(config__json={"quantization": settings, "quantization_config": settings})
    assert survey(files).quantization == "MLX-INT4"
    files = one_file(config__json={"quantization": {"group_size": 32, "bits": 4, "mode": "mxfp4"}})
    assert survey(files).quantization == "MLX-MXFP4"


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
    settings = _compressed({"num_bits": bits, "type": "int"})
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


def sharded(**changes: bytes | str | dict | None) -> list[ReadableFile]:
    """Two shards and their index; files are replaced or, by None, taken away."""
    names = {"first": "model-00001-of-00002.safetensors", "second": "model-00002-of-00002.safetensors"}
    files: dict[str, bytes | str | dict | None] = {
        names["first"]: safetensors({"a": Content("F16", [4])}),
        names["second"]: safetensors({"b": Content("F16", [4])}),
        "model.safetensors.index.json": index({"a": names["first"], "b": names["second"]}, total_size=16),
    }
    files |= {names.get(key, "model.safetensors.index.json"): value for key, value in changes.items()}
    return in_memory({name: content for name, content in files.items() if content is not None})


def test_a_sharded_set_is_read():
    assert survey(sharded()).parameters == "8.00"


@pytest.mark.parametrize("index_too", [True, False])
@pytest.mark.parametrize(
    ("shard", "name"), [("first", "model-00001-of-00002"), ("second", "model-00002-of-00002")]
)
def test_a_missing_shard_is_named(shard, name, index_too):
    changes = {shard: None} | ({} if index_too else {"index": None})
    with pytest.raises(NotFound, match=rf"no file '{name}\.safetensors'"):
        survey(sharded(**changes))


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
CONTRADICTIONS = {
    "tensor in another shard": (
        {"index": index({"a": SECOND, "b": FIRST})},
        "which the index has in 'model-00002",
    ),
    "tensor that is nowhere": ({"index": index({"a": FIRST, "b": SECOND, "c": SECOND})}, "has no tensor 'c'"),
    "tensor that is not listed": (
        {"second": safetensors({"b": Content("F16", [4]), "c": Content("F16", [4])})},
        "holds tensor 'c', which the index does not have there",
    ),
    "tensor in two shards": (
        {"second": safetensors({"a": Content("F16", [4]), "b": Content("F16", [4])})},
        "holds tensor 'a'",
    ),
    "shard that is not listed": (
        {"index": index({"a": FIRST})},
        "is not listed in model.safetensors.index.json",
    ),
    "empty index": ({"index": index({})}, "lists no tensor"),
    "no weight_map": ({"index": '{"metadata":{}}'}, "has no weight_map"),
    "weight_map twice": ({"index": '{"weight_map":{},"weight_map":{}}'}, "weight_map: occurs twice"),
    "tensor twice": (
        {"index": '{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}'},
        "weight_map: 'a' occurs twice",
    ),
    "weight_map is a list": ({"index": '{"weight_map":[]}'}, "weight_map: not an object"),
    "file is a number": ({"index": '{"weight_map":{"a":1}}'}, "weight_map: not an object of strings"),
    "file elsewhere": ({"index": index({"a": "../model.safetensors"})}, "no Safetensors file in its folder"),
    "file of another kind": (
        {"index": index({"a": "pytorch_model.bin"})},
        "no Safetensors file in its folder",
    ),
    "65 keys": (
        {"index": json.dumps({str(number): 0 for number in range(66)} | {"weight_map": {}})},
        "more than 64 keys",
    ),
    "index is a list": ({"index": "[]"}, "index: not an object"),
    "index is deep": ({"index": '{"metadata":' + "[" * 50_000}, "'metadata': not JSON"),
    "index is cut": ({"index": index({"a": FIRST, "b": SECOND})[:-6]}, "not an object of strings"),
    "index is not UTF-8": ({"index": b'{"weight_map":{"\xff":"a.safetensors"}}'}, "not text"),
    "something behind the index": ({"index": index({"a": FIRST, "b": SECOND}) + "{}"}, "something follows"),
    "broken shard": ({"second": b"not a shard at all"}, "not a Safetensors file"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_set_that_does_not_fit_together_is_refused(name):
    changes, reason = CONTRADICTIONS[name]
    with pytest.raises(InvalidArtifact) as caught:
        survey(sharded(**changes))
    assert reason in str(caught.value)
    assert caught.value.where


def test_shards_without_an_index_are_a_set_too():
    assert survey(sharded(index=None)).parameters == "8.00"
    with pytest.raises(InvalidArtifact, match="tensor 'a' is also in model-00001"):
        survey(sharded(index=None, second=safetensors({"a": Content("F16", [4])})))


def test_a_shard_number_beyond_its_set_is_refused():
    files = in_memory({"model-00003-of-00002.safetensors": safetensors({"a": Content("F16", [4])})})
    with pytest.raises(InvalidArtifact, match="shard 3 of a set of 2"):
        survey(files)


def test_indexes_may_say_more_than_we_ask_for():
    text = json.dumps(
        {
            "metadata": {"total_size": 1.6e1, "total_parameters": 8, "note": "ünï", "nested": [{"a": None}]},
            "weight_map": {"a": FIRST, "b": SECOND},
            "format": None,
        },
        ensure_ascii=False,
    )
    assert survey(sharded(index=text)).parameters == "8.00"


def test_a_variant_beside_the_model_does_not_count_twice():
    files = in_memory(
        {
            "model.fp16.safetensors": safetensors({"w": Content("F16", [8, 8])}),
            "model.safetensors": safetensors({"w": Content("F32", [8, 8])}),
        }
    )
    config = survey(files)
    assert (config.parameters, config.quantization) == ("64.00", "F32")
    assert config.size == f"{sum(file.size for file in files)}.00B"


def test_a_variant_may_have_an_index_of_its_own():
    both = {f"text.fp16-0000{number}-of-00002.safetensors": name for number, name in ((1, "a"), (2, "b"))}
    files = {shard: safetensors({name: Content("F16", [4])}) for shard, name in both.items()}
    listed = index({name: shard for shard, name in both.items()})
    assert survey(in_memory({**files, "text.safetensors.index.fp16.json": listed})).parameters == "8.00"


def test_the_copy_for_mistrals_own_loader_does_not_count():
    files = in_memory(
        {
            "consolidated.safetensors": safetensors({"layers.0.w": Content("BF16", [8, 8])}),
            "model.safetensors": safetensors({"model.layers.0.w": Content("BF16", [8, 8])}),
        }
    )
    assert survey(files).parameters == "64.00"
    assert survey(files[:1]).parameters == "64.00"


def test_weights_in_folders_do_not_count_but_are_checked():
    tensors = safetensors({"w": Content("F32", [4])})
    files = {
        "model.safetensors": tensors,
        "original/other.safetensors": safetensors({"x": Content("F32", [9])}),
    }
    assert survey(in_memory(files)).parameters == "4.00"
    with pytest.raises(InvalidArtifact, match="original/broken"):
        survey(in_memory({**files, "original/broken.safetensors": b"nothing of the kind"}))


def test_modules_of_sentence_transformers_count():
    files = {
        "model.safetensors": safetensors({"w": Content("F32", [4])}),
        "2_Dense/model.safetensors": safetensors({"linear.weight": Content("F32", [9])}),
        "2_Dense/config.json": {"in_features": 3},
    }
    assert survey(in_memory(files)).parameters == "13.00"


def test_a_model_may_lie_in_a_folder_with_its_config():
    files = {
        "model/config.json": {"model_type": "bert", "max_position_embeddings": 512},
        "model/model.safetensors": safetensors({"w": Content("F32", [4])}),
    }
    config = survey(in_memory(files))
    assert (config.architecture, config.context_size, config.parameters) == ("bert", 512, "4.00")


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{", b"\xff{}", b"nothing", b"[" * 100_000, b'{"a":' * 100_000],
    ids=["empty", "list", "open", "not UTF-8", "word", "deep list", "deep object"],
)
def test_a_malformed_config_is_refused(text):
    with pytest.raises(InvalidArtifact, match=r"config\.json"):
        survey(one_file(config__json=text))


def test_a_config_of_megabytes_is_refused_before_it_is_parsed():
    with pytest.raises(InvalidArtifact, match="more than the limit"):
        survey(one_file(config__json=b" " * (4 * 1024 * 1024 + 1)))


def test_configs_are_read_as_leniently_as_by_those_who_write_them():
    text = '{"time_step_limit":[0.0,Infinity],"big":1000000000000000019884624838656,"n_ctx":1,"n_ctx":8}'
    assert survey(one_file(config__json=text)).context_size == 8


def test_paths_on_disk_are_named_in_errors(tmp_path):
    write_files(tmp_path, {"model.safetensors": b"nothing of the kind"})
    with pytest.raises(InvalidArtifact) as caught:
        survey(opened(tmp_path))
    assert caught.value.where == str(tmp_path / "model.safetensors")


SHAPES = st.dictionaries(
    st.text("abc._", min_size=1, max_size=6), st.lists(st.integers(1, 5), max_size=3), min_size=1, max_size=8
)


@given(SHAPES, st.integers(1, 4), st.booleans())
def test_however_a_model_is_split_its_labels_are_the_same(shapes, count, with_index):
    tensors = {name: Content("BF16", shape) for name, shape in shapes.items()}
    count = min(count, len(tensors))
    files: dict[str, bytes | str | dict] = {}
    listed = {}
    for number in range(count):
        name = f"model-{number + 1:05}-of-{count:05}.safetensors"
        own = list(tensors)[number::count]
        files[name] = safetensors({tensor: tensors[tensor] for tensor in own})
        listed |= dict.fromkeys(own, name)
    if with_index:
        files["model.safetensors.index.json"] = index(listed)
    weights = read_weights(in_memory(files))
    assert weights.parameters == sum(math.prod(shape) for shape in shapes.values())
    assert weights.tensor_count == len(tensors)


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_index_or_config_is_read_or_refused(content):
    for name in ("index", "config.json", "quantize_config.json"):
        files = sharded(index=content) if name == "index" else [*sharded(), *in_memory({name: content})]
        try:
            survey(files)
        except (InvalidArtifact, NotFound):
            continue
