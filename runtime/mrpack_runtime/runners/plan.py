"""From a recipe and a host to the commands that make an environment; nothing is run here."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from mrpack.errors import Unsupported, UsageError
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.machine.platforms import verdicts, version_tuple
from mrpack_runtime.recipe import Install, InstallRequirementsOf, Recipe, Remove, Step, Variant
from mrpack_runtime.runners.installers import Installer

AUTO = "auto"
NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallPlan:
    """`why` says what decided; `skipped` which accelerators were passed over, and why.

    `caution`: what will be larger than it has to, or fail, unless something is set first; empty if nothing.
    """

    recipe: Recipe
    variant: Variant
    version: str
    index: str
    installer: Installer
    why: str
    skipped: tuple[str, ...] = ()
    caution: str = ""

    @property
    def is_tested(self) -> bool:
        return self.version == self.variant.version

    def shown(self, environment: Path) -> list[str]:
        """The commands as a person would type them; an index by its name."""
        lines = [shlex.join(self.installer.make(environment))]
        flags = "".join(f"{name}={shlex.quote(value)} " for name, value in self.variant.environment.items())
        for step in self.variant.steps:
            lines += [flags + shlex.join(words) for words in self._words(environment, step)]
        return lines

    def _words(self, environment: Path, step: Step) -> list[tuple[str, ...]]:
        match step:
            case Remove(packages=packages):
                return [self.installer.remove(environment, packages)]
            case Install():
                requirements = self.requirements(step)
            case InstallRequirementsOf():
                requirements = (f"<{describe(step)}>", *step.more)
            case _:
                assert_never(step)
        file = Path("-")
        argv = self.installer.install(environment, file, alone=step.alone, torch_backend=self.torch_backend)
        index = ("--extra-index-url", f"<{self.variant.index}>") if self.index else ()
        return [(*argv[:-2], *index, *requirements)]

    def requirements(self, step: Install) -> tuple[str, ...]:
        return tuple(text.replace("{version}", self.version) for text in step.requirements)

    @property
    def torch_backend(self) -> str:
        """Empty where the user named an index."""
        return "" if self.index else self.variant.torch_backend

    def to_json(self, environment: Path) -> dict[str, Any]:
        return {
            "engine": self.recipe.engine,
            "gpu": self.variant.accelerator,
            "package": self.variant.package,
            "version": self.version,
            "tested": self.is_tested,
            "installer": self.installer.name,
            "size": self.variant.size,
            "why": self.why,
            "skipped": list(self.skipped),
            "caution": self.caution or None,
            "commands": self.shown(environment),
        }


def describe(step: InstallRequirementsOf) -> str:
    if step.only:
        return f"what {step.package} requires: {', '.join(sorted(step.only))}"
    return f"what {step.package} requires, without {', '.join(sorted(step.without))}"


def plan_install(
    recipe: Recipe,
    host: HostFacts,
    installer: Installer,
    python_version: tuple[int, int],
    *,
    gpu: str = AUTO,
    version: str | None = None,
    indexes: Mapping[str, str] | None = None,
) -> InstallPlan:
    """`gpu` is AUTO, NONE or an accelerator; `version` is the package's, by default the one that was tested.

    Raises:
        Unsupported: it cannot run here so; the message has the reason of each accelerator.
        UsageError: a version below the recipe's floor.
    """
    indexes = indexes or {}
    _check_python(recipe, python_version)
    wanted = "cpu" if gpu == NONE else gpu
    reasons: list[str] = []
    for verdict in verdicts(recipe.engine, host):
        accelerator = verdict.row.accelerator
        if wanted not in {AUTO, accelerator}:
            continue
        if not verdict.possible:
            reasons.append(f"{accelerator}: {verdict.reason}")
            continue
        variant, lacking = _possible_variant(recipe, accelerator, host, indexes)
        if variant is None:
            reasons.append(f"{accelerator}: {lacking}")
            continue
        _check_floor(recipe, variant, version)
        return InstallPlan(
            recipe=recipe,
            variant=variant,
            version=version or variant.version,
            index=indexes.get(variant.index, ""),
            installer=installer,
            why=f"{accelerator}: {verdict.reason}",
            skipped=tuple(reasons),
            caution=_caution(variant, host, installer, indexes),
        )
    raise _refusal(recipe.engine, wanted, host, reasons)


def _refusal(engine: str, wanted: str, host: HostFacts, reasons: list[str]) -> Unsupported:
    """`reasons`: of every accelerator that was looked at."""
    if wanted == AUTO:
        return Unsupported(f"{engine} cannot be installed here", hint="; ".join(reasons))
    if reasons:
        why = "; ".join(reason.removeprefix(f"{wanted}: ") for reason in reasons)
        return Unsupported(
            f"{engine} for {wanted} cannot be installed here: {why}", hint=f"--gpu {AUTO} takes what can"
        )
    known = [verdict.row.accelerator for verdict in verdicts(engine, host)]
    return Unsupported(
        f"there is no {engine} for {wanted} on {host.os} {host.arch}",
        hint=f"there is one for {', '.join(known)}" if known else "`mrpack engines` lists what can run here",
    )


def _possible_variant(
    recipe: Recipe, accelerator: str, host: HostFacts, indexes: Mapping[str, str]
) -> tuple[Variant | None, str]:
    lacking = []
    for variant in recipe.variants:
        if variant.accelerator != accelerator:
            continue
        missing = [tool for tool in variant.tools if host.find_program(tool) is None]
        if variant.needs_index and variant.index not in indexes:
            lacking.append(f"{variant.package} needs the index {variant.index!r} in config.toml")
        elif missing:
            lacking.append(f"building {variant.package} needs {', '.join(missing)}")
        else:
            return variant, ""
    return None, " or ".join(lacking) or "no recipe"


def _caution(variant: Variant, host: HostFacts, installer: Installer, indexes: Mapping[str, str]) -> str:
    if host.os != "linux" or installer.knows_torch or variant.index in indexes or not variant.plain_torch:
        return ""
    return f"{variant.plain_torch}: install uv, or set the index {variant.index!r} in config.toml"


def _check_python(recipe: Recipe, version: tuple[int, int]) -> None:
    oldest, newest = recipe.pythons
    if not oldest <= version <= newest:
        raise Unsupported(
            f"{recipe.engine} has packages for Python {_dotted(oldest)} to {_dotted(newest)}, "
            f"this is {_dotted(version)}",
            hint="name another one with --python",
        )


def _check_floor(recipe: Recipe, variant: Variant, version: str | None) -> None:
    floor = recipe.floors.get(variant.package)
    if version and floor and version_tuple(version) < version_tuple(floor.version):
        raise UsageError(
            f"{variant.package} {version} is not safe: {floor.reason}", hint=f"take {floor.version} or newer"
        )


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
