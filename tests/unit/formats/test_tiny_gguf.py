"""The fixtures themselves: the same bytes every time."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.fakes.malformed_gguf import MALFORMED
from tests.fakes.tiny_gguf import write_big_vocabulary, write_lora, write_markov, write_mmproj, write_sharded


def digests(folder: Path) -> dict[str, str]:
    folder.mkdir()
    for dtype in ("f32", "f16", "q8_0", "Q4_K_M"):
        write_markov(folder, dtype=dtype)
    write_markov(folder, chat_template=False)
    write_sharded(folder)
    write_lora(folder)
    write_mmproj(folder)
    write_big_vocabulary(folder / "big.gguf", 1000)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_fixtures_have_the_same_bytes_every_time(tmp_path):
    first = digests(tmp_path / "first")
    assert first == digests(tmp_path / "second")
    assert len(set(first.values())) == 10


def test_malformed_files_differ():
    assert len({content for content, _ in MALFORMED.values()}) == len(MALFORMED)
