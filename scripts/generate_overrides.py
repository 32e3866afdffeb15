"""Write what derives from the table of settings: the JSON Schema of `mrpack.json`, and docs/overrides.md."""

from __future__ import annotations

import json
from pathlib import Path

from mrpack.model.overrides import json_schema, markdown

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "schemas" / "mrpack_schemas" / "overrides.schema.json"
PAGE = ROOT / "docs" / "overrides.md"
BEGIN = "<!-- settings: written by scripts/generate_overrides.py -->"
END = "<!-- /settings -->"


def schema_text() -> str:
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def page_text(page: str) -> str:
    """`page` with the tables between its two marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{markdown()}\n{END}{after}"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    PAGE.write_text(page_text(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
