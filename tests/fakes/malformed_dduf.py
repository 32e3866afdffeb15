"""DDUF files that must be refused, each with the words that its refusal has to hold."""

from __future__ import annotations

import stat
import struct
from typing import Any, Final, NamedTuple

from tests.fakes.raw_dduf import (
    FILES,
    GOOD,
    SATURATED,
    WEIGHTS,
    Entry,
    archive,
    entries,
    extra,
    index,
    zip64,
)


class Malformed(NamedTuple):
    content: bytes
    reason: str


_CONFIG: Final = "vae/config.json"


def _config(name: str | bytes = _CONFIG, content: bytes = b"{}", **changes: Any) -> bytes:
    """A file in which the config of the VAE is another entry."""
    return archive([*entries(config=None), Entry(name, content, **changes)])


def _added(*added: Entry, **changes: Any) -> bytes:
    return archive([*entries(), *added], **changes)


def _index(content: bytes) -> bytes:
    return archive(entries(model_index=content))


def _overlapping() -> bytes:
    """Two entries with the content of one: the second one's header lies inside the first one's content."""
    inner = archive([Entry("vae/b.txt", b"b")])
    inner = inner[: inner.index(b"PK\x01\x02")]
    outer = entries()
    start = len(archive(outer)[: archive(outer).index(b"PK\x01\x02")])
    header = 30 + len("vae/a.txt")
    content = bytearray(archive([*outer, Entry("vae/a.txt", inner), Entry("vae/b.txt", b"b")]))
    # Cut the second entry out of the file, and point to the copy inside the first.
    second = content.rindex(b"PK\x03\x04")
    directory = content.index(b"PK\x01\x02", second)
    cut = directory - second
    del content[second:directory]
    last = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, last + 42, start + header)
    end = content.rindex(b"PK\x05\x06")
    struct.pack_into("<I", content, end + 16, directory - cut)
    return bytes(content)


_FIRST: Final = next(iter(entries()))

MALFORMED: Final[dict[str, Malformed]] = {
    "empty file": Malformed(b"", "too short"),
    "empty zip archive": Malformed(b"PK\x05\x06" + bytes(18), "has 0 entries"),
    "no zip archive": Malformed(b"GGUF" + bytes(60), "not a zip archive"),
    "data cut by a byte": Malformed(GOOD[:-1], "not a zip archive"),
    "cut before the directory": Malformed(GOOD[: GOOD.index(b"PK\x01\x02")], "not a zip archive"),
    "100 bytes behind the archive": Malformed(GOOD + bytes(100), "cut short, or something follows"),
    "a comment behind the archive": Malformed(
        archive(entries(), end={"comment": 4}, trailing=b"note"), "follows"
    ),
    "a comment that is not there": Malformed(archive(entries(), end={"comment": 4}), "follows"),
    "100 bytes before the archive": Malformed(
        archive(entries(), prefix=bytes(100)), "unknown bytes before it"
    ),
    "prefix that moves nothing": Malformed(bytes(100) + GOOD, "does not end where the end record starts"),
    "bytes between entries": Malformed(_config(before=b"x" * 9), "unknown bytes before it"),
    "bytes before the directory": Malformed(
        archive(entries(), gap=bytes(7)), "7 unknown bytes before the central directory"
    ),
    "bytes behind the directory": Malformed(
        archive(entries(), behind_directory=bytes(7)), "does not end where the end record starts"
    ),
    "deleted entry whose content is still there": Malformed(
        archive(entries()[:1]).replace(b"PK\x01\x02", GOOD[:60] + b"PK\x01\x02", 1), "does not end where"
    ),
    "several disks": Malformed(archive(entries(), end={"disk": 1}), "several archives"),
    "directory on another disk": Malformed(archive(entries(), end={"directory_disk": 1}), "several archives"),
    "entries on other disks": Malformed(archive(entries(), end={"count": 9}), "several archives"),
    "one entry more than there are": Malformed(
        archive(entries(), end={"count": 5, "count_on_disk": 5}), "ends before entry 5 of 5"
    ),
    "one entry less than there are": Malformed(
        archive(entries(), end={"count": 3, "count_on_disk": 3}), "something follows the last entry"
    ),
    "directory longer than it is": Malformed(
        archive(entries(), end={"directory_size": 9999}), "does not end where the end record starts"
    ),
    "directory beyond the file": Malformed(
        archive(entries(), end={"directory_offset": 2**31, "directory_size": 0}), "does not end where"
    ),
    "directory of 2 GiB": Malformed(archive(entries(), end={"directory_size": 2**31}), "at most 4194304"),
    "no directory entry": Malformed(GOOD.replace(b"PK\x01\x02", b"PK\x01\x03"), "entry 1 is not one"),
    "20,000 entries": Malformed(
        archive([Entry(f"{number}.txt") for number in range(20_000)]), "has 20000 entries"
    ),
    "duplicate name": Malformed(_added(Entry(_CONFIG, b"{}")), "two files would share one name"),
    "name in other case": Malformed(
        _added(Entry("vae/CONFIG.json", b"{}")), "two files would share one name"
    ),
    "other name at the content": Malformed(
        _config(local_name=b"vae/secret.json"), "is called b'vae/secret.json'"
    ),
    "shorter name at the content": Malformed(_config(local_name=b"vae/config.jso"), "is called"),
    "name cut by NUL": Malformed(_config(b"vae/config.json\0.json"), "bad file name"),
    "name is empty": Malformed(_added(Entry("", b"")), "it is empty"),
    "path upwards": Malformed(
        archive(
            [*entries(model_index=index(**{"..": ["diffusers", "UNet"]})), Entry("../config.json", b"{}")]
        ),
        "bad file name '../config.json'",
    ),
    "component upwards": Malformed(_index(index(**{"..": ["diffusers", "UNet"]})), "bad file name '..'"),
    "absolute path": Malformed(_added(Entry("/vae/x.json")), "bad file name"),
    "drive": Malformed(_added(Entry("c:x.json")), "bad file name"),
    "backslash": Malformed(_added(Entry("vae\\x.json")), "bad file name"),
    "device of Windows": Malformed(_added(Entry("vae/nul.json")), "a device name on Windows"),
    "dot": Malformed(_added(Entry("./x.json")), "bad file name"),
    "text direction": Malformed(
        _added(Entry("vae/\u202enosj.json", local={"flags": 0x800}, central={"flags": 0x800})),
        "bad file name",
    ),
    "name not UTF-8": Malformed(
        _added(Entry(b"vae/\xff.json", local={"flags": 0x800}, central={"flags": 0x800})), "not text"
    ),
    "name beyond ASCII without a flag": Malformed(_added(Entry("vae/ü.json")), "not text"),
    "folder": Malformed(_added(Entry("vae/")), "bad file name"),
    "folder by its attributes": Malformed(_config(central={"external": 0x10}), "a folder or a device"),
    "folder by its mode": Malformed(
        _config(central={"external": stat.S_IFDIR << 16}), "a folder or a device"
    ),
    "symbolic link": Malformed(_config(central={"external": (stat.S_IFLNK | 0o777) << 16}), "is a link"),
    "device": Malformed(_config(central={"external": stat.S_IFCHR << 16}), "a folder or a device"),
    "two levels": Malformed(_added(Entry("vae/deep/x.json")), "only one level of folders"),
    "pickle": Malformed(
        _added(Entry("vae/diffusion_pytorch_model.bin")), "only .json, .model, .safetensors, .txt"
    ),
    "Python": Malformed(_added(Entry("vae/model.py")), "only .json"),
    "no suffix": Malformed(_added(Entry("vae/LICENSE")), "only .json"),
    "suffix in capitals": Malformed(_added(Entry("vae/x.JSON")), "only .json"),
    "hidden suffix": Malformed(_added(Entry("vae/.json")), "only .json"),
    "compressed": Malformed(_config(local={"method": 8}, central={"method": 8}), "is compressed (method 8)"),
    "compressed where its content is": Malformed(_config(local={"method": 8}), "contradict"),
    "encrypted": Malformed(_config(local={"flags": 1}, central={"flags": 1}), "is encrypted"),
    "encrypted where its content is": Malformed(_config(local={"flags": 1}), "contradict"),
    "strongly encrypted": Malformed(_config(local={"flags": 0x40}, central={"flags": 0x40}), "is encrypted"),
    "sizes behind the content": Malformed(
        _config(local={"flags": 8}, central={"flags": 8}), "is encrypted, streamed"
    ),
    "sizes behind the content alone": Malformed(
        _config(local={"flags": 8, "size": 0, "stored_size": 0, "crc32": 0}), "contradict"
    ),
    "patch": Malformed(_config(local={"flags": 0x20}, central={"flags": 0x20}), "or patched"),
    "hidden headers": Malformed(_config(local={"flags": 0x2000}, central={"flags": 0x2000}), "is encrypted"),
    "version of tomorrow": Malformed(_config(central={"version": 63}), "needs version 63"),
    "comment of an entry": Malformed(_config(comment=b"note"), "has a comment"),
    "entry in another archive": Malformed(_config(central={"disk": 2}), "lies in another archive"),
    "size beyond the file": Malformed(
        _config(local={"size": 10**6, "stored_size": 10**6}, central={"size": 10**6, "stored_size": 10**6}),
        "ends behind the start of the central directory",
    ),
    "size of 4 GiB less two bytes": Malformed(
        _config(
            local={"size": SATURATED - 1, "stored_size": SATURATED - 1},
            central={"size": SATURATED - 1, "stored_size": SATURATED - 1},
        ),
        "ends behind the start",
    ),
    "size less than stored": Malformed(_config(central={"size": 1}), "has 1 bytes, but 2 are stored"),
    "size is another at the content": Malformed(_config(local={"size": 1}), "contradict"),
    "size is smaller in both": Malformed(
        _config(local={"size": 1, "stored_size": 1}, central={"size": 1, "stored_size": 1}),
        "unknown bytes before",
    ),
    "checksum is another at the content": Malformed(_config(local={"crc32": 7}), "contradict"),
    "offset into another entry": Malformed(_config(central={"offset": 0}), "overlaps another"),
    "offset into the content of another": Malformed(_overlapping(), "overlaps another"),
    "offset beyond the file": Malformed(_config(central={"offset": 10**6}), "unknown bytes before it"),
    "no local header": Malformed(b"PK\x03\x05" + GOOD[4:], "is not where the central directory has it"),
    "local header in the directory": Malformed(
        archive(entries()[:1], end={"directory_offset": 0}), "does not end where the end record starts"
    ),
    "extra field cut": Malformed(_config(central_extra=b"\1"), "malformed extra field"),
    "extra field beyond its end": Malformed(
        _config(central_extra=extra(0xD935, b"", size=9)), "malformed extra field"
    ),
    "local extra field cut": Malformed(_config(local_extra=b"\1\0\0"), "malformed extra field"),
    "other name in an extra field": Malformed(
        _config(central_extra=extra(0x7075, b"\1\0\0\0\0vae/evil.json")), "has extra fields 0x7075"
    ),
    "unknown local extra field": Malformed(_config(local_extra=extra(0xCAFE)), "has extra fields 0xcafe"),
    "extra field twice": Malformed(
        _config(central_extra=extra(0xD935) * 2), "has extra fields 0xd935, 0xd935"
    ),
    "zip64 field for nothing": Malformed(_config(central_extra=zip64(2, 2)), "has 16 bytes, not 0"),
    "zip64 field for nothing at the content": Malformed(
        _config(local_extra=zip64(2, 2)), "has 16 bytes, not 0"
    ),
    "zip64 field missing": Malformed(
        _config(central={"size": SATURATED, "stored_size": SATURATED}), "has 0 bytes, not 16"
    ),
    "zip64 field too short": Malformed(
        _config(central={"size": SATURATED, "stored_size": SATURATED}, central_extra=zip64(2)),
        "has 8 bytes, not 16",
    ),
    "zip64 field with more than asked for": Malformed(
        _config(central={"offset": SATURATED}, central_extra=zip64(0, 0)), "has 16 bytes, not 8"
    ),
    "zip64 sizes that differ": Malformed(
        _config(central={"size": SATURATED, "stored_size": SATURATED}, central_extra=zip64(2, 3)),
        "has 2 bytes, but 3 are stored",
    ),
    "zip64 size of 2^63": Malformed(
        _config(
            local={"size": SATURATED, "stored_size": SATURATED},
            local_extra=zip64(2**63, 2**63),
            central={"size": SATURATED, "stored_size": SATURATED},
            central_extra=zip64(2**63, 2**63),
        ),
        "ends behind the start",
    ),
    "zip64 offset of 2^63": Malformed(
        _config(central={"offset": SATURATED}, central_extra=zip64(2**63)), "unknown bytes before it"
    ),
    "zip64 end that says something else": Malformed(
        archive(entries(), end64={"count": 3, "count_on_disk": 3}), "contradicts the end record"
    ),
    "zip64 end with another offset": Malformed(
        archive(entries(), end64={"directory_offset": 0}), "contradicts the end record"
    ),
    "zip64 end of another size": Malformed(
        archive(entries(), end64={"record_size": 50}), "not one of the known size"
    ),
    "zip64 end elsewhere": Malformed(
        archive(entries(), end64={}, locator={"offset": 0}), "does not point to"
    ),
    "zip64 end on another disk": Malformed(
        archive(entries(), end64={}, locator={"disk": 1}), "does not point to"
    ),
    "zip64 end of several disks": Malformed(
        archive(entries(), end64={}, locator={"disks": 2}), "does not point to"
    ),
    "zip64 directory on another disk": Malformed(archive(entries(), end64={"disk": 1}), "several archives"),
    "zip64 with 2^63 entries": Malformed(
        archive(
            entries(),
            end64={"count": 2**63, "count_on_disk": 2**63},
            end={"count": 0xFFFF, "count_on_disk": 0xFFFF},
        ),
        f"has {2**63} entries",
    ),
    "zip64 directory of 2^63 bytes": Malformed(
        archive(entries(), end64={"directory_size": 2**63}, end={"directory_size": SATURATED}),
        "at most 4194304",
    ),
    "no zip64 end for full fields": Malformed(
        archive(entries(), end={"count": 0xFFFF, "count_on_disk": 0xFFFF}), "has 65535 entries"
    ),
    "no index": Malformed(archive(entries(model_index=None)), "has no model_index.json"),
    "index in a folder": Malformed(
        archive([*entries(model_index=None), Entry("vae/model_index.json", FILES["model_index.json"])]),
        "has no model_index.json",
    ),
    "index is not JSON": Malformed(_index(b"{"), "model_index.json: not JSON"),
    "index is empty": Malformed(_index(b""), "not JSON"),
    "index is a list": Malformed(_index(b"[]"), "not a JSON object"),
    "index of nothing": Malformed(_index(b"{}"), "_class_name: missing"),
    "index not UTF-8": Malformed(_index(b'{"\xff":1}'), "not JSON"),
    "index with a key twice": Malformed(_index(b'{"_class_name":"A","_class_name":"B"}'), "duplicate key"),
    "index 100,000 levels deep": Malformed(_index(b'{"a":' + b"[" * 100_000), "nested too deeply"),
    "index of 2 MiB": Malformed(_index(b" " * 2 * 1024 * 1024), "of 2097152 bytes"),
    "index with a wrong checksum": Malformed(
        archive(
            [
                Entry(_FIRST.name, _FIRST.content, local={"crc32": 7}, central={"crc32": 7}),
                *entries(model_index=None),
            ]
        ),
        "has CRC-32",
    ),
    "no class": Malformed(_index(index(_class_name=...)), "_class_name: missing"),
    "class is a number": Malformed(_index(index(_class_name=1)), "not a class name"),
    "class is no name": Malformed(_index(index(_class_name="a b")), "not a class name"),
    "class with terminal escapes": Malformed(_index(index(_class_name="\x1b[31m")), "not a class name"),
    "no components": Malformed(_index(index(vae=[None, None], scheduler=[None, None])), "names no component"),
    "component of one word": Malformed(_index(index(vae=["diffusers"])), "vae: not a pair"),
    "component of three words": Malformed(_index(index(vae=["a", "b", "c"])), "vae: not a pair"),
    "component of half a pair": Malformed(_index(index(vae=["diffusers", None])), "vae: not a pair"),
    "component of numbers": Malformed(_index(index(vae=[1, 2])), "vae: not a pair"),
    "component of empty words": Malformed(_index(index(vae=["", ""])), "vae: not a pair"),
    "component in two folders": Malformed(
        _index(index(**{"a/b": ["diffusers", "UNet"]})), "not the name of a folder"
    ),
    "65 components": Malformed(
        _index(index(**{f"part{number}": ["diffusers", "UNet"] for number in range(65)})), "at most 64"
    ),
    "component without a folder": Malformed(
        _index(index(unet=["diffusers", "UNet2DConditionModel"])), "has no folder for the component 'unet'"
    ),
    "folder that the index does not name": Malformed(
        _added(Entry("unet/config.json", b"{}")),
        "has the folder 'unet', which model_index.json does not name",
    ),
    "folder of a private key": Malformed(
        archive([*entries(model_index=index(_vae=["diffusers", "X"])), Entry("_vae/config.json", b"{}")]),
        "has the folder '_vae'",
    ),
    "folder without a config": Malformed(_config("vae/other.json"), "folder 'vae' has none of config.json"),
}

# Well-formed archives with weights that are none: for whoever reads those.
BAD_WEIGHTS: Final[dict[str, Malformed]] = {
    "garbage": Malformed(archive(entries(diffusion_pytorch_model=b"garbage" * 9)), "not a Safetensors file"),
    "cut": Malformed(archive(entries(diffusion_pytorch_model=WEIGHTS[:-1])), "cut short"),
    "empty": Malformed(archive(entries(diffusion_pytorch_model=b"")), "it has 0 bytes"),
    "pickle": Malformed(archive(entries(diffusion_pytorch_model=b"\x80\x04\x95" + bytes(60))), "a pickle"),
}
