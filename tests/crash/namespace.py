"""Mounts for one process and its children: they are gone when it ends."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


def unshare(*arguments: str) -> list[str]:
    """A command in a mount namespace of its own, as root there. Without being root, by a user namespace."""
    own_user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *own_user, "--mount", *arguments]


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
