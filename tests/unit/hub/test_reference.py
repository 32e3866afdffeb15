"""How people name Hugging Face repositories."""

from __future__ import annotations

import pytest

from mrpack.errors import UsageError
from mrpack.hub import HubReference, is_hub_reference, parse_hub_reference
from mrpack.oci.reference import Reference, ReferenceDefaults


@pytest.mark.parametrize(
    ("text", "repository", "wish", "revision"),
    [
        ("hf.co/unsloth/Qwen3-0.6B-GGUF", "unsloth/Qwen3-0.6B-GGUF", None, None),
        ("huggingface.co/org/repo:Q4_K_M", "org/repo", "Q4_K_M", None),
        ("HF.co/org/repo:UD-Q4_K_XL", "org/repo", "UD-Q4_K_XL", None),
        ("https://huggingface.co/org/repo/", "org/repo", None, None),
        ("hf.co/org/repo:latest", "org/repo", None, None),
        ("hf.co/org/repo@v1.0", "org/repo", None, "v1.0"),
        ("hf.co/org/repo:Q8_0@refs/pr/4", "org/repo", "Q8_0", "refs/pr/4"),
        (" hf.co/01-ai/Yi_1.5 ", "01-ai/Yi_1.5", None, None),
    ],
)
def test_repository_wish_and_revision(
    text: str, repository: str, wish: str | None, revision: str | None
) -> None:
    assert is_hub_reference(text)
    assert parse_hub_reference(text) == HubReference(repository=repository, wish=wish, revision=revision)


@pytest.mark.parametrize(
    "text",
    [
        "hf.co/",
        "hf.co/repo",
        "hf.co/datasets/org/repo",
        "hf.co/org/repo/tree/main",
        "hf.co/org/re..po",
        "hf.co/org/re--po",
        "hf.co/org/repo.git",
        "hf.co/org/../repo",
        "hf.co/org/repo:",
        "hf.co/org/repo:a b",
        "hf.co/org/repo@",
        "hf.co/org/repo@a..b/../c ",
        "hf.co/org/" + "x" * 97,
    ],
)
def test_other_names_are_refused(text: str) -> None:
    assert is_hub_reference(text)
    with pytest.raises(UsageError, match=r"hf\.co/ORG/REPO"):
        parse_hub_reference(text)


@pytest.mark.parametrize(
    "text", ["smollm2", "docker.io/ai/hf.co", "hf.company/org/repo", "hf.co/org/repo@sha256:" + "0" * 64]
)
def test_names_of_artifacts_are_left_alone(text: str) -> None:
    assert not is_hub_reference(text)


def test_the_local_name_is_found_again_by_what_was_typed() -> None:
    typed = "hf.co/Qwen/Qwen3-0.6B-GGUF:Q8_0"
    local = parse_hub_reference(typed).local_name()
    assert str(local) == "huggingface.co/qwen/qwen3-0.6b-gguf:Q8_0"
    assert Reference.parse(typed) == local
    assert parse_hub_reference(str(local)).wish == "Q8_0"
    untagged = parse_hub_reference("hf.co/org/repo@v1")
    assert str(untagged.local_name()) == "huggingface.co/org/repo:latest"
    assert str(untagged.local_name(ReferenceDefaults(tag="main"))) == "huggingface.co/org/repo:main"


def test_a_repository_that_no_registry_can_name_asks_for_a_name() -> None:
    with pytest.raises(UsageError, match=r"mrpack package hf\.co/org/a_-b NAME"):
        parse_hub_reference("hf.co/org/a_-b").local_name()
