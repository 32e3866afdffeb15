"""Writing DDUF files: the same bytes everywhere, read by everyone; and laying them out again."""

from __future__ import annotations

import io
import os
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.numpy
from huggingface_hub import read_dduf_file

from mrpack.digest import Digest
from mrpack.errors import HostRefused, IntegrityError, InvalidArtifact, NotFound, Unsupported
from mrpack.formats.dduf import check_content, parse_dduf, read_dduf, reason_against, unpack, write_dduf
from mrpack.formats.dduf.writer import ALIGNMENT, _write_archive
from mrpack.readable import ReadableFile, open_file
from tests.fakes.raw_dduf import FILES, GOOD, entries
from tests.fakes.raw_dduf import archive as raw_archive
from tests.fakes.tiny_safetensors import opened, write_files, write_flux, write_stable_diffusion

ZEROS = bytes(1024 * 1024)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def zeros(name: str, size: int) -> ReadableFile:
    """A file of zeros that lies nowhere."""
    return ReadableFile(
        name=name, where=name, size=size, read_at=lambda offset, count: ZEROS[: min(count, size - offset)]
    )


def pipeline_with(*files: ReadableFile) -> list[ReadableFile]:
    small = [
        ReadableFile(
            name=name,
            where=name,
            size=len(content),
            read_at=lambda offset, count, content=content: content[offset : offset + count],
        )
        for name, content in FILES.items()
    ]
    return [*small, *files]


class SparseFile(io.FileIO):
    """Writes zeros by not writing them."""

    def write(self, content, /):
        if content is ZEROS or content == ZEROS[: len(content)]:
            self.seek(len(content), os.SEEK_CUR)
            return len(content)
        return super().write(content)


@pytest.mark.parametrize("write", [write_flux, write_stable_diffusion])
def test_index_first_then_sorted_stored_and_aligned(tmp_path, write):
    folder = write(tmp_path / "folder")
    write_dduf(opened(folder), tmp_path / "model.dduf")
    read = read_dduf(tmp_path / "model.dduf")
    check_content(read)
    names = [entry.name for entry in read.entries]
    assert names == ["model_index.json", *sorted(name for name in tree(folder) if name != "model_index.json")]
    assert {entry.offset % ALIGNMENT for entry in read.entries} == {0}


@pytest.mark.parametrize("write", [write_flux, write_stable_diffusion])
def test_others_read_what_is_written(tmp_path, write):
    folder = write(tmp_path / "folder")
    path = tmp_path / "model.dduf"
    write_dduf(opened(folder), path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == tree(folder)
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    by_hub = read_dduf_file(path)
    assert set(by_hub) == set(tree(folder))
    with by_hub["vae/diffusion_pytorch_model.safetensors"].as_mmap() as content:
        assert set(safetensors.numpy.load(content)) == {"encoder.conv_in.weight"}


def test_the_same_folder_gives_the_same_bytes_whatever_its_order_times_and_modes(tmp_path):
    one, other = write_flux(tmp_path / "one"), write_flux(tmp_path / "other")
    for number, path in enumerate(sorted(other.rglob("*"))):
        os.utime(path, (number, number))
        path.chmod(0o700)
    write_dduf(opened(one), tmp_path / "one.dduf")
    write_dduf(opened(other)[::-1], tmp_path / "other.dduf")
    assert (tmp_path / "one.dduf").read_bytes() == (tmp_path / "other.dduf").read_bytes()


def test_the_bytes_are_those_of_every_machine_and_version(tmp_path):
    write_dduf(pipeline_with(), tmp_path / "model.dduf")
    digest = Digest.of((tmp_path / "model.dduf").read_bytes())
    assert str(digest) == "sha256:ea3ad1cd8726efa88e28358bd3ea55113e422b2259aba8cf08e1f0ccc91cf3d4"


def test_names_beyond_ascii_are_written_and_read(tmp_path):
    write_dduf(pipeline_with(zeros("vae/grüße.txt", 3)), tmp_path / "model.dduf")
    assert "vae/grüße.txt" in {entry.name for entry in read_dduf(tmp_path / "model.dduf").entries}
    assert "vae/grüße.txt" in read_dduf_file(tmp_path / "model.dduf")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("chat_template.jinja", "only .json, .model, .safetensors, .txt"),
        ("vae/diffusion_pytorch_model.bin", "only .json"),
        ("README.md", "only .json"),
        ("vae/deep/config.json", "only one level"),
    ],
)
def test_a_file_that_cannot_be_in_it_is_named_not_lost(tmp_path, name, reason):
    assert reason in reason_against(name)
    with pytest.raises(Unsupported, match=reason) as caught:
        write_dduf(pipeline_with(zeros(name, 1)), tmp_path / "model.dduf")
    assert name in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "left_out", ["model_index.json", "vae/config.json", "scheduler/scheduler_config.json"]
)
def test_a_folder_that_is_no_pipeline_is_refused_before_anything_is_written(tmp_path, left_out):
    files = [file for file in pipeline_with() if file.name != left_out]
    with pytest.raises(InvalidArtifact):
        write_dduf(files, tmp_path / "model.dduf")
    assert list(tmp_path.iterdir()) == []


def test_names_that_collide_are_refused(tmp_path):
    with pytest.raises(InvalidArtifact, match="two files would share one name"):
        write_dduf(pipeline_with(zeros("vae/Config.json", 1)), tmp_path / "model.dduf")


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changes_meanwhile_is_refused_and_the_old_file_stays(tmp_path, change):
    target = tmp_path / "model.dduf"
    target.write_bytes(b"old")
    changed = replace(zeros("vae/x.txt", 5), size=5 - change)
    with pytest.raises(IntegrityError, match=r"vae/x\.txt changed"):
        write_dduf(pipeline_with(changed), target)
    assert [path.name for path in tmp_path.iterdir()] == ["model.dduf"]
    assert target.read_bytes() == b"old"


def test_a_missing_file_leaves_nothing(tmp_path):
    gone = open_file(write_files(tmp_path / "folder", {"x.txt": "x"}) / "x.txt", "vae/x.txt")
    (tmp_path / "folder" / "x.txt").unlink()
    with pytest.raises(NotFound):
        write_dduf(pipeline_with(gone), tmp_path / "model.dduf")
    assert not (tmp_path / "model.dduf").exists()


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(NotFound, match=r"write model\.dduf"):
        write_dduf(pipeline_with(), tmp_path / "none" / "model.dduf")


def test_a_full_disk_is_said(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(OSError, match="No space"), open("/dev/full", "wb", buffering=0) as output:
        _write_archive(output, pipeline_with())


def test_memory_does_not_follow_the_size(tmp_path):
    files = pipeline_with(zeros("vae/big.safetensors", 300 * 1024 * 1024))
    tracemalloc.start()
    try:
        with SparseFile(tmp_path / "model.dduf", "xb") as output:
            _write_archive(output, sorted(files, key=lambda file: file.name))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 1024 * 1024
    assert (tmp_path / "model.dduf").stat().st_size > 300 * 1024 * 1024


def test_files_and_archives_beyond_4_gib_use_zip64(tmp_path):
    size = 4 * 1024**3 + 5
    path = tmp_path / "model.dduf"
    files = pipeline_with(zeros("vae/a.safetensors", size), zeros("vae/b.txt", 7))
    with SparseFile(path, "xb") as output:
        _write_archive(output, sorted(files, key=lambda file: file.name))
    read = read_dduf(path)
    by_name = {entry.name: entry for entry in read.entries}
    assert by_name["vae/a.safetensors"].size == size
    assert by_name["vae/b.txt"].offset > size
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            assert (info.file_size, info.CRC) == (by_name[info.filename].size, by_name[info.filename].crc32)
        assert archive.read("vae/b.txt") == bytes(7)
    by_hub = read_dduf_file(path)
    assert {name: (entry.offset, entry.length) for name, entry in by_hub.items()} == {
        name: (entry.offset, entry.size) for name, entry in by_name.items()
    }


def test_unpacking_gives_the_folder_back(tmp_path):
    folder = write_flux(tmp_path / "folder")
    write_dduf(opened(folder), tmp_path / "model.dduf")
    unpack(read_dduf(tmp_path / "model.dduf"), tmp_path / "unpacked")
    assert tree(tmp_path / "unpacked") == tree(folder)
    assert not any(path.stat().st_mode & 0o111 for path in (tmp_path / "unpacked").rglob("*.json"))


def test_a_wrong_checksum_leaves_no_folder(tmp_path):
    at = GOOD.index(FILES["vae/diffusion_pytorch_model.safetensors"]) + 20
    path = tmp_path / "model.dduf"
    path.write_bytes(GOOD[:at] + b"!" + GOOD[at + 1 :])
    with pytest.raises(IntegrityError):
        unpack(read_dduf(path), tmp_path / "unpacked")
    assert [path.name for path in tmp_path.iterdir()] == ["model.dduf"]


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_unpacking_replaces_nothing(tmp_path, kind):
    target = tmp_path / "unpacked"
    if kind == "folder":
        write_files(target, {"mine.txt": "mine"})
    elif kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostRefused, match="exists"):
        unpack(parse_dduf(open_file(write_files(tmp_path, {"model.dduf": GOOD}) / "model.dduf")), target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.dduf", "unpacked"]
    assert not (tmp_path / "elsewhere").exists()


def test_unpacking_into_a_missing_folder_is_said(tmp_path):
    path = write_files(tmp_path, {"model.dduf": raw_archive(entries())}) / "model.dduf"
    with pytest.raises(NotFound, match="unpack"):
        unpack(read_dduf(path), tmp_path / "none" / "unpacked")
