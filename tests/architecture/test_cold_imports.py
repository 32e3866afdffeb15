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


def imported_by(*arguments: str, exit_code: int = 0) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", REPORT, *arguments], capture_output=True, text=True, check=True
    )
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == exit_code, done.stderr
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
    assert not modules & {"importlib.metadata", "shutil"}


HEAVY = {
    *("aiohttp", "asyncio", "concurrent.futures.thread", "email", "http.client", "importlib.metadata"),
    *("jsonschema", "logging", "multiprocessing", "pathspec", "pickletools", "rich", "socket", "ssl"),
    *("subprocess", "tarfile", "tempfile", "tomllib", "urllib.request", "zipfile"),
}
# By their prefixes: what writing, packaging, moving and serving need, and looking at what is there does not.
NOT_FOR_READING = (
    *("mrpack.content.copy", "mrpack.content.carrying", "mrpack.distribution", "mrpack.formats.dduf"),
    *("mrpack.formats.gguf", "mrpack.formats.safetensors", "mrpack.hub", "mrpack.lint", "mrpack.packing"),
    *("mrpack.model.overrides", "mrpack.registry", "mrpack.store.archive", "mrpack.store.receiving"),
    *("mrpack.store.untar", "mrpack_runtime"),
)
# What artifacts are made of: a list takes what it shows from one file.
NOT_FOR_NAMES = (
    *("hashlib", "mrpack.content.progress", "mrpack.formats", "mrpack.model.artifact"),
    *("mrpack.model.dialects", "mrpack.store.bundle", "mrpack.store.care", "shutil"),
)
# What asking a running gateway takes none of.
NOT_FOR_ASKING = (
    *("aiohttp", "asyncio", "importlib.metadata", "jsonschema", "mrpack.content", "mrpack.environment"),
    *("mrpack.neighbours", "mrpack.oci", "mrpack.store", "mrpack_runtime.machine.host", "rich"),
)
# What the options of commands that run models take none of.
NOT_FOR_OPTIONS = (
    *("asyncio", "http.client", "logging", "mrpack.content", "mrpack.model.overrides", "mrpack.neighbours"),
    *("mrpack.store.store", "mrpack_runtime.confinement", "mrpack_runtime.engine", "mrpack_runtime.gateway"),
    *("mrpack_runtime.machine.host", "mrpack_runtime.settings.merged", "mrpack_runtime.wire.client"),
    *("rich", "ssl"),
)


@pytest.fixture
def home_with_a_model(mrpack: Mrpack, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mrpack("package", tiny_model, "tiny", "-q")
    mrpack("list")
    for name, value in mrpack.environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("arguments", [["list", "--json"], ["inspect", "tiny"], ["df"], ["resolve", "tiny"]])
def test_looking_at_local_models_loads_what_it_takes_and_no_more(
    home_with_a_model: None, arguments: list[str]
) -> None:
    modules = imported_by(*arguments)
    assert foreign(modules) <= {"click"}
    assert not modules & HEAVY
    assert not {name for name in modules if name.startswith(NOT_FOR_READING)}


def test_a_list_loads_nothing_about_artifacts(home_with_a_model: None) -> None:
    modules = imported_by("list")
    assert not {name for name in modules if name.startswith(NOT_FOR_NAMES)}


@pytest.mark.parametrize("command", ["logs", "ps", "unload"])
def test_asking_a_gateway_opens_no_store_and_looks_at_no_machine(tmp_path: Path, command: str) -> None:
    rest = ["--all"] if command == "unload" else []
    modules = imported_by(command, *rest, "--socket", str(tmp_path / "nobody"), exit_code=3)
    assert not {name for name in modules if name.startswith(NOT_FOR_ASKING)}


@pytest.mark.parametrize("command", ["bench", "logs", "ps", "run", "serve", "status", "unload"])
def test_options_of_serving_are_shown_without_what_serves(command: str) -> None:
    modules = imported_by(command, "--help")
    assert not {name for name in modules if name.startswith(NOT_FOR_OPTIONS)}


def test_options_of_packaging_are_shown_without_what_packs() -> None:
    modules = imported_by("package", "--help")
    assert foreign(modules) <= {"click"}
    assert not {name for name in modules if name.startswith(NOT_FOR_READING)}
    assert not modules & HEAVY
