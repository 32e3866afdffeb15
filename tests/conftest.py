"""What every kind of test may ask for: the program in a fresh home, and a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.program import Mrpack, empty_environment


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def mrpack(home: Path, tmp_path: Path) -> Mrpack:
    return Mrpack(empty_environment(home), tmp_path)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.fakes.tiny_gguf import write_markov

    return write_markov(tmp_path_factory.mktemp("tiny"))
