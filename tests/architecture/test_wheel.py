"""The wheel holds exactly our three packages and every schema."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_holds_three_packages_and_every_schema(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"mrpack", "mrpack_runtime", "mrpack_schemas"}
    schemas = {path.name for path in (ROOT / "schemas" / "mrpack_schemas").glob("*.schema.json")}
    assert schemas <= {name.rpartition("/")[2] for name in names}
    sources = {
        str(path.relative_to(root))
        for root in (ROOT, ROOT / "runtime", ROOT / "schemas")
        for package in ("mrpack", "mrpack_runtime", "mrpack_schemas")
        for path in (root / package).rglob("*.py")
    }
    assert sources == {name for name in names if name.endswith(".py")}
    assert {f"{top}/py.typed" for top in tops} <= set(names)
