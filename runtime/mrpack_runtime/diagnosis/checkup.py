"""The whole diagnosis: the machine, the home, and each engine in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Final

from mrpack_runtime.diagnosis.faults import Case, Fault, find_faults
from mrpack_runtime.diagnosis.home import HomeFacts, find_home_faults
from mrpack_runtime.diagnosis.probe import ProbeResult, find_package, probe
from mrpack_runtime.engine import Engine, Installation, caveat
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.machine.platforms import best_verdict, refusal, verdicts
from mrpack_runtime.recipe import Recipe

# They import gigabytes: more at once only wait for the same disk.
_AT_ONCE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFindings:
    """`probe` is None for an engine that is not installed, and for a program that answered for its version.

    `reason`: why it cannot run on this machine, when the platform table says so.
    """

    name: str
    installation: Installation | None
    probe: ProbeResult | None
    faults: tuple[Fault, ...]
    install_hint: str
    caveat: str
    reason: str

    @property
    def works(self) -> bool:
        return self.installation is not None and not any(fault.is_fatal for fault in self.faults)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "works": self.works,
            "installation": asdict(self.installation) if self.installation else None,
            "probe": asdict(self.probe) | {"python": str(self.probe.python)} if self.probe else None,
            "faults": [asdict(fault) for fault in self.faults],
            "install": None if self.installation or self.reason else self.install_hint,
            "tested": not self.caveat,
            "reason": self.reason or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    host_faults: tuple[Fault, ...]
    engines: tuple[EngineFindings, ...]

    def is_sound(self, wanted: str | None) -> bool:
        """Whether the wanted engine works; without one: whether one is installed and all of these work."""
        if any(fault.is_fatal for fault in self.host_faults):
            return False
        here = [engine for engine in self.engines if engine.installation or engine.name == wanted]
        return bool(here) and all(engine.works for engine in here)


def examine(
    engines: Mapping[str, Engine],
    recipes: Mapping[str, Recipe],
    host: HostFacts,
    home: HomeFacts,
    on_begin: Callable[[str], None],
    *,
    broken: Sequence[str] = (),
) -> Findings:
    """Seconds to minutes: engines are imported, two at a time. `on_begin` gets the name of each.

    `broken`: engines whose environment has lost its Python, so that the host does not name it.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(
            pool.map(
                lambda engine: _examine(engine, recipes.get(engine.name), host, on_begin), engines.values()
            )
        )
    return Findings(
        host_faults=(*find_home_faults(home, host), *(_without_python(name) for name in broken)),
        engines=tuple(found),
    )


def _without_python(engine: str) -> Fault:
    return Fault(
        name="python-gone",
        what=f"the environment of {engine} has lost its Python",
        repair=f"mrpack reinstall-runner --backend {engine}",
        is_fatal=False,
    )


def _examine(
    engine: Engine, recipe: Recipe | None, host: HostFacts, on_begin: Callable[[str], None]
) -> EngineFindings:
    installation = next(iter(engine.installations(host)), None)
    case = _probed(recipe, installation, host, on_begin) if recipe else None
    possible = best_verdict(engine.name, host)
    return EngineFindings(
        name=engine.name,
        installation=installation,
        probe=case.result if case else None,
        faults=find_faults(case) if case else (),
        install_hint=engine.install_hint,
        caveat=caveat(engine),
        reason="" if possible else refusal(verdicts(engine.name, host)),
    )


def _probed(
    recipe: Recipe, installation: Installation | None, host: HostFacts, on_begin: Callable[[str], None]
) -> Case | None:
    """The environment that the engine would be started from; a broken one counts too."""
    for python in host.pythons:
        package = find_package(recipe, python)
        if package is None or (installation and installation.where != str(python.executable)):
            continue
        on_begin(recipe.engine)
        result = probe(recipe, package, python, host)
        return Case(recipe=recipe, host=host, python=python, result=result)
    return None
