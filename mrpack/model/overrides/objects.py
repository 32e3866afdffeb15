"""Objects as values: variables of a template, and pieces of a model's config."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from mrpack.model.overrides.kinds import INT32_MAX, JsonKind, Schema, is_number, is_whole

# Names of variables, as Docker Model Runner wants them in `hf_overrides`.
_IDENTIFIER: Final = "[a-zA-Z_][a-zA-Z0-9_]{0,63}"
_VARIABLES_LIMIT: Final = 32
_TREE_DEPTH: Final = 16
# Keys of a Hugging Face config that name code or another model.
_TREE_FORBIDDEN: Final = ("_name_or_path", "auto_map", "custom_pipelines", "trust_remote_code")
# No separator of any path or URL, and no control character.
_TREE_TEXT: Final = r"[^/\\\x00-\x1f\x7f]{0,256}"


@dataclass(frozen=True, slots=True)
class Variables(JsonKind):
    """A flat object of short values; `whole`: of whole numbers alone."""

    whole: bool = False
    text_limit: int = 128

    @property
    def words(self) -> str:
        items = "whole numbers" if self.whole else "short texts, numbers and truth values"
        return f"an object of at most {_VARIABLES_LIMIT} {items}"

    def takes(self, value: Any) -> bool:
        if not isinstance(value, dict) or len(value) > _VARIABLES_LIMIT:
            return False
        return all(_is_identifier(name) and self._takes_item(item) for name, item in value.items())

    def _takes_item(self, value: Any) -> bool:
        if self.whole:
            return is_whole(value) and 0 <= value <= INT32_MAX
        if isinstance(value, str):
            return len(value) <= self.text_limit
        return isinstance(value, bool) or is_number(value)

    def schema(self) -> Schema:
        item: Schema = {"type": ["string", "number", "boolean"], "maxLength": self.text_limit}
        if self.whole:
            item = {"type": "integer", "minimum": 0, "maximum": INT32_MAX}
        return {
            "type": "object",
            "maxProperties": _VARIABLES_LIMIT,
            "propertyNames": {"pattern": f"^{_IDENTIFIER}$"},
            "additionalProperties": item,
        }


@dataclass(frozen=True, slots=True)
class Tree(JsonKind):
    """A piece of a model's config: nested, but no name of a file, of code or of another model in it."""

    @property
    def words(self) -> str:
        return (
            f"an object of at most {_TREE_DEPTH} levels that has variable names as keys, "
            "no slashes in its texts, and no key that names code or another model"
        )

    def takes(self, value: Any) -> bool:
        return isinstance(value, dict) and _is_tree(value, _TREE_DEPTH)

    def schema(self) -> Schema:
        """`definitions` belong beside it. The depth is bounded by `takes` alone."""
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{_IDENTIFIER}$", "not": {"enum": list(_TREE_FORBIDDEN)}},
            "additionalProperties": {"$ref": "#/$defs/branch"},
        }

    def definitions(self) -> dict[str, Schema]:
        branch = {
            **self.schema(),
            "type": ["object", "array", "string", "number", "boolean", "null"],
            "pattern": f"^{_TREE_TEXT}$",
            "items": {"$ref": "#/$defs/branch"},
        }
        return {"branch": branch}


def _is_tree(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        if not all(_is_identifier(name) and name not in _TREE_FORBIDDEN for name in value):
            return False
        return depth > 0 and all(_is_tree(item, depth - 1) for item in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_is_tree(item, depth - 1) for item in value)
    if isinstance(value, str):
        return re.fullmatch(_TREE_TEXT, value) is not None
    return value is None or isinstance(value, bool) or is_number(value)


def _is_identifier(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(_IDENTIFIER, value) is not None
