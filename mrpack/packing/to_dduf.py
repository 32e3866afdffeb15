"""From a Diffusers folder to one DDUF file."""

from __future__ import annotations

from pathlib import Path

from mrpack.formats import dduf
from mrpack.packing.plan import Wishes
from mrpack.packing.plan_folder import plan_diffusers
from mrpack.packing.walk import walk
from mrpack.readable import open_file


def write_folder_as_dduf(folder: Path, wishes: Wishes, target: Path, advance: dduf.Advance) -> None:
    """The files that `wishes` choose, the same bytes on every machine; nothing is written if they do not fit.

    Raises:
        Unsupported: a file that a DDUF file cannot hold.
        NotFound, InvalidArtifact: as `plan_diffusers`.
        IntegrityError, HostRefused: as `write_dduf`.
    """
    plan_diffusers(folder, wishes)
    dduf.write_dduf([open_file(file, path) for path, file in walk(folder, wishes.choice)], target, advance)
