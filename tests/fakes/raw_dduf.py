"""DDUF files put together from bytes: also such as no writer would make."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.fakes.raw_safetensors import Content, safetensors

SATURATED: Final = 0xFFFF_FFFF
INDEX: Final = {
    "_class_name": "TinyPipeline",
    "_diffusers_version": "0.42.1",
    "vae": ["diffusers", "AutoencoderKL"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "safety_checker": [None, None],
    "requires_safety_checker": False,
}
WEIGHTS: Final = safetensors({"w": Content("F32", [4])})
FILES: Final[Mapping[str, bytes]] = {
    "model_index.json": json.dumps(INDEX).encode(),
    "scheduler/scheduler_config.json": b"{}",
    "vae/config.json": b"{}",
    "vae/diffusion_pytorch_model.safetensors": WEIGHTS,
}


@dataclass(frozen=True)
class Entry:
    """`local` and `central` replace fields of the two headers, `local_name` the name in the first."""

    name: str | bytes
    content: bytes = b""
    local: Mapping[str, int] = field(default_factory=dict)
    central: Mapping[str, int] = field(default_factory=dict)
    local_name: bytes | None = None
    local_extra: bytes = b""
    central_extra: bytes = b""
    comment: bytes = b""
    before: bytes = b""

    @property
    def raw_name(self) -> bytes:
        return self.name.encode() if isinstance(self.name, str) else self.name


_LOCAL = ("version", "flags", "method", "time", "date", "crc32", "stored_size", "size")
_CENTRAL = ("made_by", *_LOCAL, "name", "extra", "comment", "disk", "internal", "external", "offset")
_END = ("disk", "directory_disk", "count_on_disk", "count", "directory_size", "directory_offset", "comment")
_END64 = ("record_size", "made_by", "version", *_END[:-1])


def extra(kind: int, content: bytes = b"", *, size: int | None = None) -> bytes:
    return struct.pack("<2H", kind, len(content) if size is None else size) + content


def zip64(*values: int) -> bytes:
    return extra(1, struct.pack(f"<{len(values)}Q", *values))


def entries(**changes: Entry | bytes | None) -> list[Entry]:
    """A good file's entries; those named, without folder and suffix, are replaced or, by None, left out."""
    result = []
    for name, content in FILES.items():
        change = changes.get(name.rpartition("/")[2].partition(".")[0], content)
        if change is not None:
            result.append(Entry(name, change) if isinstance(change, bytes) else change)
    return result


def index(**changes: Any) -> bytes:
    """The good index with other values; a value of `...` takes the key away."""
    changed = {key: value for key, value in (INDEX | changes).items() if value is not ...}
    return json.dumps(changed).encode()


def archive(
    files: Sequence[Entry],
    *,
    end: Mapping[str, int] | None = None,
    end64: Mapping[str, int] | None = None,
    locator: Mapping[str, int] | None = None,
    prefix: bytes = b"",
    gap: bytes = b"",
    behind_directory: bytes = b"",
    trailing: bytes = b"",
) -> bytes:
    """`end64` adds the zip64 records; `prefix` moves all offsets, as for a program that unpacks itself."""
    content = bytearray(prefix)
    directory = bytearray()
    for entry in files:
        content += entry.before
        values = {
            **dict.fromkeys(_CENTRAL, 0),
            "version": 20,
            "date": 0x21,
            "crc32": zlib.crc32(entry.content),
            "stored_size": len(entry.content),
            "size": len(entry.content),
            "name": len(entry.raw_name),
            "extra": len(entry.central_extra),
            "comment": len(entry.comment),
            "offset": len(content),
        }
        central = values | entry.central
        directory += struct.pack("<4s6H3I5H2I", b"PK\x01\x02", *(central[key] for key in _CENTRAL))
        directory += entry.raw_name + entry.central_extra + entry.comment
        local = values | entry.local
        name = entry.raw_name if entry.local_name is None else entry.local_name
        content += struct.pack("<4s5H3I", b"PK\x03\x04", *(local[key] for key in _LOCAL))
        content += (
            struct.pack("<2H", len(name), len(entry.local_extra)) + name + entry.local_extra + entry.content
        )
    content += gap
    start = len(content)
    content += directory
    content += behind_directory
    true = {
        **dict.fromkeys((*_END, *_END64), 0),
        "count_on_disk": len(files),
        "count": len(files),
        "directory_size": len(directory),
        "directory_offset": start,
        "record_size": 44,
        "version": 45,
    }
    if end64 is not None:
        at = len(content)
        record = true | end64
        content += struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", *(record[key] for key in _END64))
        points = {"disk": 0, "offset": at, "disks": 1} | (locator or {})
        content += struct.pack("<4sIQI", b"PK\x06\x07", points["disk"], points["offset"], points["disks"])
    last = true | (end or {})
    content += struct.pack("<4s4H2IH", b"PK\x05\x06", *(last[key] for key in _END))
    return bytes(content) + trailing


GOOD: Final = archive(entries())
