"""Write the table of quantizations in docs/formats.md."""

from __future__ import annotations

from pathlib import Path

from mrpack.model.quantization import QUANTIZATIONS

PAGE = Path(__file__).parents[1] / "docs" / "formats.md"
BEGIN = "<!-- quantizations: written by scripts/generate_quantizations.py -->"
END = "<!-- /quantizations -->"


def table() -> str:
    rows = [
        f"| `{row.name}` | {row.bits_per_weight:g} | {row.file_type} | "
        f"{', '.join(f'`{alias}`' for alias in row.aliases)} | {'yes' if row.needs_importance else ''} | "
        f"{row.note} |\n"
        for row in QUANTIZATIONS
    ]
    head = "| name | bits | file type | also called | needs `--imatrix` | |\n|---|---|---|---|---|---|\n"
    return head + "".join(rows)


def page_text(page: str) -> str:
    """`page` with the table between its two marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_text(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
