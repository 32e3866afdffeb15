"""Ctrl-C in the middle of work on files that nobody would wait for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mrpack.version import VERSION
from tests.fakes import raw_gguf
from tests.program import Mrpack
from tests.waiting import DEADLINE_S, until

# Hashing it takes minutes, and it takes no space.
HUGE = 512 * 2**30


@contextmanager
def reading(mrpack: Mrpack, file: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The program, when it has opened `file`, the last of which it reads."""
    process = mrpack.start(*arguments)
    opened = Path("/proc") / str(process.pid) / "fd"

    def is_open() -> bool:
        assert process.poll() is None, process.communicate()
        return str(file) in {os.path.realpath(link) for link in opened.iterdir()}

    try:
        until(is_open, f"{file.name} to be read")
        yield process
    finally:
        process.kill()
        process.communicate()


def interrupted(process: subprocess.Popen[str]) -> None:
    for _ in range(2):
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out, err.splitlines()[-1]) == (130, "", "mrpack: interrupted")


def test_packaging_stops_in_the_middle_of_a_file(mrpack: Mrpack, tmp_path: Path) -> None:
    keys = [raw_gguf.pair("general.architecture", raw_gguf.STRING, "llama")]
    file = tmp_path / "huge.gguf"
    file.write_bytes(raw_gguf.gguf(keys, [raw_gguf.tensor("token_embd.weight", [HUGE // 4])]))
    os.truncate(file, file.stat().st_size + HUGE)
    with reading(mrpack, file, "package", file, "huge") as process:
        interrupted(process)
    assert mrpack("list", "--json").json == []


def test_verify_stops_in_the_middle_of_a_blob(mrpack: Mrpack, tiny_model: Path, home: Path) -> None:
    mrpack("package", tiny_model, "tiny", "-q")
    blob = home / ".local/share/mrpack/store/blobs/sha256" / ("0" * 64)
    blob.touch()
    os.truncate(blob, HUGE)
    with reading(mrpack, blob, "verify") as process:
        interrupted(process)


@pytest.mark.parametrize(
    ("imported", "code"), [("signal", 130), ("typing", -signal.SIGINT), ("click", -signal.SIGINT)]
)
def test_what_is_interrupted_before_it_can_speak_says_nothing(
    mrpack: Mrpack, imported: str, code: int
) -> None:
    """A start takes a tenth of a second, which is mostly imports."""
    program = (
        "import os, runpy, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {imported!r}:\n"
        f"            os.kill(os.getpid(), {signal.SIGINT})\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.argv = ['mrpack', 'list']\n"
        "runpy.run_module('mrpack', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=mrpack.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.parametrize(("called", "shown"), [("fill_closed_streams", ""), ("freeze", "mrpack ")])
def test_an_interrupt_just_before_the_program_runs_or_after_shows_no_traceback(
    mrpack: Mrpack, called: str, shown: str
) -> None:
    program = (
        "import os, sys\n"
        "from mrpack.__main__ import main\n"
        "def interrupt(frame, event, function):\n"
        f"    if {called!r} in (frame.f_code.co_name, getattr(function, '__name__', '')):\n"
        "        sys.setprofile(None)\n"
        f"        os.kill(os.getpid(), {signal.SIGINT})\n"
        "sys.argv = ['mrpack', '--version']\n"
        "sys.setprofile(interrupt)\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=mrpack.environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "")
    assert done.stdout.partition(VERSION)[0] == shown


def test_an_interrupt_while_a_class_is_made_is_one(mrpack: Mrpack, tmp_path: Path) -> None:
    """Until 3.12 Python wraps what `__set_name__` raises; imports make many classes."""
    (tmp_path / "odd.py").write_text(
        "class Raises:\n"
        "    def __set_name__(self, owner, name):\n"
        "        raise KeyboardInterrupt\n"
        "class Odd:\n"
        "    attribute = Raises()\n"
    )
    program = (
        "import sys\n"
        "sys.path.insert(0, '.')\n"
        "from mrpack.cli import main\n"
        "main.COMMANDS['odd'] = main.Entry('Other', '', 'odd:odd')\n"
        "main.main(['odd'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=mrpack.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "mrpack: interrupted\n")
