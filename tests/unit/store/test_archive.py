"""Image layouts in one tar: what is read, what is refused, what a killed writer leaves."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.digest import BytesSource, Digest
from mrpack.errors import HostRefused, IntegrityError, InvalidArtifact, MrpackError, NotFound, Unsupported
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index, Manifest
from mrpack.store.archive import ArchiveSource, OciArchive
from mrpack.store.archive_writing import ArchiveFile, _give_name
from mrpack.store.layout import OciLayout
from tests.reading import read

WEIGHTS = os.urandom(700_000)
Entry = tuple[tarfile.TarInfo, bytes]


def artifact() -> tuple[MemoryTarget, Manifest]:
    memory = MemoryTarget()
    config = memory.add("application/vnd.oci.empty.v1+json", b"{}")
    layers = [memory.add("a/b", content) for content in (WEIGHTS, b"license", b"template")]
    manifest = Manifest.build(config=config, layers=layers)
    memory.push_manifest(manifest.descriptor, manifest.raw, "v1")
    return memory, manifest


def written(folder: Path, name: str = "model.tar", *, jobs: int = 3) -> Path:
    memory, _ = artifact()
    path = folder / name
    copy(memory, "v1", OciArchive(path), "v1", jobs=jobs)
    return path


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return info, content


def tar(path: Path, *entries: Entry, form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as opened:
        for info, content in entries:
            opened.addfile(info, io.BytesIO(content))
    return path


def sound() -> list[Entry]:
    """The members of an archive that is right."""
    _, manifest = artifact()
    index = Index.build([manifest.descriptor.plain()])
    contents = [manifest.raw, b"{}", WEIGHTS, b"license", b"template"]
    return [
        member("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
        member("index.json", index.raw),
        *(member(f"blobs/sha256/{Digest.of(content).hex}", content) for content in contents),
    ]


def test_what_was_written_is_read_where_it_lies(tmp_path: Path) -> None:
    _, manifest = artifact()
    source = ArchiveSource(written(tmp_path))
    assert source.tags() == ["v1"]
    assert source.resolve("v1") == manifest.descriptor.plain()
    assert source.resolve(str(manifest.descriptor.digest)).digest == manifest.descriptor.digest
    assert read(source, manifest.layers[0]) == WEIGHTS
    memory = MemoryTarget()
    assert copy(source, "v1", memory, "v1").digest == manifest.descriptor.digest
    with pytest.raises(NotFound):
        source.resolve("v2")
    with pytest.raises(NotFound):
        source.resolve(str(Digest.of(b"absent")))


def test_any_tar_program_unpacks_it_to_a_layout(tmp_path: Path) -> None:
    _, manifest = artifact()
    subprocess.run(["tar", "-xf", written(tmp_path), "-C", tmp_path], check=True)
    assert OciLayout(tmp_path, create=False).resolve("v1").digest == manifest.descriptor.digest


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = set()
    for number, jobs in enumerate((1, 3, 3)):
        folder = tmp_path / str(number)
        folder.mkdir()
        contents.add(written(folder, jobs=jobs).read_bytes())
    assert len(contents) == 1


def test_an_archive_is_replaced_when_the_new_one_is_complete(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = path.read_bytes()
    target = OciArchive(path)
    blob = Descriptor(media_type="a/b", digest=Digest.of(b"new"), size=3)
    target.push(blob, lambda offset: BytesSource(b"new"[offset:]))
    assert path.read_bytes() == before
    manifest = Manifest.build(config=blob, layers=[])
    target.push_manifest(manifest.descriptor, manifest.raw, "v2")
    assert ArchiveSource(path).tags() == ["v2"]


def test_what_never_came_leaves_no_gap(tmp_path: Path) -> None:
    target = OciArchive(tmp_path / "model.tar")
    absent = Descriptor(media_type="a/b", digest=Digest.of(b"absent"), size=6)
    config = Descriptor(media_type="a/b", digest=Digest.of(b"{}"), size=2)
    target.reserve([absent, config])
    with pytest.raises(IntegrityError):
        target.push(absent, lambda offset: BytesSource(b"wrong!"))
    target.push(config, lambda offset: BytesSource(b"{}"[offset:]))
    manifest = Manifest.build(config=config, layers=[])
    target.push_manifest(manifest.descriptor, manifest.raw, "v1")
    with tarfile.open(target.path) as opened:
        names = opened.getnames()
    assert len([name for name in names if name.startswith("blobs/sha256/")]) == 2
    with pytest.raises(NotFound):
        ArchiveSource(target.path).fetch(absent)


def test_a_kill_while_it_is_written_leaves_nothing(tmp_path: Path) -> None:
    """Not even under another name; a write that fails does not either."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from mrpack.digest import Digest\n"
        "from mrpack.oci.descriptor import Descriptor\n"
        "from mrpack.store.archive import OciArchive\n"
        "class Endless:\n"
        "    def readinto(self, buffer):\n"
        "        print('reading', flush=True)\n"
        "        sys.stdin.read(1)\n"
        "        return len(buffer)\n"
        "blob = Descriptor(media_type='a/b', digest=Digest.of(b''), size=10**8)\n"
        "OciArchive(Path(sys.argv[1])).push(blob, lambda offset: Endless())\n"
    )
    path = tmp_path / "model.tar"
    process = subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"x")
    process.stdin.flush()
    for _ in range(2):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("has_nameless", [True, False])
def test_what_a_killed_writer_left_is_cleared_up_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_nameless: bool
) -> None:
    """Where files need a name it is all that was written; elsewhere what was about to replace the old one."""
    if not has_nameless:
        monkeypatch.delattr(os, "O_TMPFILE")
    dead, alive = (ArchiveFile(tmp_path / "model.tar") for _ in range(2))
    if has_nameless:
        for left in (dead, alive):
            _give_name(left.handle, left._new_name())
    os.close(dead.handle)  # as a kill does
    before = set(tmp_path.iterdir())
    path = written(tmp_path)
    after = set(tmp_path.iterdir())
    assert len(before) == len(after) == 2
    assert path in after
    alive.close()
    assert written(tmp_path) == path
    assert {*tmp_path.iterdir()} == {path}
    assert ArchiveSource(path).tags() == ["v1"]


def test_an_interrupt_leaves_no_file_even_where_files_need_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the process without looking at what is still open."""
    monkeypatch.delattr(os, "O_TMPFILE")

    class Interrupted(MemoryTarget):
        def fetch(self, descriptor: Descriptor, offset: int = 0) -> BytesSource:
            if descriptor.size == len(WEIGHTS):
                assert list(tmp_path.iterdir())
                raise KeyboardInterrupt
            return super().fetch(descriptor, offset)

    memory, _ = artifact()
    source = Interrupted()
    copy(memory, "v1", source, "v1")
    target = OciArchive(tmp_path / "model.tar")
    with pytest.raises(KeyboardInterrupt):
        copy(source, "v1", target, "v1")
    assert list(tmp_path.iterdir()) == []
    assert target.tags() == []


@pytest.mark.parametrize("name", ["m" * 255, f"{'ü' * 127}m", "a[b]*.tar"])
def test_any_name_that_a_file_can_have_is_an_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for _ in range(2):
        path = written(tmp_path, name)
        assert ArchiveSource(path).tags() == ["v1"]
        assert list(tmp_path.iterdir()) == [path]
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)


def test_a_folder_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(HostRefused):
        OciArchive(tmp_path)
    with pytest.raises(HostRefused):
        ArchiveSource(tmp_path)
    with pytest.raises(NotFound):
        ArchiveSource(tmp_path / "absent.tar")


def test_a_device_or_pipe_is_never_replaced_by_an_archive(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(HostRefused, match="is no regular file"):
            OciArchive(path)
        with pytest.raises(HostRefused):
            ArchiveSource(path)
    assert pipe.is_fifo()


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_archives_of_other_tools_are_read(tmp_path: Path, form: int) -> None:
    _, manifest = artifact()
    folders = [member("./", kind=tarfile.DIRTYPE), member("./blobs/", kind=tarfile.DIRTYPE)]
    dotted = [(info.replace(name=f"./{info.name}", deep=False), content) for info, content in sound()]
    extra = [member("manifest.json", b"[]"), member("repositories", b"{}")]
    source = ArchiveSource(tar(tmp_path / "other.tar", *folders, *dotted, *extra, form=form))
    (entry,) = source.entries
    assert entry.digest == manifest.descriptor.digest
    assert read(source, manifest.layers[0]) == WEIGHTS


HOSTILE = {
    "a link": lambda entries: [*entries, member("blobs/x", kind=tarfile.SYMTYPE, link="/etc/passwd")],
    "a link for a blob": lambda entries: [
        *entries,
        member(f"blobs/sha256/{'0' * 64}", kind=tarfile.SYMTYPE, link="/etc/passwd"),
    ],
    "a hard link": lambda entries: [*entries, member("oci-layout", kind=tarfile.LNKTYPE, link="index.json")],
    "a device": lambda entries: [*entries, member("blobs/x", kind=tarfile.CHRTYPE)],
    "a pipe": lambda entries: [*entries, member("index.json", kind=tarfile.FIFOTYPE)],
    "a way out": lambda entries: [*entries, member("../../etc/cron.d/x", b"x")],
    "an absolute name": lambda entries: [*entries, member("/etc/cron.d/x", b"x")],
    "a stranger": lambda entries: [*entries, member("blobs/sha256/not-hex", b"x")],
    "a strange folder": lambda entries: [*entries, member("bin/", kind=tarfile.DIRTYPE)],
    "an index twice": lambda entries: [*entries, entries[1]],
    "a blob twice": lambda entries: [*entries, entries[2]],
    "a digest of another length": lambda entries: [*entries, member("blobs/sha256/abcd", b"x")],
    "no index": lambda entries: [entries[0], *entries[2:]],
    "no layout": lambda entries: entries[1:],
    "an index that is none": lambda entries: [entries[0], member("index.json", b"[]"), *entries[2:]],
    "nothing": lambda entries: [],
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_doubtful_archive_is_refused(tmp_path: Path, change: Callable[[list[Entry]], list[Entry]]) -> None:
    path = tar(tmp_path / "hostile.tar", *change(sound()))
    with pytest.raises(InvalidArtifact, match=r"hostile\.tar"):
        ArchiveSource(path)


def test_another_version_of_the_layout_is_unsupported(tmp_path: Path) -> None:
    entries = [member("oci-layout", b'{"imageLayoutVersion": "2.0.0"}'), *sound()[1:]]
    with pytest.raises(Unsupported, match=r"2\.0\.0"):
        ArchiveSource(tar(tmp_path / "new.tar", *entries))


def test_a_compressed_archive_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz") as opened:
        for info, content in sound():
            opened.addfile(info, io.BytesIO(content))
    with pytest.raises(Unsupported, match="decompress"):
        ArchiveSource(path)


def test_a_wrong_byte_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    position = content.index(WEIGHTS[:32])
    content[position] ^= 1
    path.write_bytes(content)
    source = ArchiveSource(path)
    with pytest.raises(MrpackError) as caught:
        copy(source, "v1", MemoryTarget(), "v1")
    assert caught.value.exit_code == 6


def test_an_archive_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(InvalidArtifact, match="ends within"):
        ArchiveSource(path)


def test_a_large_blob_is_passed_over_unread(tmp_path: Path) -> None:
    """A file with a hole of 64 GiB: reading that would take minutes."""
    path = tmp_path / "large.tar"
    size = 64 * 2**30
    info = tarfile.TarInfo(f"blobs/sha256/{'0' * 64}")
    info.size = size
    with path.open("wb") as file:
        file.write(info.tobuf(tarfile.PAX_FORMAT))
        file.seek(size, os.SEEK_CUR)
        rest = io.BytesIO()
        with tarfile.open(fileobj=rest, mode="w") as opened:
            for entry, content in sound():
                opened.addfile(entry, io.BytesIO(content))
        file.write(rest.getvalue())
    source = ArchiveSource(path)
    blob = Descriptor(media_type="a/b", digest=Digest.parse(f"sha256:{'0' * 64}"), size=size)
    stream = source.fetch(blob, size - 5)
    assert stream.readinto(memoryview(bytearray(100))) == 5
    stream.close()


@given(st.binary(max_size=2_000), st.integers(0, 9_000))
def test_no_bytes_lead_out_of_the_error_tree(noise: bytes, position: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = tar(Path(folder) / "fuzzed.tar", *sound()[:2])
        content = path.read_bytes()
        path.write_bytes(content[:position] + noise + content[position + len(noise) :])
        try:
            source = ArchiveSource(path)
            json.dumps([entry.to_json() for entry in source.entries])
        except MrpackError:
            pass
