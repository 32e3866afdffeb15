"""BlobStream: the bytes of a blob across as many connections as it takes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from mrpack.content.pouring import write_at
from mrpack.digest import BUFFER_SIZE
from mrpack.errors import IntegrityError
from mrpack.registry.kernel_pipe import PIPE_SIZE, KernelPipe
from mrpack.registry.ranges import Part
from mrpack.registry.response import Response
from mrpack.registry.retry import Retries, Transient

# So many bytes since the last break are progress; with less, a registry could hold us for ever.
_PROGRESS: Final = 64 * 1024


class BlobStream:
    """A ByteSource that goes on at the same byte after a broken or stalled connection. Not thread-safe.

    Never gives more than its part. It may end early, when the registry clearly marks an earlier end; whether
    the bytes are right is for the reader to verify.
    """

    def __init__(
        self,
        open_part: Callable[[Part], Response],
        part: Part,
        retries: Retries,
        name: str,
        *,
        is_spare: Callable[[], bool] = lambda: False,
    ) -> None:
        """The first connection is opened here, so that content that is missing is reported now.

        `is_spare`: there are others to ask, so that one that breaks off without progress is not asked again.
        """
        self._open_part = open_part
        self._retries = retries
        self._is_spare = is_spare
        self._part = part
        self._name = name
        self._position = part.start
        self._broke_at = part.start
        self._pipe: KernelPipe | None = None
        self._buffer = memoryview(b"")
        self._response: Response | None = open_part(part)

    def readinto(self, buffer: memoryview, /) -> int:
        """Raises RegistryUnavailable when going on fails for good, IntegrityError on a byte too many."""
        if not buffer:
            return 0
        return self._take(lambda response, rest: response.readinto(buffer[:rest]))

    def pour(self, handle: int, position: int, limit: int) -> int:
        """Past this process where that is possible. Raises OSError of the file; else as `readinto`."""
        return self._take(
            lambda response, rest: self._pour_from(response, handle, position, min(limit, rest))
        )

    def _pour_from(self, response: Response, handle: int, position: int, limit: int) -> int:
        if response.can_splice and self._part.stop - self._part.start >= PIPE_SIZE:
            self._pipe = self._pipe or KernelPipe()
            return response.pour(self._pipe, handle, position, limit)
        self._buffer = self._buffer or memoryview(bytearray(min(BUFFER_SIZE, self._part.size)))
        chunk = self._buffer[:limit]
        chunk = chunk[: response.readinto(chunk)]
        write_at(handle, chunk, position)
        return len(chunk)

    def _take(self, take: Callable[[Response, int], int]) -> int:
        """`take` gets the connection and how many bytes are left of the part."""
        while True:
            try:
                return self._take_once(take)
            except Transient as failure:
                self._hang_up()
                if self._position - self._broke_at >= _PROGRESS:
                    self._retries.reset()
                elif self._is_spare():
                    raise
                self._broke_at = self._position
                self._retries.wait(failure)
                self._response = self._open_part(replace(self._part, start=self._position))

    def close(self) -> None:
        self._hang_up()
        if self._pipe is not None:
            self._pipe.close()

    def _take_once(self, take: Callable[[Response, int], int]) -> int:
        response = self._response
        if response is None:
            return 0
        rest = self._part.stop - self._position
        if not rest:
            self._finish(response)
            return 0
        count = take(response, rest)
        if not count and not response.framed:
            raise Transient(
                f"{self._name}: the connection ended at byte {self._position} of {self._part.size}"
            )
        self._position += count
        return count

    def _finish(self, response: Response) -> None:
        """One byte past the end of a blob is one too many; past the end of a part it is only not ours."""
        beyond = 0
        if self._part.stop == self._part.size:
            # All bytes are here: should the connection break now, that is no loss.
            with contextlib.suppress(Transient):
                beyond = response.readinto(memoryview(bytearray(1)))
        self._hang_up()
        if beyond:
            raise IntegrityError(
                f"{self._name}: {response.url.origin} sends more than the {self._part.size} bytes announced",
                expected=str(self._part.size),
                actual=f"> {self._part.size}",
            )

    def _hang_up(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.close()
