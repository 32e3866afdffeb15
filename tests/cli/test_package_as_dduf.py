"""package --as dduf: a pipeline folder becomes one file on its way into the store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mrpack.formats.dduf import check_content, read_dduf
from tests.fakes.tiny_safetensors import write_llama, write_stable_diffusion
from tests.program import Mrpack


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    return write_stable_diffusion(tmp_path / "sd")


def store_files(home: Path, where: str) -> list[Path]:
    return [path for path in (home / ".local/share/mrpack/store" / where).rglob("*") if path.is_file()]


def test_a_folder_becomes_one_dduf_file_and_nothing_is_left_beside_it(
    mrpack: Mrpack, pipeline: Path, home: Path
) -> None:
    done = mrpack("package", "--diffusers", pipeline, "--as", "dduf", "sd", "--json").json
    assert done["format"] == "dduf"
    assert [layer["path"] for layer in done["layers"]] == ["sd.dduf"]
    archive = read_dduf(Path(mrpack("resolve", "sd").out.strip()))
    check_content(archive)
    assert archive.entries[0].name == "model_index.json"
    assert all(entry.offset % 64 == 0 for entry in archive.entries)
    for entry in archive.files:
        assert entry.read(limit=1 << 20) == (pipeline / entry.name).read_bytes()
    assert store_files(home, "ingest") == []


def test_the_same_folder_gives_the_same_digest_wherever_it_lies(
    mrpack: Mrpack, pipeline: Path, tmp_path: Path
) -> None:
    first = mrpack("package", pipeline, "--as", "dduf", "sd", "--dry-run").out
    other = write_stable_diffusion(tmp_path / "elsewhere" / "sd")
    for path in other.rglob("*"):
        os.utime(path, (1, 1))
    assert mrpack("package", other, "--as", "dduf", "sd", "--dry-run").out == first
    assert mrpack("package", other, "--as", "dduf", "sd").out == first


def test_what_a_dduf_file_cannot_hold_is_said_before_anything_is_written(
    mrpack: Mrpack, pipeline: Path, tmp_path: Path, home: Path
) -> None:
    (pipeline / "README.md").write_text("# A model")
    assert "README.md" in mrpack("package", pipeline, "--as", "dduf", "sd", fails=8).last_line
    mrpack("package", pipeline, "--as", "dduf", "sd", "--exclude", "*.md")
    (pipeline / "unet" / "evil.py").write_text("import os")
    assert "evil.py" in mrpack("package", pipeline, "--as", "dduf", "sd", fails=7).last_line
    assert "diffusers" in mrpack("package", write_llama(tmp_path), "--as", "dduf", "x", fails=2).last_line
    assert store_files(home, "ingest") == []


# Kills itself as soon as it opens a file of the pipeline with part of the archive in the store.
_KILLED = """
import os, runpy, signal, sys
pipeline, ingest, *sys.argv = sys.argv[1:]
def look(event, arguments):
    if event == "open" and str(arguments[0]).startswith(pipeline) and os.path.isdir(ingest):
        if os.listdir(ingest):
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(look)
runpy.run_module("mrpack", run_name="__main__")
"""


def test_gc_removes_what_a_kill_leaves(mrpack: Mrpack, pipeline: Path, home: Path) -> None:
    ingest = home / ".local/share/mrpack/store/ingest"
    arguments = [pipeline, ingest, "mrpack", "package", pipeline, "--as", "dduf", "sd"]
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, *arguments], env=mrpack.environment, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed
    assert store_files(home, "ingest")
    mrpack("gc")
    assert store_files(home, "ingest") == []


def test_a_dduf_file_with_a_wrong_checksum_is_not_packaged(mrpack: Mrpack, pipeline: Path) -> None:
    mrpack("package", pipeline, "--as", "dduf", "sd")
    blob = Path(mrpack("resolve", "sd").out.strip())
    entry = next(entry for entry in read_dduf(blob).entries if entry.name.endswith(".safetensors"))
    damaged = bytearray(blob.read_bytes())
    damaged[entry.offset + entry.size - 1] ^= 1
    broken = pipeline.with_name("broken.dduf")
    broken.write_bytes(damaged)
    line = mrpack("package", broken, "broken", fails=6).last_line
    assert entry.name in line
    assert "CRC-32" in line
    mrpack("inspect", "broken", fails=3)
