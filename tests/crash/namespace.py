"""Small and read-only disks, mounted for one process and its children: they are gone when it ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.crash.zygote import ROOT


def unshare(*arguments: str) -> list[str]:
    """A command in a mount namespace of its own, as root there. Without being root, by a user namespace."""
    own_user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *own_user, "--mount", *arguments]


def run_inside(module: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A program of `tests.crash` that mounts."""
    return subprocess.run(
        unshare(sys.executable, "-m", module, "--inside", *arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", folder], check=True, capture_output=True)


def missing() -> str:
    """Why nothing can be mounted here; empty when it can."""
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    script = "mount -t tmpfs -o size=1m none /mnt"
    done = subprocess.run(unshare("sh", "-c", script), capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"mounting does not work here: {done.stderr.strip()}"
