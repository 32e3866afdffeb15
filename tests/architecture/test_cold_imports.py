"""What a command imports, by the list of modules: a clock would lie on a busy machine."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

REPORT = """
import json, sys
before = set(sys.modules)
from mrpack.cli.main import _run
import contextlib, io
with contextlib.redirect_stdout(io.StringIO()):
    code = _run(sys.argv[1:])
print(json.dumps([code, sorted(set(sys.modules) - before)]))
"""


def imported_by(*arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", REPORT, *arguments], capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    return {name for name in modules if not name.startswith("_")}


def foreign(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names) - {"mrpack"}


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_version_and_help_load_click_and_the_standard_library_alone(arguments: list[str]) -> None:
    modules = imported_by(*arguments)
    assert foreign(modules) <= {"click"}
    own = {name for name in modules if name.startswith("mrpack")}
    assert own == {"mrpack", "mrpack.cli", "mrpack.cli.main", "mrpack.errors", "mrpack.version"}
    assert "importlib.metadata" not in modules


def test_list_loads_no_network_and_no_validator(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRPACK_HOME", str(tmp_path))
    modules = imported_by("list", "--json")
    assert foreign(modules) <= {"click", "platformdirs"}
    assert not modules & {"http.client", "ssl", "jsonschema", "rich", "asyncio", "aiohttp"}
