"""serve, run, status, ps, logs, unload: as typed, with a fake llama-server on PATH."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mrpack.errors import NotFound
from mrpack_runtime.wire.client import GatewayClient
from mrpack_runtime.wire.endpoint import TcpEndpoint
from tests.fakes.llama_server import FakeLlamaServer
from tests.processes import children_of, is_alive
from tests.program import Mrpack
from tests.terminal import at_terminal
from tests.waiting import DEADLINE_S, until

TEXT = "Hello from a fake engine."


@pytest.fixture
def socket_path(short_folder: Path) -> Path:
    return short_folder / "s"


@dataclass
class Served:
    """A `mrpack serve` that runs, and how the other commands reach it."""

    program: Mrpack
    process: subprocess.Popen[str]
    address: tuple[str, ...]
    url: str

    def __call__(self, *arguments: str, **more: Any) -> Any:
        command, *rest = arguments
        return self.program(command, *self.address, *rest, **more)

    @property
    def engine_pids(self) -> list[int]:
        return [entry["pid"] for entry in self("ps", "--json").json]


@contextlib.contextmanager
def serving(program: Mrpack, *arguments: str, socket_path: Path | None = None) -> Iterator[Served]:
    where = ("--socket", str(socket_path)) if socket_path else ("--port", "0")
    process = program.start("serve", *where, *arguments)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, process.communicate()
        address = where if socket_path else ("--port", url.rpartition(":")[2])
        yield Served(program, process, address, url)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=DEADLINE_S)


def test_a_model_is_served_looked_at_and_unloaded(program: Mrpack) -> None:
    with serving(program, "tiny") as served:
        until(lambda: served("ps", "--json").json and served("ps", "--json").json[0]["phase"] == "ready")
        shown = served("status", "--json").json
        assert (shown["running"], shown["endpoint"]) == (True, served.url)
        assert shown["engines"]["llama.cpp"].startswith("Running: ")
        assert "is running at" in served("status").out
        (entry,) = served("ps", "--json").json
        assert entry["keep_alive"] == "-1"
        assert "for ever" in served("ps").out
        wide = served("ps", "--wide").out
        assert "llama-server" in wide
        assert "--alias" in wide
        until(lambda: "fake: listening" in served("logs").out, "the engine's log")
        assert served("run", "tiny", "hi").out == f"{TEXT}\n"
        assert "POST /v1/chat/completions 200" in served("logs", "--no-engines").out
        assert served.engine_pids == [entry["pid"]]
        assert served("unload", "tiny").out == "unloaded 1 model\n"
        assert served("ps", "--json").json == []
        assert "no models" in served("ps").err
        served.process.terminate()
        out, err = served.process.communicate(timeout=DEADLINE_S)
        assert (served.process.returncode, out) == (0, "")
        assert "serving at" in err
        assert not is_alive(entry["pid"])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_gateway_that_is_stopped_leaves_no_engine(
    program: Mrpack, socket_path: Path, number: int, code: int
) -> None:
    with serving(program, socket_path=socket_path) as served:
        assert served("run", "tiny", "hi").out == f"{TEXT}\n"
        (pid,) = served.engine_pids
        served.process.send_signal(number)
        _, told = served.process.communicate(timeout=DEADLINE_S)
        assert served.process.returncode == code
        assert told.endswith("\nmrpack: interrupted\n") == bool(code)
        assert not is_alive(pid)
        assert not socket_path.exists()


def test_an_answer_under_way_ends_before_a_gateway_that_is_told_to(
    program: Mrpack, llama: FakeLlamaServer, socket_path: Path
) -> None:
    llama.set_options("--delay 0.05")
    words = " ".join(f"word{n}" for n in range(30))
    with serving(program, socket_path=socket_path) as served:
        asking = program.start("run", *served.address, "tiny", f"echo {words}")
        assert asking.stdout is not None
        begin = os.read(asking.stdout.fileno(), 4).decode()
        served.process.send_signal(signal.SIGTERM)
        rest, err = asking.communicate(timeout=DEADLINE_S)
        assert (asking.returncode, begin + rest) == (0, f"{words}\n"), err
        served.process.communicate(timeout=DEADLINE_S)
        assert served.process.returncode == 0


def said(served: Served, model: str) -> str:
    """Asked as any client asks: `run` would pull the model itself."""
    client = GatewayClient(TcpEndpoint(int(served.url.rpartition(":")[2])))
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    deltas = [event["choices"][0]["delta"] for event in client.chat(body) if event["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def test_what_is_missing_is_pulled_only_if_that_was_said(program: Mrpack, tmp_path: Path) -> None:
    registry = program.start("registry", "serve", "--port", "0")
    elsewhere = {"MRPACK_HOME": str(tmp_path / "another")}
    here = Mrpack({**program.environment, **elsewhere}, tmp_path)
    try:
        assert registry.stdout is not None
        name = registry.stdout.readline().strip().removeprefix("http://") + "/ai/tiny"
        with serving(here) as served, pytest.raises(NotFound, match="tiny"):
            said(served, name)
        with serving(here, "--pull", "missing") as served:
            assert said(served, name) == TEXT
        with serving(here, "--pull", "never") as served:
            assert said(served, name) == TEXT, "it is here now"
    finally:
        registry.terminate()
        registry.communicate(timeout=DEADLINE_S)


def test_prompts_are_in_no_log_and_no_file_unless_that_was_said(program: Mrpack, socket_path: Path) -> None:
    home = Path(program.environment["HOME"])
    with serving(program, socket_path=socket_path) as served:
        served("run", "tiny", "echo yellow-bird")
        assert "yellow-bird" not in served("logs").out
        assert "--log-prompts" not in served("logs").out
    with serving(program, "-v", socket_path=socket_path) as served:
        served("run", "tiny", "echo yellow-bird")
        assert "yellow-bird" not in served("logs").out
        served.process.terminate()
        assert "yellow-bird" not in served.process.communicate(timeout=DEADLINE_S)[1]
    found = [path for path in home.rglob("*") if path.is_file() and b"yellow-bird" in path.read_bytes()]
    assert found == []
    with serving(program, "--log-prompts", socket_path=socket_path) as served:
        served("run", "tiny", "echo yellow-bird")
        lines = [json.loads(line) for line in served("logs").out.splitlines() if line.startswith("{")]
        assert ["yellow-bird" in str(line) for line in lines] == [True, True]
        assert "--log-prompts" in served("logs").out


def test_a_gateway_that_is_killed_leaves_no_engine(program: Mrpack, llama: FakeLlamaServer) -> None:
    llama.set_options("--mode ignore-term")
    with serving(program) as served:
        served("run", "tiny", "hi")
        (pid,) = served.engine_pids
        assert is_alive(pid)
        served.process.kill()
        until(lambda: not is_alive(pid), "the end of the engine")


def test_a_private_gateway_answers_and_leaves_nothing(
    program: Mrpack, tmp_path: Path, short_folder: Path
) -> None:
    away = ("--socket", str(tmp_path / "none"))
    for arguments in (("--backend", "llama.cpp"), ("--context-size", "512", "--threads", "1"), ()):
        done = program("run", *away, "tiny", "hi", *arguments, TMPDIR=str(short_folder))
        assert (done.out, done.err) == (f"{TEXT}\n", "")
        assert list(short_folder.iterdir()) == []


def test_what_comes_in_a_pipe_follows_the_prompt(program: Mrpack, tmp_path: Path) -> None:
    away = ("--socket", str(tmp_path / "none"))
    assert program("run", *away, "tiny", "echo a", stdin="b\nc\n").out == "a\n\nb\nc\n"
    assert program("run", *away, "tiny", stdin="echo from the pipe\n").out == "from the pipe\n"
    assert program("run", *away, "tiny", stdin="", fails=2).out == ""


def test_an_answer_as_json_has_stable_keys(program: Mrpack, tmp_path: Path) -> None:
    done = program("run", "--socket", tmp_path / "none", "tiny", "hi", "--json")
    assert {key: done.json[key] for key in ("content", "finish_reason")} == {
        "content": TEXT,
        "finish_reason": "stop",
    }
    assert done.json["usage"]["completion_tokens"] == 5
    assert done.json["model"] == "tiny"


def test_options_of_run_reach_the_engine(program: Mrpack, socket_path: Path) -> None:
    with serving(program, socket_path=socket_path) as served:
        served(
            "run",
            "tiny",
            "hi",
            "--temperature",
            "0",
            "--seed",
            "7",
            "--max-tokens",
            "3",
            "--system",
            "Be brief",
        )
        command = served("ps", "--json").json[0]["command"]
        seen = engine_requests(command)[0]["body"]
        assert (seen["temperature"], seen["seed"], seen["max_tokens"]) == (0, 7, 3)
        assert [message["role"] for message in seen["messages"]] == ["system", "user"]


def engine_requests(command: list[str]) -> Any:
    path = command[command.index("--host") + 1]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(b"GET /fake/requests HTTP/1.1\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        content = b""
        while piece := connection.recv(65536):
            content += piece
    return json.loads(content.partition(b"\r\n\r\n")[2])


def test_control_characters_of_a_model_do_not_reach_the_terminal(program: Mrpack, tmp_path: Path) -> None:
    prompt = "echo a\x1b[2Jb\u202ec\td\x07"
    assert program("run", "--socket", tmp_path / "none", "tiny", prompt).out == "a[2Jbc\td\n"


def test_an_engine_that_fails_is_exit_code_9_with_its_words(
    program: Mrpack, llama: FakeLlamaServer, tmp_path: Path
) -> None:
    llama.set_options("--mode crash")
    done = program("run", "--socket", tmp_path / "none", "tiny", "hi", fails=9)
    assert "tensor data is cut" in done.last_line
    assert done.err.count("\n") == 1
    llama.set_options("--mode die-mid-stream")
    done = program("run", "--socket", tmp_path / "none", "tiny", "hi", fails=9)
    assert "crashed" in done.last_line
    llama.set_options("--mode hang")
    done = program("run", "--socket", tmp_path / "none", "tiny", "hi", "--ready-timeout", "0.2", fails=9)
    assert "not ready" in done.last_line


def test_a_preloaded_model_that_fails_ends_the_gateway(program: Mrpack, llama: FakeLlamaServer) -> None:
    llama.set_options("--mode crash")
    assert "tensor data is cut" in program("serve", "--port", "0", "tiny", fails=9).last_line
    assert program("serve", "--port", "0", "nope", fails=3)


def test_a_gateway_that_cannot_run_what_it_was_told_to_never_says_that_it_serves(program: Mrpack) -> None:
    serve = ("serve", "--port", "0")
    wrong = (
        (("nope",), 3),
        (("tiny", "--backend", "nope"), 3),
        (("--backend", "nope"), 3),
        (("tiny", "--memory-limit", "1M"), 8),
    )
    for arguments, code in wrong:
        done = program(*serve, *arguments, fails=code)
        assert (done.out, "serving at" in done.err) == ("", False), arguments


def test_a_damaged_model_names_the_way_back(program: Mrpack, llama: FakeLlamaServer, tmp_path: Path) -> None:
    run = ("run", "--socket", tmp_path / "none", "--pull", "never", "tiny", "hi")
    llama.set_options("--mode crash")
    assert "mrpack verify" in program(*run, fails=9).last_line
    assert "mrpack verify" in program("serve", "--port", "0", "tiny", fails=9).last_line
    shown = program("inspect", "tiny", "--json").json
    blob = (
        Path(program.environment["HOME"])
        / ".local/share/mrpack/store/blobs"
        / shown["files"][0]["digest"].replace(":", "/")
    )
    blob.unlink()
    assert "pull or package it again" in program(*run, fails=3).last_line
    assert "pull or package it again" in program("serve", "--port", "0", "tiny", fails=3).last_line


def test_interrupting_an_answer_is_exit_code_130_and_leaves_no_engine(
    program: Mrpack, llama: FakeLlamaServer, tmp_path: Path
) -> None:
    llama.set_options("--delay 0.2")
    prompt = "echo " + "word " * 1000
    process = program.start("run", "--socket", tmp_path / "none", "tiny", prompt)
    assert process.stdout is not None
    assert process.stdout.read(4)
    engines = children_of(process.pid)
    assert engines
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, told) == (130, "mrpack: interrupted\n")
    until(lambda: not any(is_alive(pid) for pid in engines), "the end of the engine")


def test_a_dry_run_shows_the_command_and_starts_nothing(program: Mrpack) -> None:
    (shown,) = program("serve", "tiny", "--dry-run", "--context-size", "777", "--json").json
    assert shown["command"][0].endswith("llama-server")
    assert "777" in shown["command"]
    assert shown["engine"] == "llama.cpp"
    assert "llama-server" in shown["why"]
    text = program("serve", "tiny", "--dry-run", "--set", "llamacpp.flash_attn=on").out
    assert "--flash-attn on" in text
    program("serve", "--dry-run", fails=2)
    program("serve", "tiny", "--dry-run", "--set", "llamacpp.nope=1", fails=2)
    program("serve", "tiny", "--dry-run", "--backend", "nope", fails=3)


def test_without_a_gateway_the_commands_say_so(program: Mrpack, tmp_path: Path) -> None:
    nowhere = ("--socket", str(tmp_path / "none"))
    for command in (("ps",), ("unload", "--all"), ("logs",)):
        assert "no gateway answers" in program(command[0], *nowhere, *command[1:], fails=3).last_line
    process = program.start("status", *nowhere, "--json")
    out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 3
    assert json.loads(out)["running"] is False
    assert json.loads(out)["engines"]["llama.cpp"].startswith("Available: ")


def test_another_program_on_the_port_is_not_taken_for_a_gateway(program: Mrpack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        process = program.start("run", "--port", port, "tiny", "hi")
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        out, err = process.communicate(timeout=DEADLINE_S)
        assert out == f"{TEXT}\n"
        assert "another program answers" in err
        assert "in use" in program("serve", "--port", port, fails=8).last_line


def test_other_machines_are_let_in_with_a_key_only(program: Mrpack, tmp_path: Path) -> None:
    program("serve", "--host", "0.0.0.0", "--port", "0", fails=4)
    keys = tmp_path / "keys"
    keys.write_text("# a comment\n\n  s3cret  \n")
    keys.chmod(0o644)
    assert "chmod 600" in program("serve", "--port", "0", "--api-key-file", keys, fails=2).last_line
    keys.chmod(0o600)
    with serving(program, "--api-key-file", str(keys)) as served:
        served("ps", fails=4)
        assert served("ps", "--json", "--api-key-file", str(keys)).json == []
        assert served("run", "tiny", "hi", "--api-key-file", str(keys)).out == f"{TEXT}\n"
    keys.write_text("\n")
    program("serve", "--port", "0", "--api-key-file", keys, fails=2)
    program("serve", "--port", "0", "--api-key-file", tmp_path / "none", fails=3)


def test_busy_models_are_unloaded_by_force(
    program: Mrpack, llama: FakeLlamaServer, socket_path: Path
) -> None:
    llama.set_options("--delay 0.1")
    with serving(program, socket_path=socket_path) as served:
        process = program.start("run", *served.address, "tiny", "echo " + "word " * 10_000)
        assert process.stdout is not None
        assert process.stdout.read(4)
        assert "tiny" in served("unload", "--all", fails=8).last_line
        assert served("unload", "--all", "--force").out == "unloaded 1 model\n"
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 9
        assert "was stopped" in err
    served.program("unload", *served.address, fails=2)


def test_a_chat_on_a_terminal_remembers(program: Mrpack, socket_path: Path) -> None:
    with serving(program, socket_path=socket_path) as served:
        with at_terminal(program, "run", *served.address, "tiny", TERM="dumb") as typist:
            typist.read("> ")
            typist.say("hello", TEXT)
            typist.say('"""echo one\ntwo"""', "one\r\ntwo")
            typist.say("/nope", "there is no /nope")
            typist.say("/bye", "/bye")
            assert typist.process.wait(DEADLINE_S) == 0
        requests = engine_requests(served("ps", "--json").json[0]["command"])
        assert [message["content"] for message in requests[1]["body"]["messages"]] == [
            "hello",
            TEXT,
            "echo one\ntwo",
        ]
