"""Another client of registries, in a home of its own: with no settings of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.demands import demand


class Skopeo:
    """`skopeo("inspect", …)` gives what it prints; registries are asked without TLS."""

    def __init__(self, home: Path) -> None:
        program = shutil.which("skopeo")
        demand("" if program else "skopeo is not installed")
        home.mkdir()
        self._program = str(program)
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home)}

    def __call__(self, *arguments: str | Path) -> str:
        done = subprocess.run(
            [self._program, "--insecure-policy", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def copy(self, source: str, target: str, *options: str) -> None:
        self("copy", "--src-tls-verify=false", "--dest-tls-verify=false", *options, source, target)
