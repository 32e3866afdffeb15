"""The programs in examples/ do what they say, on a tiny model and a real engine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrpack_runtime.engines import engines
from tests.demands import demand
from tests.documented_keys import checked
from tests.fakes.gateway import HOST
from tests.fakes.tiny_gguf import ANSWER
from tests.program import Done, Mrpack

pytestmark = pytest.mark.engine

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(mrpack: Mrpack, name: str, *arguments: str | Path) -> Done:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        env=mrpack.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def served(mrpack: Mrpack, tiny_model: Path) -> Iterator[str]:
    """The address of a gateway that has what examples/library.py packaged."""
    demand("" if engines()["llama.cpp"].installations(HOST) else "llama.cpp is not installed")
    made = example(mrpack, "library.py", tiny_model, "--name", "team/tiny:v1")
    assert made.code == 0, made
    process = mrpack.start("serve", "--port", "0", "--threads", "1", "--json")
    try:
        assert process.stdout is not None
        document = line = ""
        while line != "}\n":
            line = process.stdout.readline()
            assert line, process.communicate()
            document += line
        yield checked("serve", json.loads(document))["url"]
    finally:
        process.terminate()
        process.communicate()


def test_the_library_packages_moves_verifies_and_opens(mrpack: Mrpack, tiny_model: Path) -> None:
    done = example(mrpack, "library.py", tiny_model, "--name", "team/tiny:v1")
    assert done.code == 0, done
    digest = mrpack("list", "--json").json[0]["digest"]
    assert f"packaged docker.io/team/tiny:v1: 73.54K parameters, {digest}" in done.out
    assert "verified 1 model: all content is right" in done.out
    assert f"an engine opens {tiny_model.name}" in done.out


def test_the_library_says_what_is_wrong(mrpack: Mrpack, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF and no more")
    done = example(mrpack, "library.py", tmp_path / "bad.gguf")
    assert (done.code, done.out) == (7, "")
    assert done.err.startswith("InvalidArtifact: ")


def test_openai_client_streams_from_the_gateway(mrpack: Mrpack, served: str) -> None:
    done = example(mrpack, "openai_client.py", "tiny", "Who are you?", "--url", served)
    assert done.code == 0, done
    answer, count = done.out.splitlines()
    assert answer == ANSWER
    assert count.endswith("tokens by team/tiny:v1)")
    missing = example(mrpack, "openai_client.py", "nope", "--url", served)
    assert missing.code == 1
    assert missing.err.startswith("status 404, model_not_found")


def test_commands_that_talk_to_it_have_the_documented_keys(mrpack: Mrpack, served: str) -> None:
    port = ("--port", served.rpartition(":")[2], "--json")
    checked("status", mrpack("status", *port).json)
    checked("run", {**mrpack("run", "tiny", "hi", *port).json, "reasoning_content": ""})
    checked("ps", mrpack("ps", *port).json[0])
    checked("logs", mrpack("logs", *port).json)
    checked("unload", mrpack("unload", "tiny", *port).json)
    checked("serve --dry-run", mrpack("serve", "tiny", "--dry-run", "--json").json[0])
