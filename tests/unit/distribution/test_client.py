"""Our own client on our own server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.distribution import serving
from mrpack.errors import TransferError
from mrpack.oci.manifest import Index, Manifest
from mrpack.registry import RegistrySession, RegistryTarget
from mrpack.store.store import Store

WEIGHTS = os.urandom(1_000_000)


@pytest.fixture
def session() -> Iterator[RegistrySession]:
    with RegistrySession() as opened:
        yield opened


@pytest.fixture
def source() -> MemoryTarget:
    """An artifact `m`, and an index `i` of it."""
    memory = MemoryTarget()
    config = memory.add("application/vnd.docker.ai.model.config.v0.1+json", b"{}")
    layers = [memory.add("application/vnd.docker.ai.gguf.v3", WEIGHTS[start:]) for start in range(5)]
    manifest = Manifest.build(config=config, layers=layers)
    memory.push_manifest(manifest.descriptor, manifest.raw, "m")
    index = Index.build([manifest.descriptor])
    memory.push_manifest(index.descriptor, index.raw, "i")
    return memory


@pytest.mark.parametrize("ref", ["m", "i"])
def test_an_artifact_goes_there_and_back(
    session: RegistrySession, source: MemoryTarget, tmp_path: Path, ref: str
) -> None:
    served, pulled = Store(tmp_path / "served"), Store(tmp_path / "pulled")
    with serving(served.layout, writable=True) as address:
        remote = RegistryTarget(session, address, "team/m")
        pushed = copy(source, ref, remote, "v1")
        with pulled.operation() as layout:
            assert copy(remote, "v1", layout, f"{address}/team/m:v1").digest == pushed.digest
        assert remote.tags() == ["v1"]
    assert [str(model.reference) for model in served.models()] == ["localhost/team/m:v1"]
    for store in (served, pulled):
        assert store.verify() == []


def test_a_model_of_the_store_is_pulled_by_its_short_name(
    session: RegistrySession, source: MemoryTarget, tmp_path: Path
) -> None:
    store = Store(tmp_path / "served")
    with store.operation() as layout:
        copied = copy(source, "m", layout, "docker.io/ai/smollm2:latest")
    with serving(store.layout) as address:
        for path in ("smollm2", "ai/smollm2", "docker.io/ai/smollm2"):
            assert RegistryTarget(session, address, path).resolve("latest").digest == copied.digest


def test_a_read_only_server_is_said_to_be_one(
    session: RegistrySession, source: MemoryTarget, tmp_path: Path
) -> None:
    with serving(Store(tmp_path).layout) as address, pytest.raises(TransferError, match="read-only"):
        copy(source, "m", RegistryTarget(session, address, "team/m"), "v1")
