"""Compressed streams as byte sources: never more is decompressed than the buffer that is asked for holds."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from mrpack.digest import BUFFER_SIZE, ByteSource
from mrpack.errors import InvalidArtifact, Unsupported
from mrpack.model.layer import Packing

# zlib: gzip's header and checksum.
_GZIP: Final = 31
# The window that the zstd program allows by default; a frame may ask for gigabytes.
_ZSTD_WINDOW_LOG: Final = 27


def open_packed(source: ByteSource, packing: Packing, where: str) -> ByteSource:
    """The archive within `source`; closing it closes `source`.

    Reading raises InvalidArtifact when the stream is damaged, cut off or followed by something else.

    Raises:
        Unsupported: zstd, without a library for it.
    """
    return _OPENERS[packing](source, where)


class _Inflating:
    """A stream of one or more compressed members, through decoders like those of the standard library."""

    def __init__(
        self, source: ByteSource, where: str, new_decoder: Callable[[], Any], error: type[Exception]
    ) -> None:
        self._source = source
        self._where = where
        self._new_decoder = new_decoder
        self._error = error
        self._input = memoryview(bytearray(BUFFER_SIZE))
        self._decoder = new_decoder()

    def readinto(self, buffer: memoryview, /) -> int:
        while len(buffer):
            chunk = b""
            if self._decoder.eof:
                chunk = self._decoder.unused_data or self._fetch()
                if not chunk:
                    return 0
                self._decoder = self._new_decoder()
            elif self._decoder.needs_input:
                chunk = self._fetch()
                if not chunk:
                    raise InvalidArtifact("its compressed data are cut off", where=self._where)
            try:
                output = self._decoder.decompress(chunk, len(buffer))
            except self._error as error:
                raise _damaged(error, self._where) from None
            if output:
                buffer[: len(output)] = output
                return len(output)
        return 0

    def _fetch(self) -> bytes:
        return bytes(self._input[: self._source.readinto(self._input)])

    def close(self) -> None:
        self._source.close()


class _GzipDecoder:
    """zlib's, which leaves unread input to its caller, in the form of the newer ones, which keep it."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(_GZIP)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, chunk: bytes, limit: int) -> bytes:
        output = self._decoder.decompress(self._decoder.unconsumed_tail + chunk, limit)
        # A full buffer may mean that zlib holds more of the output.
        self.needs_input = len(output) < limit and not self._decoder.unconsumed_tail
        return output


class _Readable:
    """A source as the package `zstandard` reads from it."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._input = memoryview(bytearray(BUFFER_SIZE))

    def read(self, size: int) -> bytes:
        return bytes(self._input[: self._source.readinto(self._input[:size])])


class _Zstandard:
    """Through the package `zstandard`, to which a frame that is cut off just ends.

    The archive in it then lacks its end mark. The stream must not refer to us: it is no part of Python's
    garbage collection, and with it a window of up to 128 MiB would stay for ever.
    """

    def __init__(self, source: ByteSource, where: str, package: Any) -> None:
        self._source = source
        self._where = where
        self._error = package.ZstdError
        decoder = package.ZstdDecompressor(max_window_size=2**_ZSTD_WINDOW_LOG)
        self._stream = decoder.stream_reader(
            _Readable(source), read_size=BUFFER_SIZE, read_across_frames=True
        )

    def readinto(self, buffer: memoryview, /) -> int:
        try:
            count: int = self._stream.readinto(buffer)
        except self._error as error:
            raise _damaged(error, self._where) from None
        return count

    def close(self) -> None:
        self._source.close()


def _damaged(error: Exception, where: str) -> InvalidArtifact:
    return InvalidArtifact(f"its compressed data are damaged: {error}", where=where)


def _gzip(source: ByteSource, where: str) -> ByteSource:
    return _Inflating(source, where, _GzipDecoder, zlib.error)


def _zstd(source: ByteSource, where: str) -> ByteSource:
    """With Python's own library, from 3.14 on, or the package `zstandard`."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError:
        return _zstandard(source, where)
    options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
    return _Inflating(source, where, lambda: zstd.ZstdDecompressor(options=options), zstd.ZstdError)


def _zstandard(source: ByteSource, where: str) -> ByteSource:
    try:
        import zstandard  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
    except ImportError:
        raise Unsupported(
            f"{where} is compressed with zstd, which this Python cannot read",
            hint="pip install 'mrpack[zstd]'",
        ) from None
    return _Zstandard(source, where, zstandard)


_OPENERS: Final[Mapping[Packing, Callable[[ByteSource, str], ByteSource]]] = {
    Packing.TAR: lambda source, _where: source,
    Packing.TAR_GZIP: _gzip,
    Packing.TAR_ZSTD: _zstd,
}
