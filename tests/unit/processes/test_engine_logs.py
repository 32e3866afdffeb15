"""Engines' log files: their names, how many stay, and following them while they rotate."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mrpack_runtime.processes.engine_logs import LogName, Tail, predecessor, sweep_logs

WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789._/:", min_size=1, max_size=30)


@given(
    WORD, st.sampled_from(["llama.cpp", "vllm", "a-b"]), st.sampled_from(["completion", "image-generation"])
)
def test_a_name_says_whose_log_it_is(model: str, engine: str, operation: str) -> None:
    text = str(LogName(model=model, digest="0123456789ab", engine=engine, operation=operation))
    assert "/" not in text
    name = LogName.parse(text)
    assert name is not None
    assert (name.digest, name.engine + "-" + name.operation) == ("0123456789ab", f"{engine}-{operation}")


def test_other_files_are_no_logs() -> None:
    assert LogName.parse("notes.log") is None
    assert LogName.parse("m-0123456789ab-vllm-completion.log.1") is None


def rotate(path: Path) -> None:
    path.replace(predecessor(path))


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def test_no_line_is_lost_or_told_twice_while_a_log_rotates(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    tail = Tail(path)
    assert tail.read(last=False) == ""
    told = ""
    for number in range(200):
        append(path, f"line {number}\n".encode())
        if number % 3 == 0:
            told += tail.read(last=False)
        if number % 7 == 0:
            told += tail.read(last=False)
            append(path, f"more {number}\n".encode())
            rotate(path)
    told += tail.read(last=True)
    lines = told.splitlines()
    assert [line for line in lines if line.startswith("line")] == [f"line {n}" for n in range(200)]
    assert sum(line.startswith("more") for line in lines) == len(range(0, 200, 7))


def test_lines_are_told_when_they_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    append(path, "one\ntwé".encode()[:-1])
    tail = Tail(path)
    assert tail.read(last=False) == "one\n"
    append(path, "é\n".encode()[1:])
    assert tail.read(last=False) == "twé\n"
    append(path, b"end")
    assert tail.read(last=False) == ""
    assert tail.read(last=True) == "end"


def test_a_long_log_begins_with_a_whole_line_near_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    append(path, b"".join(b"line %d\n" % number for number in range(100_000)))
    lines = Tail(path).read(last=True).splitlines()
    assert lines[-1] == "line 99999"
    assert lines[0] == f"line {100_000 - len(lines)}"
    assert len(lines) < 10_000


def test_the_oldest_logs_go(tmp_path: Path) -> None:
    for number in range(70):
        path = tmp_path / f"{number}.log"
        append(path, b"x")
        append(predecessor(path), b"y")
        os.utime(path, (number, number))
    sweep_logs(tmp_path)
    assert {path.name for path in tmp_path.glob("*.log")} == {f"{number}.log" for number in range(6, 70)}
    assert len(list(tmp_path.glob("*.1"))) == 64
    sweep_logs(tmp_path / "none")
