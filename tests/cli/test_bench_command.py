"""`bench`, and the live views, as typed, with a fake llama-server on PATH."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.documented_keys import checked
from tests.fakes.llama_server import FakeLlamaServer
from tests.program import Mrpack
from tests.waiting import DEADLINE_S, until


@pytest.fixture
def program(program: Mrpack, short_folder: Path) -> Mrpack:
    """With a socket for its gateway."""
    program.environment["MRPACK_SANDBOX"] = "off"  # the fake reads files beside itself
    program.environment["MRPACK_SOCKET"] = str(short_folder / "s")
    return program


@contextlib.contextmanager
def started(program: Mrpack, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = program.start(*arguments)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE_S)


def test_a_private_gateway_is_measured(program: Mrpack, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    done = program(
        "bench",
        "tiny",
        "--concurrency",
        "1,3",
        "--requests",
        "4",
        "--max-tokens",
        "5",
        "--json",
        "--plot",
        plot,
    )
    found = checked("bench", done.json)
    assert (found["model"], found["engine"], found["max_tokens"]) == ("tiny", "llama.cpp", 5)
    assert [run["concurrency"] for run in found["runs"]] == [1, 3]
    for run in found["runs"]:
        checked("bench: runs", run)
        assert (run["requests"], run["errors"], run["completion_tokens"]) == (4, {}, 20)
        assert run["time_to_first_token_s"]["p50"] <= run["time_to_first_token_s"]["p95"]
        assert run["tokens_per_s"] > 0
    drawn = ET.parse(plot).getroot()
    assert drawn.tag.endswith("svg")
    assert "3 at once: 4 requests" in done.err


def test_a_running_gateway_is_measured_and_its_model_need_not_be_named(program: Mrpack) -> None:
    with started(program, "serve", "tiny") as gateway:
        assert gateway.stdout is not None
        gateway.stdout.readline()
        done = program("bench", "--concurrency", "2", "--requests", "4", "--max-tokens", "5")
        assert done.out.startswith("tiny on llama.cpp")
        assert "first token, p95" in done.out
        assert max(map(len, done.out.splitlines())) < 80
        (entry,) = program("ps", "--json").json
        assert entry["model_name"] == "tiny"


def test_requests_that_fail_are_counted_and_end_in_exit_code_9(
    program: Mrpack, llama: FakeLlamaServer
) -> None:
    llama.set_options("--mode crash-loop")
    assert "crashed" in program("bench", "tiny", fails=9).last_line


def test_what_cannot_be_measured_is_refused(program: Mrpack, tiny_model: Path, tmp_path: Path) -> None:
    program("bench", "tiny", "--concurrency", "0", fails=2)
    program("bench", "tiny", "--concurrency", "a,b", fails=2)
    program("bench", "tiny", "--plot", tmp_path / "none" / "x.svg", fails=2)
    program("bench", "nope", fails=3)
    program("package", "--gguf", tiny_model, "other")
    assert "name the MODEL" in program("bench", fails=2).last_line


def test_live_views_go_on_until_they_are_interrupted(program: Mrpack) -> None:
    first = "no gateway answers"
    for command in (["ps"], ["status"]):
        with started(program, *command, "--watch", "0.1") as view:
            assert view.stdout is not None
            assert view.stderr is not None
            if command == ["ps"]:
                assert first in view.stderr.read()
                continue
            lines = [view.stdout.readline() for _ in range(30)]
            assert sum(first in line for line in lines) > 1
    with started(program, "serve", "tiny") as gateway:
        assert gateway.stdout is not None
        gateway.stdout.readline()
        program("run", "tiny", "hi")
        with started(program, "ps", "--watch", "0.1", "--json") as view:
            assert view.stdout is not None
            seen = [json.loads(view.stdout.readline()) for _ in range(3)]
            assert [look["seen"][0]["model_name"] for look in seen] == ["tiny"] * 3
            assert seen[0]["time"] < seen[2]["time"]
        assert "1 model loaded, 0 requests under way" in program("status").out


def test_logs_of_one_engine_or_model(program: Mrpack) -> None:
    with started(program, "serve", "tiny") as gateway:
        assert gateway.stdout is not None
        gateway.stdout.readline()
        program("run", "tiny", "hi")
        until(lambda: "fake: listening" in program("logs").out, "the engine's log")
        for name in ("llama.cpp", "tiny"):
            assert "fake: listening" in program("logs", "--engine", name).out
            assert "POST /v1" not in program("logs", "--engine", name).out
        assert program("logs", "--engine", "vllm", "--json").json == {"log": ""}
        program("logs", "--engine", "nope", fails=3)
        program("logs", "--engine", "tiny", "--no-engines", fails=2)
