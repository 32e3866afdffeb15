"""What this kernel can hold an engine to, without rights; found out by asking it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

PROGRAM: Final = Path(__file__).with_name("run_confined.py")
# Of one that only makes namespaces, on a busy machine.
_TRY_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """`landlock`: its ABI, 0 without; `lacks` says why. `seccomp`: filters on system calls.

    `own_network`: a network namespace of one's own.
    """

    landlock: int = 0
    seccomp: bool = False
    own_network: bool = False
    lacks: str = ""


@cache
def probe_kernel() -> Kernel:
    """Asks once; to try a network of one's own takes a process, and some 30 ms."""
    if sys.platform != "linux":
        return Kernel(lacks="only Linux confines programs that way")
    from mrpack_runtime.confinement.run_confined import has_seccomp, landlock_abi  # noqa: PLC0415  # Linux

    landlock, lacks = 0, ""
    try:
        landlock = landlock_abi()
    except OSError as error:
        lacks = _WORDS.get(error.errno or 0, f"the kernel refuses Landlock: {error.strerror}")
    return Kernel(landlock=landlock, seccomp=has_seccomp(), own_network=_has_own_network(), lacks=lacks)


_WORDS: Final = {
    errno.ENOSYS: "the kernel has no Landlock (it came with Linux 5.13)",
    errno.EOPNOTSUPP: "Landlock is not switched on in this kernel (boot parameter `lsm=`)",
}


def _has_own_network() -> bool:
    """Tried, since distributions switch namespaces off in several ways."""
    words = (sys.executable, "-I", "-S", str(PROGRAM), '{"own_network": true}', "/bin/true")
    try:
        done = subprocess.run(
            words,
            env={"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_TRY_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
