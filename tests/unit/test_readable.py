"""Files as streams."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from mrpack.errors import HostRefused, NotFound
from mrpack.readable import FileSource, open_at
from mrpack.store.archive_reading import Region, RegionSource


def test_a_stream_begins_where_it_is_asked_to(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"0123456789")
    buffer = bytearray(4)
    with closing(open_at(file, 7, "read")) as source:
        assert source.readinto(memoryview(buffer)) == 3
        assert buffer[:3] == b"789"
        assert source.readinto(memoryview(buffer)) == 0


def test_a_stream_of_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        open_at(tmp_path / "model.gguf", 0, "package")


def test_what_cannot_be_read_says_where(tmp_path: Path) -> None:
    """As a disk does that fails: whoever reads must not take it for a failure of what he writes to."""
    handle = os.open(tmp_path, os.O_RDONLY | os.O_CLOEXEC)
    whole, part = FileSource(handle, "blob 0123"), RegionSource(handle, Region(0, 4), "an archive")
    buffer = memoryview(bytearray(4))
    with closing(whole), closing(part):
        with pytest.raises(HostRefused, match="read blob 0123"):
            whole.readinto(buffer)
        with pytest.raises(HostRefused, match="read an archive"):
            part.readinto(buffer)
