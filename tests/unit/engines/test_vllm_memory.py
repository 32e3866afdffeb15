"""The context and the memory that vLLM gets on processors."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrpack.errors import MrpackError, Unsupported
from mrpack_runtime.engine import (
    EngineSettings,
    ModelBundle,
)
from tests.fakes.tiny_safetensors import write_files
from tests.fakes.vllm_launches import (
    HOST,
    bundle,
    launch,
    words,
)


@pytest.fixture
def model(tmp_path: Path) -> ModelBundle:
    return bundle(tmp_path)


def with_config(model: ModelBundle, **changes: Any) -> ModelBundle:
    config = json.loads((model.folder / "config.json").read_text())
    write_files(model.folder, {"config.json": {**config, **changes}})
    return model


def reserved(found: str) -> tuple[int, int]:
    values = found.split()
    return (
        int(values[values.index("--max-model-len") + 1]),
        int(values[values.index("--kv-cache-memory-bytes") + 1]),
    )


LARGE = {"num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128}
TOKEN = 2 * 80 * 8 * 128 * 2


def test_a_long_context_is_cut_to_what_fits_and_to_8192(model):
    model = with_config(model, **LARGE, max_position_embeddings=131072)
    assert reserved(words(model)) == (8192, 4 * TOKEN * (8192 + 128))
    context, cache = reserved(words(model, host=replace(HOST, memory=5 * 2**30)))
    assert 1024 < context < 8192
    assert context * TOKEN <= cache <= 2 * 2**30
    assert (
        reserved(words(model, EngineSettings(context_size=-1), host=replace(HOST, memory=2**40)))[0] == 131072
    )


def test_a_context_that_cannot_fit_is_refused_with_the_figures(model):
    model = with_config(model, **LARGE)
    with pytest.raises(Unsupported, match=r"131072 tokens takes 40\.0 GiB .* has 16\.0 GiB") as caught:
        launch(model, EngineSettings(context_size=131072))
    assert caught.value.hint == "set a smaller --context-size"


def test_weights_that_cannot_fit_are_refused(model):
    with pytest.raises(Unsupported, match="the weights take"):
        launch(model, host=replace(HOST, memory=100_000))


def test_a_narrow_cache_holds_more(model):
    model = with_config(model, **LARGE, max_position_embeddings=8192)
    wide, narrow = (
        reserved(words(model, EngineSettings(parallel=1, own={"kv_cache_dtype": kept})))[1]
        for kept in ("auto", "fp8")
    )
    assert wide == 2 * narrow


def test_the_language_model_within_a_larger_one_counts(model):
    inner = {**LARGE, "max_position_embeddings": 2048}
    write_files(model.folder, {"config.json": {"model_type": "llava", "text_config": inner}})
    assert reserved(words(model)) == (2048, 4 * TOKEN * (2048 + 128))


def test_a_model_without_a_known_shape_gets_a_share(model):
    write_files(model.folder, {"config.json": {"model_type": "mamba"}})
    found = words(model)
    assert "--max-model-len" in found
    assert "--kv-cache-memory-bytes" in found


@pytest.mark.parametrize("config", ["[]", "{", '{"num_hidden_layers": "many"}', '{"head_dim": -1}'])
def test_a_strange_config_is_no_traceback(model, config):
    (model.folder / "config.json").write_text(config)
    with contextlib.suppress(MrpackError):
        launch(model)
