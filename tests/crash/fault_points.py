"""Every system call of an operation fails once, one run each: disk full, input/output error, no permission.

python -m tests.crash.fault_points [--operation pull] [--every 5]
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.crash.kill_points import check_aftermath
from tests.crash.reporting import asked, tell
from tests.crash.strace import Traced, Tracer, inject_everywhere
from tests.crash.world import Operation, World, open_world
from tests.crash.zygote import Running, Zygote

# How each kind of call fails in the wild.
FAILURES = {
    "openat": ("EIO", "EACCES", "ENOSPC", "EMFILE"),
    "read": ("EIO",),
    "readv": ("EIO",),
    "pread64": ("EIO",),
    "preadv": ("EIO",),
    "getdents64": ("EIO",),
    "newfstatat": ("EIO",),
    "write": ("EIO", "ENOSPC"),
    "pwrite64": ("EIO", "ENOSPC"),
    "fsync": ("EIO", "ENOSPC"),
    "fdatasync": ("EIO",),
    "rename": ("EIO", "EACCES", "ENOSPC"),
    "renameat": ("EIO",),
    "renameat2": ("EIO",),
    "link": ("EIO", "EACCES", "EMLINK"),
    "linkat": ("EIO", "EACCES", "EMLINK"),
    "unlink": ("EIO", "EACCES"),
    "unlinkat": ("EIO", "EACCES"),
    "mkdir": ("EIO", "EACCES", "ENOSPC"),
    "chmod": ("EIO",),
    "fchmod": ("EIO",),
    "flock": ("EIO", "ENOLCK"),
    "ftruncate": ("EIO",),
    "copy_file_range": ("EIO", "ENOSPC"),
    "splice": ("EIO", "ENOSPC"),
}
# HostRefused; where the operation can do without, or does it in another way, it succeeds; and a blob that
# cannot be looked at counts as absent.
_EXPECTED = {0, 3, 8}
_FSYNC = re.compile(r"(?:fsync|fdatasync)\(\d+<([^>]*)>\)")


def fail_everywhere(
    world: World, zygote: Zygote, operation: Operation, *, every: int = 1, first: int = 1
) -> Iterator[tuple[str, list[str]]]:
    """The point of each failure and what it broke, of calls that touch the store or the user's folder."""

    def begin() -> Running:
        world.reset(operation.start)
        return operation.begin(zygote)

    failures = [(call, f"error={error}") for call, errors in FAILURES.items() for error in errors]
    for point, traced in inject_everywhere(begin, world.log, failures, every=every, first=first):
        if any(str(place) in traced.injected for place in (world.home, world.out)):
            problems = [*_check_end(traced), *_check_syncs(world, zygote, operation, traced)]
            yield f"{operation.name}: {point}", problems + check_aftermath(world, zygote, operation)


def _check_end(traced: Traced) -> Iterator[str]:
    """The line for the user, and the file that failed to sync is not synced again."""
    ended = traced.ended
    if ended.code not in _EXPECTED:
        yield f"exit code {ended.code}: {ended.err} at {traced.injected}"
    elif ended.code and not (ended.err.startswith("mrpack: ") and ended.err.count("\n") == 1):
        yield f"not one line: {ended.err!r} at {traced.injected}"


def _check_syncs(world: World, zygote: Zygote, operation: Operation, failed: Traced) -> Iterator[str]:
    """After a failed sync the kernel forgets what it could not write: a second one would tell lies."""
    synced = _FSYNC.search(failed.injected)
    if synced is None or Path(synced[1]).is_dir():
        return
    logs = [failed.log]
    if failed.ended.code:
        running = operation.begin(zygote)
        logs.append(Tracer(running, world.log, "-e", "trace=fsync,fdatasync").wait().log)
    if sum(_FSYNC.findall(log).count(synced[1]) for log in logs) > 1:
        yield f"{synced[1]} was synced again after its sync had failed"


def main(arguments: Sequence[str] | None = None) -> int:
    options = asked(__doc__, arguments)
    with tempfile.TemporaryDirectory() as folder, open_world(Path(folder)) as (world, zygote, _registry):
        runs = {
            name: fail_everywhere(world, zygote, operation, every=options.every)
            for name, operation in world.operations().items()
        }
        return tell(runs, options.operation, "injected failures")


if __name__ == "__main__":
    sys.exit(main())
