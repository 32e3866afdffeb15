"""Accepting connections: one loop waits for whole request heads, a bounded crew of threads answers them.

A half-open or idle connection costs a socket and a buffer but no thread, so that thousands of them delay
nobody; at the limit of connections the one that has waited longest is closed. Threads and no asyncio, since
all that an answer does is disk work, hashing and `sendfile`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

from mrpack.distribution.connection import Connection, DisconnectedError
from mrpack.distribution.exchange import Answer, exchange, refuse
from mrpack.distribution.message import BadRequestError
from mrpack.distribution.openfiles import at_most
from mrpack.errors import HostRefused, UsageError

_T = TypeVar("_T")

_LOG = logging.getLogger(__name__)
_ACCEPT_BURST: Final = 64
_SWEEP_S: Final = 0.25
_TICK_S: Final = 5.0
# Only running requests can give files back.
_NO_FILES_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds and counts.

    `head_s` for a whole request head, `idle_s` between requests, `stall_s` without a byte moving in a body or
    an answer, `grace_s` for running requests when the server stops.
    """

    head_s: float = 10.0
    idle_s: float = 30.0
    stall_s: float = 30.0
    grace_s: float = 5.0
    connections: int = 2048
    workers: int = 64


class Listener:
    """Listens from construction on; `run` serves in the calling thread until `stop`.

    `tick` is called every few seconds, never twice at once.
    """

    def __init__(
        self, host: str, port: int, answer: Answer, *, limits: Limits, tick: Callable[[], None]
    ) -> None:
        self._socket = _listen(host, port)
        self._answer = answer
        self._tick = tick
        self._limits = limits
        self._room = at_most(limits.connections, share=0.5)
        self._selector = selectors.DefaultSelector()
        self._wake_up, self._woken = socket.socketpair()
        for end in (self._wake_up, self._woken, self._socket):
            end.setblocking(False)
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._waiting: dict[Connection, float] = {}  # to its deadline; the longest waiting comes first
        self._returned: deque[Connection] = deque()
        self._busy: set[Connection] = set()
        self._changed = threading.Condition()
        self._stopping = False
        self._crew = ThreadPoolExecutor(limits.workers, thread_name_prefix="registry")
        self._ticking: Future[None] | None = None
        self._next_tick = time.monotonic() + _TICK_S

    @property
    def ip(self) -> str:
        return str(self._socket.getsockname()[0])

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(self.ip.partition("%")[0]).is_loopback

    @property
    def address(self) -> str:
        """`IP:PORT`, as in references and URLs."""
        port = self._socket.getsockname()[1]
        return f"[{self.ip}]:{port}" if ":" in self.ip else f"{self.ip}:{port}"

    def stop(self) -> None:
        """Make `run` return soon. For any thread and for signal handlers; idempotent."""
        self._stopping = True
        self._wake()

    def run(self) -> None:
        """Serve. `close` does the rest."""
        while not self._stopping:
            for key, _ in self._selector.select(_SWEEP_S):
                if key.fileobj is self._socket:
                    self._accept()
                elif key.fileobj is self._woken:
                    self._swallow()
                else:
                    self._on_bytes(key.data)
            self._take_back()
            self._sweep(time.monotonic())

    def close(self) -> None:
        """End what still runs, after some grace. No connection, thread or socket is left. Idempotent."""
        self._stopping = True
        self._socket.close()
        for connection in list(self._waiting):
            self._leave(connection)
            connection.close()
        deadline = time.monotonic() + self._limits.grace_s
        with self._changed:
            while self._busy and (left_s := deadline - time.monotonic()) > 0:
                self._changed.wait(left_s)
            for connection in self._busy:
                connection.abort()
        self._crew.shutdown(wait=True, cancel_futures=True)
        for connection in [*self._busy, *self._returned]:
            connection.close()
        self._selector.close()
        self._woken.close()
        self._wake_up.close()

    # In the loop's thread.

    def _accept(self) -> None:
        for _ in range(_ACCEPT_BURST):
            try:
                sock, peer = self._socket.accept()
            except BlockingIOError:
                return
            except OSError:
                # No more files, or the client is gone already.
                if not self._drop_eldest():
                    time.sleep(_NO_FILES_S)
                return
            if len(self._waiting) + len(self._busy) >= self._room and not self._drop_eldest():
                sock.close()
                continue
            connection = Connection(sock, str(peer[0]), self._limits.stall_s)
            self._wait_for_head(connection, self._limits.head_s)

    def _drop_eldest(self) -> bool:
        eldest = next(iter(self._waiting), None)
        if eldest is None:
            return False
        self._leave(eldest)
        eldest.close()
        return True

    def _wait_for_head(self, connection: Connection, limit_s: float) -> None:
        connection.wait()
        self._waiting[connection] = time.monotonic() + limit_s
        self._selector.register(connection.sock, selectors.EVENT_READ, connection)

    def _leave(self, connection: Connection) -> None:
        del self._waiting[connection]
        self._selector.unregister(connection.sock)

    def _on_bytes(self, connection: Connection) -> None:
        if connection not in self._waiting:
            return  # dropped by an earlier event of the same round
        had_begun = connection.has_begun
        try:
            connection.gather()
            head = connection.take_head()
        except DisconnectedError:
            self._leave(connection)
            connection.close()
        except BadRequestError as error:
            self._leave(connection)
            self._hand_over(connection, self._refuse, error)
        else:
            if head is not None:
                self._leave(connection)
                self._hand_over(connection, self._serve, head)
            elif not had_begun:
                deadline = time.monotonic() + self._limits.head_s
                self._waiting[connection] = min(self._waiting[connection], deadline)

    def _take_back(self) -> None:
        """Connections whose request was answered; the next one may be here already."""
        while self._returned:
            connection = self._returned.popleft()
            try:
                head = connection.take_head()
            except BadRequestError as error:
                self._hand_over(connection, self._refuse, error)
                continue
            if head is not None:
                self._hand_over(connection, self._serve, head)
            else:
                begun = connection.has_begun
                self._wait_for_head(connection, self._limits.head_s if begun else self._limits.idle_s)

    def _hand_over(self, connection: Connection, job: Callable[[Connection, _T], None], what: _T) -> None:
        connection.work()
        with self._changed:
            self._busy.add(connection)
        self._crew.submit(job, connection, what).add_done_callback(_log_failure)

    def _sweep(self, now: float) -> None:
        for connection in [item for item, deadline in self._waiting.items() if deadline < now]:
            self._leave(connection)
            connection.close()
        if now >= self._next_tick and (self._ticking is None or self._ticking.done()):
            self._next_tick = now + _TICK_S
            self._ticking = self._crew.submit(self._tick)
            self._ticking.add_done_callback(_log_failure)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: the loop will wake anyway; closed: it has ended
            self._wake_up.send(b"\0")

    def _swallow(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)

    # In a thread of the crew.

    def _serve(self, connection: Connection, head: bytes) -> None:
        keep = False
        try:
            keep = exchange(connection, head, self._answer) and not self._stopping
        except DisconnectedError:
            connection.reset()
        finally:
            self._give_back(connection, keep=keep)

    def _refuse(self, connection: Connection, error: BadRequestError) -> None:
        try:
            refuse(connection, error)
        except DisconnectedError:
            connection.reset()
        finally:
            self._give_back(connection, keep=False)

    def _give_back(self, connection: Connection, *, keep: bool) -> None:
        if keep:
            self._returned.append(connection)
        else:
            connection.close()
        with self._changed:
            self._busy.discard(connection)
            self._changed.notify_all()
        self._wake()


def _listen(host: str, port: int) -> socket.socket:
    """Raises HostRefused (taken, not allowed, not ours), UsageError (no such host)."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror:
        raise UsageError(f"no address for host {host!r}") from None
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise HostRefused(
            f"listen on {host} port {port}: {error.strerror or error}", hint="choose another --port or --host"
        ) from error
    return listening


def _log_failure(future: Future[None]) -> None:
    """A bug must not vanish in a thread."""
    if not future.cancelled() and (error := future.exception()) is not None:
        _LOG.error("request failed", exc_info=error)
