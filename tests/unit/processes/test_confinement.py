"""What a confined engine may touch: the rules, and a real kernel that holds a real program to them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrpack.digest import Digest
from mrpack.environment import SANDBOXES, load_settings
from mrpack.errors import Unsupported, UsageError
from mrpack.model.config import ModelConfig
from mrpack_runtime.confinement import Kernel, Sandbox, confine, probe_kernel
from mrpack_runtime.confinement.places import devices, program_places
from mrpack_runtime.engine import Launch, ModelBundle, Needs, Network
from mrpack_runtime.processes.process import free_port
from mrpack_runtime.wire.endpoint import TcpEndpoint, UnixEndpoint
from tests.demands import demand

PROBER = Path(__file__).parents[2] / "fakes" / "prober.py"
WHOLE = Kernel(landlock=7, seccomp=True, own_network=True)
NOTHING = Kernel(lacks="the kernel has no Landlock")


def launch(run: Path, arguments: tuple[str, ...] = (), **options: Any) -> Launch:
    return Launch(
        engine="prober",
        launcher="program",
        version="1",
        argv=(sys.executable, "-I", str(PROBER), *arguments),
        environment={},
        **{"endpoint": UnixEndpoint(run / "engine.sock"), **options},
    )


def bundle(folder: Path) -> ModelBundle:
    folder.mkdir(exist_ok=True)
    weights = folder / "model.gguf"
    weights.write_bytes(b"GGUF")
    return ModelBundle(
        name="m",
        digest=Digest.of(b"m"),
        config=ModelConfig(format="gguf"),
        folder=folder,
        weights=(weights,),
    )


def confined(
    kernel: Kernel, folder: Path = Path("/r"), sandbox: Sandbox = Sandbox.AUTO, **options: Any
) -> Launch:
    model = ModelBundle(
        name="m",
        digest=Digest.of(b"m"),
        config=ModelConfig(format="gguf"),
        folder=Path("/m"),
        weights=(Path("/m/model.gguf"),),
    )
    return confine(launch(folder, **options), model, {}, folder, sandbox, kernel)


# ---- what is said


@pytest.mark.parametrize(
    ("kernel", "options", "words"),
    [
        (WHOLE, {}, "its model, its run folder and the system's files (Landlock 7); no network"),
        (WHOLE, {"needs": Needs(network=Network.LOOPBACK)}, "; a loopback of its own"),
        (WHOLE, {"needs": Needs(network=Network.OPEN)}, "; any network, which it needs"),
        (WHOLE, {"endpoint": TcpEndpoint(4711)}, "; TCP on its own port"),
        (replace(WHOLE, seccomp=False), {}, "; no TCP"),
        (replace(WHOLE, landlock=3), {}, "; no network; signals to other programs (an older Landlock)"),
        (replace(WHOLE, landlock=3, seccomp=False), {}, "; any network: the kernel cannot rule it"),
        (
            replace(WHOLE, landlock=3),
            {"endpoint": TcpEndpoint(1)},
            "; any network: the kernel cannot rule TCP",
        ),
        (
            replace(WHOLE, own_network=False),
            {"needs": Needs(network=Network.LOOPBACK)},
            "; any network: this",
        ),
        (replace(NOTHING, seccomp=True), {}, "no network; all files: the kernel has no Landlock"),
        (NOTHING, {}, "not confined: the kernel has no Landlock"),
    ],
)
def test_what_holds_is_said_and_no_more(kernel, options, words):
    assert words in confined(kernel, **options).confinement


def test_switched_off_nothing_is_put_before_the_program():
    found = confined(WHOLE, sandbox=Sandbox.OFF)
    assert (found.prefix, found.confinement) == ((), "not confined: switched off")


def test_the_command_that_is_shown_stays_the_engines_own():
    assert confined(WHOLE).argv == launch(Path("/r")).argv


@pytest.mark.parametrize(
    ("kernel", "options"),
    [(NOTHING, {}), (replace(WHOLE, own_network=False), {"needs": Needs(network=Network.LOOPBACK)})],
)
def test_what_is_required_and_cannot_be_is_refused(kernel, options):
    with pytest.raises(Unsupported, match="cannot be confined here as is required"):
        confined(kernel, sandbox=Sandbox.REQUIRED, **options)


# ---- the rules


def test_a_virtual_environment_is_opened_with_the_python_it_was_made_of():
    places, _ = program_places(Path(sys.executable))
    prefix = Path(sys.base_prefix)
    assert {str(Path(sys.prefix) / "lib"), str(Path(sys.prefix) / "pyvenv.cfg")} <= set(places)
    assert str(prefix / "lib") in places or str(prefix.resolve() / "lib") in places


def test_a_program_in_a_home_does_not_open_the_home(tmp_path):
    program = tmp_path / "llama-server"
    for name in ("llama-server", "libllama.so", "libggml.so.0.25", "notes.txt"):
        (tmp_path / name).touch()
    places, names = program_places(program)
    assert {str(program), str(tmp_path / "libllama.so"), str(tmp_path / "libggml.so.0.25")} <= set(places)
    assert str(tmp_path) not in places
    assert not any("notes" in place for place in places)
    assert names == (str(tmp_path),)  # programs look for their libraries by listing it


def test_of_a_script_only_the_network_is_ruled(tmp_path):
    """A wrapper of somebody's own: what it starts could lie anywhere."""
    program = tmp_path / "llama-server"
    program.write_text("#!/bin/sh\nexec /somewhere/else/llama-server\n")
    found = confine(
        replace(launch(tmp_path), argv=(str(program),)), bundle(tmp_path), {}, tmp_path, Sandbox.AUTO, WHOLE
    )
    assert found.confinement == "no network; all files: its program is a script"
    assert "abi" not in json.loads(found.prefix[-1])


def test_accelerators_stay_usable(tmp_path):
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm", "kfd", "dri", "dxg", "sda", "mem", "video0"):
        (tmp_path / name).touch()
    found = {Path(path).name for path in devices(tmp_path)}
    assert found == {"null", "zero", "full", "nvidia0", "nvidiactl", "nvidia-uvm", "kfd", "dri", "dxg"}


# ---- a real kernel

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone confines programs that way")


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    found = probe_kernel()
    demand("" if found.landlock else found.lacks)
    return found


@contextmanager
def listeners() -> Iterator[dict[str, Any]]:
    """A TCP port and an abstract socket that answer, and a port that nobody has."""
    abstract = f"mrpack-{os.urandom(8).hex()}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as local:
        local.bind(f"\0{abstract}")
        local.listen()
        yield {"port": tcp.getsockname()[1], "abstract": abstract, "free": free_port()}


def attempts(folder: Path, kernel: Kernel, sandbox: Sandbox = Sandbox.AUTO, **options: Any) -> dict[str, str]:
    """What became of each thing that the prober tried, confined."""
    run, home = folder / "run", folder / "home"
    for path in (run, home):
        path.mkdir(exist_ok=True)
    (home / "secret").write_text("key")
    model = bundle(folder / "model")
    needs = replace(options.pop("needs", Needs()), read=(PROBER,))
    with listeners() as facts:
        if options.pop("tcp", False):
            options["endpoint"] = TcpEndpoint(facts["free"])
        wanted = facts | {
            "model": str(model.weights[0]),
            "secret": str(home / "secret"),
            "run": str(run),
            "outside": str(home),
            "parent": os.getpid(),
        }
        found = confine(
            launch(run, (json.dumps(wanted),), needs=needs, **options), model, {}, run, sandbox, kernel
        )
        done = subprocess.run(
            [*found.prefix, *found.argv], check=True, capture_output=True, text=True, cwd=run
        )
    outcomes: dict[str, str] = json.loads(done.stdout)
    return outcomes


DENIED = {"PermissionError"}
NO_NETWORK = {"OSError 97"}  # EAFNOSUPPORT
ALLOWED = (
    *("read the model", "write to the run folder", "listen in the run folder", "open a device"),
    "run a program of the system",
)
REFUSED = (
    *("change the model", "add to the model", "read a secret", "list a home", "write elsewhere"),
    *("read /etc/shadow", "read another's environment", "run what it wrote"),
)


@linux
def test_a_confined_program_does_its_work_and_nothing_else(tmp_path, kernel):
    found = attempts(tmp_path, kernel)
    assert {name: found[name] for name in ALLOWED} == dict.fromkeys(ALLOWED, "done")
    assert {name: found[name] for name in REFUSED} == dict.fromkeys(REFUSED, "PermissionError")
    assert found["link the secret"] == "OSError 18", "files do not move between places of other rights"
    if kernel.seccomp:
        for name in ("connect out", "listen on a port", "speak to itself over loopback", "send a datagram"):
            assert found[name] in NO_NETWORK, name
    if kernel.landlock >= 6:
        assert found["signal another"] == found["connect to an abstract socket"] == "PermissionError"
    assert not list((tmp_path / "model").glob("new"))


@linux
def test_without_confinement_the_same_program_does_it_all(tmp_path):
    """Else the test above would prove nothing."""
    found = attempts(tmp_path, probe_kernel(), Sandbox.OFF)
    unusual = {"read /etc/shadow"} if os.getuid() else set()
    assert {name for name, outcome in found.items() if outcome != "done"} == unusual


@linux
@pytest.mark.parametrize("abi", range(1, 8))
def test_every_older_landlock_is_spoken_to_in_its_words(tmp_path, kernel, abi):
    """A newer kernel takes the rules of an older one."""
    demand("" if kernel.landlock >= abi else f"this kernel has Landlock {kernel.landlock}")
    found = attempts(tmp_path, Kernel(landlock=abi, seccomp=kernel.seccomp))
    assert [found[name] for name in ("read the model", "write to the run folder")] == ["done", "done"]
    assert {found["read a secret"], found["change the model"], found["write elsewhere"]} == DENIED


@linux
def test_an_engine_whose_processes_speak_has_a_loopback_of_its_own(tmp_path, kernel):
    demand("" if kernel.own_network else "this machine gives programs no network of their own")
    found = attempts(tmp_path, kernel, needs=Needs(network=Network.LOOPBACK))
    assert found["speak to itself over loopback"] == found["listen in the run folder"] == "done"
    assert found["connect out"] == "ConnectionRefusedError", "there is nobody but itself"
    assert found["read a secret"] == "PermissionError"


@linux
def test_an_engine_on_a_port_listens_there_and_connects_nowhere(tmp_path, kernel):
    demand("" if kernel.landlock >= 4 else "this Landlock does not rule TCP")
    found = attempts(tmp_path, kernel, tcp=True)
    assert found["listen on a port"] == "done"
    assert {found["connect out"], found["speak to itself over loopback"]} == DENIED


@linux
def test_an_engine_may_write_where_it_says_that_it_has_to(tmp_path, kernel):
    found = attempts(tmp_path, kernel, needs=Needs(write=(tmp_path / "home",)))
    assert found["write elsewhere"] == "done"
    assert found["change the model"] == "PermissionError"


@linux
def test_the_kernel_says_of_a_confined_program_what_we_say(tmp_path, kernel):
    found = confine(
        replace(launch(tmp_path), argv=("/bin/cat", "/proc/self/status")),
        bundle(tmp_path / "model"),
        {},
        tmp_path,
        Sandbox.REQUIRED,
        kernel,
    )
    command = [*found.prefix, *found.argv]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    status = {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == ("2" if kernel.seccomp else "0")
    assert not int(status["CapEff"], 16) & (1 << 19 | 1 << 21 | 1 << 38), "ptrace, admin, perfmon"


@linux
def test_a_kernel_that_refuses_is_an_error_and_never_an_engine_without_rules(tmp_path):
    program = Path(sys.modules[probe_kernel.__module__].__file__).with_name("run_confined.py")
    command = [sys.executable, "-I", "-S", program, json.dumps({"abi": 7}), "/bin/echo", "started"]
    # No more than 16 layers of rules: the seventeenth is refused by every kernel.
    layers = [sys.executable, "-I", "-S", str(program), json.dumps({"abi": 1, "execute": ["/"]})] * 16
    done = subprocess.run([*layers, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 126
    assert done.stdout == ""
    assert "error: cannot confine the engine: " in done.stderr


# ---- the setting


def test_the_setting_comes_from_the_file_and_the_environment_wins(tmp_path):
    def found(text: str, **environ: str) -> str:
        (tmp_path / "config.toml").write_text(text)
        return load_settings({"MRPACK_CONFIG_HOME": str(tmp_path), **environ}).sandbox

    assert found("") == "auto"
    assert found('[engines]\nsandbox = "required"') == "required"
    assert found('[engines]\nsandbox = "required"', MRPACK_SANDBOX="off") == "off"
    with pytest.raises(UsageError, match="engines: sandbox is 'yes'"):
        found('[engines]\nsandbox = "yes"')
    with pytest.raises(UsageError, match="MRPACK_SANDBOX is 'yes'"):
        found("", MRPACK_SANDBOX="yes")
    with pytest.raises(UsageError, match="unknown key 'sandboxes'"):
        found('[engines]\nsandboxes = "off"')


def test_settings_and_runtime_know_the_same_words():
    assert tuple(Sandbox) == SANDBOXES
