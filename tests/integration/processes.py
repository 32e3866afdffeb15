"""What an engine's processes are, and the memory that they take together."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path


def group(leader: int) -> set[int]:
    """Living processes of a process group."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            found.add(int(folder.name))
    return found


def resident(leader: int) -> int:
    """Bytes of a process group; pages that several have count once."""
    whole = 0
    for pid in group(leader):
        with suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            whole += sum(int(size) for size in re.findall(r"^Pss:\s+(\d+) kB$", text, re.MULTILINE))
    return whole * 1024
