"""All settings there are. Validation, the JSON Schema and docs/overrides.md are views of this one table."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from mrpack.model.overrides.diffusers import DIFFUSERS
from mrpack.model.overrides.general import GENERAL, SAMPLING
from mrpack.model.overrides.kinds import Schema
from mrpack.model.overrides.llamacpp import LLAMACPP
from mrpack.model.overrides.objects import Tree
from mrpack.model.overrides.settings import Setting
from mrpack.model.overrides.vllm import VLLM

SETTINGS: Final[tuple[Setting, ...]] = (*GENERAL, *SAMPLING, *LLAMACPP, *VLLM, *DIFFUSERS)
BY_KEY: Final[Mapping[str, Setting]] = MappingProxyType({setting.key: setting for setting in SETTINGS})
GROUPS: Final[tuple[str, ...]] = tuple(dict.fromkeys(setting.group for setting in SETTINGS if setting.group))


def nearest_key(key: str) -> str | None:
    """The known key that somebody who wrote `key` most likely meant."""
    written = key.replace("-", "_").lower()
    if written in BY_KEY:
        return written
    same_name = [known for known in BY_KEY if known.rpartition(".")[2] == written.rpartition(".")[2]]
    longer = [known for known in BY_KEY if known.startswith(written) and written]
    return next(iter(same_name or longer or difflib.get_close_matches(written, BY_KEY, n=1)), None)


def json_schema() -> Schema:
    """Of a whole `mrpack.json`; `mrpack_schemas` carries it as a file."""
    properties: dict[str, Any] = {}
    for setting in SETTINGS:
        place = properties
        if setting.group:
            group = {"type": "object", "additionalProperties": False, "properties": {}}
            place = properties.setdefault(setting.group, group)["properties"]
        place[setting.name] = {"description": _describe(setting), **_or_null(setting.kind.schema())}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:mrpack:schema:overrides",
        "title": "mrpack.json",
        "description": "Run-time settings that a model artifact carries. null: as if nobody had set it.",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "$defs": Tree().definitions(),
    }


def _describe(setting: Setting) -> str:
    return f"{setting.meaning} ({setting.unit})" if setting.unit else setting.meaning


def _or_null(schema: Schema) -> Schema:
    kinds = schema["type"]
    result = {**schema, "type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}
    if "enum" in schema:
        result["enum"] = [*schema["enum"], None]
    return result


def markdown() -> str:
    """The tables of docs/overrides.md, one for each group."""
    parts = []
    for group in ("", *GROUPS):
        rows = [setting for setting in SETTINGS if setting.group == group]
        parts += [f"### {f'`{group}.*`' if group else 'At the top'}", ""]
        parts += ["| key | values | unit | meaning | source |", "|---|---|---|---|---|"]
        parts += [_row(setting) for setting in rows]
        parts.append("")
    return "\n".join(parts)


def _row(setting: Setting) -> str:
    cells = (f"`{setting.key}`", setting.kind.words, setting.unit, setting.meaning, setting.source)
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"
