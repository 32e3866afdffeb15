"""Models that another tool has already: `ollama:NAME` and `dmr:NAME` as sources."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from mrpack.content.memory import MemoryTarget
from tests.demands import demand
from tests.fakes.neighbours import ollama_artifact, write_dmr, write_newer_ollama, write_ollama
from tests.fakes.tiny_gguf import write_markov
from tests.program import Mrpack


@pytest.fixture
def model(tmp_path: Path) -> bytes:
    return write_markov(tmp_path).read_bytes()


@pytest.fixture
def ollama(tmp_path: Path, model: bytes) -> Path:
    """The usual folder of the user whose home is that of the `mrpack` fixture."""
    memory = MemoryTarget()
    root = tmp_path / "home" / ".ollama" / "models"
    write_ollama(root, memory, ollama_artifact(memory, model), "registry.ollama.ai/library/tiny/135m")
    write_newer_ollama(root, memory, ollama_artifact(memory, model), "ollama.com/someone/newer/latest")
    return write_ollama(root, memory, ollama_artifact(memory, model), "hf.co/Org/Tiny-GGUF/Q8_0")


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("tiny:135m", "registry.ollama.ai/library/tiny:135m"),
        ("someone/newer", "registry.ollama.ai/someone/newer:latest"),
        ("hf.co/Org/Tiny-GGUF:Q8_0", "huggingface.co/org/tiny-gguf:Q8_0"),
    ],
)
def test_a_model_of_ollama_comes_into_the_store_without_a_copy(
    mrpack: Mrpack, ollama: Path, model: bytes, name: str, local: str
) -> None:
    pulled = mrpack("pull", f"ollama:{name}", "--json").json
    assert pulled["reference"] == local
    (weights,) = (
        file for file in mrpack("resolve", local, "--json").json["files"] if file["role"] == "weights"
    )
    assert Path(weights["path"]).read_bytes() == model
    digest = weights["digest"].partition(":")[2]
    assert (ollama / "blobs" / f"sha256-{digest}").read_bytes() == model


def test_a_model_of_ollama_is_inspected_where_it_is(mrpack: Mrpack, ollama: Path) -> None:
    shown = mrpack("inspect", "ollama:tiny:135m", "--json").json
    assert (shown["dialect"], shown["format"], shown["quantization"]) == ("ollama", "gguf", "Q8_0")
    assert mrpack("list", "--json").json == []


def test_a_model_of_ollama_is_copied_in_another_dialect(mrpack: Mrpack, ollama: Path, tmp_path: Path) -> None:
    mrpack("copy", "ollama:tiny:135m", f"oci:{tmp_path}/layout:v1", "--format", "docker", "-q")
    shown = mrpack("inspect", f"oci:{tmp_path}/layout:v1", "--json").json
    assert (shown["dialect"], shown["context_size"]) == ("docker", 256)


def test_a_model_of_ollama_is_packaged_with_other_settings(
    mrpack: Mrpack, ollama: Path, model: bytes
) -> None:
    mrpack("package", "--from", "ollama:tiny:135m", "--set", "context_size=64", "mine:v1")
    shown = mrpack("inspect", "mine:v1", "--json").json
    assert (shown["dialect"], shown["context_size"]) == ("docker", 64)
    assert [item["reference"] for item in mrpack("list", "--json").json] == ["docker.io/ai/mine:v1"]


def test_what_ollama_does_not_say_of_a_model_is_read_from_it(
    mrpack: Mrpack, ollama: Path, model: bytes
) -> None:
    memory = MemoryTarget()
    silent = ollama_artifact(memory, model, model_family="", file_type="unknown")
    write_ollama(ollama, memory, silent, "registry.ollama.ai/library/silent/latest")
    mrpack("package", "--from", "ollama:silent", "mine", "-q")
    shown = mrpack("inspect", "mine", "--json").json
    assert (shown["architecture"], shown["quantization"], shown["parameters"]) == (
        "llama",
        "MOSTLY_F16",
        "73.54K",
    )


def test_weights_that_say_nothing_are_taken_as_they_are(mrpack: Mrpack, ollama: Path) -> None:
    memory = MemoryTarget()
    broken = ollama_artifact(memory, b"GGUF, and no more", model_family="")
    write_ollama(ollama, memory, broken, "registry.ollama.ai/library/broken/latest")
    mrpack("package", "--from", "ollama:broken", "mine", "-q")
    assert mrpack("inspect", "mine", "--json").json["architecture"] is None


def test_a_model_of_docker_model_runner_keeps_its_name(mrpack: Mrpack, tmp_path: Path, model: bytes) -> None:
    memory = MemoryTarget()
    manifest = ollama_artifact(memory, model)
    write_dmr(tmp_path / "models", memory, manifest, "docker.io/ai/tiny:135M", "docker.io/ai/0:latest")
    pulled = mrpack("pull", "dmr:ai/tiny:135M", "--json", MODELS_PATH=str(tmp_path / "models")).json
    assert pulled["reference"] == "docker.io/ai/tiny:135M"
    assert pulled["digest"] == str(manifest.descriptor.digest)


def test_what_is_not_there_is_said_with_what_is(mrpack: Mrpack, ollama: Path) -> None:
    line = mrpack("pull", "ollama:other", fails=3).last_line
    assert "tiny:135m" in line
    assert "newer" in line


def test_a_tool_that_is_not_here_is_said_with_its_variable(mrpack: Mrpack) -> None:
    assert "MODELS_PATH" in mrpack("pull", "dmr:smollm2", fails=3).last_line


def test_nothing_is_written_to_another_tools_folder(mrpack: Mrpack, ollama: Path) -> None:
    mrpack("copy", "ollama:tiny:135m", "ollama:copy", fails=8)


def test_a_folder_that_is_closed_to_us_is_said(mrpack: Mrpack, short_folder: Path) -> None:
    """As that of the service which Ollama's installer sets up may be."""
    short_folder.chmod(0o755)
    (home := short_folder / "home").mkdir()
    (home / ".ollama" / "models" / "manifests").mkdir(parents=True)
    under = as_nobody()
    for closed in (home / ".ollama" / "models" / "manifests", home / ".ollama"):
        closed.chmod(0)
        line = mrpack("inspect", "ollama:tiny", under=under, fails=8, HOME=str(home)).last_line
        assert "no permission" in line
        assert str(closed) in line
        closed.chmod(0o755)


def as_nobody() -> list[str]:
    """Root may read everything."""
    if os.getuid() != 0:
        return []
    demand("" if shutil.which("setpriv") else "setpriv is not installed")
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
