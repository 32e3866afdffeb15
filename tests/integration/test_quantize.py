"""package --quantize with llama.cpp's own quantizer, and an engine that loads what it made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mrpack.errors import EngineFailed
from mrpack.model.quantization import QUANTIZATIONS, Quantization
from mrpack.packing.quantizer import QuantizeJob
from mrpack_runtime.engines.llamacpp.quantizer import LlamaQuantizer, find_quantizer
from tests.fakes.llama_cpp_python import ensure_environment, programs
from tests.fakes.tiny_gguf import ANSWER, write_importance, write_markov, write_sharded
from tests.program import Mrpack

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture
def with_quantizer(home: Path) -> Path:
    """A home in which the only quantizer is that of llama-cpp-python."""
    engines = home / ".local" / "share" / "mrpack" / "engines"
    engines.mkdir(parents=True)
    (engines / "llama.cpp").symlink_to(ensure_environment(), target_is_directory=True)
    return engines.parent


@pytest.mark.usefixtures("with_quantizer")
def test_what_llama_cpp_quantizes_is_packaged_and_answers(mrpack: Mrpack, tmp_path: Path) -> None:
    source = write_markov(tmp_path)
    done = mrpack("package", source, "tiny", "--quantize", "Q8_0,Q4_K_M", "--json").json
    assert [one["quantization"] for one in done] == ["MOSTLY_Q8_0", "MOSTLY_Q4_K_M"]
    for one in done:
        assert mrpack("run", one["reference"], "hi").out.strip() == ANSWER.strip()
    again = mrpack("package", source, "tiny", "--quantize", "Q8_0,Q4_K_M", "--json").json
    assert [one["digest"] for one in again] == [one["digest"] for one in done]


@pytest.mark.usefixtures("with_quantizer")
def test_shards_that_are_links_become_one_file(mrpack: Mrpack, tmp_path: Path) -> None:
    """As in the cache of Hugging Face, where files have other names than their links."""
    links = tmp_path / "links"
    links.mkdir()
    for number, shard in enumerate(write_sharded(tmp_path)):
        blob = shard.rename(tmp_path / f"blob{number}")
        (links / shard.name).symlink_to(blob)
    first = links / "markov-sharded-00001-of-00002.gguf"
    (done,) = mrpack("package", first, "tiny", "--quantize", "Q8_0", "--json").json
    assert [layer["path"] for layer in done["layers"]] == ["markov-sharded-Q8_0.gguf"]
    assert mrpack("run", done["reference"], "hi").out.strip() == ANSWER.strip()


@pytest.mark.usefixtures("with_quantizer")
def test_an_importance_matrix_needs_the_program(mrpack: Mrpack, tmp_path: Path) -> None:
    source, importance = write_markov(tmp_path, dtype="Q4_K_M"), write_importance(tmp_path)
    words = (
        "package",
        source,
        "tiny",
        "--quantize",
        "IQ2_XXS",
        "--imatrix",
        importance,
        "--allow-requantize",
    )
    refused = mrpack(*words, fails=8)
    assert "takes no importance matrix" in refused.err
    assert "llama-quantize" in refused.err
    path = f"{programs(ensure_environment())}{os.pathsep}{os.environ['PATH']}"
    (done,) = mrpack(*words, "--json", PATH=path).json
    assert done["quantization"] == "MOSTLY_IQ2_XXS"


@pytest.fixture
def quantizer(with_quantizer: Path) -> LlamaQuantizer:
    return find_quantizer(with_quantizer, {"PATH": "/nowhere"})


@pytest.mark.parametrize(
    "row", [row for row in QUANTIZATIONS if not row.removed and row.name != "NVFP4"], ids=lambda row: row.name
)
def test_the_table_knows_what_needs_an_importance_matrix(
    quantizer: LlamaQuantizer, tmp_path: Path, row: Quantization
) -> None:
    # The only tiny model whose rows are long enough for every type.
    source = write_markov(tmp_path, dtype="Q4_K_M")
    target = tmp_path / "made.gguf"
    job = QuantizeJob(source=source, target=target, quantization=row, requantize=True)
    steps: list[tuple[int, int]] = []
    if row.needs_importance:
        with pytest.raises(EngineFailed, match="imatrix"):
            quantizer.quantize(job, lambda done, count: steps.append((done, count)))
        assert not target.exists()
    else:
        quantizer.quantize(job, lambda done, count: steps.append((done, count)))
        assert steps[-1] == (12, 12)
        assert target.stat().st_size
