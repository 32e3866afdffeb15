"""Disks that are full, out of inodes, or limit files, under the store and under the user's folder."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from tests.crash import invariants
from tests.crash.namespace import mount, unmount
from tests.crash.world import LARGE, QUIET, Operation, World
from tests.crash.zygote import Ended, Zygote

LEVELS = 20
# Of what is written for the user, whose ways are shorter.
_LEVELS_OUTSIDE = 10
# Room for a model and what is written beside it.
_ENOUGH = LARGE + 200_000
_DISK = 4 * 1024 * 1024
_INODES = 200
# Of the inodes an operation needs: folders, locks, blobs, index.
_INODES_NEEDED = 24
_OLD = "docker.io/team/old:v1"
# Of a layout in which there is nothing yet.
_MARKS = {"oci-layout", "index.json", ".last-index.json", ".lock", ".gc-lock"}
# What goes to standard error is a file too.
_LINE = 500
# HostRefused.
_FAILED = 8


def limited(arguments: list[str], limit: int) -> int:
    """mrpack, where no file may grow over `limit` bytes. For a zygote."""
    from mrpack.cli.main import _run

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return _run(arguments)


def fill_disks(world: World, zygote: Zygote) -> Iterator[tuple[str, list[str]]]:
    """`world.home` is made a disk of its own, again and again; then `world.out`."""
    operations = world.operations()
    for name in ("pull", "package"):
        yield from _fill_disk(world, zygote, operations[name], world.home, LEVELS)
    yield "rm on a full disk", list(_check_rm(world, zygote))
    unmount(world.home)
    for operation in (operations["extract"], *_outside(world)):
        yield from _fill_disk(world, zygote, operation, world.out, _LEVELS_OUTSIDE)
    unmount(world.out)


def _outside(world: World) -> Iterator[Operation]:
    """Those that write a large model for the user."""
    for name, place in (("archive", f"oci-archive:{world.out}/m.tar"), ("layout", f"oci:{world.out}/m")):
        yield Operation(name, ("copy", world.remote, place, "--jobs", "1"), "empty", frozenset())


def _fill_disk(
    world: World, zygote: Zygote, operation: Operation, disk: Path, levels: int
) -> Iterator[tuple[str, list[str]]]:
    for level in range(levels):
        free = _ENOUGH * level // (levels - 1)
        filler = _start(world, disk, f"size={_DISK}")
        _fill(filler, free)
        yield f"{operation.name}, {free} bytes free", list(_check(world, zygote, operation, filler))
    for level in range(levels):
        free = _INODES_NEEDED * level // (levels - 1)
        filler = _start(world, disk, f"size={_DISK},nr_inodes={_INODES}")
        _use_up(filler, free)
        yield f"{operation.name}, {free} inodes free", list(_check(world, zygote, operation, filler))
    for level in range(levels):
        limit = _LINE + _ENOUGH * level // (levels - 1)
        _start(world, disk, f"size={_DISK}")
        running = zygote.begin(
            [*operation.arguments, *QUIET], limit, function="tests.crash.full_disk:limited"
        )
        problems = list(_check_failed(world, operation, running.wait()))
        yield f"{operation.name}, files of {limit} bytes", [*problems, *_repeat(world, zygote, operation)]


def _start(world: World, disk: Path, options: str) -> Path:
    """A store of one model, and `disk` fresh; where its filler goes."""
    if disk.is_mount():
        unmount(disk)
    world.reset("nothing")
    disk.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", options, "none", str(disk))
    world.refill("used")
    filler = disk / "filler"
    filler.mkdir()
    return filler


def _fill(filler: Path, free: int) -> None:
    status = os.statvfs(filler)
    size = max(0, status.f_bavail * status.f_frsize - free)
    with (filler / "bytes").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def _use_up(filler: Path, free: int) -> None:
    for number in range(os.statvfs(filler).f_favail - free):
        (filler / str(number)).touch()


def _check(world: World, zygote: Zygote, operation: Operation, filler: Path) -> Iterator[str]:
    yield from _check_failed(world, operation, operation.begin(zygote).wait())
    for path in list(filler.iterdir()):
        path.unlink()
    yield from _repeat(world, zygote, operation)


def _check_failed(world: World, operation: Operation, ended: Ended) -> Iterator[str]:
    """One clear line, nothing half-done to be seen, and no space taken by what failed."""
    tags = set(invariants.tags(world.home))
    yield from invariants.check_store(world.home)
    if _OLD not in tags:
        yield f"{_OLD} is gone"
    if ended.code == 0:
        if not operation.end <= tags:
            yield "success without a model"
        return
    if ended.code != _FAILED or not ended.err.startswith("mrpack: ") or ended.err.count("\n") != 1:
        yield f"exit code {ended.code}: {ended.err}"
    if "space" not in ended.err and "bytes" not in ended.err and "large" not in ended.err:
        yield f"does not say what is missing: {ended.err}"
    yield from (f"{path.name} takes space" for path in invariants.leftovers(world.home))
    yield from (f"{path} takes space" for path in _outputs(world))


def _outputs(world: World) -> Iterator[Path]:
    """Files that are not as they will be: whole ones of what was not whole yet may stay."""
    for path in world.out.rglob("*"):
        is_ours = path.is_file() and "filler" not in path.parts
        if is_ours and "blobs" not in path.parts and path.name not in _MARKS:
            yield path


def _repeat(world: World, zygote: Zygote, operation: Operation) -> Iterator[str]:
    again = operation.begin(zygote).wait()
    if again.code != 0:
        yield f"a repetition with enough space fails: {again}"
    yield from invariants.check_store(world.home)


def _check_rm(world: World, zygote: Zygote) -> Iterator[str]:
    """What else should a user do about it?"""
    _fill(_start(world, world.home, f"size={_DISK}"), 0)
    ended = zygote.mrpack("rm", _OLD)
    if ended.code != 0:
        yield f"rm fails: {ended}"
    if invariants.tags(world.home):
        yield "rm left the name"
    yield from invariants.check_store(world.home)
