"""Asks an engine's own Python whether the engine can be imported, in a process that may die."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mrpack_runtime.machine.host import HostFacts, PythonEnvironment
from mrpack_runtime.processes.environment import engine_environment
from mrpack_runtime.processes.run_folders import run_folder
from mrpack_runtime.recipe import Probe, Recipe

_CHILD: Final = Path(__file__).with_name("run_probe.py")
# vLLM takes ten seconds from a warm disk, and a minute from a cold one on a busy machine.
PROBE_TIMEOUT_S: Final = 240.0
_OUTPUT_LIMIT: Final = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """`error` is empty when all imports worked, else what failed: `TYPE: MESSAGE` of module `module`.

    `signal` is set when the process was ended by one, `timed_out` when it took too long. `packages`: versions
    by name, of those that have to do with the probe; `device`: what torch sees. `took_s`: seconds.
    """

    package: str
    version: str
    python: Path
    packages: dict[str, str] = field(default_factory=dict)
    device: str = ""
    error: str = ""
    error_type: str = ""
    module: str = ""
    signal: int | None = None
    timed_out: bool = False
    took_s: float = 0.0

    @property
    def works(self) -> bool:
        return not (self.error or self.signal or self.timed_out)


def find_package(recipe: Recipe, python: PythonEnvironment) -> str | None:
    """The package of this recipe that an environment has."""
    return next((name for name in recipe.probes if python.find_distribution(name)), None)


def probe(
    recipe: Recipe,
    package: str,
    python: PythonEnvironment,
    host: HostFacts,
    *,
    timeout_s: float = PROBE_TIMEOUT_S,
) -> ProbeResult:
    """Takes seconds. `package` is installed there; its clean environment is that of engines."""
    wanted: Probe = recipe.probes[package]
    versions = _versions(python, package, wanted)
    begin = time.monotonic()
    facts: dict[str, Any] = {}
    with run_folder() as folder:
        output = folder / "output"
        try:
            with output.open("wb") as file:
                process = subprocess.Popen(
                    [
                        *(str(python.executable), "-I", str(_CHILD)),
                        json.dumps({"imports": wanted.imports, "calls": wanted.calls}),
                    ],
                    env=engine_environment(host, folder),
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                try:
                    process.wait(timeout_s)
                except subprocess.TimeoutExpired:
                    facts["timed_out"] = True
                finally:
                    _end(process)
            text = output.read_bytes()[-_OUTPUT_LIMIT:].decode(errors="replace").strip()
            facts |= _outcome(process.returncode, text) if not facts else {"error": _last_line(text)}
        except OSError as error:
            facts = {"error": f"{python.executable}: {error.strerror}", "error_type": "OSError"}
    return ProbeResult(
        package=package,
        version=versions.get(package, ""),
        python=python.executable,
        packages=versions,
        took_s=round(time.monotonic() - begin, 2),
        **facts,
    )


def _outcome(status: int, text: str) -> dict[str, Any]:
    if status < 0:
        return {"signal": -status, "error": f"ended by {signal.Signals(-status).name}"}
    try:
        answer = json.loads(text.rpartition("\n")[2])
        failed = answer["error"]
    except (ValueError, KeyError, TypeError):
        return {"error": _last_line(text) or f"ended with status {status}"}
    if not failed:
        return {"device": answer["device"]}
    message = " ".join(failed["message"].split())
    return {
        "error": f"{failed['type']}: {message}",
        "error_type": failed["type"],
        "module": failed["module"],
    }


def _versions(python: PythonEnvironment, package: str, probe: Probe) -> dict[str, str]:
    """Of the package, and of what is imported with it under the same name."""
    names = (package, *(module.partition(".")[0] for module in probe.imports))
    found = ((name, python.find_distribution(name)) for name in dict.fromkeys(names))
    return {name: distribution.version for name, distribution in found if distribution}


def _last_line(text: str) -> str:
    return re.sub(r"\s+", " ", text.rpartition("\n")[2])


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it started: it leads a process group of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
