"""What an artifact says about a Safetensors model, and which configs are none."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import InvalidArtifact, NotFound
from mrpack.formats.safetensors import read_weights, survey
from mrpack.model.config import ModelConfig
from tests.fakes.raw_safetensors import Content, index, safetensors
from tests.fakes.safetensors_models import compressed_tensors, in_memory, one_file, sharded
from tests.fakes.tiny_safetensors import (
    LLAMA_PARAMETERS,
    QWEN2_PARAMETERS,
    opened,
    write_files,
    write_llama,
    write_qwen2,
)


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
    "W4A16": (compressed_tensors(INT4), "W4A16"),
    "W8A16": (compressed_tensors(INT8), "W8A16"),
    "W8A8": (compressed_tensors(INT8, INT8, "int-quantized"), "W8A8-INT8"),
    "W4A8": (compressed_tensors(INT4, INT8), "W4A8-INT8"),
    "W4A8 of floats": (compressed_tensors(INT4, FP8), "W4A8-FP8"),
    "FP8 of compressed-tensors": (compressed_tensors(FP8, FP8, "float-quantized"), "FP8"),
    "FP8 weights alone": (compressed_tensors(FP8, None, "float-quantized"), "W8A16-FP8"),
    "NVFP4": (compressed_tensors(FP4, FP4, "nvfp4-pack-quantized"), "NVFP4"),
    "NVFP4 weights alone": (compressed_tensors(FP4, None, "nvfp4-pack-quantized"), "NVFP4A16"),
    "MXFP4 of compressed-tensors": (compressed_tensors(FP4, FP4, "mxfp4-pack-quantized"), "MXFP4"),
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
