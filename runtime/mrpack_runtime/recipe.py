"""What a recipe is: how an engine's virtual environment is made, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """Requirements as pip takes them; `{version}` stands for that of the engine's package.

    `alone`: without what they ask for themselves.
    """

    requirements: tuple[str, ...]
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallRequirementsOf:
    """What an installed `package` asks for: `only` some or, when that is empty, all `without` some.

    `more` on top; `alone` as above.
    """

    package: str
    only: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    more: tuple[str, ...] = ()
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Packages that must not be there; absent ones are no error."""

    packages: tuple[str, ...]


Step = Install | InstallRequirementsOf | Remove


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What shows that an environment works: `imports` in their order, then `calls` (`MODULE:ATTRIBUTE…`).

    `compiles`: the engine makes kernels for processors with a C++ compiler when it loads a model.
    """

    imports: tuple[str, ...]
    calls: tuple[str, ...] = ()
    compiles: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """An environment for one accelerator. `package` in `version`, which was tried together.

    `index` is a name in `[indexes]` of config.toml, used when it is set; `needs_index`: there is no other
    source. `torch_backend`: what `uv` calls it, which knows where torch's builds are; `plain_torch`: what
    others find on Linux without the index. `environment`: build flags. `tools`: programs that a build needs.
    `size`: bytes on disk, about.
    """

    accelerator: str
    package: str
    version: str
    steps: tuple[Step, ...]
    size: int
    index: str = ""
    needs_index: bool = False
    torch_backend: str = ""
    plain_torch: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Floor:
    """The first version without a known hole; `reason` names it."""

    version: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """`variants`: of those for one accelerator, the first that is possible is taken.

    `pythons`: the oldest and the newest that the packages are published for. `probes` and `floors` are by
    package, in whatever environment they are found.
    """

    engine: str
    variants: tuple[Variant, ...]
    probes: Mapping[str, Probe]
    pythons: tuple[tuple[int, int], tuple[int, int]] = ((3, 11), (3, 14))
    floors: Mapping[str, Floor] = field(default_factory=dict)
