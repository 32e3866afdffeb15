"""Faults of the machine and of the home folder, which concern every engine."""

from __future__ import annotations

import http.client
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mrpack.model.amounts import human_size
from mrpack_runtime.diagnosis.faults import Fault
from mrpack_runtime.machine.accelerators import read
from mrpack_runtime.machine.hardware import available_memory
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.processes.run_folders import run_base

_GIB: Final = 2**30
# Under this, a pull or an engine's cache is likely to fail.
_LITTLE_DISK: Final = 2 * _GIB
_LITTLE_MEMORY: Final = 2 * _GIB
# Certificates of registries are refused by a clock that is far off; this program is newer than that.
_BUILT: Final = 1_767_225_600  # 2026-01-01
_FAR_AHEAD_S: Final = 20 * 365 * 86_400
_ANSWER_TIMEOUT_S: Final = 2.0
# linux/statvfs: the mount does not let programs run.
_ST_NOEXEC: Final = getattr(os, "ST_NOEXEC", 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeFacts:
    """What may change at any time. Sizes in bytes; `now` in Unix seconds.

    `answers`: who listens on the gateway's port: `nobody`, `mrpack` or `another program`. `write_error`: why
    the home cannot be written to; empty when it can.
    """

    home: Path
    write_error: str
    free: int
    is_noexec: bool
    available_memory: int | None
    now: float
    port: int
    answers: str
    temporary_error: str = ""


def probe_home(home: Path, port: int, answers: str) -> HomeFacts:
    """Looks at the disk; writes one temporary file into the home."""
    nearest = next(folder for folder in (home, *home.parents) if folder.exists())
    return HomeFacts(
        home=home,
        write_error=_write_error(nearest),
        free=shutil.disk_usage(nearest).free,
        is_noexec=bool(os.statvfs(nearest).f_flag & _ST_NOEXEC),
        available_memory=available_memory(Path("/")),
        now=time.time(),
        port=port,
        answers=answers,
        temporary_error=_write_error(run_base()),
    )


def who_answers(host: str, port: int) -> str:
    """On that port, as HomeFacts says it; never waits for long, as whatever listens there may be silent."""
    connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_TIMEOUT_S)
    try:
        connection.connect()
    except OSError:
        return "nobody"
    try:
        connection.request("GET", "/version")
        return "mrpack" if connection.getresponse().headers.get("Server") == "mrpack" else "another program"
    except (OSError, http.client.HTTPException):
        return "another program"
    finally:
        connection.close()


def find_home_faults(home: HomeFacts, host: HostFacts) -> tuple[Fault, ...]:
    found = []
    for name, look, is_fatal in _ROWS:
        answer = look(home, host)
        if answer:
            found.append(Fault(name=name, what=answer[0], repair=answer[1], is_fatal=is_fatal))
    return tuple(found)


def _write_error(folder: Path) -> str:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".mrpack-doctor-") as file:
            file.write(b"0")
            file.flush()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _unwritable(home: HomeFacts, _host: HostFacts) -> tuple[str, str] | None:
    if not home.write_error:
        return None
    return f"{home.home} cannot be written to: {home.write_error}", "set MRPACK_HOME to a folder of yours"


def _no_temporary(home: HomeFacts, _host: HostFacts) -> tuple[str, str] | None:
    if not home.temporary_error:
        return None
    return (
        f"the temporary folder {run_base()} cannot be written to: {home.temporary_error}",
        "set TMPDIR to a folder of yours",
    )


def _full(home: HomeFacts, _host: HostFacts) -> tuple[str, str] | None:
    if home.free >= _LITTLE_DISK:
        return None
    return (
        f"{human_size(home.free)} are left for {home.home}",
        "mrpack gc, or set MRPACK_HOME to a larger disk",
    )


def _noexec(home: HomeFacts, _host: HostFacts) -> tuple[str, str] | None:
    if not home.is_noexec:
        return None
    return f"no program may run from {home.home} (noexec)", "set MRPACK_HOME to a folder on another disk"


def _memory(home: HomeFacts, host: HostFacts) -> tuple[str, str] | None:
    left = host.memory if home.available_memory is None else min(host.memory, home.available_memory)
    if left >= _LITTLE_MEMORY:
        return None
    return f"{human_size(left)} of memory are left", "end other programs, or take small models"


def _clock(home: HomeFacts, _host: HostFacts) -> tuple[str, str] | None:
    if _BUILT <= home.now < _BUILT + _FAR_AHEAD_S:
        return None
    date = time.strftime("%Y-%m-%d", time.gmtime(home.now))
    return f"the clock says {date}, and registries' certificates will be refused", "set the clock"


def _port(home: HomeFacts, _host: HostFacts) -> tuple[str, str] | None:
    if home.answers != "another program":
        return None
    return (
        f"another program listens on port {home.port}",
        f"mrpack serve --port {home.port + 1}, or set MRPACK_PORT",
    )


def _idle_cards(_home: HomeFacts, host: HostFacts) -> tuple[str, str] | None:
    if not host.idle_cards:
        return None
    return f"a card of {host.idle_cards[0]} has no driver", f"install the driver of {host.idle_cards[0]}"


def _closed_device(_home: HomeFacts, host: HostFacts) -> tuple[str, str] | None:
    """ROCm's device belongs to a group."""
    device = Path("/dev/kfd")
    if not host.gpus_of("rocm") or os.access(device, os.R_OK | os.W_OK):
        return None
    return (
        f"no permission to use {device}",
        "sudo usermod --append --groups render,video $USER, and log in again",
    )


def _sandbox(_home: HomeFacts, host: HostFacts) -> tuple[str, str] | None:
    """Where the kernel lets nobody read its own facts, nothing above is known."""
    if host.os != "linux" or read(Path("/proc/self/stat")):
        return None
    return "/proc is not there", "mount it"


_Look = Callable[[HomeFacts, HostFacts], tuple[str, str] | None]
_ROWS: Final[tuple[tuple[str, _Look, bool], ...]] = (
    ("home", _unwritable, True),
    ("temporary-folder", _no_temporary, True),
    ("noexec", _noexec, True),
    ("proc", _sandbox, True),
    ("disk", _full, False),
    ("memory", _memory, False),
    ("clock", _clock, False),
    ("port", _port, False),
    ("no-driver", _idle_cards, False),
    ("device", _closed_device, False),
)
