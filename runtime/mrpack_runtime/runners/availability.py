"""Which engines could run here: in words for Docker Model Runner's clients, and as a survey for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from mrpack_runtime.engine import Engine, Installation, caveat
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.machine.platforms import Verdict, refusal, verdicts
from mrpack_runtime.runners.folders import EngineFolders, Record

_NEVER: Final = "not for this machine"


def availability(engines: Mapping[str, Engine], host: HostFacts) -> dict[str, str]:
    """By name: `Available: LAUNCHER VERSION`, or `Not Installed:` and how to. Looks at the disk."""
    words = {}
    for name, engine in engines.items():
        if found := engine.installations(host):
            words[name] = f"Available: {found[0].launcher} {found[0].version}{caveat(engine)}"
        elif _can_run(verdicts(name, host)):
            words[name] = f"Not Installed: {engine.install_hint}{caveat(engine)}"
        else:
            words[name] = f"Not Installed: {_NEVER}"
    return words


def _can_run(verdicts: Sequence[Verdict]) -> bool:
    """As far as the platform table knows; an engine without rows is given the benefit of the doubt."""
    return not verdicts or any(verdict.possible for verdict in verdicts)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """An engine on this host. `installations`: best first; `record`: of the environment that mrpack made."""

    name: str
    formats: tuple[str, ...]
    installations: tuple[Installation, ...]
    verdicts: tuple[Verdict, ...]
    install_hint: str
    caveat: str
    record: Record | None

    @property
    def can_run(self) -> bool:
        return _can_run(self.verdicts)

    @property
    def word(self) -> str:
        if self.installations:
            return "installed"
        return "not installed" if self.can_run else _NEVER

    @property
    def what(self) -> str:
        if not self.installations:
            return f"{self.install_hint}{self.caveat}" if self.can_run else ""
        first = self.installations[0]
        made_for = f", for {self.record.accelerator}" if self._is_of_record(first) and self.record else ""
        return f"{first.launcher} {first.version}{made_for}{self.caveat}"

    def _is_of_record(self, installation: Installation) -> bool:
        return self.record is not None and f".{self.record.engine}-" in installation.where

    @property
    def where(self) -> str:
        return self.installations[0].where if self.installations else ""

    @property
    def platforms(self) -> str:
        """One line: what works, else why nothing does."""
        possible = [verdict.row.accelerator for verdict in self.verdicts if verdict.possible]
        if possible:
            return ", ".join(possible)
        return refusal(self.verdicts)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "state": self.word,
            "formats": list(self.formats),
            "installations": [asdict(installation) for installation in self.installations],
            "environment": asdict(self.record) if self.record else None,
            "install": self.install_hint,
            "tested": not self.caveat,
            "platforms": [
                {
                    "accelerator": verdict.row.accelerator,
                    "possible": verdict.possible,
                    "reason": verdict.reason,
                    "support": str(verdict.row.support),
                    "driver_minimum": verdict.row.driver or None,
                    "installs": verdict.row.installs or None,
                }
                for verdict in self.verdicts
            ],
        }


def survey(engines: Mapping[str, Engine], host: HostFacts, folders: EngineFolders) -> list[EngineState]:
    """Every engine, in the order of `engines`. Looks at the disk, and starts no engine."""
    return [
        EngineState(
            name=engine.name,
            formats=tuple(sorted(engine.formats)),
            installations=engine.installations(host),
            verdicts=verdicts(engine.name, host),
            install_hint=engine.install_hint,
            caveat=caveat(engine),
            record=folders.record(engine.name),
        )
        for engine in engines.values()
    ]
