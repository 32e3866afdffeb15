"""Settings that other tools' artifacts and model files carry."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, UsageError
from mrpack.model.layer import ArtifactFile, LayerRole
from mrpack.model.overrides import (
    Origin,
    find_settings_source,
    from_generation_config,
    from_hf_overrides,
    from_kitops_parameters,
    from_ollama_params,
    parse_overrides,
    parse_setting,
    read_carried,
)
from mrpack.oci.descriptor import Descriptor


def test_hf_overrides_that_mean_the_engine_reach_the_engine() -> None:
    written = {
        "max_model_len": 4096,
        "gpu_memory_utilization": 0.5,
        "tensor_parallel_size": 2,
        "pipeline_parallel_size": 1,
        "max_position_embeddings": 8192,
        "dtype": "float32",
        "rope_parameters": {"rope_type": "yarn", "factor": 4.0},
    }
    assert from_hf_overrides(written).values == {
        "vllm.max_model_len": 4096,
        "vllm.gpu_memory_utilization": 0.5,
        "vllm.tensor_parallel_size": 2,
        "vllm.pipeline_parallel_size": 1,
        "vllm.hf_overrides": {
            "max_position_embeddings": 8192,
            "dtype": "float32",
            "rope_parameters": {"rope_type": "yarn", "factor": 4.0},
        },
    }
    assert from_hf_overrides({}).values == {}


def test_they_do_so_wherever_they_are_written() -> None:
    tree = {"max_model_len": 64, "rope_theta": 5}
    expected = {"vllm.max_model_len": 64, "vllm.hf_overrides": {"rope_theta": 5}}
    assert parse_overrides({"vllm": {"hf_overrides": tree}}).values == expected
    assert parse_setting(f"vllm.hf_overrides={json.dumps(tree)}").values == expected
    beside = parse_overrides({"vllm": {"max_model_len": 32, "hf_overrides": tree}})
    assert beside.values == {**expected, "vllm.max_model_len": 32}
    with pytest.raises(UsageError, match="max_model_len"):
        parse_setting('vllm.hf_overrides={"max_model_len": "long"}')


@pytest.mark.parametrize(
    "written", [{"gpu_memory_utilization": 1.5}, {"max_model_len": "4096"}, {"a-b": 1}, {"auto_map": {}}]
)
def test_hf_overrides_that_are_wrong_are_refused(written: dict[str, Any]) -> None:
    with pytest.raises(InvalidArtifact, match="--hf-overrides"):
        from_hf_overrides(written)


def test_parameters_of_ollama() -> None:
    params = {
        "num_ctx": 4096,
        "temperature": 0.6,
        "top_k": 20,
        "stop": ["<|im_end|>"],
        "repeat_penalty": 1,
        "num_predict": -1,
        "num_thread": 8,
        "use_mmap": True,
    }
    assert from_ollama_params(params).settings.values == {
        "context_size": 4096,
        "sampling.temperature": 0.6,
        "sampling.top_k": 20,
        "sampling.stop": ["<|im_end|>"],
        "sampling.repeat_penalty": 1,
        "llamacpp.mmap": True,
    }
    assert from_ollama_params({"stop": "x", "temperature": "hot", "seed": None}).settings.values == {
        "sampling.stop": ["x"]
    }


def test_generation_config_of_a_model() -> None:
    document = {
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 20,
        "repetition_penalty": 1.05,
        "eos_token_id": [151645],
        "transformers_version": "4.37.0",
    }
    assert from_generation_config(document).settings.values == {
        "sampling.temperature": 0.7,
        "sampling.top_p": 0.8,
        "sampling.top_k": 20,
        "sampling.repeat_penalty": 1.05,
    }
    assert from_generation_config({"do_sample": False, "top_p": 0.5}).settings.values == {
        "sampling.temperature": 0
    }


@pytest.mark.parametrize(
    ("parameters", "values"),
    [
        (None, {}),
        ("text", {}),
        ([1], {}),
        ({"learning_rate": 1e-5}, {}),
        ({"context_size": 4096, "temperature": 0.5}, {"context_size": 4096, "sampling.temperature": 0.5}),
        ({"num_ctx": 2048, "top_p": 2}, {"context_size": 2048}),
        ({"mrpack": {"vllm": {"dtype": "auto"}}, "top_p": 0.5}, {"vllm.dtype": "auto"}),
    ],
)
def test_parameters_of_a_kitfile(parameters: Any, values: dict[str, Any]) -> None:
    assert from_kitops_parameters(parameters).settings.values == values


def test_our_own_document_in_a_kitfile_is_held_to_its_rules() -> None:
    with pytest.raises(InvalidArtifact):
        from_kitops_parameters({"mrpack": {"host": "0.0.0.0"}})


def file(path: str, media_type: str = "a/b", role: LayerRole = LayerRole.CONFIG) -> ArtifactFile:
    content = Descriptor(media_type=media_type, digest=Digest.of(b""), size=0)
    return ArtifactFile(path=path, role=role, format="", descriptor=content)


def test_files_that_carry_settings_are_known_by_role_type_or_name() -> None:
    ours = find_settings_source(file("mrpack.json", role=LayerRole.OVERRIDES))
    assert ours is not None
    assert ours.origin is Origin.ARTIFACT
    assert ours.read(b'{"context_size":1}').settings.values == {"context_size": 1}

    ollama = find_settings_source(file("params.json", "application/vnd.ollama.image.params"))
    assert ollama is not None
    assert ollama.origin is Origin.OTHER_TOOL
    assert ollama.read(b'{"num_ctx":1}').settings.values == {"context_size": 1}
    with pytest.raises(InvalidArtifact):
        ollama.read(b"[]")
    assert ollama.origin < ours.origin

    model = find_settings_source(file("generation_config.json"))
    assert model is not None
    assert model.origin is Origin.MODEL_FILES
    assert model.read(json.dumps({"top_k": 1}).encode()).settings.values == {"sampling.top_k": 1}

    assert find_settings_source(file("text_encoder/generation_config.json")) is None
    assert find_settings_source(file("config.json")) is None


def test_what_cannot_be_taken_over_is_named() -> None:
    assert from_ollama_params({"mirostat": 2, "temperature": "hot", "num_predict": -1}).ignored == (
        "mirostat",
        "temperature",
    )
    assert from_generation_config({"eos_token_id": 2, "num_beams": 4, "top_p": 0.5}).ignored == ("num_beams",)
    assert from_kitops_parameters({"learning_rate": 1e-5, "seed": 3}).ignored == ("learning_rate",)


def test_all_that_an_artifact_carries_is_read_with_its_origin() -> None:
    contents = {
        "mrpack.json": b'{"context_size": 1}',
        "params.json": b'{"num_ctx": 2, "mirostat": 1}',
        "generation_config.json": b'{"top_k": 3}',
    }
    files = [
        file("mrpack.json", role=LayerRole.OVERRIDES),
        file("params.json", "application/vnd.ollama.image.params"),
        file("generation_config.json"),
        file("system.txt", "application/vnd.ollama.image.system"),
    ]
    own = from_kitops_parameters({"top_p": 0.5})
    carried = read_carried(files, own, lambda item, _limit: contents[item.path])
    assert [origin for origin, _ in carried.layers] == [
        *(Origin.MODEL_FILES, Origin.OTHER_TOOL, Origin.OTHER_TOOL, Origin.ARTIFACT),
    ]
    assert carried.of(Origin.OTHER_TOOL).values == {"sampling.top_p": 0.5, "context_size": 2}
    assert carried.ignored == ("params.json: mirostat", "system.txt: a system prompt")
    only = read_carried(files, own, lambda item, _limit: contents[item.path], {Origin.OTHER_TOOL})
    assert not only.of(Origin.ARTIFACT)
