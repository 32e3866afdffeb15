"""Real vLLM from end to end: models of Transformers, packaged, through a registry, served and measured.

Each start of the engine takes most of a minute of two processors: there are five of them.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact
from mrpack.formats.safetensors import survey
from mrpack.model.overrides import BY_KEY, parse_overrides
from mrpack_runtime.engine import EngineSettings, Installation, LaunchRequest, ModelBundle
from mrpack_runtime.engines.vllm import ENGINE
from mrpack_runtime.machine.host import Gpu, HostFacts
from mrpack_runtime.processes.process import free_port
from mrpack_runtime.protocols.dmr import parse_settings
from mrpack_runtime.protocols.refusal import RequestRefused
from mrpack_runtime.settings.own import own_settings
from tests.fakes.made_by_engines import models_made_by
from tests.fakes.tiny_safetensors import ANSWER, opened
from tests.integration import engines as real
from tests.integration.conftest import Registry
from tests.integration.processes import group, resident
from tests.integration.served import LIMIT_S, serving
from tests.program import Mrpack
from tests.waiting import until

# With the other engines that load torch: two at once would take turns on two processors.
pytestmark = [pytest.mark.engine, pytest.mark.timeout(900), pytest.mark.xdist_group("torch")]

NEVER = [f"never said {number}" for number in range(64)]
CHAT = {"messages": [{"role": "user", "content": "Who are you?"}]}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="session")
def python() -> Path:
    return real.made_engines() / "vllm" / "bin" / "python"


@pytest.fixture(scope="session")
def models(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Transformers writes them."""
    return models_made_by(python, "tiny_transformers", tmp_path_factory.getbasetemp().parent)


@pytest.fixture
def vllm(mrpack: Mrpack, home: Path) -> Mrpack:
    """A home that has vLLM."""
    mrpack.environment["MRPACK_HOME"] = str(home / "mrpack")
    real.link_engines(home / "mrpack", "vllm")
    return mrpack


def shared_memory(gateway: int) -> list[str]:
    return [name for name in os.listdir("/dev/shm") if f"mrpack-{gateway}-" in name]


def log_of(vllm: Mrpack) -> str:
    folder = Path(vllm.environment["MRPACK_HOME"]) / "logs"
    return "".join(path.read_text(errors="replace") for path in sorted(folder.glob("*-vllm-*.log")))


def test_an_artifact_is_served_as_it_says(vllm: Mrpack, models: Path, anonymous_registry: Registry) -> None:
    name = f"{anonymous_registry.name}/team/llama:sharded"
    vllm("package", "--safetensors", models / "llama", "plain")
    overrides = '{"max_model_len": 96, "rms_norm_eps": 2e-05}'
    vllm(
        *("package", "--safetensors", models / "llama-sharded", "--hf-overrides", overrides),
        *("--set", "sampling.repeat_penalty=1.0", "--set", "vllm.seed=7"),
        *("--set", f"sampling.stop={json.dumps(NEVER[:16])}", "--push", name),
    )
    vllm("pull", name)
    with serving(vllm) as served:
        status, chat = served.post("/v1/chat/completions", {"model": name, **CHAT})
        assert (status, chat["model"]) == (200, name), chat
        assert chat["choices"][0]["message"]["content"] == ANSWER
        _, events = served.post(
            "/v1/chat/completions",
            {"model": name, "stream": True, "stream_options": {"include_usage": True}, **CHAT},
        )
        *chunks, last, end = events
        said = [json.loads(chunk)["choices"][0]["delta"].get("content") or "" for chunk in chunks]
        assert ("".join(said), end) == (ANSWER, "[DONE]")
        assert json.loads(last)["usage"]["completion_tokens"] == chat["usage"]["completion_tokens"]
        _, text = served.post(
            "/engines/vllm/v1/completions", {"model": name, "prompt": "Once", "max_tokens": 3}
        )
        assert text["choices"][0]["text"] == " Hello from a"
        _, text = served.post(
            "/v1/completions", {"model": name, "prompt": "Once", "max_tokens": 3, "logprobs": 0}
        )
        odds = text["choices"][0]["logprobs"]
        assert ("".join(odds["tokens"]), odds["text_offset"]) == (" Hello from a", [0, 6, 11])
        status, refusal = served.post(
            "/v1/chat/completions", {"model": name, **CHAT, "tools": TOOLS, "tool_choice": "required"}
        )
        assert (status, refusal["error"]["param"]) == (400, "tools"), refusal
        assert "vllm.tool_call_parser" in refusal["error"]["message"]
        _, shown = served.post("/v1/apply-template", {"model": name, "keep_alive": "1h", **CHAT})
        assert "Who are you?" in shown["prompt"]
        assert served.ps()[0]["keep_alive"] == "3600s"

        stopped = {"model": name, "stop": [*NEVER[1:], ANSWER[5:]], **CHAT}
        _, chat = served.post("/v1/chat/completions", stopped)
        assert chat["choices"][0]["message"]["content"] == ANSWER[:5]

        long = {"messages": [{"role": "user", "content": "word " * 60}]}
        status, refusal = served.post("/v1/chat/completions", {"model": name, **long})
        assert status == 400
        assert "maximum context length is 96 tokens" in refusal["error"]["message"]
        settings = ("'rms_norm_eps': 2e-05", "max_seq_len=96", "seed=7")
        until(lambda: all(setting in log_of(vllm) for setting in settings), "the settings in the log")

        (engine,) = served.ps()
        processes = group(engine["pid"])
        assert len(processes) >= 3, "a server, a core and a worker"
        assert resident(engine["pid"]) < engine["memory"]["host"]
        for pid in processes:
            assert not listens_beyond_loopback(pid)
        gateway = served.process.pid
    until(lambda: not group(engine["pid"]))
    assert not shared_memory(gateway)


def listens_beyond_loopback(pid: int) -> bool:
    try:
        sockets = {os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    except OSError:
        return False
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    open_ones = [line.split() for line in lines if line.split()[3] == "0A"]
    return any(
        f"socket:[{fields[9]}]" in sockets and not fields[1].startswith("0100007F") for fields in open_ones
    )


REFERENCE = """
import json, sys, torch
from transformers import AutoModel, AutoTokenizer
folder, texts = sys.argv[1], json.loads(sys.argv[2])
model = AutoModel.from_pretrained(folder, dtype=torch.float32)
tokenizer = AutoTokenizer.from_pretrained(folder)
found = []
for text in texts:
    with torch.no_grad():
        last = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
    found.append((last / last.norm()).tolist())
print(json.dumps(found))
"""


def embedded(python: Path, folder: Path, texts: list[str]) -> list[list[float]]:
    """By Transformers alone."""
    done = subprocess.run(
        [python, "-c", REFERENCE, folder, json.dumps(texts)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[list[float]] = json.loads(done.stdout)
    return found


def test_documents_are_ranked_by_how_near_their_embeddings_are(
    vllm: Mrpack, models: Path, python: Path
) -> None:
    """As long as the model was not made for ranking."""
    vllm("package", "--safetensors", models / "qwen2", "--set", "vllm.pooling=mean", "qwen")
    texts = ["Hello from", "a tiny model."]
    expected = embedded(python, models / "qwen2", texts)
    with serving(vllm, "--set", "vllm.dtype=float32") as served:
        asked = {"model": "qwen", "query": texts[0], "documents": [texts[1], texts[0]]}
        status, ranks = served.post("/v1/rerank", asked)
        assert status == 200, ranks
        near = sum(ours * theirs for ours, theirs in zip(*expected, strict=True))
        ranked = [(row["index"], row["relevance_score"]) for row in ranks["results"]]
        assert ranked == [(1, pytest.approx(1, abs=1e-3)), (0, pytest.approx(near, abs=1e-3))]
        status, answer = served.post("/v1/embeddings", {"model": "qwen", "input": texts})
        assert status == 200, answer
        assert len(served.ps()) == 1, "one process ranks and embeds"


def test_embeddings_are_those_of_transformers_and_nothing_outlives_the_gateway(
    vllm: Mrpack, models: Path, python: Path, anonymous_registry: Registry
) -> None:
    name = f"{anonymous_registry.name}/team/qwen:v1"
    pooled = ("--set", "vllm.pooling=mean")
    vllm("package", "--safetensors", models / "qwen2-sharded", *pooled, "--push", name)
    vllm("pull", name)
    texts = ["Hello from", "a tiny model."]
    expected = embedded(python, models / "qwen2", texts)
    with serving(vllm, "--set", "vllm.dtype=float32") as served:
        # The second engine may take as long to start as idle ones stay.
        status, answer = served.post("/v1/embeddings", {"model": "qwen", "input": texts, "keep_alive": "1h"})
        assert status == 200, answer
        found = [row["embedding"] for row in answer["data"]]
        for ours, theirs in zip(found, expected, strict=True):
            assert math.dist(ours, theirs) < 1e-3
        status, chat = served.post("/v1/chat/completions", {"model": "qwen", **CHAT})
        assert status == 200, chat
        assert chat["choices"][0]["message"]["content"] == ANSWER
        engines = {engine["mode"]: engine["pid"] for engine in served.ps()}
        assert set(engines) == {"embedding", "completion"}

        # A process behind the server dies: the engine ends as a whole, and says that it did.
        core = next(pid for pid in group(engines["completion"]) if "EngineCore" in name_of(pid))
        os.kill(core, signal.SIGKILL)
        until(lambda: len(served.ps()) == 1, "the end of the engine")
        until(lambda: not group(engines["completion"]), "the end of its processes")

        gateway = served.process.pid
        served.process.kill()
        until(lambda: not group(engines["embedding"]), "the end of the other")
        # While it is a zombie: after that, any mrpack on this machine sweeps.
        assert shared_memory(gateway), "or there is nothing to sweep"
    with serving(vllm):
        assert not shared_memory(gateway)


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()


def test_a_failure_is_one_line_with_its_cause(vllm: Mrpack, models: Path) -> None:
    vllm("package", "--safetensors", models / "llama", "tiny")
    run = ("run", "tiny", "hi", "--ready-timeout", str(LIMIT_S), "--set")
    failed = vllm(*run, "vllm.tool_call_parser=nonsense", fails=9)
    assert "vLLM has no tool call parser nonsense (it has " in failed.last_line
    assert "hermes" in failed.last_line
    refused = vllm(*run, "vllm.cpu_offload_gb=1", fails=8)
    assert "nowhere else to move to" in refused.last_line


# ---- flags


@pytest.fixture(scope="session")
def known_flags(python: Path, tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """All that `vllm serve` takes, by its own help."""
    child = Path(ENGINE.launch.__globals__["_CHILD"])
    home = tmp_path_factory.mktemp("home")
    done = subprocess.run(
        [python, "-I", child, json.dumps(["serve", "--help=all"])],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "VLLM_NO_USAGE_STATS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    heads = (line for line in done.stdout.splitlines() if line.startswith("  -"))
    return frozenset(flag for line in heads for flag in re.findall(r"--[a-z][a-z0-9-]+", line))


def test_every_flag_of_ours_is_one_of_vllm(known_flags: frozenset[str], models: Path) -> None:
    folder = models / "llama"
    bundle = ModelBundle(
        name="localhost/tiny:latest",
        digest=Digest.of(b""),
        config=survey(opened(folder)),
        folder=folder,
        weights=(folder / "model.safetensors",),
        chat_template=folder / "chat_template.jinja",
    )
    gpus = (Gpu(api="cuda", name="x"),) * 1024
    host = HostFacts(os="linux", arch="x86_64", cpu_count=2, physical_cores=1, memory=2**40, gpus=gpus)
    spelled: set[str] = set()
    settings = own_settings("vllm")
    for name, setting in settings.items():
        for value in samples(setting.kind.schema()):
            own = {name: value}
            if "speculative" in name or "lookup" in name:
                own["speculative_method"] = "ngram"
            if name == "enable_auto_tool_choice":
                own["tool_call_parser"] = "hermes"
            if value == "ray":
                continue
            for launcher in ("vllm", "vllm-cpu"):
                for operation in ENGINE.operations:
                    if launcher == "vllm-cpu" and name in {"cpu_offload_gb", "kv_offloading_size"}:
                        continue
                    launch = ENGINE.launch(
                        LaunchRequest(
                            installation=Installation(launcher=launcher, version="1", where="/x/bin/python"),
                            bundle=bundle,
                            settings=EngineSettings(
                                operation=operation, context_size=64, parallel=2, own=own
                            ),
                            host=host,
                            run_folder=Path("/run/e"),
                            free_port=free_port,
                        )
                    )
                    words = json.loads(launch.argv[-1])
                    spelled |= {word.partition("=")[0] for word in words if word.startswith("--")}
    assert len(spelled) > len(settings)
    assert spelled <= known_flags


def samples(schema: dict[str, Any]) -> list[Any]:
    match schema:
        case {"enum": names}:
            return list(names)
        case {"type": "boolean"}:
            return [True, False]
        case {"minimum": minimum}:
            return [max(minimum, 1)]
        case {"pattern": _}:
            return ["hermes"]
        case {"type": "object"}:
            return [{"name": 1}]
    raise AssertionError(schema)


def test_no_other_flag_of_vllm_is_a_setting(known_flags: frozenset[str]) -> None:
    """What an artifact may say is closed: above all, nothing that names a file, a host or code."""
    names = {flag.removeprefix("--").replace("-", "_") for flag in known_flags}
    allowed = {key.removeprefix("vllm.") for key in BY_KEY if key.startswith("vllm.")}
    refused = names - allowed
    assert len(refused) > 150
    assert {"trust_remote_code", "tokenizer", "load_format", "host", "port", "uds", "middleware"} <= refused
    for name in sorted(refused):
        with pytest.raises(InvalidArtifact, match="no such setting"):
            parse_overrides({"vllm": {name: 1}})
        if name != "seed":  # of sampling
            flags = [f"--{name.replace('_', '-')}", "1"]
            with pytest.raises(RequestRefused, match="is not a setting"):
                parse_settings({"model": "m", "runtime-flags": flags}, "vllm")
