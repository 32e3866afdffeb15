"""The map of the house names rooms that there are: files, folders, tables and classes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = ("mrpack", "runtime/mrpack_runtime", "schemas", "tests", "scripts", "benchmarks", "docs", "examples")
QUOTED = re.compile(r"`([^`\s]+)`")


def paths() -> list[str]:
    """Of all files and folders, each with a slash before it."""
    found = [
        path for folder in CODE for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts
    ]
    return [f"/{path.relative_to(ROOT).as_posix()}" for path in found]


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_what_the_map_names_is_there(page: str) -> None:
    words = set(QUOTED.findall((ROOT / page).read_text(encoding="utf-8")))
    there = paths()
    files = {word for word in words if re.search(r"^[^.].*(/|\.py)$", word) and "/X/" not in word}
    names = {word for word in words if re.fullmatch(r"_?[A-Z][A-Z_]{3,}|(?:[A-Z][a-z]+){2,}", word)}
    assert files
    assert not {word for word in files if not any(path.endswith(f"/{word.strip('/')}") for path in there)}
    sources = [ROOT / path[1:] for path in there if path.endswith(".py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    assert not {word for word in names if not re.search(rf"^(?:class )?{word}\b", text, re.MULTILINE)}
