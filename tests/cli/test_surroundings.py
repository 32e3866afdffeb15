"""The program in odd surroundings: dumb terminals, plain locales, homes that are not there, Ctrl-C."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import pytest

from tests.cli.test_serve_commands import serving
from tests.fakes.raw_server import RawServer
from tests.fakes.tiny_gguf import write_markov
from tests.program import Mrpack
from tests.waiting import DEADLINE_S, until

_BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_PLAIN = {"LANG": "C", "LC_ALL": "C"}


def test_names_beyond_ascii_survive_a_plain_locale(mrpack: Mrpack, tmp_path: Path) -> None:
    model = write_markov(tmp_path).rename(tmp_path / "größe.gguf")
    assert "größe.gguf" in mrpack("package", model, "m", **_PLAIN).err
    assert "größe.gguf" in mrpack("inspect", "m", **_PLAIN).out
    assert mrpack("inspect", "m", "--json", **_PLAIN).json["files"][0]["path"] == "größe.gguf"


@pytest.mark.parametrize("more", [{"COLUMNS": "40"}, {"TERM": "dumb"}, {"NO_COLOR": "1"}])
def test_a_table_is_the_same_everywhere(mrpack: Mrpack, tiny_model: Path, more: dict[str, str]) -> None:
    mrpack("package", tiny_model, "tiny", "-q")
    usual = mrpack("list").out
    assert mrpack("list", **more).out == usual
    assert "\x1b" not in usual


@pytest.mark.parametrize("arguments", [("list",), ("df",), ("gc",), ("verify",)])
def test_a_home_that_is_not_there_is_empty_and_stays_so(
    mrpack: Mrpack, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    missing = tmp_path / "not" / "there"
    mrpack(*arguments, MRPACK_HOME=str(missing))
    assert not missing.exists()


def test_a_home_that_cannot_be_made_is_named(mrpack: Mrpack, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file" / "home")
    assert mrpack("list", MRPACK_HOME=place, fails=8).last_line.count(place)
    assert mrpack("package", tiny_model, "m", MRPACK_HOME=place, fails=8).last_line.count(place)


@pytest.mark.parametrize("where", ["2>/dev/full", "2>&-"])
def test_messages_that_have_no_place_change_no_outcome(mrpack: Mrpack, tiny_model: Path, where: str) -> None:
    under = ["sh", "-c", f'exec "$@" {where}', "sh"]
    digest = mrpack("package", tiny_model, "tiny", under=under).out
    assert mrpack("list", "--json").json[0]["digest"] == digest.strip()
    assert mrpack("verify", under=under, fails=0).out == ""
    assert mrpack("verify", "--progress", "json", under=under, fails=0).out == ""


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("df", "--help"), ("df",)])
def test_a_result_that_cannot_be_written_is_said(mrpack: Mrpack, arguments: tuple[str, ...]) -> None:
    under = ["sh", "-c", 'exec "$@" >/dev/full', "sh"]
    assert "write the result: no space left" in mrpack(*arguments, under=under, fails=8).last_line


@pytest.mark.parametrize(
    "arguments",
    [("run", "tiny", "hi"), ("logs",), ("logs", "-f"), ("status", "--watch"), ("ps", "--watch", "--json")],
)
def test_a_stream_of_results_that_cannot_be_written_is_said(
    program: Mrpack, arguments: tuple[str, ...]
) -> None:
    under = ["sh", "-c", 'exec "$@" >/dev/full', "sh"]
    with serving(program) as served:
        served("status")
        until(lambda: served("logs").out)
        done = served(*arguments, under=under, fails=8)
    assert "write the result: no space left" in done.last_line
    assert "a bug" not in done.err


def test_a_registry_that_is_asked_again_is_named_once(mrpack: Mrpack) -> None:
    def said(*more: str) -> list[str]:
        busy = [_BUSY, _BUSY]
        with RawServer(lambda line: line.sendall(busy.pop() if busy else _MISSING)) as registry:
            return mrpack("pull", f"{registry.address}/team/m:v1", *more, fails=3).err.splitlines()

    again, _ = said()
    assert again.endswith("status 503; trying again")
    event, _ = said("--progress", "json")
    assert json.loads(event)["event"] == "retrying"
    assert len(said("-q")) == 1


def test_a_pull_that_is_interrupted_ends_in_one_line(mrpack: Mrpack) -> None:
    asked, over = threading.Event(), threading.Event()

    def never_answer(_connection: object) -> None:
        asked.set()
        over.wait(DEADLINE_S)

    with RawServer(never_answer) as registry:
        process = mrpack.start("pull", f"{registry.address}/team/m:v1")
        assert asked.wait(DEADLINE_S)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_S)
        over.set()
    assert (process.returncode, out, err) == (130, "", "mrpack: interrupted\n")
