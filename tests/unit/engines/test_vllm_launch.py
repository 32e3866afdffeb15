"""Command lines of vLLM: what a model and its settings ask for, and what is refused."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrpack.errors import InvalidArtifact, Unsupported, UsageError
from mrpack.model.overrides import BY_KEY
from mrpack_runtime.engine import EngineSettings, ModelBundle, Operation
from mrpack_runtime.machine.host import PythonEnvironment
from mrpack_runtime.protocols import CHAT
from mrpack_runtime.protocols.openai import FIELDS
from mrpack_runtime.wire.endpoint import UnixEndpoint
from tests.fakes.tiny_safetensors import write_files
from tests.fakes.vllm_launches import (
    CPU,
    CUDA,
    GPUS,
    HOST,
    RUN,
    bundle,
    distribution,
    launch,
    own,
    words,
)


@pytest.fixture
def model(tmp_path: Path) -> ModelBundle:
    return bundle(tmp_path)


def test_a_plain_model_gets_a_context_and_memory_that_fit(model):
    one_request = 256 * 128 * (512 // 128 + 1)
    assert words(model) == (
        f"serve {model.folder} --uds /run/e/engine.sock --served-model-name {model.name} --runner generate"
        " --load-format safetensors --disable-fastapi-docs --disable-uvicorn-access-log"
        f" --max-model-len 512 --kv-cache-memory-bytes {max(16 * 2**20, 4 * one_request)} --enforce-eager"
    )


def test_on_gpus_vllm_finds_the_longest_context_and_compiles(model):
    found = words(model, host=GPUS, installation=CUDA)
    assert found.endswith("--disable-uvicorn-access-log --max-model-len auto")
    asked = words(model, EngineSettings(context_size=256), host=GPUS, installation=CUDA)
    assert asked.endswith("--max-model-len 256")
    trained = words(model, EngineSettings(context_size=-1), host=GPUS, installation=CUDA)
    assert "--max-model-len" not in trained


def test_it_listens_on_a_socket_and_for_nobody_else(model):
    found = launch(model)
    assert found.endpoint == UnixEndpoint(RUN / "engine.sock")
    assert found.environment["VLLM_HOST_IP"] == "127.0.0.1"
    assert found.argv[:2] == ("/envs/vllm/bin/python", "-I")


def test_caches_and_configuration_are_private(model):
    folders = {name: value for name, value in launch(model).environment.items() if value.startswith("/")}
    assert len(folders) == 4
    assert all(folder.startswith(f"{RUN}/") for folder in folders.values())


def test_what_was_compiled_is_kept_in_an_environment_of_its_own(model, tmp_path):
    python = tmp_path / "vllm" / "bin" / "python"
    python.parent.mkdir(parents=True)
    host = replace(HOST, pythons=(PythonEnvironment(Path(sys.executable), (), ours=True),))
    found = launch(model, host=host, installation=replace(CPU, where=str(python)))
    assert found.environment["VLLM_CACHE_ROOT"] == str(tmp_path / "vllm" / "cache" / "vllm")
    ours = launch(model, host=host, installation=replace(CPU, where=sys.executable))
    assert ours.environment["VLLM_CACHE_ROOT"].startswith(f"{RUN}/")


def test_stop_texts_are_as_many_as_the_gateway_lets_through(model):
    most = FIELDS[CHAT]["stop"].schema["anyOf"][1]["maxItems"]
    assert launch(model).environment["VLLM_MAX_STOP_STRINGS"] == str(most)
    assert BY_KEY["sampling.stop"].kind.schema()["maxItems"] <= most


def test_threads_are_those_that_were_asked_for(model):
    environment = launch(model, EngineSettings(threads=3)).environment
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"


@pytest.mark.parametrize(
    ("operation", "runner"),
    [
        (Operation.COMPLETION, "generate"),
        (Operation.EMBEDDING, "pooling"),
        (Operation.RERANKING, "pooling"),
    ],
)
def test_each_operation_has_its_runner(model, operation, runner):
    assert f"--runner {runner}" in words(model, EngineSettings(operation=operation))


def test_it_makes_no_images(model):
    with pytest.raises(Unsupported, match="image-generation"):
        launch(model, EngineSettings(operation=Operation.IMAGE_GENERATION))


def test_every_setting_has_its_flag(model):
    found = words(
        model,
        own(
            dtype="float32",
            tool_call_parser="hermes",
            enable_prefix_caching=False,
            max_logprobs=-1,
            hf_overrides={"rope_parameters": {"rope_type": "yarn"}},
        ),
    )
    for flag in (
        "--dtype float32",
        "--tool-call-parser hermes",
        "--enable-auto-tool-choice",
        "--no-enable-prefix-caching",
        "--max-logprobs=-1",
        '--hf-overrides {"rope_parameters":{"rope_type":"yarn"}}',
    ):
        assert flag in found


def test_guessing_ahead_is_one_flag(model):
    assert words(model, own(speculative_method="ngram")).endswith(
        '--speculative-config {"method":"ngram","num_speculative_tokens":4,"prompt_lookup_max":4}'
    )
    with pytest.raises(UsageError, match=r"vllm\.prompt_lookup_max needs vllm\.speculative_method"):
        launch(model, own(prompt_lookup_max=3))


def test_what_is_for_text_alone_stays_away_from_embeddings(model):
    settings = EngineSettings(
        own={"pooling": "mean", "speculative_method": "ngram", "tool_call_parser": "hermes", "seed": 1}
    )
    for_text = words(model, settings)
    for_embeddings = words(model, replace(settings, operation=Operation.EMBEDDING))
    assert for_embeddings.endswith('--seed 1 --pooler-config {"pooling_type":"MEAN"}')
    assert "--speculative-config" in for_text
    assert "--pooler-config" not in for_text


def test_calling_tools_needs_a_parser(model):
    with pytest.raises(UsageError, match="tool_call_parser"):
        launch(model, own(enable_auto_tool_choice=True))


@pytest.mark.parametrize(
    "name", ["trust_remote_code", "max_model_len", "host", "load-format", "tokenizer", "config", "x" * 99]
)
def test_other_flags_are_refused(model, name):
    with pytest.raises(UsageError, match="is not a setting"):
        launch(model, own(**{name: "x"}))


def test_a_chat_template_of_the_artifact_is_used_for_chats(model):
    templated = replace(model, chat_template=model.folder / "chat_template.jinja")
    assert f"--chat-template {templated.chat_template}" in words(templated)
    assert "--chat-template" not in words(templated, EngineSettings(operation=Operation.EMBEDDING))


def test_requests_at_once_share_the_memory(model):
    found = words(model, EngineSettings(parallel=2))
    assert "--max-num-seqs 2" in found


def test_memory_that_somebody_chose_is_left_to_them(model):
    found = words(model, own(gpu_memory_utilization=0.3))
    assert "--kv-cache-memory-bytes" not in found
    assert "--gpu-memory-utilization 0.3" in found
    assert "--max-model-len auto" in found


def test_eager_can_be_switched_off(model):
    assert "--no-enforce-eager" in words(model, own(enforce_eager=False))


# ---- devices


def test_parts_need_devices(model):
    with pytest.raises(Unsupported, match=r"2 devices: without GPUs vLLM wants as many NUMA nodes.* has 1"):
        launch(model, own(tensor_parallel_size=2))
    assert "--tensor-parallel-size 2" in words(
        model, own(tensor_parallel_size=2), host=replace(HOST, numa_nodes=2)
    )
    assert "--tensor-parallel-size 2" in words(
        model, own(tensor_parallel_size=2), host=GPUS, installation=CUDA
    )
    with pytest.raises(Unsupported, match="over 4 GPUs, and this machine has 2") as caught:
        launch(model, own(tensor_parallel_size=2, pipeline_parallel_size=2), host=GPUS, installation=CUDA)
    assert "ray" in (caught.value.hint or "")


def test_a_ray_cluster_has_devices_that_we_cannot_count(model, tmp_path):
    settings = own(tensor_parallel_size=2, pipeline_parallel_size=2, distributed_executor_backend="ray")
    with pytest.raises(Unsupported, match="Ray"):
        launch(model, settings, host=GPUS, installation=CUDA)
    site = tmp_path / "site"
    distribution(site, "ray", "2.50")
    host = replace(GPUS, pythons=(PythonEnvironment(Path(CUDA.where), (site,)),))
    found = launch(model, settings, host=host, installation=CUDA)
    assert "--distributed-executor-backend ray" in " ".join(json.loads(found.argv[-1]))
    assert "VLLM_HOST_IP" not in found.environment


def test_attention_heads_are_shared_evenly(model):
    with pytest.raises(Unsupported, match="3 devices cannot share the 2 attention heads"):
        launch(model, own(tensor_parallel_size=3), host=replace(HOST, numa_nodes=4))


def test_there_is_nowhere_to_offload_to_without_a_gpu(model):
    with pytest.raises(Unsupported, match="cpu_offload_gb"):
        launch(model, own(cpu_offload_gb=4))
    assert "--cpu-offload-gb 4" in words(model, own(cpu_offload_gb=4), host=GPUS, installation=CUDA)


def test_quantizations_that_vllm_gave_up_are_refused(model):
    with pytest.raises(Unsupported, match="bitsandbytes"):
        launch(model, own(quantization="bitsandbytes"))


# ---- code


def test_code_that_a_config_asks_for_is_never_run(model):
    write_files(model.folder, {"tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["x.T", None]}}})
    assert "--trust-remote-code" not in words(model), "there is no code that it could mean"
    write_files(model.folder, {"x.py": "open('/tmp/canary', 'w')"})
    with pytest.raises(Unsupported, match=r"tokenizer_config\.json asks for code .*brings x\.py") as caught:
        launch(model)
    assert "--exclude" in (caught.value.hint or "")


def test_pickles_are_never_loaded(model):
    pickled = replace(model, weights=(model.folder / "pytorch_model.bin",))
    with pytest.raises(Unsupported, match="no Safetensors weights"):
        launch(pickled)


# ---- adapters


def adapted(model: ModelBundle, rank: Any = 4, folders: int = 1) -> ModelBundle:
    paths = []
    for number in range(folders):
        folder = model.folder / f"adapter{number}"
        write_files(folder, {"adapter_config.json": {"r": rank}, "adapter_model.safetensors": b""})
        paths.append(folder / "adapter_model.safetensors")
    return replace(model, adapters=tuple(paths))


def test_an_adapter_answers_to_the_models_name(model):
    found = json.loads(launch(adapted(model)).argv[-1])
    assert found[found.index("--served-model-name") + 1] == f"{model.name}#base"
    assert found[found.index("--max-lora-rank") + 1] == "8"
    assert json.loads(found[found.index("--lora-modules") + 1])["name"] == model.name


@pytest.mark.parametrize(
    ("rank", "folders", "error"),
    [(4, 2, Unsupported), (1024, 1, Unsupported), ("4", 1, InvalidArtifact)],
)
def test_adapters_that_vllm_cannot_apply_are_refused(model, rank, folders, error):
    with pytest.raises(error):
        launch(adapted(model, rank, folders))


def test_an_adapter_of_another_program_is_refused(model):
    with pytest.raises(Unsupported, match="PEFT"):
        launch(replace(model, adapters=(model.folder / "lora.gguf",)))
