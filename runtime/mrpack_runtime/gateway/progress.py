"""Slow work on the shelf, with its progress as a stream of lines in the words of an API."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from mrpack.content.progress import Advanced, Event, Finished, Planned
from mrpack.errors import MrpackError, Unsupported
from mrpack.oci.descriptor import Descriptor
from mrpack_runtime.gateway.errors import error_json
from mrpack_runtime.models.shelf import ModelShelf

if TYPE_CHECKING:
    from mrpack.content.progress import Report
    from mrpack_runtime.gateway.call import Call
    from mrpack_runtime.gateway.exchange import Reply, Stream

_LOG: Final = logging.getLogger(__name__)
# Docker Model Runner's cadence.
_PAUSE_S: Final = 0.1


class Words(Protocol):
    """How an API tells progress. Each method gives lines, without their ends."""

    @property
    def content_type(self) -> str: ...

    def moved(self, blob: Descriptor, position: int, total: int) -> bytes:
        """`position`: bytes of the blob that are done; `total` of all blobs."""
        ...

    def done(self, result: str) -> list[bytes]: ...

    def failed(self, error: dict[str, Any]) -> list[bytes]:
        """`error` as OpenAI writes it, without its envelope."""
        ...


class _Positions:
    """The latest position of each blob, told by threads, read by the event loop; no more than blobs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed: dict[str, tuple[Descriptor, int]] = {}
        self._sizes: dict[str, int] = {}
        self._loop = asyncio.get_running_loop()
        self.news = asyncio.Event()

    def report(self, event: Event) -> None:
        with self._lock:
            match event:
                case Advanced(blob, position):
                    self._changed[str(blob.digest)] = blob, position
                case Finished(blob, _):
                    self._changed[str(blob.digest)] = blob, blob.size
                case Planned(blobs):
                    self._sizes |= {str(blob.digest): blob.size for blob in blobs}
                case _:
                    return
        self._loop.call_soon_threadsafe(self.news.set)

    def end(self, work: asyncio.Future[str]) -> None:
        """Also for work that nobody waits for any more."""
        if not work.cancelled() and (error := work.exception()) is not None:
            _LOG.info("the work on a model failed: %s", error)
        self.news.set()

    def take(self) -> tuple[list[tuple[Descriptor, int]], int]:
        with self._lock:
            found = list(self._changed.values())
            self._changed.clear()
            self.news.clear()
            return found, sum(self._sizes.values())


def shelf_of(call: Call) -> ModelShelf:
    """Raises Unsupported."""
    if call.gateway.shelf is None:
        raise Unsupported("this gateway does not change its models")
    return call.gateway.shelf


async def on_shelf(call: Call, task: Callable[[ModelShelf], str]) -> str:
    """Does it in a thread of the shelf's own: two at once, and the rest of the gateway goes on."""
    shelf = shelf_of(call)
    return await asyncio.get_running_loop().run_in_executor(call.gateway.shelf_threads, task, shelf)


async def told(
    call: Call, task: Callable[[ModelShelf, Report], str], words: Words, *, leave: bool = True
) -> Reply:
    """The answer to a request for `task`: its progress as it comes.

    A client that leaves does not stop it; without `leave` it is waited for all the same. What fails before
    there was any progress is raised; later, it is the last line.
    """
    positions = _Positions()
    work = asyncio.ensure_future(on_shelf(call, lambda shelf: task(shelf, positions.report)))
    work.add_done_callback(positions.end)
    try:
        return await _tell(call, work, positions, words)
    finally:
        if not leave and not work.done():
            await asyncio.wait({work})


async def _tell(call: Call, work: asyncio.Future[str], positions: _Positions, words: Words) -> Reply:
    await positions.news.wait()
    if work.done():
        work.result()
    stream = call.request.stream({**call.headers, "Content-Type": words.content_type})
    while not work.done():
        await _write(stream, positions, words)
        await asyncio.wait({work}, timeout=_PAUSE_S)
    await _write(stream, positions, words)
    try:
        lines = words.done(work.result())
    except MrpackError as error:
        with_log = not call.gateway.policy.beyond_loopback
        lines = words.failed(error_json(error, with_log=with_log))
    for line in lines:
        await stream.write(line + b"\n")
    stream.end()
    return stream


async def _write(stream: Stream, positions: _Positions, words: Words) -> None:
    found, total = positions.take()
    for blob, position in found:
        await stream.write(words.moved(blob, position, total) + b"\n")
