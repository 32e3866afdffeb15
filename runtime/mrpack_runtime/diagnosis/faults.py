"""Known faults of engines' environments, as a table: how each is recognised, and what repairs it."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mrpack_runtime.diagnosis.probe import ProbeResult
from mrpack_runtime.machine.host import HostFacts, PythonEnvironment
from mrpack_runtime.machine.platforms import NEEDS, Verdict, verdicts, version_tuple
from mrpack_runtime.recipe import Recipe

# Local versions of torch for processors alone.
_CPU_BUILD: Final = "+cpu"
_BESIDE_TORCH: Final = ("torchvision", "torchaudio", "torchcodec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`is_fatal`: the engine cannot run. `repair` is a command, or what to do."""

    name: str
    what: str
    repair: str
    is_fatal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An engine's environment on a host, and what came of probing it."""

    recipe: Recipe
    host: HostFacts
    python: PythonEnvironment
    result: ProbeResult

    def version(self, package: str) -> str:
        """Empty when it is not installed there."""
        distribution = self.python.find_distribution(package)
        return distribution.version if distribution else ""

    @property
    def reinstall(self) -> str:
        return f"mrpack reinstall-runner --backend {self.recipe.engine}"

    def pip(self, *words: str) -> str:
        return shlex.join([str(self.python.executable), "-m", "pip", *words])


class _Weight(StrEnum):
    """FATAL also where all imports work; CAUSE: of a broken environment, else a warning."""

    FATAL = "fatal"
    CAUSE = "cause"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class _Row:
    """`look` gives what is wrong and the repair; None when nothing is."""

    name: str
    weight: _Weight
    look: Callable[[Case], tuple[str, str] | None]
    only_if_broken: bool = False


def find_faults(case: Case) -> tuple[Fault, ...]:
    """In order of the table; a broken environment that no row explains gets the fault `import`."""
    found = []
    for row in _ROWS:
        if row.only_if_broken and case.result.works:
            continue
        answer = row.look(case)
        if answer:
            is_fatal = row.weight is _Weight.FATAL or (row.weight is _Weight.CAUSE and not case.result.works)
            found.append(Fault(name=row.name, what=answer[0], repair=answer[1], is_fatal=is_fatal))
    if not case.result.works and not any(fault.is_fatal for fault in found):
        found.append(Fault(name="import", what=case.result.error, repair=case.reinstall, is_fatal=True))
    return tuple(found)


def _foreign_torchvision(case: Case) -> tuple[str, str] | None:
    """The package index has these for CUDA alone; transformers imports whatever it finds."""
    torch = case.version("torch")
    beside = [name for name in _BESIDE_TORCH if (version := case.version(name)) and _CPU_BUILD not in version]
    if _CPU_BUILD not in torch or not beside:
        return None
    return (
        f"{' and '.join(beside)} for CUDA beside torch {torch} for processors",
        case.pip("uninstall", "--yes", *beside),
    )


def _illegal_instruction(case: Case) -> tuple[str, str] | None:
    if case.result.signal != signal.SIGILL:
        return None
    features = ", ".join(sorted(case.host.cpu_features)) or "unknown features"
    return (
        f"{case.result.package} was built for another processor (SIGILL); this one has {features}",
        f"another build: {case.reinstall} --version V",
    )


def _killed(case: Case) -> tuple[str, str] | None:
    if case.result.signal != signal.SIGKILL:
        return None
    return "it was killed, most likely for lack of memory", "free some memory, and repeat"


def _too_slow(case: Case) -> tuple[str, str] | None:
    if not case.result.timed_out:
        return None
    return f"importing it took more than {case.result.took_s:.0f} s", "repeat when the machine is less busy"


def _dead_python(case: Case) -> tuple[str, str] | None:
    if case.result.error_type != "OSError" or case.python.executable.exists():
        return None
    return "the Python that this environment was made from is gone", case.reinstall


def _missing_package(case: Case) -> tuple[str, str] | None:
    if case.result.error_type not in {"ModuleNotFoundError", "PackageNotFoundError"}:
        return None
    return f"a package is missing: {case.result.error}", case.reinstall


def _unmet_need(case: Case) -> tuple[str, str] | None:
    """Of the platform table's rows for which this package is made."""
    made_for = {v.accelerator for v in case.recipe.variants if v.package == case.result.package}
    judged = [v for v in verdicts(case.recipe.engine, case.host) if v.row.accelerator in made_for]
    if any(verdict.possible for verdict in judged):
        return None
    needs = [NEEDS[name] for verdict in reversed(judged) for name in verdict.row.needs]
    need = next((need for need in needs if not need.is_met(case.host)), None)
    return (f"{case.result.package} needs {need.words}", need.repair) if need else None


def _unsafe_version(case: Case) -> tuple[str, str] | None:
    package = case.result.package
    floor = case.recipe.floors.get(package)
    if floor is None or version_tuple(case.result.version) >= version_tuple(floor.version):
        return None
    return f"{package} {case.result.version} has {floor.reason}", case.reinstall


def _unused_gpu(case: Case) -> tuple[str, str] | None:
    """A card is there, and torch does not see it."""
    gpu = next((gpu for gpu in case.host.gpus if gpu.api in {"cuda", "rocm", "metal"}), None)
    if gpu is None or case.result.device != "cpu" or not case.result.works:
        return None
    torch = case.version("torch")
    built = "is a build for processors" if _CPU_BUILD in torch else "does not see it"
    return (
        f"{gpu.name} is there, and torch {torch} {built}",
        f"{case.reinstall} --gpu {gpu.api}",
    )


def _no_gpu(case: Case) -> tuple[str, str] | None:
    """A build for GPUs where there is none: it may work, slowly."""
    torch = case.version("torch")
    if "+cu" not in torch and "+rocm" not in torch:
        return None
    if case.result.device != "cpu":
        return None
    return f"torch {torch} is a build for GPUs, and sees none", f"{case.reinstall} --gpu none"


def _old_driver(case: Case) -> tuple[str, str] | None:
    """Only where something is a matter of the GPU."""
    if case.result.works and case.result.device not in {"", "cpu"}:
        return None
    judged = [
        verdict for verdict in verdicts(case.recipe.engine, case.host) if _is_driver(verdict, case.host)
    ]
    return (judged[0].reason, "update the driver of the GPU") if judged else None


def _is_driver(verdict: Verdict, host: HostFacts) -> bool:
    oldest = version_tuple(verdict.row.driver)
    drivers = [version_tuple(gpu.driver) for gpu in host.gpus_of(verdict.row.accelerator) if gpu.driver]
    return bool(oldest and drivers and drivers[0] < oldest)


def _no_compiler(case: Case) -> tuple[str, str] | None:
    """torch.compile builds kernels for the processor when a model is loaded."""
    if not case.recipe.probes[case.result.package].compiles or case.result.device != "cpu":
        return None
    if any(case.host.find_program(name) for name in ("c++", "g++", "clang++")):
        return None
    return "no C++ compiler, which torch.compile needs on processors", "apt-get install g++"


# What decides is facts; what an engine says in its own words is only shown.
_ROWS: Final = (
    _Row("python-gone", _Weight.CAUSE, _dead_python, only_if_broken=True),
    _Row("torchvision", _Weight.CAUSE, _foreign_torchvision),
    _Row("illegal-instruction", _Weight.CAUSE, _illegal_instruction, only_if_broken=True),
    _Row("killed", _Weight.CAUSE, _killed, only_if_broken=True),
    _Row("timeout", _Weight.CAUSE, _too_slow, only_if_broken=True),
    _Row("need", _Weight.FATAL, _unmet_need),
    _Row("missing-package", _Weight.CAUSE, _missing_package, only_if_broken=True),
    _Row("driver", _Weight.WARNING, _old_driver),
    _Row("unused-gpu", _Weight.WARNING, _unused_gpu),
    _Row("no-gpu", _Weight.WARNING, _no_gpu),
    _Row("compiler", _Weight.WARNING, _no_compiler),
    _Row("unsafe-version", _Weight.WARNING, _unsafe_version),
)
