"""What time does to a store: clocks that are wrong, and bits that rot."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash import invariants
from tests.crash.world import World, environment_of, open_world
from tests.crash.zygote import Zygote

_YEARS_S = 10 * 365 * 86_400


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Zygote]]:
    with open_world(tmp_path_factory.mktemp("world")) as (world, zygote, _registry):
        yield world, zygote


@pytest.mark.parametrize("shift_s", [-_YEARS_S, _YEARS_S])
def test_a_clock_that_is_years_off_changes_nothing(
    stage: tuple[World, Zygote], tmp_path: Path, shift_s: int
) -> None:
    """Of processes, and of files that were written before it was set."""
    world, zygote = stage
    world.reset("used")
    (world.home / "store" / "ingest" / f"{'a' * 64}.0.part").write_bytes(b"left by a dead process")
    for path in world.home.rglob("*"):
        is_linked = path.is_file() and path.stat().st_nlink > 1
        if not is_linked:  # a link's time is how edits of the user's file are noticed
            os.utime(path, (path.stat().st_mtime + shift_s,) * 2)
    with Zygote(tmp_path, environment_of(world), clock_shift_s=shift_s) as elsewhere:
        for runner in (elsewhere, zygote):
            for arguments in (["pull", world.remote], ["verify"], ["gc"], ["list"]):
                ended = runner.mrpack(*arguments)
                assert ended.code == 0, ended
    assert set(invariants.tags(world.home)) == {"docker.io/team/old:v1", world.remote}
    assert invariants.check_store(world.home) == []
    assert invariants.leftovers(world.home) == []


def test_every_flipped_bit_is_found_and_mended_by_a_pull(stage: tuple[World, Zygote]) -> None:
    world, zygote = stage
    world.reset("empty")
    assert zygote.mrpack("pull", world.remote).code == 0
    chance = random.Random(0)
    blobs = sorted((world.home / "store" / "blobs" / "sha256").iterdir())
    assert len(blobs) >= 3
    for blob in blobs:
        content = bytearray(blob.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        blob.chmod(0o644)
        blob.write_bytes(content)
        found = zygote.mrpack("verify")
        assert found.code == 6
        assert blob.name[:12] in found.out + found.err
        repaired = zygote.mrpack("repair")
        assert repaired.code in {0, 6}, repaired
        assert zygote.mrpack("pull", world.remote).code == 0
        assert zygote.mrpack("verify").code == 0
    assert invariants.check_store(world.home) == []
