"""`run` with files and as a chat on a terminal, with a fake llama-server on PATH."""

from __future__ import annotations

import json
import signal
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from tests.fakes.llama_server import FakeLlamaServer
from tests.fakes.tiny_gguf import write_mmproj
from tests.program import Mrpack
from tests.terminal import Typist, at_terminal
from tests.waiting import DEADLINE_S

PNG = b"\x89PNG\r\n\x1a\n\0\0"


@pytest.fixture
def program(program: Mrpack) -> Mrpack:
    program.environment["MRPACK_SANDBOX"] = "off"  # the fake reads files beside itself
    return program


def chatting(program: Mrpack, *arguments: str) -> AbstractContextManager[Typist]:
    return at_terminal(program, *arguments, TERM="dumb")


def test_a_text_goes_before_the_question(program: Mrpack, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("echo the notes\n")
    (tmp_path / "wide.txt").write_bytes("söme".encode("utf-16"))
    done = program("run", "tiny", "--file", tmp_path / "notes.md", "--file", tmp_path / "wide.txt", "Why?")
    assert done.out == "Hello from a fake engine.\n"
    saved = tmp_path / "saved.json"
    with chatting(program, "run", "tiny", "--file", str(tmp_path / "notes.md")) as typist:
        typist.read("+ ")
        typist.say("Why?", "fake engine.")
        typist.say(f"/save {saved}", "2 messages are in")
    question = json.loads(saved.read_text())["messages"][0]
    assert question == {"role": "user", "content": "notes.md:\n\necho the notes\n\nWhy?"}


def test_a_picture_needs_a_model_that_sees(program: Mrpack, tmp_path: Path, tiny_model: Path) -> None:
    picture = tmp_path / "fox.png"
    picture.write_bytes(PNG)
    assert "takes none" in program("run", "tiny", "--file", picture, "What is it?", fails=2).last_line
    mmproj = write_mmproj(tmp_path)
    program("package", "--gguf", tiny_model, "--mmproj", mmproj, "seer")
    saved = tmp_path / "saved.json"
    with chatting(program, "run", "seer") as typist:
        typist.read("> ")
        typist.say(f"/file {picture}", "goes with your next question")
        typist.say("echo a fox", "\na fox")
        typist.say(f"/save {saved}", "2 messages are in")
    parts = json.loads(saved.read_text())["messages"][0]["content"]
    assert parts[0]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert parts[1] == {"type": "text", "text": "echo a fox"}


def test_somebody_who_waits_sees_a_sign_of_life(program: Mrpack, llama: FakeLlamaServer) -> None:
    llama.set_options("--delay 0.2")
    with at_terminal(program, "run", "tiny", "echo hello", TERM="xterm") as typist:
        typist.read("waiting for tiny")
        typist.read("hello")
        assert "waiting" not in typist.read_to_the_end()
        assert typist.process.wait(DEADLINE_S) == 0
    with at_terminal(program, "run", "tiny", "echo hello", "-q", TERM="xterm") as typist:
        assert typist.read_to_the_end() == "hello\r\n"


def test_what_is_neither_text_nor_picture_is_refused(program: Mrpack, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x7fELF\0\0")
    assert (
        "neither text nor a picture"
        in program("run", "tiny", "--file", tmp_path / "x", "hi", fails=2).last_line
    )
    assert "is a folder" in program("run", "tiny", "--file", tmp_path, "hi", fails=2).last_line
    program("run", "tiny", "--file", tmp_path / "none", "hi", fails=3)


def test_an_answer_as_json_has_its_timings(program: Mrpack) -> None:
    timings = program("run", "tiny", "hi", "--json").json["timings"]
    assert timings.keys() == {"time_to_first_token_s", "total_s", "tokens_per_s"}
    assert 0 < timings["time_to_first_token_s"] <= timings["total_s"]


def test_the_commands_of_a_chat(program: Mrpack, tmp_path: Path) -> None:
    saved = tmp_path / "saved.json"
    with chatting(program, "run", "tiny", "--seed", "7") as typist:
        typist.read("> ")
        typist.say("/help", "begins and ends several lines")
        typist.say("/set temperature 9", "not a number from 0 to 5")
        typist.say("/set temperature 0.5", "seed 7, temperature 0.5")
        typist.say("/set seed", "temperature 0.5")
        typist.say("/system Be brief", "set")
        typist.say("hello", "fake engine.")
        typist.say("/clear", "forgotten")
        typist.say("echo again", "\nagain")
        typist.say("/save", "/save FILE")
        typist.say(f"/save {saved}", "3 messages are in")
        typist.say(f"/save {saved}", f"{saved.name} exists (name another file")
        typist.say("/file", "/file PATH")
        typist.type("/bye\n")
        assert typist.process.wait(DEADLINE_S) == 0
    body = json.loads(saved.read_text())
    assert body["temperature"] == 0.5
    assert "seed" not in body
    assert [message["content"] for message in body["messages"]] == ["Be brief", "echo again", "again"]


def test_interrupting_an_answer_leaves_the_chat(program: Mrpack, llama: FakeLlamaServer) -> None:
    llama.set_options("--delay 0.05")
    with chatting(program, "run", "tiny") as typist:
        typist.read("> ")
        typist.say("echo " + "word " * 1000, "\nword word")
        ctrl_c = partial(typist.type, "\x03")
        typist.interrupt(ctrl_c, "(broken off)")
        typist.read("> ")
        typist.say("echo still here", "\nstill here")
        typist.read("> ")
        typist.interrupt(ctrl_c, "Ctrl-C once more")
        typist.say("echo and now", "\nand now")
        typist.read("> ")
        typist.interrupt(ctrl_c, "Ctrl-C once more")
        typist.read("> ")
        typist.interrupt(partial(typist.process.send_signal, signal.SIGINT), "interrupted")
        assert typist.process.wait(DEADLINE_S) == 130
