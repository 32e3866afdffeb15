"""Real engine environments, made once for all tests by scripts/test, linked into a test's home."""

from __future__ import annotations

import os
from pathlib import Path

from tests.demands import demand


def made_engines() -> Path:
    """The folder whose sub-folders are virtual environments named for engines; demanded."""
    folder = os.environ.get("MRPACK_TEST_ENGINES", "")
    demand("" if folder else "MRPACK_TEST_ENGINES names no folder with engine environments")
    return Path(folder)


def link_engines(home: Path, *names: str) -> None:
    """Make `home/engines/NAME` a link to the real environment of each engine; demands all of them."""
    source = made_engines()
    target = home / "engines"
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        python = source / name / "bin" / "python"
        demand("" if python.exists() else f"no engine environment {source / name}")
        (target / name).symlink_to((source / name).resolve(), target_is_directory=True)
