"""Command lines of llama.cpp: one plan, spelled for each launcher."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, Unsupported, UsageError
from mrpack.model.config import ModelConfig
from mrpack.model.overrides.table import BY_KEY
from mrpack_runtime.engine import EngineSettings, Installation, Launch, LaunchRequest, ModelBundle, Operation
from mrpack_runtime.engines.llamacpp import ENGINE
from mrpack_runtime.engines.llamacpp.native import Native
from mrpack_runtime.engines.llamacpp.settings import BY_NAME, OPTIONS
from mrpack_runtime.machine.host import HostFacts, probe_host
from mrpack_runtime.processes.process import free_port
from mrpack_runtime.wire.endpoint import UnixEndpoint
from tests.fakes.tiny_gguf import write_reranker

HOST = HostFacts(os="linux", arch="x86_64", cpu_count=8, physical_cores=4, memory=8 * 2**30)
RUN = Path("/run/e")
DECODER = {"general.architecture": "llama", "llama.context_length": "131072"}
ENCODER = {
    "general.architecture": "nomic-bert",
    "nomic-bert.context_length": "2048",
    "nomic-bert.pooling_type": "1",
}


def launch(
    launcher: str,
    settings: EngineSettings | None = None,
    metadata: dict[str, str] | None = None,
    **parts: Any,
) -> Launch:
    bundle = ModelBundle(
        name="example.com/team/model:tag",
        digest=Digest.of(b""),
        config=ModelConfig(format="gguf", metadata=DECODER if metadata is None else metadata),
        folder=Path("/m"),
        weights=parts.pop("weights", (Path("/m/model.gguf"),)),
        **parts,
    )
    return started(Installation(launcher=launcher, version="1", where="/opt/llama"), bundle, settings)


def started(
    installation: Installation, bundle: ModelBundle, settings: EngineSettings | None = None
) -> Launch:
    return ENGINE.launch(
        LaunchRequest(
            installation=installation,
            bundle=bundle,
            settings=settings or EngineSettings(),
            host=HOST,
            run_folder=RUN,
            free_port=free_port,
        )
    )


def native(
    settings: EngineSettings | None = None, metadata: dict[str, str] | None = None, **parts: Any
) -> str:
    return " ".join(launch("native", settings, metadata, **parts).argv)


def attributes(
    settings: EngineSettings | None = None, metadata: dict[str, str] | None = None, **parts: Any
) -> Any:
    return json.loads(launch("xllamacpp", settings, metadata, **parts).argv[-1])


def server(
    settings: EngineSettings | None = None, metadata: dict[str, str] | None = None, **parts: Any
) -> Any:
    return json.loads(launch("llama-cpp-python", settings, metadata, **parts).argv[-1])


def own(**settings: Any) -> EngineSettings:
    return EngineSettings(own=settings)


def test_a_plain_model_gets_safe_defaults():
    assert native() == (
        "/opt/llama --model /m/model.gguf --host /run/e/engine.sock --alias example.com/team/model:tag"
        " --ctx-size 8192 --parallel 4 --threads 4 --embeddings --metrics --no-webui --offline"
        " --kv-unified --cache-ram 1024 --pooling mean"
    )


def test_all_launchers_are_told_the_same():
    assert attributes() == {
        "model.path": "/m/model.gguf",
        "model_alias": ["example.com/team/model:tag"],
        "hostnames": ["/run/e/engine.sock"],
        "n_ctx": 8192,
        "n_parallel": 4,
        "cpuparams.n_threads": 4,
        "cpuparams_batch.n_threads": 4,
        "embedding": True,
        "endpoint_metrics": True,
        "offline": True,
        "ui": False,
        "kv_unified": True,
        "cache_ram_mib": 1024,
        "pooling_type": "MEAN",
    }
    assert server() == {
        "socket": "/run/e/engine.sock",
        "chat_template": None,
        "pooling": 1,
        "lora_scale": 1.0,
        "model": {
            "model": "/m/model.gguf",
            "model_alias": "example.com/team/model:tag",
            "n_ctx": 8192,
            "n_threads": 4,
            "n_threads_batch": 4,
            "n_gpu_layers": -1,
            "embedding": True,
            "logits_all": False,
            "use_mlock": False,
            "verbose": False,
        },
        "server": {"interrupt_requests": False},
    }


@pytest.mark.parametrize("launcher", ["native", "wheel", "xllamacpp", "llama-cpp-python"])
def test_every_launcher_listens_on_a_socket_in_its_run_folder(launcher):
    plan = launch(launcher)
    assert plan.endpoint == UnixEndpoint(RUN / "engine.sock")
    assert (plan.engine, plan.launcher, plan.health_path) == ("llama.cpp", launcher, "/health")
    assert plan.quirks == ("llama_cpp_server" if launcher == "llama-cpp-python" else None)
    assert "-I" in plan.argv or launcher in {"native", "wheel"}


@pytest.mark.parametrize(
    ("context", "parallel", "metadata", "words"),
    [
        (None, None, DECODER, "--ctx-size 8192 --parallel 4"),
        (None, None, ENCODER, "--ctx-size 2048 --parallel 4"),
        (None, None, {"general.architecture": "x"}, "--ctx-size 8192 --parallel 4"),
        (4096, None, DECODER, "--ctx-size 4096 --parallel 4"),
        (-1, None, DECODER, "--ctx-size 131072 --parallel 4"),
        (0, None, {"general.architecture": "x"}, "--ctx-size 0 --parallel 4"),
        (4096, 3, DECODER, "--ctx-size 12288 --parallel 3"),
    ],
)
def test_the_context_is_what_one_request_may_fill(context, parallel, metadata, words):
    line = native(EngineSettings(context_size=context, parallel=parallel), metadata)
    assert words in line
    assert ("--no-kv-unified" in line) == (parallel is not None)


def test_requests_that_share_nothing_have_the_context_each():
    assert "--ctx-size 32768 --parallel 4" in native(own(kv_unified=False))
    assert server(EngineSettings(parallel=3))["model"]["n_ctx"] == 8192


def test_the_parts_of_a_bundle_are_handed_over():
    parts = {
        "mmproj": Path("/m/mmproj.gguf"),
        "chat_template": Path("/m/t.jinja"),
        "adapters": (Path("/m/a.gguf"),),
        "weights": (Path("/m/x-00001-of-00002.gguf"), Path("/m/x-00002-of-00002.gguf")),
    }
    line = native(**parts)
    assert "--model /m/x-00001-of-00002.gguf" in line
    assert "--mmproj /m/mmproj.gguf --chat-template-file /m/t.jinja --lora /m/a.gguf" in line
    assert (
        attributes(**parts).items()
        >= {
            "model.path": "/m/x-00001-of-00002.gguf",
            "mmproj.path": "/m/mmproj.gguf",
            "chat_template": {"file": "/m/t.jinja"},
            "lora_adapters": [{"path": "/m/a.gguf", "scale": 1.0}],
        }.items()
    )
    specification = server(**parts)
    assert specification["chat_template"] == "/m/t.jinja"
    assert (
        specification["model"].items()
        >= {
            "clip_model_path": "/m/mmproj.gguf",
            "chat_format": "mtmd",
            "lora_path": "/m/a.gguf",
        }.items()
    )


def test_embedding_reads_whole_inputs_at_once():
    settings = EngineSettings(operation=Operation.EMBEDDING)
    assert "--batch-size 2048 --ubatch-size 2048" in native(settings)
    assert "--pooling mean" in native(settings)
    encoder = native(EngineSettings(operation=Operation.EMBEDDING, context_size=8192), ENCODER)
    assert "--batch-size 8192 --ubatch-size 8192" in encoder
    assert "--pooling" not in encoder  # the model's own


def test_reranking_is_another_mode(tmp_path):
    settings = EngineSettings(operation=Operation.RERANKING)
    weights = (write_reranker(tmp_path),)
    assert "--reranking" in native(settings, weights=weights)
    assert "--embeddings" not in native(settings, weights=weights)
    assert attributes(settings, weights=weights)["pooling_type"] == "RANK"
    with pytest.raises(Unsupported, match="no reranking"):
        server(settings, weights=weights)


@pytest.mark.parametrize(
    ("launcher", "settings", "parts", "words"),
    [
        ("native", EngineSettings(operation=Operation.IMAGE_GENERATION), {}, "no image-generation"),
        ("xllamacpp", own(n_cpu_moe=3), {}, r"llamacpp\.n_cpu_moe is not available"),
        ("llama-cpp-python", own(reasoning="off"), {}, r"llamacpp\.reasoning is not available"),
        ("llama-cpp-python", own(cache_ram=64), {}, r"llamacpp\.cache_ram is not available"),
        ("llama-cpp-python", None, {"adapters": (Path("a"), Path("b"))}, "one LoRA adapter"),
        ("native", None, {"adapters": (Path("a,b"),)}, "a,b"),
    ],
)
def test_what_a_launcher_does_not_have_is_refused(launcher, settings, parts, words):
    with pytest.raises(Unsupported, match=words):
        launch(launcher, settings, **parts)


def test_another_program_of_the_same_date_and_size_is_asked_anew(tmp_path):
    """Packages that are built to the same bytes everywhere have one date for all files."""
    program = tmp_path / "llama-server"
    found = []
    for version in (1, 2):
        new = tmp_path / "new"
        new.write_text(f'#!/bin/sh\necho "version: {version}"\n')
        new.chmod(0o755)
        os.utime(new, (1, 1))
        new.rename(program)
        installation = Native().find(probe_host({"PATH": str(tmp_path)}))
        assert installation is not None
        found.append(installation.version)
    assert found == ["1", "2"]


def test_an_older_program_is_spoken_to_in_its_words(tmp_path):
    def line(flags: str, **settings: Any) -> list[str]:
        path = tmp_path / f"llama-server-{len(list(tmp_path.iterdir()))}"
        path.write_text(f'#!/bin/sh\ncase "$1" in --version) echo "version: 1";; *) echo "{flags}";; esac\n')
        path.chmod(0o755)
        installation = Installation(launcher="native", version="1", where=str(path))
        bundle = ModelBundle(
            name="m",
            digest=Digest.of(b""),
            config=ModelConfig(format="gguf", metadata=DECODER),
            folder=tmp_path,
            weights=(tmp_path / "m.gguf",),
        )
        return list(started(installation, bundle, own(**settings)).argv)

    assert line("--load-mode --pooling", mmap=False)[-2:] == ["--load-mode", "none"]
    assert line("--mmap --no-mmap --pooling", mmap=False)[-1] == "--no-mmap"
    assert not {"--metrics", "--offline", "--kv-unified", "--cache-ram"} & set(line("--pooling"))
    with pytest.raises(Unsupported, match="has no --cache-reuse"):
        line("--pooling", cache_reuse=64)


def test_the_scale_of_adapters_is_said_with_them():
    parts = {"adapters": (Path("/m/a.gguf"),)}
    assert " --lora-scaled /m/a.gguf:0.5 " in native(own(lora_scale=0.5), **parts)
    assert " --lora /m/a.gguf " in native(own(lora_scale=1), **parts)
    assert attributes(own(lora_scale=0), **parts)["lora_adapters"] == [{"path": "/m/a.gguf", "scale": 0.0}]
    with pytest.raises(UsageError, match="this model has none"):
        native(own(lora_scale=0.5))
    with pytest.raises(Unsupported, match="colon"):
        native(own(lora_scale=0.5), adapters=(Path("/m/a:b.gguf"),))


def test_a_larger_computation_makes_the_batch_as_large():
    assert " --batch-size 4096 --ubatch-size 4096" in native(own(ubatch_size=4096))
    assert "--batch-size" not in native(own(ubatch_size=64)).replace("--ubatch-size", "")
    assert " --batch-size 8192 --ubatch-size 4096" in native(own(ubatch_size=4096, batch_size=8192))


def test_a_template_decides_whether_calls_can_be_required(tmp_path):
    def refusal(launcher: str, template: str) -> str | None:
        path = tmp_path / f"{abs(hash(template))}.jinja"
        path.write_text(template)
        bundle = ModelBundle(
            name="m",
            digest=Digest.of(b""),
            config=ModelConfig(format="gguf"),
            folder=tmp_path,
            weights=(tmp_path / "m.gguf",),
            chat_template=path,
        )
        return ENGINE.tool_refusal(Installation(launcher=launcher, version="1", where="/x"), bundle)

    assert "knows no tools" in (refusal("native", "{{ messages }}") or "")
    assert refusal("xllamacpp", "{% if tools %}{{ tools }}{% endif %}") is None
    assert refusal("llama-cpp-python", "{{ messages }}") is None


def test_an_input_that_is_too_long_is_the_clients_fault():
    said = "input (402 tokens) is too large to process. increase … size (current batch size: 64)"
    status, error = ENGINE.explained(500, {"message": said, "type": "server_error"})
    assert (status, error["code"], error["type"]) == (400, "context_length_exceeded", "invalid_request_error")
    assert "402 tokens" in error["message"]
    other = {"message": "out of memory", "type": "server_error"}
    assert ENGINE.explained(500, other) == (500, other)


# ---- the table


def test_every_setting_that_may_travel_is_spelled_and_no_other():
    assert [f"llamacpp.{option.name}" for option in OPTIONS] == [
        key for key in BY_KEY if key.startswith("llamacpp.")
    ]


@pytest.mark.parametrize(
    ("settings", "flags", "attribute", "setting"),
    [
        ({"threads_batch": 2}, "--threads-batch 2", ("cpuparams_batch.n_threads", 2), ("n_threads_batch", 2)),
        ({"flash_attn": "on"}, "--flash-attn on", ("flash_attn_type", "ENABLED"), ("flash_attn", True)),
        ({"flash_attn": "auto"}, "--flash-attn auto", ("flash_attn_type", "AUTO"), ("flash_attn", False)),
        ({"cache_type_k": "q8_0"}, "--cache-type-k q8_0", ("cache_type_k", "Q8_0"), ("type_k", 8)),
        ({"kv_offload": False}, "--no-kv-offload", ("no_kv_offload", True), ("offload_kqv", False)),
        ({"kv_offload": True}, "--kv-offload", ("no_kv_offload", False), ("offload_kqv", True)),
        ({"swa_full": True}, "--swa-full", ("swa_full", True), None),
        ({"mmap": False}, "--load-mode none", ("load_mode", "NONE"), ("use_mmap", False)),
        (
            {"rope_scaling": "yarn"},
            "--rope-scaling yarn",
            ("rope_scaling_type", "YARN"),
            ("rope_scaling_type", 2),
        ),
        (
            {"rope_freq_base": 1e6},
            "--rope-freq-base 1000000",
            ("rope_freq_base", 1e6),
            ("rope_freq_base", 1e6),
        ),
        ({"keep": -1}, "--keep -1", ("n_keep", -1), None),
        ({"n_predict": 5.0}, "--n-predict 5", ("n_predict", 5), None),
        ({"reasoning": "off"}, "--reasoning off", ("enable_reasoning", 0), None),
        (
            {"reasoning_format": "deepseek-legacy"},
            "--reasoning-format deepseek-legacy",
            ("reasoning_format", "DEEPSEEK_LEGACY"),
            None,
        ),
        (
            {"speculative": "ngram-simple"},
            "--spec-type ngram-simple",
            ("speculative.types", "NGRAM_SIMPLE"),
            ("draft_model", "prompt-lookup-decoding"),
        ),
        ({"pooling": "last"}, "--pooling last", ("pooling_type", "LAST"), None),
        (
            {"chat_template_kwargs": {"enable_thinking": False}},
            '--chat-template-kwargs {"enable_thinking": false}',
            ("default_template_kwargs", {"enable_thinking": "false"}),
            ("chat_template_kwargs", {"enable_thinking": False}),
        ),
    ],
)
def test_a_setting_is_spelled_for_each_launcher(settings, flags, attribute, setting):
    assert native(own(**settings)).endswith(f" {flags}") or f" {flags} " in native(own(**settings))
    assert attributes(own(**settings))[attribute[0]] == attribute[1]
    if setting:
        assert server(own(**settings))["model"][setting[0]] == setting[1]


def test_a_switch_that_silence_says_adds_nothing():
    assert native(own(swa_full=False)) == native()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"log_file": "/tmp/x"}, r"llamacpp\.log_file is not a setting"),
        ({"--host": "0.0.0.0"}, r"llamacpp\.--host is not a setting"),
        ({"flash_attn": "on; rm -rf /"}, "one of on, off, auto"),
        ({"flash_attn": ["on"]}, "one of on, off, auto"),
        ({"batch_size": 0}, "a whole number from 1"),
        ({"batch_size": "512"}, "a whole number"),
        ({"batch_size": True}, "a whole number"),
        ({"mmap": "false"}, "true or false"),
        ({"slot_prompt_similarity": 2}, "a number from 0 to 1"),
        ({"chat_template_kwargs": {"x": {"y": 1}}}, "an object of"),
    ],
)
def test_nothing_outside_the_table_reaches_a_command_line(settings, words):
    for launcher in ("native", "xllamacpp", "llama-cpp-python"):
        with pytest.raises(UsageError, match=words):
            launch(launcher, own(**settings))


@pytest.mark.parametrize("text", ["/etc/passwd", "http://x", "../x", "--host", "a b", ""])
def test_no_setting_takes_free_text(text):
    assert all(BY_KEY[f"llamacpp.{name}"].kind.refusal(text) for name in BY_NAME)


def test_no_setting_names_a_file_or_an_address():
    flags = " ".join(f"{option.flag} {option.older}" for option in OPTIONS)
    for word in (
        "file",
        "path",
        "url",
        "host",
        "port",
        "api",
        "log",
        "hf-",
        "rpc",
        "--model",
        "lora",
        "tools",
    ):
        assert word not in flags.replace("--special", "")


def test_a_bundle_whose_config_tells_nothing_is_asked_itself(tmp_path):
    broken = tmp_path / "model.gguf"
    broken.write_bytes(b"not a model")
    with pytest.raises(InvalidArtifact):
        native(metadata={}, weights=(broken,))
