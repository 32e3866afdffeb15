"""The pipelines in examples/ci run, step by step, as their services would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.fakes.tiny_gguf import write_markov
from tests.program import Mrpack

EXAMPLES = Path(__file__).parents[2] / "examples" / "ci"


@pytest.fixture
def checkout(mrpack: Mrpack, tmp_path: Path) -> Path:
    """A repository with a model, and `mrpack` on PATH; installing it again does nothing."""
    folder = tmp_path / "checkout"
    (folder / "models").mkdir(parents=True)
    write_markov(tmp_path).rename(folder / "models" / "assistant.gguf")
    (folder / "LICENSE").write_text("free\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, does in (("mrpack", f'exec {sys.executable} -m mrpack "$@"'), ("pip", "exit 0")):
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    mrpack.environment["PATH"] = f"{programs}{os.pathsep}{mrpack.environment['PATH']}"
    return folder


def run(mrpack: Mrpack, folder: Path, script: str, more: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env={**mrpack.environment, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_workflow_for_github_publishes_a_model(mrpack: Mrpack, checkout: Path, registry: str) -> None:
    text = (EXAMPLES / "github-actions.yml").read_text().replace("ghcr.io", registry)
    output = checkout / "output"
    variables = {
        "GITHUB_ACTOR": "somebody",
        "GITHUB_OUTPUT": str(output),
        "GITHUB_REF_NAME": "v1",
        "GITHUB_REPOSITORY": "Team/Repo",
    }
    shown = ""
    for step in yaml.safe_load(text)["jobs"]["publish"]["steps"]:
        script = step.get("run", "")
        if "steps.package" in script:
            digest = output.read_text().strip().removeprefix("digest=")
            script = script.replace("${{ steps.package.outputs.digest }}", digest)
        shown = run(mrpack, checkout, script, {**variables, **dict.fromkeys(step.get("env", {}), "secret")})
    assert f"Reference:    {registry}/team/repo/assistant@{digest}" in shown


def test_the_pipeline_for_gitlab_publishes_a_model(mrpack: Mrpack, checkout: Path, registry: str) -> None:
    job = yaml.safe_load((EXAMPLES / "gitlab-ci.yml").read_text())["publish model"]
    variables = {
        "CI_COMMIT_TAG": "v1",
        "CI_REGISTRY": registry,
        "CI_REGISTRY_IMAGE": f"{registry}/team/repo",
        "CI_REGISTRY_PASSWORD": "secret",
        "CI_REGISTRY_USER": "somebody",
    }
    run(mrpack, checkout, "\n".join(job["script"]), variables)
    name, _, digest = (checkout / job["artifacts"]["reports"]["dotenv"]).read_text().strip().partition("=")
    assert name == "MODEL_DIGEST"
    assert (
        mrpack("inspect", "--remote", f"{registry}/team/repo/assistant:v1", "--json").json["digest"] == digest
    )
