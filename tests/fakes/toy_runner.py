"""A tiny engine in wheels, and what installs it: for tests, and as a program that can be killed.

python tests/fakes/toy_runner.py HOME MARK     installs with an installer that hangs after it wrote MARK
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import uv

from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.recipe import Install, Probe, Recipe, Variant
from mrpack_runtime.runners.host import engine_folders
from mrpack_runtime.runners.install import Runner
from mrpack_runtime.runners.installers import Installer, Uv
from mrpack_runtime.runners.plan import InstallPlan, plan_install

# It has a row in the platform table; nothing else of that engine is used.
ENGINE = "diffusers"
HOST = HostFacts(
    os="linux",
    arch="x86_64",
    cpu_count=2,
    physical_cores=1,
    memory=2**33,
    glibc=(2, 40),
    environment={"PATH": os.environ["PATH"]},
)
_HANG = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text('x'); time.sleep(600)"


def toy_recipe(*, size: int = 0, requirement: str = "toy=={version}") -> Recipe:
    variant = Variant(
        accelerator="cpu",
        package="toy",
        version="1.0",
        steps=(Install(requirements=(requirement,)),),
        size=size,
        index="toy-index",
    )
    return Recipe(engine=ENGINE, variants=(variant,), probes={"toy": Probe(imports=("toy",))})


def toy_plan(recipe: Recipe | None = None, installer: Installer | None = None, **options: str) -> InstallPlan:
    installer = installer or Uv(Path(uv.find_uv_bin()), Path(sys.executable))
    return plan_install(recipe or toy_recipe(), HOST, installer, sys.version_info[:2], gpu="none", **options)


def toy_runner(home: Path, environ: Mapping[str, str]) -> Runner:
    return Runner(folders=engine_folders(home), host=HOST, logs=home / "logs", environ=environ)


@dataclass(frozen=True)
class Hanging:
    """An installer whose every step hangs; `mark` is written when it has begun."""

    mark: Path
    name: str = "hanging"
    knows_torch: bool = False

    def make(self, environment: Path) -> tuple[str, ...]:
        (environment / "half").write_text("done")
        return (sys.executable, "-c", _HANG, str(self.mark))

    def install(
        self, environment: Path, requirements: Path, *, alone: bool, torch_backend: str
    ) -> tuple[str, ...]:
        return self.make(environment)

    def remove(self, environment: Path, packages: tuple[str, ...]) -> tuple[str, ...]:
        return self.make(environment)


if __name__ == "__main__":
    # A shell may have told its background jobs to ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    toy_runner(Path(sys.argv[1]), os.environ).install(
        toy_plan(installer=Hanging(Path(sys.argv[2]))), lambda _: None
    )
