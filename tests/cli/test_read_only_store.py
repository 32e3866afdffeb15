"""A store that its user cannot write to: a read-only disk, or one that belongs to somebody else."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demands import demand
from tests.program import PROGRAM, Mrpack

NOBODY = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """Where every user may look."""
    folder = Path(tempfile.mkdtemp(prefix="mrpack-ro-"))
    folder.chmod(0o755)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def store(place: Path, mrpack: Mrpack, tiny_model: Path) -> Path:
    mrpack("package", tiny_model, "tiny", "-q", MRPACK_HOME=str(place / "store-home"))
    home = place / "store-home"
    for path in [home, *home.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return home


@pytest.fixture
def run(place: Path, store: Path, mrpack: Mrpack):
    """The program as a user without rights."""
    who: list[str] = []
    (user := place / "user").mkdir()
    if os.getuid() == 0:
        demand("" if shutil.which("setpriv") else "setpriv is not installed")
        os.chown(user, NOBODY, NOBODY)
        who = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*who, *PROGRAM, *arguments],
            env={**mrpack.environment, "HOME": str(user), "MRPACK_HOME": str(store)},
            cwd=user,
            capture_output=True,
            text=True,
            errors="replace",  # an archive is no text
            check=False,
            timeout=120,
        )

    if call("version").returncode:
        pytest.skip("other users cannot run this Python: this was NOT tested")
    return call


def test_whatever_reads_works(run, place: Path, store: Path, tiny_model: Path) -> None:
    for arguments in (
        ("list",),
        ("inspect", "tiny"),
        ("verify",),
        ("df",),
        ("gc", "--dry-run"),
        ("repair", "--dry-run"),
        ("export", "tiny", "tiny.tar"),
        ("export", "tiny", "-"),
        ("copy", f"oci:{store}/store:docker.io/ai/tiny:latest", "oci:layout:v1"),
    ):
        done = run(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
    path = Path(run("resolve", "tiny").stdout.strip())
    assert path.is_relative_to(place / "user" / ".cache")
    assert path.read_bytes() == tiny_model.read_bytes()
    assert path.resolve().is_relative_to(store)
    assert Path(run("resolve", "tiny").stdout.strip()) == path


def test_whatever_writes_says_so(run) -> None:
    for arguments in (("tag", "tiny", "other"), ("rm", "tiny"), ("gc",)):
        done = run(*arguments)
        assert done.returncode == 8, (arguments, done.stderr)
        assert "no permission" in done.stderr.splitlines()[-1]
