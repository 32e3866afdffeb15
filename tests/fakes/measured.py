"""`python tests/fakes/measured.py REPORT ARGUMENTS…`: mrpack, and then what the process took, as JSON.

`peak` and `read` in bytes: the largest resident memory, and all that was read by system calls on files,
whether it came from a disk or a cache, the program's own modules among it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mrpack.cli.main import main


def _report() -> dict[str, int]:
    # Not ru_maxrss: that begins with the memory of the process that started this one.
    status = _lines("/proc/self/status")
    return {
        "peak": int(status["VmHWM"].split()[0]) * 1024,
        "read": int(_lines("/proc/self/io")["rchar"]),
    }


def _lines(path: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in Path(path).read_text().splitlines())
    return {key: value.strip() for key, _, value in pairs}


if __name__ == "__main__":
    report, *sys.argv[1:] = sys.argv[1:]
    try:
        main()
    finally:
        Path(report).write_text(json.dumps(_report()))
