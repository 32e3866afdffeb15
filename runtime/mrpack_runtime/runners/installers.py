"""The programs that install Python packages, and how each is told: argument lists and requirement files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

# They would send the packages elsewhere, or put other code in front of them.
_MISLEADING: Final = frozenset(
    {
        *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__"),
        *("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_PYTHON"),
        *("PIP_REQUIREMENT", "PIP_CONSTRAINT", "PIP_BREAK_SYSTEM_PACKAGES", "PIP_DRY_RUN"),
        *("UV_PROJECT_ENVIRONMENT", "UV_SYSTEM_PYTHON", "UV_TARGET", "UV_PREFIX", "UV_PYTHON"),
    }
)
# A package that is built runs code of its own: what is secret stays here. Installers keep theirs.
_SECRETS: Final = (
    *("TOKEN", "SECRET", "PASSWORD", "API_KEY", "PRIVATE_KEY", "CREDENTIAL"),
    "DOCKER_AUTH_CONFIG",
)
_OWN: Final = ("PIP_", "UV_")
_QUIET: Final = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_PROGRESS_BAR": "off",
    "PYTHONNOUSERSITE": "1",
    "PYTHONUNBUFFERED": "1",
    "UV_NO_PROGRESS": "1",
    "NO_COLOR": "1",
}


class Installer(Protocol):
    """Makes argument lists; runs nothing. `environment` is a virtual environment's folder."""

    @property
    def name(self) -> str: ...

    @property
    def knows_torch(self) -> bool:
        """Where its builds for each accelerator are."""
        ...

    def make(self, environment: Path) -> tuple[str, ...]: ...

    def install(
        self, environment: Path, requirements: Path, *, alone: bool, torch_backend: str
    ) -> tuple[str, ...]:
        """`requirements` is a file; `alone`: without what they ask for."""
        ...

    def remove(self, environment: Path, packages: tuple[str, ...]) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Pip:
    """The one that `python -m venv` puts into the environment."""

    python: Path
    name: str = "pip"
    knows_torch: bool = False

    def make(self, environment: Path) -> tuple[str, ...]:
        return (str(self.python), "-m", "venv", str(environment))

    def install(
        self, environment: Path, requirements: Path, *, alone: bool, torch_backend: str
    ) -> tuple[str, ...]:
        del torch_backend  # pip knows indexes only
        flags = ("--no-deps",) if alone else ()
        return (*_pip(environment), "install", *flags, "--requirement", str(requirements))

    def remove(self, environment: Path, packages: tuple[str, ...]) -> tuple[str, ...]:
        return (*_pip(environment), "uninstall", "--yes", *packages)


@dataclass(frozen=True, slots=True)
class Uv:
    """Faster, and it knows the indexes of torch's builds by itself."""

    program: Path
    python: Path
    name: str = "uv"
    knows_torch: bool = True

    def make(self, environment: Path) -> tuple[str, ...]:
        return (str(self.program), "venv", "--python", str(self.python), str(environment))

    def install(
        self, environment: Path, requirements: Path, *, alone: bool, torch_backend: str
    ) -> tuple[str, ...]:
        flags = ("--no-deps",) if alone else ()
        backend = ("--torch-backend", torch_backend) if torch_backend else ()
        return (
            *(str(self.program), "pip", "install", "--python", str(environment / "bin" / "python")),
            # As pip: the best version of all indexes, not the first index that knows the name.
            *("--index-strategy", "unsafe-best-match"),
            *flags,
            *backend,
            *("--requirement", str(requirements)),
        )

    def remove(self, environment: Path, packages: tuple[str, ...]) -> tuple[str, ...]:
        return (
            *(str(self.program), "pip", "uninstall", "--python", str(environment / "bin" / "python")),
            *packages,
        )


def installer_environment(environ: Mapping[str, str], flags: Mapping[str, str]) -> dict[str, str]:
    """What an installer gets of ours: all but what misleads it and what is secret; `flags` are the recipe's.

    CMAKE_ARGS of the user come after the recipe's, so that they win.
    """
    kept = {
        name: value
        for name, value in environ.items()
        if name not in _MISLEADING and (name.startswith(_OWN) or not any(word in name for word in _SECRETS))
    }
    joined = {name: f"{value} {kept[name]}" if name in kept else value for name, value in flags.items()}
    return {**kept, **_QUIET, **joined}


def requirements_text(requirements: tuple[str, ...], index: str = "") -> str:
    """A requirements file. It holds the index, since a URL with a password has no place on a command line."""
    lines = [f"--extra-index-url {index}"] if index else []
    return "\n".join([*lines, *requirements, ""])


def _pip(environment: Path) -> tuple[str, ...]:
    return (str(environment / "bin" / "python"), "-m", "pip")
