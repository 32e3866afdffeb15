"""What the shell offers after a press of Tab."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.program import Mrpack


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
