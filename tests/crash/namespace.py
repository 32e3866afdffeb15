"""Small and read-only disks, mounted for one process and its children: they are gone when it ends."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.crash.reporting import tell
from tests.crash.world import World, open_world
from tests.crash.zygote import ROOT, Zygote

Trials = Callable[[World, Zygote], Iterator[tuple[str, list[str]]]]


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


def run_program(module: str, trials: Trials, what: str, arguments: Sequence[str] | None) -> int:
    """A program whose `trials` mount the home of their world: starts itself inside, and tells of them."""
    parser = argparse.ArgumentParser(prog=module)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    if not parser.parse_args(arguments).inside:
        done = run_inside(module, [])
        print(done.stdout, done.stderr, sep="")
        return done.returncode
    with tempfile.TemporaryDirectory() as folder, open_world(Path(folder)) as (world, zygote, _registry):
        try:
            return tell({module: trials(world, zygote)}, None, what)
        finally:
            for disk in (world.home, world.out):
                subprocess.run(["umount", disk], check=False, capture_output=True)


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
