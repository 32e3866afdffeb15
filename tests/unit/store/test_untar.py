"""Archive layers: what honest tools write is unpacked, and a corpus of hostile archives leaves no file."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrpack.digest import BytesSource, Digest
from mrpack.errors import IntegrityError, InvalidArtifact
from mrpack.model.layer import ArtifactArchive, ArtifactFile, LayerRole, Packing
from mrpack.oci.descriptor import Descriptor
from mrpack.store.untar import unpack

GGUF = b"GGUF\3\0\0\0" + bytes(100)


def entry(name: str, content: bytes = b"", **changes: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def tar(
    *entries: tuple[tarfile.TarInfo, bytes] | tuple[str, bytes], format_: int = tarfile.GNU_FORMAT
) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=format_) as archive:
        for first, content in entries:
            info = entry(first, content)[0] if isinstance(first, str) else first
            archive.addfile(info, io.BytesIO(content))
    return output.getvalue()


def layer(content: bytes, packing: Packing = Packing.TAR, **changes: object) -> ArtifactArchive:
    descriptor = Descriptor(media_type=f"x/y.{packing}", digest=Digest.of(content), size=len(content))
    values: dict[str, object] = {
        "name": "",
        "role": LayerRole.OTHER,
        "packing": packing,
        "descriptor": descriptor,
    }
    return ArtifactArchive(**{**values, **changes})  # type: ignore[arg-type]


def unpack_bytes(
    content: bytes, folder: Path, packing: Packing = Packing.TAR, **changes: object
) -> dict[str, ArtifactFile]:
    files = unpack(layer(content, packing, **changes), BytesSource(content), folder)
    return {file.path: file for file in files}


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# Honest archives.


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_of_every_tar_format_arrive_under_their_names(tmp_path: Path, format_: int) -> None:
    long = f"{'a' * 90}/{'b' * 90}.json"
    content = tar(("model.gguf", GGUF), (long, b"{}"), ("leer.txt", b""), format_=format_)
    files = unpack_bytes(content, tmp_path)
    assert (tmp_path / "model.gguf").read_bytes() == GGUF
    assert (tmp_path / long).read_bytes() == b"{}"
    assert files["model.gguf"].descriptor.digest == Digest.of(GGUF)
    assert files["model.gguf"].role is LayerRole.WEIGHTS
    assert files["model.gguf"].format == "gguf"
    assert tree(tmp_path) == {"model.gguf", "a" * 90, long, "leer.txt"}


def test_what_the_tar_program_writes_is_read(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"{}")
    (source / "sub" / "größe.json").write_text("{}")
    for number, flavour in enumerate(["gnu", "posix", "ustar"]):
        done = subprocess.run(
            ["tar", "-C", source, f"--format={flavour}", "-c", "."], stdout=subprocess.PIPE, check=True
        )
        target = tmp_path / str(number)
        files = unpack_bytes(done.stdout, target)
        assert set(files) == {"model.safetensors", "sub/größe.json"}
        assert (target / "sub" / "größe.json").read_text() == "{}"


def test_files_are_read_only_whatever_the_archive_says(tmp_path: Path) -> None:
    unpack_bytes(tar(entry("run.txt", b"x", mode=0o4777)), tmp_path)
    assert (tmp_path / "run.txt").stat().st_mode & 0o7222 == 0


def test_gzip_of_several_members_is_one_archive(tmp_path: Path) -> None:
    content = tar(("model.gguf", GGUF * 1000), ("b.json", b"{}"))
    cut = 1500
    packed = gzip.compress(content[:cut]) + gzip.compress(content[cut:]) + gzip.compress(b"")
    unpack_bytes(packed, tmp_path, Packing.TAR_GZIP)
    assert (tmp_path / "model.gguf").read_bytes() == GGUF * 1000


@pytest.fixture
def zstd_archive(tmp_path: Path) -> Callable[[bytes], bytes]:
    pytest.importorskip("zstandard" if sys.version_info < (3, 14) else "compression.zstd")

    def pack(content: bytes) -> bytes:
        return subprocess.run(["zstd", "-q", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout

    return pack


def test_zstd_archives_are_unpacked(tmp_path: Path, zstd_archive: Callable[[bytes], bytes]) -> None:
    noise = os.urandom(1_000_000)
    packed = zstd_archive(tar(("model.gguf", GGUF + noise)))
    unpack_bytes(packed, tmp_path / "one", Packing.TAR_ZSTD)
    assert (tmp_path / "one" / "model.gguf").read_bytes() == GGUF + noise
    with pytest.raises(InvalidArtifact):
        unpack_bytes(packed[:-20], tmp_path / "two", Packing.TAR_ZSTD)
    assert not tree(tmp_path / "two")


def test_only_the_models_of_an_image_are_unpacked(tmp_path: Path) -> None:
    content = tar(
        entry("etc", type=tarfile.DIRTYPE),
        entry("etc/mtab", type=tarfile.SYMTYPE, linkname="/proc/mounts"),
        entry("dev/null", type=tarfile.CHRTYPE),
        entry("usr/bin/x", b"#!", mode=0o4755),
        entry("usr/bin/y", type=tarfile.LNKTYPE, linkname="usr/bin/x"),
        entry("models", type=tarfile.DIRTYPE),
        entry("models/smollm.gguf", GGUF),
        entry("models/model.file", type=tarfile.SYMTYPE, linkname="/models/smollm.gguf"),
        entry("./models/config.json", b"{}"),
    )
    files = unpack_bytes(content, tmp_path, inner="models")
    assert set(files) == {"smollm.gguf", "config.json"}
    assert tree(tmp_path) == {"smollm.gguf", "config.json"}


def test_a_later_layer_of_an_image_replaces_a_file(tmp_path: Path) -> None:
    unpack_bytes(tar(("models/a.json", b"old")), tmp_path, inner="models")
    unpack_bytes(tar(("models/a.json", b"new")), tmp_path, inner="models")
    assert (tmp_path / "a.json").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("inside", "announced", "path"),
    [
        ("sub/a.json", "sub/a.json", "sub/a.json"),
        ("models/a.json", "a.json", "a.json"),
        ("a.json", "sub/a.json", "sub/a.json"),
        ("other.json", "sub/a.json", "other.json"),
        ("xa.json", "a.json", "xa.json"),
    ],
)
def test_the_only_file_of_an_archive_is_named_by_the_manifest(
    tmp_path: Path, inside: str, announced: str, path: str
) -> None:
    unpack_bytes(tar((inside, b"{}")), tmp_path, name=announced)
    assert (tmp_path / path).is_file()


def test_weights_without_a_telling_name_are_found_by_content(tmp_path: Path) -> None:
    files = unpack_bytes(tar(("model", GGUF), ("words", b"abc")), tmp_path, role=LayerRole.WEIGHTS)
    assert (files["model"].role, files["model"].format) == (LayerRole.WEIGHTS, "gguf")
    assert files["words"].role is LayerRole.OTHER


def test_names_do_not_count_in_a_data_set(tmp_path: Path) -> None:
    files = unpack_bytes(tar(("train.gguf", GGUF), ("LICENSE", b"x")), tmp_path, named=False)
    assert {file.role for file in files.values()} == {LayerRole.OTHER}


# Hostile archives. Each is refused, and no file of it is left under any name.


def raw_header(name: bytes, size: bytes = b"00000000000\0", kind: bytes = b"0") -> bytes:
    header = bytearray(512)
    header[: len(name)] = name
    header[100:108] = b"0000644\0"
    header[124:136] = size
    header[156:157] = kind
    header[257:265] = b"ustar\x0000"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    size = b"%011o\0" % len(records)
    return raw_header(b"pax", size, kind) + records + bytes(-len(records) % 512)


def record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    while len(b"%d" % (length + len(b"%d" % length))) != len(b"%d" % length):
        length += 1
    total = length + len(b"%d" % length)
    return b"%d %s=%s\n" % (total, key, value)


END = bytes(1024)
FILE = raw_header(b"ok.json", b"00000000002\0") + b"{}" + bytes(510)
SPARSE = record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0")

HOSTILE = {
    "a symbolic link": tar(("ok.json", b"{}"), entry("link", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
    "a symbolic link and a file through it": tar(
        entry("sub", type=tarfile.SYMTYPE, linkname="/tmp"), entry("sub/x", b"x")
    ),
    "a hard link": tar(("ok.json", b"{}"), entry("link", type=tarfile.LNKTYPE, linkname="ok.json")),
    "a hard link to the outside": tar(entry("link", type=tarfile.LNKTYPE, linkname="../../etc/passwd")),
    "a device": tar(("ok.json", b"{}"), entry("null", type=tarfile.CHRTYPE)),
    "a pipe": tar(entry("pipe", type=tarfile.FIFOTYPE)),
    "a parent folder": tar(("ok.json", b"{}"), ("../evil", b"x")),
    "a parent folder within": tar(("sub/../../evil", b"x")),
    "an absolute name": tar(entry("ok.json", b"{}"), entry("/tmp/evil", b"x")),
    "a backslash": tar(("..\\evil", b"x")),
    "a name with a line feed": tar(("a\nb", b"x")),
    "a name that is not UTF-8": FILE + raw_header(b"\xff\xfe") + END,
    "a reserved name": tar(("con.json", b"x")),
    "one name twice": tar(("a.json", b"1"), ("a.json", b"2")),
    "names that differ in case": tar(("a.json", b"1"), ("A.json", b"2")),
    "names that differ in Unicode form": tar(("\u00e9.json", b"1"), ("e\u0301.json", b"2")),
    "a file that is a folder too": tar(("a", b"1"), ("a/b", b"2")),
    "a folder that is a file too": tar(entry("a", type=tarfile.DIRTYPE), ("a", b"2")),
    "an old sparse file": FILE + raw_header(b"sparse", kind=b"S") + END,
    "a sparse file": pax(SPARSE) + FILE + END,
    "a member of an unknown type": FILE + raw_header(b"x", kind=b"Z") + END,
    "a folder with content": raw_header(b"a/", b"00000001000\0", b"5") + bytes(512) + END,
    "a negative size": raw_header(b"a", b"\xff" * 12) + END,
    "a size beyond 64 bits": raw_header(b"a", b"\x80" + b"\xff" * 11) + END,
    "a size beyond the archive": raw_header(b"a", b"77777777777\0") + END,
    "a size for all that follows": pax(record(b"size", b"4"), b"g") + FILE + END,
    "a name for all that follows": pax(record(b"path", b"evil"), b"g") + FILE + END,
    "two names for one member": pax(record(b"path", b"a") + record(b"path", b"b")) + FILE + END,
    "a long name and another one": (
        raw_header(b"././@LongLink", b"%011o\0" % 2, b"L")
        + b"a\0"
        + bytes(510)
        + pax(record(b"path", b"b"))
        + FILE
        + END
    ),
    "a NUL in a name": pax(record(b"path", b"a\0/../../b")) + FILE + END,
    "a name of gigabytes": raw_header(b"././@LongLink", b"17777777777\0", b"L") + bytes(4096) + END,
    "an endless chain of extended headers": pax(record(b"comment", b"x")) * 64 + FILE + END,
    "a malformed extended header": pax(b"99 path=x\n") + FILE + END,
    "an extended header at the end": FILE + pax(record(b"path", b"a")) + END,
    "a wrong checksum": FILE[:148] + b"000000\0 " + FILE[156:] + END,
    "no end mark": FILE,
    "an end within a file": tar(("a", b"x" * 5000))[:1024],
    "something behind the end": FILE + END + raw_header(b"evil") + END,
    "nothing": b"",
    "no archive": b"GGUF" + bytes(5000),
    "too many files": b"".join(raw_header(b"%d/" % number, kind=b"5") for number in range(20_002)) + END,
}


@pytest.mark.parametrize("problem", HOSTILE)
def test_hostile_archives_leave_no_file(tmp_path: Path, problem: str) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with pytest.raises(InvalidArtifact):
        unpack_bytes(HOSTILE[problem], folder)
    assert tree(tmp_path) == {"a", "a/b"}


@pytest.mark.parametrize("name", ["models/../../evil", "models/.wh.model.gguf", "models/.wh..wh..opq"])
def test_hostile_names_in_the_part_of_an_image_that_counts_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidArtifact):
        unpack_bytes(tar((name, b"x")), tmp_path, inner="models")
    assert not tree(tmp_path)


def test_a_link_for_the_folder_of_models_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "inside"
    link = entry("models", type=tarfile.SYMTYPE, linkname=str(outside))
    sub = entry("models/sub", type=tarfile.SYMTYPE, linkname=str(outside))
    unpack_bytes(tar(link, sub, ("models/sub/a.json", b"{}")), folder, inner="models")
    assert tree(outside) == set()
    assert tree(folder) == {"sub", "sub/a.json"}


def test_bombs_are_refused_early(tmp_path: Path) -> None:
    zeros = tar(("model.gguf", bytes(30_000_000)))
    bomb = gzip.compress(zeros)
    assert len(zeros) / len(bomb) > 500
    with pytest.raises(InvalidArtifact, match="more than"):
        unpack_bytes(bomb, tmp_path, Packing.TAR_GZIP)
    assert not tree(tmp_path)


def test_bombs_in_names_take_no_memory(tmp_path: Path) -> None:
    header = raw_header(b"././@LongLink", b"%011o\0" % 2**30, b"L")
    squeeze = zlib.compressobj(wbits=31)
    bomb = squeeze.compress(header) + b"".join(squeeze.compress(bytes(2**20)) for _ in range(64))
    with pytest.raises(InvalidArtifact, match="extended header"):
        unpack_bytes(bomb + squeeze.flush(), tmp_path, Packing.TAR_GZIP)


def test_the_limit_of_the_caller_counts(tmp_path: Path) -> None:
    content = tar(("a.json", bytes(100_000)))
    with pytest.raises(InvalidArtifact, match="more than 50000 bytes"):
        unpack(layer(content), BytesSource(content), tmp_path, limit=50_000)
    assert not tree(tmp_path)


def test_small_archives_are_no_bombs(tmp_path: Path) -> None:
    packed = gzip.compress(tar(("a.json", b"{}")), 9)
    unpack_bytes(packed, tmp_path, Packing.TAR_GZIP)
    assert (tmp_path / "a.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda packed: packed[: len(packed) // 2],
        lambda packed: packed + b"something",
        lambda packed: packed[:40] + bytes([packed[40] ^ 0xFF]) + packed[41:],
        lambda packed: packed[:-1],
        lambda packed: b"",
        lambda packed: b"not compressed at all",
    ],
    ids=["cut", "followed", "damaged", "cut in the checksum", "empty", "plain"],
)
def test_damaged_compression_leaves_no_file(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    packed = spoil(gzip.compress(tar(("a.json", os.urandom(5000)))))
    with pytest.raises(InvalidArtifact):
        unpack_bytes(packed, tmp_path, Packing.TAR_GZIP)
    assert not tree(tmp_path)


def test_a_blob_that_is_not_what_was_announced_leaves_no_file(tmp_path: Path) -> None:
    content = tar(("a.json", b"{}"))
    other = content.replace(b"{}", b"[]", 1)
    with pytest.raises(IntegrityError):
        unpack(layer(content), BytesSource(other), tmp_path)
    with pytest.raises(IntegrityError):
        unpack(layer(content), BytesSource(content + bytes(512)), tmp_path)
    assert not tree(tmp_path)


@pytest.mark.parametrize("packing", list(Packing))
def test_the_digest_counts_in_every_packing(
    tmp_path: Path, packing: Packing, request: pytest.FixtureRequest
) -> None:
    content = tar(("a.json", b"{}"))
    if packing is Packing.TAR_GZIP:
        content = gzip.compress(content)
    elif packing is Packing.TAR_ZSTD:
        content = request.getfixturevalue("zstd_archive")(content)
    wrong = Descriptor(media_type="x/y", digest=Digest.of(b"other"), size=len(content))
    with pytest.raises(IntegrityError):
        unpack(layer(content, packing, descriptor=wrong), BytesSource(content), tmp_path)
    assert not tree(tmp_path)


@pytest.mark.parametrize("name", ["a.json", "a.json/b"])
def test_what_lies_there_already_is_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.json").write_text("mine")
    with pytest.raises(InvalidArtifact, match="another layer"):
        unpack_bytes(tar(("z.json", b"1"), (name, b"2")), tmp_path)
    assert tree(tmp_path) == {"a.json"}
    assert (tmp_path / "a.json").read_text() == "mine"


SMALL = tar(("a.json", b"{}"), ("sub/b.gguf", GGUF), format_=tarfile.PAX_FORMAT)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, len(SMALL)),
)
def test_any_damage_is_refused_or_harmless(changes: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(SMALL)
    for place, value in changes:
        content[place] = value
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            files = unpack_bytes(bytes(content[:cut]), folder)
        except InvalidArtifact:
            assert not tree(folder)
        else:
            found = {path: Digest.of((folder / path).read_bytes()) for path in files}
            assert found == {path: file.descriptor.digest for path, file in files.items()}
            assert {path for path in tree(folder) if (folder / path).is_file()} == set(files)
