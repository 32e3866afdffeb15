"""What a command imports, by the list of modules: a clock would lie on a busy machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program import Mrpack

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
    assert own == {
        "mrpack",
        "mrpack.cli",
        "mrpack.cli.main",
        "mrpack.cli.messages",
        "mrpack.errors",
        "mrpack.version",
    }
    assert "importlib.metadata" not in modules


HEAVY = {
    *("aiohttp", "asyncio", "concurrent.futures.thread", "http.client", "jsonschema", "multiprocessing"),
    *("pathspec", "rich", "socket", "ssl", "subprocess", "tarfile", "tomllib", "urllib.request", "zipfile"),
}
# By their prefixes: what writing, packaging, moving and serving need, and looking at what is there does not.
NOT_FOR_READING = (
    *("mrpack.content.copy", "mrpack.content.carrying", "mrpack.distribution", "mrpack.formats.dduf"),
    *("mrpack.formats.gguf", "mrpack.formats.safetensors", "mrpack.hub", "mrpack.lint", "mrpack.packing"),
    *("mrpack.model.overrides", "mrpack.registry", "mrpack.store.archive", "mrpack.store.receiving"),
    *("mrpack.store.repair", "mrpack.store.untar", "mrpack_runtime"),
)


@pytest.mark.parametrize("arguments", [["list", "--json"], ["inspect", "tiny"], ["df"], ["resolve", "tiny"]])
def test_looking_at_local_models_loads_what_it_takes_and_no_more(
    mrpack: Mrpack, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    mrpack("package", tiny_model, "tiny", "-q")
    for name, value in mrpack.environment.items():
        monkeypatch.setenv(name, value)
    modules = imported_by(*arguments)
    assert foreign(modules) <= {"click", "platformdirs"}
    assert not modules & HEAVY
    assert not {name for name in modules if name.startswith(NOT_FOR_READING)}
