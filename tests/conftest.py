"""What every kind of test may ask for: the program in a fresh home, and a tiny model."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.program import Mrpack, empty_environment

# Started in the background of a shell we would ignore Ctrl-C, and so would every program that we start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says something about the machine, nothing about the code.
settings.register_profile("mrpack", deadline=None)
settings.load_profile("mrpack")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def mrpack(home: Path, tmp_path: Path) -> Mrpack:
    return Mrpack(empty_environment(home), tmp_path)


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """With a path that leaves room for a socket's, which may have 103 characters."""
    folder = Path(tempfile.mkdtemp(prefix="m"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.fakes.tiny_gguf import write_markov

    return write_markov(tmp_path_factory.mktemp("tiny"))
