"""`list` of what is not in the local store: a repository, a layout, an archive, another tool's models."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from mrpack.content.memory import MemoryTarget
from tests.documented_keys import checked
from tests.fakes.neighbours import ollama_artifact, write_ollama
from tests.fakes.registry import FakeRegistry
from tests.program import Mrpack


def test_the_tags_of_a_repository_are_listed(mrpack: Mrpack, tiny_model: Path, registry: str) -> None:
    name = f"{registry}/team/tiny"
    for tag in ("v1", "v2"):
        mrpack("package", tiny_model, f"{name}:{tag}", "--push", "-q")
    assert mrpack("list", "--remote", name).out.split() == [f"{name}:v1", f"{name}:v2"]
    for item in mrpack("list", "--remote", name, "--json").json:
        checked("list --remote", item)
        assert mrpack("inspect", "--remote", item["reference"]).out
    assert mrpack("list", "--json").json == []


def test_a_tag_in_a_registry_is_given_once_more(mrpack: Mrpack, tiny_model: Path, registry: str) -> None:
    name = f"{registry}/team/tiny"
    digest = mrpack("package", tiny_model, f"{name}:v1", "--push").out
    assert mrpack("copy", f"{name}:v1", f"{name}:stable").out == digest
    assert mrpack("list", "--remote", name).out.split() == [f"{name}:stable", f"{name}:v1"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--remote"], 2, "which repository?"),
        (["--remote", "{}/team/m:v1"], 2, "names one model"),
        (["--remote", "{}/team/none"], 3, "team/none"),
        (["--remote", "hf.co/Org/Repo"], 2, "not for Hugging Face"),
        (["oci:"], 2, "oci:FOLDER[:TAG]"),
        (["oci:nowhere"], 3, "nowhere"),
        (["oci-archive:nowhere.tar"], 3, "nowhere.tar"),
    ],
)
def test_what_cannot_be_listed_is_said(
    mrpack: Mrpack, registry: str, arguments: list[str], code: int, says: str
) -> None:
    words = [word.format(registry) for word in arguments]
    assert says in mrpack("list", *words, fails=code).last_line


@pytest.mark.parametrize("place", ["oci:layout", "oci-archive:models.tar"])
def test_what_is_in_a_layout_is_listed_as_it_is_read(mrpack: Mrpack, tiny_model: Path, place: str) -> None:
    mrpack("package", tiny_model, "tiny", "-q")
    mrpack("push", "tiny", f"{place}:v1", "-q")
    (name,) = mrpack("list", place).out.split()
    assert name == f"{place}:v1"
    assert mrpack("inspect", name).out
    assert mrpack("list", f"{place}:v").out == f"{name}\n"
    assert mrpack("list", f"{place}:w").out == ""


def test_the_models_of_another_tool_are_listed_as_it_calls_them(mrpack: Mrpack, home: Path) -> None:
    memory = MemoryTarget()
    manifest = ollama_artifact(memory, b"GGUF")
    for name in ("registry.ollama.ai/library/tiny/135m", "hf.co/Org/Tiny-GGUF/Q8_0"):
        write_ollama(home / ".ollama" / "models", memory, manifest, name)
    assert mrpack("list", "ollama:").out.split() == [
        "ollama:huggingface.co/org/tiny-gguf:Q8_0",
        "ollama:tiny:135m",
    ]
    assert mrpack("list", "ollama:135").out.split() == ["ollama:tiny:135m"]
    assert "nothing is in ollama:other" in mrpack("list", "ollama:other").err


def test_credentials_come_from_the_environment(mrpack: Mrpack) -> None:
    pair = base64.b64encode(b"ci:wonderland").decode()
    with FakeRegistry() as registry:
        registry.add("team/m", "v1", b"{}")
        registry.protect("team/m", 'Basic realm="here"', f"Basic {pair}")
        name = f"{registry.address}/team/m"
        given = json.dumps({"auths": {registry.address: {"auth": pair}}})
        assert mrpack("list", "--remote", name, DOCKER_AUTH_CONFIG=given).out == f"{name}:v1\n"
        told = mrpack("list", "--remote", name, fails=4)
        assert "wonderland" not in told.err
        broken = mrpack("list", "--remote", name, DOCKER_AUTH_CONFIG="wonderland", fails=2).last_line
    assert "DOCKER_AUTH_CONFIG is not JSON" in broken
    assert "wonderland" not in broken
