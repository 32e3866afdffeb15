"""Makes, replaces and removes the environment of an engine: beside the old one, probed, then swapped in."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, assert_never

from mrpack.errors import EngineFailed, HostRefused, MrpackError, from_os_error
from mrpack.model.amounts import human_size
from mrpack_runtime.diagnosis.faults import Case, find_faults
from mrpack_runtime.diagnosis.probe import ProbeResult, find_package, probe
from mrpack_runtime.machine.host import HostFacts, PythonEnvironment
from mrpack_runtime.recipe import Install, InstallRequirementsOf, Remove, Step
from mrpack_runtime.runners.folders import EngineFolders, Record
from mrpack_runtime.runners.installers import installer_environment, requirements_text
from mrpack_runtime.runners.leashed import run_leashed
from mrpack_runtime.runners.plan import InstallPlan, describe

_TAIL: Final = 5
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class StepBegun:
    number: int
    total: int
    title: str


@dataclass(frozen=True, slots=True)
class StepSaid:
    """A line of the program that runs."""

    line: str


InstallEvent = StepBegun | StepSaid
Report = Callable[[InstallEvent], None]


class InstallFailed(HostRefused):
    """A package could not be had or built. `log` has all that the installer said."""

    def __init__(self, message: str, *, log: Path, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.log = log


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """Where environments are made: the folders, the machine, the logs, and the environment for installers."""

    folders: EngineFolders
    host: HostFacts
    logs: Path
    environ: Mapping[str, str]

    def install(self, plan: InstallPlan, report: Report) -> Record:
        """Minutes. The old environment, if any, stays in use until the new one works.

        Raises:
            HostRefused: another install runs, or the disk is too small.
            InstallFailed: a step did not succeed.
            EngineFailed: all is installed, but the engine cannot be imported.
        """
        engine = plan.recipe.engine
        with self.folders.claimed(engine):
            self._check_disk(plan)
            environment = self.folders.make(engine)
            try:
                self._run_steps(plan, environment, report)
                result = self._probe(plan, environment, report)
                record = Record(
                    engine=engine,
                    accelerator=plan.variant.accelerator,
                    package=plan.variant.package,
                    version=result.version,
                    installer=plan.installer.name,
                    created=datetime.now(UTC).isoformat(timespec="seconds"),
                    packages=result.packages,
                    device=result.device,
                )
                self.folders.complete(environment, record)
            except BaseException:  # also Ctrl-C: nothing half done is left
                shutil.rmtree(environment, ignore_errors=True)
                raise
            self.folders.sweep(engine)
        return record

    def uninstall(self, engine: str) -> Path:
        """Raises as EngineFolders.remove."""
        with self.folders.claimed(engine):
            return self.folders.remove(engine)

    def log_of(self, engine: str) -> Path:
        return self.logs / f"install-{engine}.log"

    def _check_disk(self, plan: InstallPlan) -> None:
        free = shutil.disk_usage(self.folders.folder).free
        if free < plan.variant.size:
            raise HostRefused(
                f"{plan.recipe.engine} takes about {human_size(plan.variant.size)}, "
                f"and {self.folders.folder} has {human_size(free)} left",
                hint="free some space, or set MRPACK_HOME to a larger disk",
            )

    def _run_steps(self, plan: InstallPlan, environment: Path, report: Report) -> None:
        log = self.log_of(plan.recipe.engine)
        log.unlink(missing_ok=True)
        total = len(plan.variant.steps) + 2
        report(StepBegun(1, total, f"make an environment with {plan.installer.name}"))
        self._run(plan, plan.installer.make(environment), environment, report)
        for number, step in enumerate(plan.variant.steps, start=2):
            argv, title = self._command(plan, step, environment)
            report(StepBegun(number, total, title))
            if argv:
                self._run(plan, argv, environment, report)

    def _command(self, plan: InstallPlan, step: Step, environment: Path) -> tuple[tuple[str, ...], str]:
        """No arguments: there is nothing to do."""
        match step:
            case Remove(packages=packages):
                there = tuple(name for name in packages if _python(environment).find_distribution(name))
                argv = plan.installer.remove(environment, there) if there else ()
                return argv, f"remove {', '.join(packages)}"
            case Install():
                requirements, title = plan.requirements(step), f"install {', '.join(plan.requirements(step))}"
            case InstallRequirementsOf():
                requirements, title = _requirements_of(step, environment), f"install {describe(step)}"
            case _:
                assert_never(step)
        file = environment / "requirements.txt"
        try:
            file.touch(mode=0o600)
            file.write_text(requirements_text(requirements, plan.index), encoding="utf-8")
        except OSError as error:
            raise from_os_error(error, "write the requirements") from error
        argv = plan.installer.install(environment, file, alone=step.alone, torch_backend=plan.torch_backend)
        return argv, title

    def _run(self, plan: InstallPlan, argv: tuple[str, ...], environment: Path, report: Report) -> None:
        log = self.log_of(plan.recipe.engine)
        tail: list[str] = []

        def on_line(line: str) -> None:
            if line.strip():
                tail.append(line.strip())
                del tail[:-_TAIL]
                report(StepSaid(line.rstrip()))

        status = run_leashed(
            argv,
            environment=installer_environment(self.environ, plan.variant.environment),
            folder=environment,
            log=log,
            on_line=on_line,
        )
        if status:
            raise InstallFailed(
                f"{plan.recipe.engine} could not be installed: {_said(tail, status)}",
                log=log,
                hint=_advice(plan, log),
            )

    def _probe(self, plan: InstallPlan, environment: Path, report: Report) -> ProbeResult:
        total = len(plan.variant.steps) + 2
        report(StepBegun(total, total, f"try to import {plan.variant.package}"))
        (environment / "requirements.txt").unlink(missing_ok=True)
        python = _python(environment)
        package = find_package(plan.recipe, python)
        if package is None:
            raise InstallFailed(
                f"{plan.variant.package} is not there after its installation",
                log=self.log_of(plan.recipe.engine),
                hint=f"see {self.log_of(plan.recipe.engine)}",
            )
        result = probe(plan.recipe, package, python, self.host)
        if not result.works:
            raise _unusable(plan, result, self.host)
        return result


def _unusable(plan: InstallPlan, result: ProbeResult, host: HostFacts) -> MrpackError:
    case = Case(recipe=plan.recipe, host=host, python=_python(result.python.parents[1]), result=result)
    repairs = [fault.repair for fault in find_faults(case) if fault.is_fatal]
    what = "did not answer in time" if result.timed_out else result.error
    return EngineFailed(
        f"{plan.recipe.engine} was installed but does not work, and is not used: {what}",
        exit_status=-result.signal if result.signal else None,
        hint="; ".join(dict.fromkeys(repairs)) or f"try another --version than {plan.version}",
    )


def _requirements_of(step: InstallRequirementsOf, environment: Path) -> tuple[str, ...]:
    distribution = _python(environment).find_distribution(step.package)
    found = []
    for text in (distribution.requires or ()) if distribution else ():
        match = _NAME.match(text)
        name = re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""
        if "extra ==" in text or (step.only and name not in step.only) or name in step.without:
            continue
        found.append(text)
    return (*found, *step.more)


def _python(environment: Path) -> PythonEnvironment:
    packages = tuple(sorted(environment.glob("lib/python3*/site-packages")))
    return PythonEnvironment(environment / "bin" / "python", packages)


def _said(tail: list[str], status: int) -> str:
    """The line that tells most; of all that pip says at the end, those with ERROR."""
    errors = [line for line in tail if line.lower().startswith("error")]
    line = (errors or tail or [f"the installer ended with status {status}"])[-1]
    return re.sub(r"^(ERROR|error):\s*", "", line)[:300]


def _advice(plan: InstallPlan, log: Path) -> str:
    advice = f"the whole log is in {log}"
    index = plan.variant.index
    if index and not plan.index:
        advice += f"; if a package was not found, name the index {index!r} in config.toml (docs/engines.md)"
    return advice
