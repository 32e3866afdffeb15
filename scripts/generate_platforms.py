"""Write the table of platforms of docs/engines.md from mrpack_runtime/machine/platforms.py."""

from __future__ import annotations

from pathlib import Path

from mrpack_runtime.machine.platforms import NEEDS, TABLE, Row, Support

PAGE = Path(__file__).parents[1] / "docs" / "engines.md"
BEGIN = "<!-- platforms: written by scripts/generate_platforms.py -->"
END = "<!-- /platforms -->"
_WORDS = {Support.TESTED: "yes, tested", Support.EXPECTED: "yes", Support.NO: "no"}
_SYSTEMS = {"linux": "Linux", "macos": "macOS", "windows": "Windows"}


def page_text(page: str) -> str:
    """`page` with what stands between its two marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def table() -> str:
    lines = ["| engine | system | on | runs | needs | `install-runner` brings |", "|---|---|---|---|---|---|"]
    return "\n".join([*lines, *(_line(row) for row in TABLE), ""])


def _line(row: Row) -> str:
    needs = [f"driver {row.driver}"] if row.driver and row.accelerator == "cuda" else []
    needs += [f"ROCm {row.driver}"] if row.driver and row.accelerator == "rocm" else []
    needs += [NEEDS[name].words for name in row.needs]
    arch = "" if row.arch == "*" else f" {row.arch}"
    cells = [
        f"`{row.engine}`",
        f"{_SYSTEMS[row.os]}{arch}",
        row.accelerator,
        f"{_WORDS[row.support]}: {row.reason}" if row.reason else _WORDS[row.support],
        ", ".join(needs),
        row.installs,
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page_text(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
