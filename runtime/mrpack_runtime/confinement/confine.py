"""The rules for one engine process, and the command that holds it to them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from mrpack.errors import Unsupported
from mrpack_runtime.confinement.kernel import PROGRAM, Kernel
from mrpack_runtime.confinement.places import READABLE, SYSTEM, devices, is_script, program_places
from mrpack_runtime.engine import Launch, ModelBundle, Network
from mrpack_runtime.wire.endpoint import TcpEndpoint

# Our own programs for engines lie there, and nothing else.
_OURS: Final = Path(__file__).parents[1]
_LIBRARY_PATH: Final = "LD_LIBRARY_PATH"
# Landlock's first ABI that rules TCP, and the first for signals and abstract sockets.
_NETWORK_ABI: Final = 4
_SCOPE_ABI: Final = 6
# What it starts could lie anywhere.
_SCRIPT: Final = "its program is a script"
_OFF: Final = "not confined: switched off"


class Sandbox(StrEnum):
    """`auto`: as far as the kernel can; `required`: files and network at least, or the engine is refused."""

    AUTO = "auto"
    OFF = "off"
    REQUIRED = "required"


def confine(
    launch: Launch,
    bundle: ModelBundle,
    environment: Mapping[str, str],
    run_folder: Path,
    sandbox: Sandbox,
    kernel: Kernel,
) -> Launch:
    """The launch with what starts its program confined, and with words that say so; `argv` stays as it is.

    The engine reads its program, the system, and its model; it writes to `run_folder` and to what it says
    that it needs. `environment` is what all engines get.

    Raises:
        Unsupported: it is required, and the kernel cannot.
    """
    if sandbox is Sandbox.OFF:
        return replace(launch, confinement=_OFF)
    if kernel.landlock and is_script(Path(launch.argv[0])):
        kernel = replace(kernel, landlock=0, lacks=_SCRIPT)
    network, said = _network(launch, kernel)
    rules = network | (_files(launch, bundle, environment, run_folder, kernel) if kernel.landlock else {})
    if sandbox is Sandbox.REQUIRED and not (kernel.landlock and network):
        raise Unsupported(
            f"{launch.engine} cannot be confined here as is required: {kernel.lacks or said}",
            hint="--sandbox auto confines it as far as this machine can",
        )
    if not rules:
        return replace(launch, confinement=f"not confined: {kernel.lacks}")
    prefix = (sys.executable, "-I", "-S", str(PROGRAM), json.dumps(rules))
    return replace(launch, prefix=prefix, confinement=_words(kernel, said))


def _files(
    launch: Launch,
    bundle: ModelBundle,
    environment: Mapping[str, str],
    run_folder: Path,
    kernel: Kernel,
) -> dict[str, Any]:
    places, names = program_places(Path(launch.argv[0]))
    libraries = (path for path in environment.get(_LIBRARY_PATH, "").split(os.pathsep) if path)
    return {
        "abi": kernel.landlock,
        "execute": [*SYSTEM, *places, *libraries],
        "read": [*READABLE, str(_OURS), *_model(bundle), *map(str, launch.needs.read)],
        "names": list(names),
        "write": [str(run_folder), *map(str, launch.needs.write)],
        "devices": list(devices()),
    }


def _model(bundle: ModelBundle) -> list[str]:
    """Its folder, and what of it lies elsewhere or behind a link."""
    parts = (*bundle.weights, *bundle.adapters, bundle.mmproj, bundle.chat_template)
    found = [bundle.folder, *(path for part in parts if part for path in (part, part.resolve()))]
    return [str(path) for path in dict.fromkeys(found)]


def _network(launch: Launch, kernel: Kernel) -> tuple[dict[str, Any], str]:
    """The rules, empty where there are none, and what they come to."""
    match launch.needs.network, launch.endpoint:
        case Network.OPEN, _:
            return {}, "any network, which it needs"
        case Network.LOOPBACK, TcpEndpoint():
            return {}, "any network: it is spoken to over TCP"
        case Network.LOOPBACK, _ if kernel.own_network:
            return {"own_network": True}, "a loopback of its own"
        case Network.LOOPBACK, _:
            return {}, "any network: this machine gives it no loopback of its own"
        case _, TcpEndpoint(port=port) if kernel.landlock >= _NETWORK_ABI:
            return {"ports": [port]}, "TCP on its own port"
        case _, TcpEndpoint():
            return {}, "any network: the kernel cannot rule TCP"
        case _ if kernel.seccomp:
            return {"only_unix": True, "ports": []}, "no network"
        case _ if kernel.landlock >= _NETWORK_ABI:
            return {"ports": []}, "no TCP"
        case _:
            return {}, "any network: the kernel cannot rule it"


def _words(kernel: Kernel, network: str) -> str:
    if not kernel.landlock:
        return f"{network}; all files: {kernel.lacks}"
    rest = "" if kernel.landlock >= _SCOPE_ABI else "; signals to other programs (an older Landlock)"
    return f"its model, its run folder and the system's files (Landlock {kernel.landlock}); {network}{rest}"
