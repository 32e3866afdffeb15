"""The command `doctor`: does every engine work, and what repairs it."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.table import printable
from mrpack.errors import NotFound, Unsupported
from mrpack_runtime.commands.address import client_options
from mrpack_runtime.wire.endpoint import TcpEndpoint

if TYPE_CHECKING:
    from mrpack_runtime.diagnosis.checkup import EngineFindings, Findings
    from mrpack_runtime.diagnosis.faults import Fault
    from mrpack_runtime.wire.client import GatewayClient

_GOOD: Final = "ok   "
_WARNING: Final = "note "
_BAD: Final = "FAULT"
_ABSENT: Final = "-    "


@command("doctor")
@click.option("--backend", metavar="ENGINE", help="Look at this engine only, and insist that it works.")
@client_options
def doctor(invocation: Invocation, *, backend: str | None, client: GatewayClient) -> None:
    """Try every installed engine in a process of its own, look at the machine, and say what repairs it.

    Exit code 8 when the engine of --backend, or one that is installed, cannot run here.

    \b
    Examples:
      mrpack doctor
      mrpack doctor --backend vllm --json
    """
    from mrpack_runtime.diagnosis.checkup import examine  # noqa: PLC0415  # --help looks at no machine
    from mrpack_runtime.diagnosis.home import probe_home, who_answers  # noqa: PLC0415
    from mrpack_runtime.engines import engines  # noqa: PLC0415
    from mrpack_runtime.runners.host import engine_folders, host_with_engines  # noqa: PLC0415
    from mrpack_runtime.runners.recipes import recipes  # noqa: PLC0415

    known = engines()
    if backend is not None and backend not in known:
        raise NotFound(f"no engine is called {backend!r}", hint=f"known engines: {', '.join(known)}")
    wanted = {name: engine for name, engine in known.items() if backend in {None, name}}
    home = invocation.settings.home
    match client.endpoint:
        case TcpEndpoint(port=port, host=address):
            answers = who_answers(address, port)
        case _:
            port, answers = 0, "nobody"
    with host_with_engines(home, os.environ) as host:
        findings = examine(
            wanted,
            recipes(),
            host(),
            probe_home(home, port, answers),
            on_begin=lambda name: invocation.say(f"trying {name} …"),
            broken=engine_folders(home).broken_names(),
        )
    sound = findings.is_sound(backend)
    invocation.result(_report(findings), _to_json(findings, sound=sound))
    if not sound:
        raise Unsupported(_verdict(findings, backend))


def _report(findings: Findings) -> str:
    lines = [f"{_GOOD}  machine and home"] if not findings.host_faults else []
    lines += [line for fault in findings.host_faults for line in _fault_lines(fault)]
    for engine in findings.engines:
        lines += _engine_lines(engine)
    return "\n".join(printable(line) for line in lines)


def _engine_lines(engine: EngineFindings) -> list[str]:
    if engine.installation is None and engine.probe is None:
        why = (
            f"cannot run here: {engine.reason}"
            if engine.reason
            else f"not installed: {engine.install_hint}{engine.caveat}"
        )
        return [f"{_ABSENT}  {engine.name}: {why}"]
    parts = [engine.name]
    if engine.probe:
        parts += [f"{name} {version}" for name, version in engine.probe.packages.items()]
        parts += [f"sees {engine.probe.device}"] if engine.probe.device else []
        parts += [f"{engine.probe.took_s:.0f} s to import"]
    elif engine.installation:
        parts.append(f"{engine.installation.launcher} {engine.installation.version}")
    lines = [f"{_GOOD if engine.works else _BAD}  {', '.join(parts)}{engine.caveat}"]
    lines += [f"       in {engine.probe.python}"] if engine.probe else []
    return lines + [line for fault in engine.faults for line in _fault_lines(fault)]


def _fault_lines(fault: Fault) -> list[str]:
    return [f"{_BAD if fault.is_fatal else _WARNING}  {fault.what}", f"       repair: {fault.repair}"]


def _to_json(findings: Findings, *, sound: bool) -> dict[str, object]:
    return {
        "sound": sound,
        "machine": [asdict(fault) for fault in findings.host_faults],
        "engines": [engine.to_json() for engine in findings.engines],
    }


def _verdict(findings: Findings, backend: str | None) -> str:
    broken = [engine.name for engine in findings.engines if engine.installation and not engine.works]
    if broken:
        return f"{', '.join(broken)} cannot run here"
    if any(fault.is_fatal for fault in findings.host_faults):
        return "no engine can run here"
    return f"{backend} is not installed" if backend else "no engine is installed"
