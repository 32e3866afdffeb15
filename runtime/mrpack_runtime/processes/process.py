"""EngineProcess: one life of one engine process, from start to exit, with a single writer of its state."""

from __future__ import annotations

import asyncio
import copy
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final

from mrpack.errors import EngineFailed, HostRefused, MrpackError, from_os_error
from mrpack_runtime.engine import Launch
from mrpack_runtime.engine.symptoms import diagnose
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.processes.environment import engine_environment
from mrpack_runtime.processes.readiness import wait_ready
from mrpack_runtime.wire.endpoint import UnixEndpoint

_LEASH: Final = Path(__file__).with_name("leash.py")
# Twice this much is kept on disk for each engine.
_LOG_LIMIT: Final = 4 * 1024 * 1024
_TAIL_BYTES: Final = 16 * 1024
_TAIL_LINES: Final = 20
# Where the cause is looked for: tracebacks of several processes may follow the line that tells it.
_CAUSE_BYTES: Final = 128 * 1024
# sun_path has 108 bytes on Linux and 104 on macOS, the last one a zero.
_SOCKET_PATH_LIMIT: Final = 103
STOP_GRACE_S: Final = 10.0
# From the order to kill to the end of the leash, which waits 5 s for processes that hang in the kernel.
_KILL_GRACE_S: Final = 8.0
_KILLED_STATUSES: Final = frozenset({-signal.SIGKILL, 128 + signal.SIGKILL})
_HINTS: Final = {
    126: "`--sandbox off` starts it without confinement",
    -signal.SIGILL: "this build is for another processor: choose another launcher, or build it here",
}


class EngineState(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


class EngineProcess:
    """One life: stopped, starting, ready, stopping, stopped; or failed, for good, anywhere after the start.

    A new life is a new object with a new launch. Only the task that the first `ensure_ready` makes changes
    the state; everyone else asks and waits. All methods belong to one event loop.

    `run_folder` is made with mode 0700; it is home, working and temporary folder of the engine, and whoever
    made the object removes it after the end. What the engine writes is in `log_path`.
    """

    def __init__(
        self, launch: Launch, host: HostFacts, run_folder: Path, *, log_path: Path | None = None
    ) -> None:
        self.launch = launch
        self.log_path = log_path or run_folder / "engine.log"
        self.pid: int | None = None
        """Of the engine itself, from its start on."""
        self.exit_status: int | None = None
        """Of the engine after its end; negative: a signal."""
        self.load_time_s: float | None = None
        """From start to ready."""
        self._host = host
        self._run_folder = run_folder
        self._log_begin = (0, 0)  # inode and size of the log when this life began
        self._state = EngineState.STOPPED
        self._failure: MrpackError | None = None
        self._life: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()  # ready for the first time, or ended
        self._ended = asyncio.Event()
        self._stop_wanted = asyncio.Event()
        self._grace_s = STOP_GRACE_S

    @property
    def state(self) -> EngineState:
        return self._state

    @property
    def failure(self) -> MrpackError | None:
        """Why the state is failed."""
        return self._failure

    def has_died(self) -> bool:
        """Whether the engine is no more, even if its leash has not cleared up after it yet."""
        if self.pid is None:
            return False
        with suppress(OSError):  # as on macOS, where only the end is known that its leash has seen
            status = Path(f"/proc/{self.pid}/stat").read_text("ascii", "replace")
            if status.rpartition(") ")[2].startswith("Z"):
                return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    async def ensure_ready(self) -> None:
        """Starts the engine if nobody did; returns when it is ready. Cancelling it does not stop the start.

        Raises:
            EngineFailed: it did not get ready, crashed since, or was stopped.
            HostRefused: the process could not be made at all.
        """
        if self._life is None and not self._stop_wanted.is_set():
            self._life = asyncio.create_task(self._live(), name=f"engine {self.launch.engine}")
        await self._settled.wait()
        if self._failure is not None:
            raise copy.copy(self._failure)  # each waiter's traceback is its own
        if self._state is not EngineState.READY:
            raise EngineFailed(f"{self.launch.engine} was stopped", exit_status=self.exit_status)

    async def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Asks the process group to end, kills it after `grace_s`, returns when it is gone. Idempotent."""
        self._grace_s = grace_s
        self._stop_wanted.set()
        if self._life is None:
            self._settled.set()
            self._ended.set()
        await self._ended.wait()

    async def wait_exit(self) -> int | None:
        """The exit status, as soon as there is one; None for an engine that was never started."""
        await self._ended.wait()
        return self.exit_status

    def log_tail(self, lines: int = _TAIL_LINES) -> str:
        """The last lines that the engine wrote, at most 16 KiB of them."""
        content = b""
        for path in (self.log_path, self.log_path.with_name(f"{self.log_path.name}.1")):
            with suppress(OSError), path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
                content = file.read() + content
            if len(content) >= _TAIL_BYTES:
                break
        return "\n".join(content[-_TAIL_BYTES:].decode(errors="replace").splitlines()[-lines:])

    def _end_of_this_life(self) -> str:
        """Without what earlier engines wrote to the same file, which a moved one does not hold."""
        try:
            with self.log_path.open("rb") as file:
                status = os.fstat(file.fileno())
                inode, begin = self._log_begin
                file.seek(max(begin if inode == status.st_ino else 0, status.st_size - _CAUSE_BYTES))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    async def _live(self) -> None:
        try:
            await self._run()
            self._state = EngineState.STOPPED
        except MrpackError as error:
            self._failure = error
            self._state = EngineState.FAILED
        finally:
            self._settled.set()
            self._ended.set()

    async def _run(self) -> None:
        """Returns after a stop; raises why the engine failed."""
        self._state = EngineState.STARTING
        begin = time.monotonic()
        leash = await self._start()
        ended = asyncio.create_task(leash.wait())
        stop = asyncio.create_task(self._stop_wanted.wait())
        try:
            problem = await self._load(leash, ended, stop)
            if not (problem or ended.done() or stop.done()):
                self.load_time_s = time.monotonic() - begin
                self._state = EngineState.READY
                self._settled.set()
                await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
            crashed = ended.done() and not stop.done()
            if not ended.done():
                self._state = EngineState.STOPPING
                await self._end(leash, ended)
            self.exit_status = await ended
        finally:
            stop.cancel()
            ended.cancel()
        if crashed:
            raise self._crash(self.exit_status)
        if problem:
            problem.log_tail = self.log_tail()
            raise problem

    async def _start(self) -> asyncio.subprocess.Process:
        endpoint = self.launch.endpoint
        if isinstance(endpoint, UnixEndpoint) and len(os.fsencode(endpoint.path)) > _SOCKET_PATH_LIMIT:
            raise HostRefused(
                f"the socket path has more than {_SOCKET_PATH_LIMIT} bytes: {endpoint.path}",
                hint="use a shorter temporary folder",
            )
        try:
            self._run_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                status = self.log_path.stat()
                self._log_begin = (status.st_ino, status.st_size)
            leash = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(_LEASH), str(self.log_path), str(_LOG_LIMIT)),
                *self.launch.prefix,
                *self.launch.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=engine_environment(self._host, self._run_folder) | dict(self.launch.environment),
                cwd=self._run_folder,
                start_new_session=True,  # Ctrl-C in the terminal is the gateway's alone
            )
        except OSError as error:
            raise from_os_error(error, f"start {self.launch.engine}") from error
        assert leash.stdout is not None  # noqa: S101  # asked for above
        first = await leash.stdout.readline()
        self.pid = int(first) if first else None
        return leash

    async def _load(
        self, leash: asyncio.subprocess.Process, ended: asyncio.Task[int], stop: asyncio.Task[bool]
    ) -> EngineFailed | None:
        """Waits until the engine is ready or ended, or a stop is wanted; why it is to be ended, if it is."""
        launch = self.launch
        ready = asyncio.create_task(wait_ready(launch.endpoint, launch.health_path, leash.pid))
        try:
            done, _ = await asyncio.wait(
                {ready, ended, stop}, timeout=launch.ready_timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
            if ready in done:
                ready.result()
        except EngineFailed as error:
            return error
        finally:
            ready.cancel()
        if done:
            return None
        return EngineFailed(
            f"{launch.engine} was not ready after {launch.ready_timeout_s:g} s",
            hint="a larger ready timeout gives it more time",
        )

    async def _end(self, leash: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
        assert leash.stdin is not None  # noqa: S101  # asked for in `_start`
        for order, grace_s in ((b"T", self._grace_s), (b"K", _KILL_GRACE_S)):
            leash.stdin.write(order)
            await asyncio.wait({ended}, timeout=grace_s)
            if ended.done():
                return
        leash.kill()  # then the kernel kills the engine

    def _crash(self, status: int) -> EngineFailed:
        engine, was_ready = self.launch.engine, self.load_time_s is not None
        when = "crashed" if was_ready else "did not start"
        look = "`mrpack logs` shows more" + ("" if was_ready else ", `mrpack verify MODEL` finds damage")
        tail = self.log_tail()
        if status in _KILLED_STATUSES:
            return EngineFailed(
                f"{engine} was killed (SIGKILL), possibly out of memory",
                exit_status=status,
                log_tail=tail,
                hint="a smaller model, context size or number of parallel requests needs less memory",
            )
        if found := diagnose(self._end_of_this_life(), self.launch.symptoms):
            return EngineFailed(
                f"{engine} {when}: {found.reason}",
                exit_status=status,
                log_tail=tail,
                hint=found.hint or look,
            )
        how = f"signal {_signal_name(-status)}" if status < 0 else f"exit status {status}"
        words = _telling_line(tail)
        return EngineFailed(
            f"{engine} {when}: {how}" + (f": {words}" if words else ""),
            exit_status=status,
            log_tail=tail,
            hint=_HINTS.get(status, look),
        )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _telling_line(tail: str) -> str:
    """The last line that names an error, else the last line: for people only, nothing depends on it."""
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    named = [line for line in lines if " E " in line or "error" in line.lower()]
    return (named or lines or [""])[-1][:300]


def free_port() -> int:
    """A TCP port of loopback that was free a moment ago; `wait_ready` finds out who took it since."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
