"""The commands `install-runner`, `reinstall-runner`, `uninstall-runner`: an environment for each engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.messages import can_redraw
from mrpack.cli.table import printable
from mrpack.cli.values import FILE
from mrpack.errors import NotFound, Unsupported, UsageError
from mrpack.model.amounts import human_size

if TYPE_CHECKING:
    from mrpack_runtime.recipe import Recipe
    from mrpack_runtime.runners.install import InstallEvent, Report, Runner
    from mrpack_runtime.runners.installers import Installer
    from mrpack_runtime.runners.plan import InstallPlan

# As `plan_install` takes them; --help looks at no machine.
_GPUS: Final = ("auto", "none", "cuda", "rocm", "metal", "vulkan", "opencl", "cpu")
# Of what installers say, this is of interest while it goes on.
_TELLING: Final = re.compile(
    r"\s*(Downloading .*\((\d{2,}(\.\d+)? ?MB|[\d.]+ ?([MG]i|G)B)\)|(Building|Installing|Resolved|Prepared) )"
)
_VERSION: Final = "import sys, ensurepip, venv; print(*sys.version_info[:2])"

_BACKEND: Final = click.option(
    "--backend", required=True, metavar="ENGINE", help="The engine: llama.cpp, vllm or diffusers."
)
_OPTIONS: Final = (
    _BACKEND,
    click.option(
        "--gpu",
        type=click.Choice(_GPUS),
        default="auto",
        show_default=True,
        help="What it is to run on; auto takes the best that is here, none the processor.",
    ),
    click.option(
        "--version",
        "version",
        metavar="V",
        help="Another version of the engine's package than the one that was tested.",
    ),
    click.option(
        "--installer",
        type=click.Choice(["auto", "uv", "pip"]),
        default="auto",
        show_default=True,
        help="The program that installs; auto takes uv when it is on PATH.",
    ),
    click.option("--python", type=FILE, metavar="FILE", help="The Python to make the environment with."),
    click.option("--dry-run", is_flag=True, help="Only show what would be run."),
)


def _install_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@command("install-runner")
@_install_options
def install_runner(invocation: Invocation, **options: Any) -> None:
    """Install an engine into a virtual environment of its own.

    The environment is made beside the one in use, tried, and swapped in when it works. An engine that is
    installed already stays as it is.

    \b
    Examples:
      mrpack install-runner --backend vllm
      mrpack install-runner --backend llama.cpp --gpu none --dry-run
    """
    _install(invocation, **options, again=False)


@command("reinstall-runner")
@_install_options
def reinstall_runner(invocation: Invocation, **options: Any) -> None:
    """Install an engine again, in place of the environment that is there.

    \b
    Example:
      mrpack reinstall-runner --backend diffusers --gpu cuda
    """
    _install(invocation, **options, again=True)


@command("uninstall-runner")
@_BACKEND
def uninstall_runner(invocation: Invocation, *, backend: str) -> None:
    """Remove the environment of an engine. Refused while a gateway uses it.

    \b
    Example:
      mrpack uninstall-runner --backend vllm
    """
    _recipe(backend)
    removed = _runner(invocation).uninstall(backend)
    invocation.result("", {"engine": backend, "removed": str(removed)})
    invocation.say(f"removed {removed}")


def _install(
    invocation: Invocation,
    *,
    backend: str,
    gpu: str,
    version: str | None,
    installer: str,
    python: Path | None,
    dry_run: bool,
    again: bool,
) -> None:
    from mrpack_runtime.runners.plan import plan_install  # noqa: PLC0415  # --help needs none of it

    recipe = _recipe(backend)
    runner = _runner(invocation)
    interpreter = python.absolute() if python else Path(sys.executable)
    plan = plan_install(
        recipe,
        runner.host,
        _installer(installer, interpreter),
        _version_of(interpreter),
        gpu=gpu,
        version=version,
        indexes=invocation.settings.indexes,
    )
    link = runner.folders.folder / backend
    if dry_run:
        _show_plan(invocation, plan, link)
        return
    present = runner.folders.record(backend)
    if not again and runner.folders.is_linked(backend):
        _stay(invocation, backend, plan, asdict(present) if present else None, link, asked=bool(version))
        return
    if not invocation.quiet:
        _say_plan(invocation, plan, link)
    with _reporting(invocation) as report:
        record = runner.install(plan, report)
    value = asdict(record) | {"environment": str(link), "changed": True}
    invocation.result("", value)
    device = f", which sees {record.device}" if record.device else ""
    invocation.say(f"{backend} works: {record.package} {record.version}{device}, in {link}")
    invocation.say("a gateway that runs takes it for the next model that it loads")


def _stay(
    invocation: Invocation,
    backend: str,
    plan: InstallPlan,
    present: dict[str, Any] | None,
    link: Path,
    *,
    asked: bool,
) -> None:
    """Asking twice for the same is no error; for something else, it is."""
    if present is None:
        invocation.result("", {"engine": backend, "environment": str(link), "changed": False})
        invocation.say(f"{backend} has an environment already, which mrpack did not make: {link}")
        return
    same = present["accelerator"] == plan.variant.accelerator and (
        not asked or present["version"] == plan.version
    )
    if not same:
        raise UsageError(
            f"{backend} is installed: {present['package']} {present['version']} for {present['accelerator']}",
            hint=f"`mrpack reinstall-runner --backend {backend}` replaces it",
        )
    invocation.result("", present | {"environment": str(link), "changed": False})
    invocation.say(f"{backend} is installed already: {present['package']} {present['version']} in {link}")


def _recipe(backend: str) -> Recipe:
    from mrpack_runtime.engines import engines  # noqa: PLC0415
    from mrpack_runtime.runners.recipes import recipes  # noqa: PLC0415

    found = recipes().get(backend)
    if found is not None:
        return found
    if engine := engines().get(backend):
        raise Unsupported(f"mrpack has no recipe for {backend}", hint=engine.install_hint)
    raise NotFound(f"no engine is called {backend!r}", hint=f"it installs {', '.join(recipes())}")


def _runner(invocation: Invocation) -> Runner:
    from mrpack_runtime.machine.host import probe_host  # noqa: PLC0415
    from mrpack_runtime.runners.host import engine_folders  # noqa: PLC0415
    from mrpack_runtime.runners.install import Runner  # noqa: PLC0415

    home = invocation.settings.home
    return Runner(
        folders=engine_folders(home), host=probe_host(os.environ), logs=home / "logs", environ=os.environ
    )


def _installer(name: str, python: Path) -> Installer:
    from mrpack_runtime.runners.installers import Pip, Uv  # noqa: PLC0415

    uv = shutil.which("uv") if name != "pip" else None
    if name == "uv" and uv is None:
        raise NotFound("uv is not on PATH", hint="leave out --installer, or install uv")
    return Uv(Path(uv), python) if uv else Pip(python)


def _version_of(python: Path) -> tuple[int, int]:
    """Asked for, so that a Python without venv is found out at once."""
    try:
        done = subprocess.run(
            [python, "-I", "-c", _VERSION], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{python} does not run: {error}") from error
    if done.returncode:
        raise UsageError(
            f"{python} cannot make virtual environments",
            hint="on Debian: apt-get install python3-venv; or name another one with --python",
        )
    major, minor = done.stdout.split()
    return int(major), int(minor)


def _show_plan(invocation: Invocation, plan: InstallPlan, link: Path) -> None:
    value = plan.to_json(link) | {"environment": str(link)}
    if not invocation.json and not invocation.quiet:
        _say_plan(invocation, plan, link)
    invocation.result("\n".join(value["commands"]), value)


def _say_plan(invocation: Invocation, plan: InstallPlan, link: Path) -> None:
    for reason in plan.skipped:
        invocation.say(f"not {reason}")
    invocation.say(f"for {plan.why}")
    tested = "" if plan.is_tested else f" (tested: {plan.variant.version})"
    size = f"about {human_size(plan.variant.size)}"
    invocation.say(f"{plan.variant.package} {plan.version}{tested}, {size}, into {link}")
    if plan.caution:
        invocation.say(plan.caution)


class _reporting:  # noqa: N801  # a context, as contextlib's
    """Steps as lines; on a terminal also what goes on right now; JSON for machines."""

    def __init__(self, invocation: Invocation) -> None:
        self._how = "none" if invocation.quiet else invocation.progress
        if self._how == "auto":
            self._how = "live" if can_redraw(sys.stderr) else "plain"
        self._begin = time.monotonic()
        self._status: Any = None

    def __enter__(self) -> Report:
        if self._how == "live":
            from rich.console import Console  # noqa: PLC0415  # 70 ms, only for a terminal

            self._status = Console(stderr=True).status("")
            self._status.start()
        return self._tell

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def _tell(self, event: InstallEvent) -> None:
        from mrpack_runtime.runners.install import StepBegun  # noqa: PLC0415

        if self._how == "none":
            return
        took = time.monotonic() - self._begin
        if isinstance(event, StepBegun):
            line = f"[{event.number}/{event.total}] {event.title}"
            value: dict[str, Any] = {
                "event": "step",
                "number": event.number,
                "total": event.total,
                "title": event.title,
            }
        elif _TELLING.match(event.line):
            line = f"      {event.line.strip()}"
            value = {"event": "output", "line": event.line.strip()}
        else:
            return
        line = printable(line)[:200]
        match self._how:
            case "json":
                import json  # noqa: PLC0415

                click.echo(json.dumps(value | {"seconds": round(took, 1)}), err=True)
            case "live" if not isinstance(event, StepBegun):
                from rich.markup import escape  # noqa: PLC0415

                self._status.update(f"{escape(line.strip())} [dim]{took:.0f} s[/]")
            case "live":
                self._status.console.print(line, markup=False, highlight=False)
            case _:
                click.echo(line, err=True)
