"""What several commands are tried with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrpack.distribution import serving
from mrpack.store.layout import OciLayout
from tests.fakes.llama_server import FakeLlamaServer
from tests.program import Mrpack


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The address of one that can be written to."""
    with serving(OciLayout(tmp_path / "served"), writable=True) as address:
        yield address


@pytest.fixture
def llama(tmp_path: Path) -> FakeLlamaServer:
    return FakeLlamaServer.install(tmp_path / "bin")


@pytest.fixture
def program(mrpack: Mrpack, llama: FakeLlamaServer, tiny_model: Path) -> Mrpack:
    """With a fake llama-server on PATH and one model, `tiny`."""
    mrpack.environment["PATH"] = f"{llama.folder}{os.pathsep}{mrpack.environment['PATH']}"
    mrpack("package", "--gguf", tiny_model, "tiny")
    return mrpack
