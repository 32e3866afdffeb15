"""Compressed streams let go of what they hold."""

from __future__ import annotations

import gc
import gzip
import weakref

import pytest
import zstandard

from mrpack.digest import BytesSource
from mrpack.model.layer import Packing
from mrpack.store.decompress import open_packed

PACKED = {Packing.TAR_GZIP: gzip.compress(b"text"), Packing.TAR_ZSTD: zstandard.compress(b"text")}


@pytest.mark.parametrize("packing", PACKED)
def test_a_closed_stream_is_gone_at_once(packing: Packing) -> None:
    """The window of a zstd frame may take 128 MiB, and a gateway that pulls lives for months."""
    source = BytesSource(PACKED[packing])
    watched = weakref.ref(source)
    stream = open_packed(source, packing, "layer")
    buffer = memoryview(bytearray(8))
    gc.disable()
    try:
        assert stream.readinto(buffer) == 4
        stream.close()
        del stream, source
        assert watched() is None
    finally:
        gc.enable()
