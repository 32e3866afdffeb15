"""What the shell offers after a press of Tab."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.program import PROGRAM, Mrpack


def offered(mrpack: Mrpack, line: str, **more: str) -> list[str]:
    """For the last word of `line`, which may be empty; each as KIND,WORD."""
    words = line.split(" ")
    return mrpack(
        _MRPACK_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1), **more
    ).out.split()


def test_commands_are_offered(mrpack: Mrpack) -> None:
    assert offered(mrpack, "mrpack ins") == ["plain,inspect", "plain,install-runner"]


@pytest.mark.parametrize(
    "line",
    ["run ti", "inspect ti", "rm other ti", "serve ti", "package --from ti", "configure show ti", "stop ti"],
)
def test_local_models_are_offered(mrpack: Mrpack, tiny_model: Path, line: str) -> None:
    mrpack("package", tiny_model, "tiny:v1", "-q")
    assert offered(mrpack, f"mrpack {line}") == ["plain,tiny:v1"]


def test_files_are_offered_where_files_are_taken(mrpack: Mrpack) -> None:
    for line in ("package ./mo", "package --gguf ./mo", "lint ./mo", "attach ./mo"):
        assert offered(mrpack, f"mrpack {line}") == ["file,./mo"]


def test_a_store_that_cannot_be_read_offers_nothing(mrpack: Mrpack, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert offered(mrpack, "mrpack run ti", MRPACK_HOME=str(tmp_path / "file" / "home")) == []


@pytest.mark.parametrize(
    ("line", "words", "completed"),
    [
        ("mrpack run ti", ["run", "ti"], ["tiny", "tiny:v1"]),
        ("mrpack run tiny:", ["run", "tiny", ":"], ["v1"]),
        ("mrpack run tiny:v", ["run", "tiny", ":", "v"], ["v1"]),
        ("mrpack rm tiny:v1 tiny:v", ["rm", "tiny", ":", "v1", "tiny", ":", "v"], ["v1"]),
        ("mrpack rm oci: ti", ["rm", "oci", ":", "ti"], ["tiny", "tiny:v1"]),
    ],
)
def test_bash_goes_on_after_the_colon_of_a_tag(
    mrpack: Mrpack, tiny_model: Path, line: str, words: list[str], completed: list[str]
) -> None:
    """Readline ends a word at each colon, and gives the pieces as words."""
    mrpack("package", tiny_model, "tiny:v1", "-q")
    mrpack("tag", "tiny:v1", "tiny")
    script = [
        mrpack("completion", "bash").out,
        f'mrpack() {{ {shlex.join(PROGRAM)} "$@"; }}',
        f"COMP_LINE={shlex.quote(line)} COMP_WORDS=(mrpack {shlex.join(words)}) COMP_CWORD={len(words)}",
        "_mrpack_completion mrpack",
        'printf "%s\\n" "${COMPREPLY[@]}"',
    ]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        env=mrpack.environment,
        cwd=tiny_model.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.split(), done.stderr) == (completed, "")
