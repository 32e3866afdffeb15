"""The keys of JSON results as docs/cli.md names them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_PAGE = Path(__file__).parents[1] / "docs" / "cli.md"


def documented_keys() -> dict[str, set[str]]:
    """By the first column of the table, without its marks: `ps`, `verify: damaged`."""
    table = _PAGE.read_text(encoding="utf-8").partition("<!-- keys:")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", table, re.MULTILINE)
    return {result.replace("`", ""): set(re.findall(r"`(\w+)`", keys)) for result, keys in rows}


def checked(result: str, value: dict[str, Any]) -> dict[str, Any]:
    """`value`, which has exactly the documented keys."""
    assert set(value) == documented_keys()[result], result
    return value
