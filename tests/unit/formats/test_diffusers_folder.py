"""Diffusers folders: recognised by their index, checked, and described."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import InvalidArtifact, NotFound
from mrpack.formats import safetensors
from mrpack.formats.diffusers import is_pipeline, read_pipeline, survey
from mrpack.model.config import ModelConfig
from mrpack.model.pipeline import Component, parse_pipeline
from tests.fakes.raw_safetensors import Content
from tests.fakes.raw_safetensors import safetensors as safetensors_bytes
from tests.fakes.tiny_safetensors import (
    FLUX_COMPONENTS,
    opened,
    write_files,
    write_flux,
    write_llama,
    write_stable_diffusion,
)


def test_a_folder_is_told_by_its_index(tmp_path):
    assert is_pipeline(opened(write_flux(tmp_path / "flux")))
    assert not is_pipeline(opened(write_llama(tmp_path / "llama")))
    nested = write_files(tmp_path / "nested", {"flux/model_index.json": {}})
    assert not is_pipeline(opened(nested))


def test_class_and_components_are_read(tmp_path):
    pipeline = read_pipeline(opened(write_stable_diffusion(tmp_path)))
    assert pipeline.class_name == "StableDiffusionPipeline"
    assert pipeline.components == (
        Component("feature_extractor", "transformers", "CLIPImageProcessor"),
        Component("scheduler", "diffusers", "DDIMScheduler"),
        Component("text_encoder", "transformers", "CLIPTextModel"),
        Component("tokenizer", "transformers", "CLIPTokenizer"),
        Component("unet", "diffusers", "UNet2DConditionModel"),
        Component("vae", "diffusers", "AutoencoderKL"),
    )
    assert not any(component.is_foreign for component in pipeline.components)


@pytest.mark.parametrize(
    ("library", "foreign"),
    [
        ("diffusers", False),
        ("transformers", False),
        ("stable_diffusion", False),
        ("kolors", False),
        ("modeling_mine", True),
        ("os", True),
        ("transformers_modules", True),
        ("diffusers.pipelines.mine", True),
    ],
)
def test_components_from_elsewhere_are_told(library, foreign):
    assert Component("safety_checker", library, "Checker").is_foreign is foreign


def test_a_pipeline_is_described(tmp_path):
    files = opened(write_flux(tmp_path))
    size = sum(file.size for file in files if file.name.endswith(".safetensors"))
    config = survey(files, safetensors.read_weights)
    assert config == ModelConfig(
        format="diffusers",
        quantization="F32",
        parameters="7.01K",
        architecture="diffusers",
        size=f"{size / 1000:.2f}kB",
        metadata={"layout": "folder", **FLUX_COMPONENTS},
    )


def test_the_largest_component_names_the_quantization(tmp_path):
    folder = write_flux(tmp_path)
    write_files(
        folder,
        {
            "transformer/config.json": {
                "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}
            },
            "transformer/diffusion_pytorch_model.safetensors": safetensors_bytes(
                {"w": Content("I8", [200, 200])}
            ),
        },
    )
    assert survey(opened(folder), safetensors.read_weights).quantization == "BNB-INT8"


def test_variants_of_a_component_count_once(tmp_path):
    folder = write_stable_diffusion(tmp_path)
    before = survey(opened(folder), safetensors.read_weights)
    variant = safetensors_bytes({"encoder.conv_in.weight": Content("F16", [32, 3, 3, 3])})
    write_files(folder, {"vae/diffusion_pytorch_model.fp16.safetensors": variant})
    assert survey(opened(folder), safetensors.read_weights).parameters == before.parameters


def test_weights_beside_the_components_do_not_count_but_are_checked(tmp_path):
    folder = write_stable_diffusion(tmp_path)
    before = survey(opened(folder), safetensors.read_weights)
    write_files(folder, {"v1-5-pruned.safetensors": safetensors_bytes({"w": Content("F32", [9000])})})
    assert survey(opened(folder), safetensors.read_weights).parameters == before.parameters
    write_files(folder, {"v1-5-pruned.safetensors": b"nothing of the kind"})
    with pytest.raises(InvalidArtifact, match="v1-5-pruned"):
        survey(opened(folder), safetensors.read_weights)


def test_a_missing_component_is_named(tmp_path):
    files = [file for file in opened(write_flux(tmp_path)) if not file.name.startswith("text_encoder_2/")]
    with pytest.raises(NotFound, match="'text_encoder_2'"):
        read_pipeline(files)


def test_a_missing_shard_of_a_component_is_named(tmp_path):
    files = [file for file in opened(write_flux(tmp_path)) if "00002-of" not in file.name]
    with pytest.raises(NotFound, match=r"model-00002-of-00002\.safetensors"):
        survey(files, safetensors.read_weights)


def test_a_broken_component_is_named(tmp_path):
    folder = write_files(
        write_flux(tmp_path), {"vae/diffusion_pytorch_model.safetensors": b"nothing of the kind"}
    )
    with pytest.raises(InvalidArtifact) as caught:
        survey(opened(folder), safetensors.read_weights)
    assert caught.value.where.endswith("vae/diffusion_pytorch_model.safetensors")


def test_no_index_is_not_found(tmp_path):
    with pytest.raises(NotFound, match=r"no model_index\.json"):
        read_pipeline(opened(write_llama(tmp_path)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
INDEX = st.dictionaries(
    st.sampled_from(["_class_name", "unet", "vae", "../x", "a/b", "steps"]),
    st.lists(st.sampled_from(["diffusers", "UNet", "", "a b"]) | st.none(), max_size=3)
    | st.just("Pipe")
    | JSON,
    max_size=5,
)


@given(INDEX.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=100))
def test_any_index_is_read_or_refused(raw):
    try:
        pipeline = parse_pipeline(raw, "model_index.json")
    except InvalidArtifact:
        return
    assert pipeline.class_name
    assert {component.name for component in pipeline.components} <= pipeline.names
