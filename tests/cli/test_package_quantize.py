"""package --quantize: several quantizations of one model, each under its own tag."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.fakes.llama_quantize import FakeLlamaQuantize
from tests.fakes.tiny_gguf import write_markov
from tests.processes import is_alive
from tests.program import Mrpack
from tests.waiting import DEADLINE_S, until


@pytest.fixture
def quantizer(tmp_path: Path, mrpack: Mrpack) -> FakeLlamaQuantize:
    fake = FakeLlamaQuantize.install(tmp_path / "bin")
    mrpack.environment["PATH"] = f"{fake.folder}:{mrpack.environment['PATH']}"
    return fake


def leftovers(home: Path) -> list[Path]:
    return list((home / ".local/share/mrpack/store/ingest").glob("*"))


def test_each_quantization_gets_its_tag_and_its_file_name(
    mrpack: Mrpack, quantizer: FakeLlamaQuantize, tiny_model: Path, tmp_path: Path, home: Path
) -> None:
    source = tmp_path / "Tiny.F16.gguf"
    source.symlink_to(tiny_model)
    licence = tmp_path / "LICENSE"
    licence.write_text("free")
    done = mrpack(
        "package", source, "tiny", "--quantize", "Q4_K_M,q8_0,F16", "--license", licence, "--json"
    ).json
    assert [one["reference"].rpartition("-")[2] for one in done] == ["Q4_K_M", "Q8_0", "F16"]
    assert [one["layers"][0]["path"] for one in done] == [
        *("Tiny.Q4_K_M.gguf", "Tiny.Q8_0.gguf"),
        "Tiny.F16.gguf",
    ]
    assert all(one["layers"][1]["role"] == "license" for one in done)
    assert [call[-2] for call in quantizer.calls] == ["15", "7"]
    assert len(mrpack("list", "--json").json) == 3
    assert "all content" in mrpack("verify").err
    assert leftovers(home) == []


def test_digests_are_printed_in_the_order_asked_for(
    mrpack: Mrpack, quantizer: FakeLlamaQuantize, tiny_model: Path
) -> None:
    done = mrpack("package", tiny_model, "tiny", "--quantize", "Q8_0,Q4_K_M", "--dry-run")
    assert len(quantizer.calls) == 2
    assert "quantizing Q8_0" in done.err
    again = mrpack("package", tiny_model, "tiny", "--quantize", "Q8_0,Q4_K_M")
    assert again.out == done.out
    assert len(again.out.split()) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["tiny", "--quantize", "Q4_X"], 2, "one of F32, F16"),
        (["tiny", "--quantize", "Q4_2"], 2, "removed from llama.cpp"),
        (["tiny", "--quantize", "IQ2_XS"], 2, "--imatrix"),
        (["tiny", "--quantize", "IQ2_XS", "--imatrix", "absent"], 3, "absent"),
        (["tiny:v1", "--quantize", "Q8_0"], 2, "has a tag already"),
        (["tiny", "--imatrix", "absent"], 2, "--quantize"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_before_anything_is_made(
    mrpack: Mrpack,
    quantizer: FakeLlamaQuantize,
    tiny_model: Path,
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    assert says in mrpack("package", tiny_model, *arguments, fails=code).last_line
    assert quantizer.calls == []


def test_a_quantized_source_needs_a_word(
    mrpack: Mrpack, quantizer: FakeLlamaQuantize, tmp_path: Path
) -> None:
    source = write_markov(tmp_path, dtype="q8_0")
    refused = mrpack("package", source, "tiny", "--quantize", "Q4_K_M", fails=2)
    assert "--allow-requantize" in refused.last_line
    mrpack("package", source, "tiny", "--quantize", "Q4_K_M", "--allow-requantize")
    assert quantizer.calls[0][0] == "--allow-requantize"


def test_an_importance_matrix_reaches_the_program(
    mrpack: Mrpack, quantizer: FakeLlamaQuantize, tiny_model: Path, tmp_path: Path
) -> None:
    matrix = tmp_path / "imatrix.gguf"
    matrix.write_bytes(b"GGUF")
    mrpack("package", tiny_model, "tiny", "--quantize", "Q4_K_M", "--imatrix", matrix)
    assert quantizer.calls[0][:2] == ["--imatrix", str(matrix)]


@pytest.mark.parametrize(("how", "says"), [("fail", "made of cheese"), ("wrong", "instead of Q4_K_M")])
def test_a_quantizer_that_fails_leaves_nothing(
    mrpack: Mrpack, quantizer: FakeLlamaQuantize, tiny_model: Path, home: Path, how: str, says: str
) -> None:
    quantizer.behave(how)
    assert says in mrpack("package", tiny_model, "tiny", "--quantize", "Q4_K_M", fails=9).last_line
    assert leftovers(home) == []
    assert mrpack("list", "--json").json == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_quantizer_outlives_us(
    mrpack: Mrpack,
    quantizer: FakeLlamaQuantize,
    tiny_model: Path,
    home: Path,
    short_folder: Path,
    number: int,
) -> None:
    quantizer.behave("hang")
    mrpack.environment["TMPDIR"] = str(short_folder)
    process = mrpack.start("package", tiny_model, "tiny", "--quantize", "Q4_K_M")
    until(lambda: quantizer.pid is not None or process.poll() is not None, "the quantizer")
    assert quantizer.pid is not None, process.communicate()
    process.send_signal(number)
    process.communicate(timeout=DEADLINE_S)
    until(lambda: not is_alive(quantizer.pid), "the end of the quantizer")
    if number == signal.SIGINT:
        assert process.returncode == 130
    else:
        mrpack("gc")
    assert leftovers(home) == []
    quantizer.behave("")
    mrpack("package", tiny_model, "tiny", "--quantize", "Q4_K_M")
    assert list(short_folder.iterdir()) == []


def test_without_a_quantizer_it_says_what_to_install(
    mrpack: Mrpack, tiny_model: Path, tmp_path: Path
) -> None:
    refused = mrpack("package", tiny_model, "tiny", "--quantize", "Q8_0", fails=8, PATH=str(tmp_path))
    assert "llama-quantize" in refused.last_line
