"""What people who got it slightly wrong are told: what it is, once, and what to write instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fakes.raw_server import RawServer
from tests.fakes.tiny_gguf import write_markov
from tests.fakes.tiny_safetensors import write_stable_diffusion
from tests.program import Mrpack

_MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture
def stored(mrpack: Mrpack, tiny_model: Path) -> str:
    """The id of a local model called `tiny`."""
    mrpack("package", tiny_model, "tiny", "-q")
    (model,) = mrpack("list", "--json").json
    return str(model["digest"]).partition(":")[2][:12]


def test_a_failed_copy_says_once_what_failed(mrpack: Mrpack, tmp_path: Path) -> None:
    with RawServer(lambda connection: connection.sendall(_MISSING)) as registry:
        name = f"{registry.address}/team/m:v1"
        told = mrpack("copy", name, f"oci:{tmp_path / 'layout'}", fails=3).last_line
    assert told.count(name) == 1, told
    assert told.count("resolve") <= 1, told


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(("copy", "{}", "oci:out:v1"), "mrpack push {} oci:out:v1"), (("referrers", "{}"), "push it")],
)
def test_a_local_name_where_a_registry_is_read_is_pointed_out(
    mrpack: Mrpack, stored: str, arguments: tuple[str, ...], hint: str
) -> None:
    with RawServer(lambda connection: connection.sendall(_MISSING)) as registry:
        name = f"{registry.address}/team/tiny:v1"
        mrpack("tag", "tiny", name)
        told = mrpack(*(word.format(name) for word in arguments), fails=3).last_line
        assert "in the local store" in told
        assert hint.format(name) in told
        elsewhere = mrpack("copy", f"{registry.address}/team/other:v1", "oci:out:v1", fails=3).last_line
    assert "in the local store" not in elsewhere


def test_an_id_that_is_too_short_is_written_out(mrpack: Mrpack, stored: str) -> None:
    for short in (stored[:7], f"sha256:{stored[:7]}"):
        assert stored in mrpack("inspect", short, fails=3).last_line
    assert "mrpack pull" in mrpack("inspect", "0000000", fails=3).last_line


def test_one_model_is_no_plural(mrpack: Mrpack, stored: str) -> None:
    assert mrpack("df").out.startswith("1 model, ")


def test_a_file_with_another_quantization_is_refused_with_its_own(mrpack: Mrpack, tmp_path: Path) -> None:
    model = write_markov(tmp_path)
    assert "quantized as F16" in mrpack("package", model, "m", "--quantization", "Q4_K_M", fails=2).last_line
    mrpack("package", model, "m", "--quantization", "F16")


def test_a_pipeline_takes_no_context_size(mrpack: Mrpack, tmp_path: Path) -> None:
    pipeline = write_stable_diffusion(tmp_path / "sd")
    assert "--context-size" in mrpack("package", pipeline, "m", "--context-size", "4096", fails=2).last_line
    again = mrpack("package", pipeline, "m", "--as", "dduf", "--context-size", "4096", fails=2)
    assert "--context-size" in again.last_line


def test_help_shows_other_names_and_exit_codes(mrpack: Mrpack) -> None:
    told = mrpack("--help").out
    for names in ("list, ls", "gc, prune", "unload, stop"):
        assert names in told
    assert "130 interrupted" in " ".join(told.split())
    assert mrpack("ls", "--help").out.startswith("Usage: mrpack list ")


@pytest.mark.parametrize(("typed", "meant"), [("lst", "list"), ("inspct", "inspect"), ("prun", "prune")])
def test_a_mistyped_command_is_guessed(mrpack: Mrpack, typed: str, meant: str) -> None:
    assert f"did you mean '{meant}'?" in mrpack(typed, fails=2).last_line


def test_what_resembles_no_command_is_not_guessed(mrpack: Mrpack) -> None:
    assert re.fullmatch(
        r"mrpack: no command 'xyzzy' \(see `mrpack --help`\)", mrpack("xyzzy", fails=2).last_line
    )
