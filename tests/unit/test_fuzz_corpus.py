"""Every input that fuzzing kept goes through its target again: no error but ours, little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from tests.fuzz.fuzz import CORPUS
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS, run

# What one input may take beyond its own size; the largest buffer of ours has 4 MiB.
_MEMORY_LIMIT = 32 * 1024 * 1024


def _inputs(name: str) -> list[tuple[str, bytes]]:
    kept = sorted(path for path in (CORPUS / name).glob("*") if path.is_file())
    return [(path.name, path.read_bytes()) for path in kept]


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs_are_read_or_refused(name: str) -> None:
    inputs = _inputs(name)
    assert inputs, f"no corpus in {Path('tests/fuzz/corpus', name)}"
    tracemalloc.start()
    try:
        for file, raw in [*inputs, *((f"seed {number}", seed) for number, seed in enumerate(seeds()[name]))]:
            tracemalloc.reset_peak()
            run(TARGETS[name], raw)
            peak = tracemalloc.get_traced_memory()[1]
            assert peak < _MEMORY_LIMIT + 16 * len(raw), file
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_reads_something(name: str) -> None:
    """A target that refuses all it is given would test nothing."""
    inputs = [*(raw for _, raw in _inputs(name)), *seeds()[name]]
    assert any(run(TARGETS[name], raw) is None for raw in inputs)
