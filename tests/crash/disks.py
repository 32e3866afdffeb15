"""Small and read-only disks under the store.

python -m tests.crash.disks [--operation full]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.crash.full_disk import fill_disks
from tests.crash.namespace import unshare
from tests.crash.read_only import use_read_only
from tests.crash.reporting import parser_of, tell
from tests.crash.world import open_world

TRIALS = {"full": fill_disks, "read-only": use_read_only}
_MODULE = "tests.crash.disks"


def main(arguments: Sequence[str] | None = None) -> int:
    """Becomes another process of itself, which may mount."""
    parser = parser_of(__doc__)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not options.inside:
        again = unshare(sys.executable, "-m", _MODULE, "--inside", *(arguments or sys.argv[1:]))
        os.execvp(again[0], again)
    with tempfile.TemporaryDirectory() as folder, open_world(Path(folder)) as (world, zygote, _registry):
        try:
            runs = {name: trials(world, zygote) for name, trials in TRIALS.items()}
            return tell(runs, options.operation, "trials")
        finally:
            for disk in (world.home, world.out):
                subprocess.run(["umount", disk], check=False, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
