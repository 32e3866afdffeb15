"""The environments that `mrpack install-runner` made of real packages: listed, tried, and chosen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mrpack_runtime.machine.platforms import TABLE, Support
from mrpack_runtime.runners.folders import EngineFolders
from mrpack_runtime.runners.installers import Pip
from tests.fakes.toy_runner import ENGINE, toy_plan, toy_runner
from tests.fakes.wheelhouse import Wheelhouse
from tests.integration.engines import link_engines, made_engines
from tests.program import Mrpack

pytestmark = pytest.mark.engine

ENGINES = ("llama.cpp", "vllm", "diffusers")
# What the recipes leave out, or take away.
UNWANTED = ("torchvision", "torchaudio", "torchcodec", "triton", "intel_openmp")


@pytest.fixture
def program(mrpack: Mrpack) -> Mrpack:
    home = Path(mrpack.environment["HOME"]) / "mrpack"
    link_engines(home, *ENGINES)
    mrpack.environment["MRPACK_HOME"] = str(home)
    return mrpack


def test_every_engine_is_listed_with_its_environment(program):
    states = {state["name"]: state for state in program("engines", "--json").json}
    for name in ENGINES:
        assert states[name]["state"] == "installed", states[name]
        assert states[name]["environment"]["accelerator"] == "cpu"
        assert states[name]["installations"]
    tested = {(row.engine, row.accelerator) for row in TABLE if row.support is Support.TESTED}
    assert tested == {(name, "cpu") for name in ENGINES}


@pytest.mark.parametrize("name", ENGINES)
def test_doctor_finds_every_engine_sound(program, name):
    value = program("doctor", "--backend", name, "--json").json
    (found,) = value["engines"]
    assert value["sound"]
    assert found["works"]
    assert not [fault for fault in found["faults"] if fault["is_fatal"]]
    if name != "llama.cpp":
        assert found["probe"]["device"] == "cpu"
        assert "+cpu" in found["probe"]["packages"]["torch"]


@pytest.mark.parametrize("name", ENGINES)
def test_an_environment_has_nothing_that_breaks_it(name):
    packages = made_engines() / name
    infos = [path.name for path in packages.glob("lib/python3*/site-packages/*.dist-info")]
    assert infos
    assert not [info for info in infos if info.partition("-")[0].lower() in UNWANTED]
    record = EngineFolders(made_engines()).record(name)
    assert record is not None
    assert record.engine == name


def test_pip_and_venv_make_an_environment_from_a_folder_of_wheels(tmp_path):
    wheels = Wheelhouse(tmp_path / "wheels")
    wheels.add("toy", "1.0")
    runner = toy_runner(tmp_path / "home", {**os.environ, **wheels.environment})
    assert runner.install(toy_plan(installer=Pip(Path(sys.executable))), lambda _: None).installer == "pip"
    python = runner.folders.folder / ENGINE / "bin" / "python"
    assert subprocess.run([python, "-c", "import toy"], check=False).returncode == 0
    shutil.rmtree(tmp_path / "home")
