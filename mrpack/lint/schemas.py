"""Documents against our JSON Schemas."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from mrpack.lint.findings import Finding, found, key_path
from mrpack_schemas import load


def check_schema(value: Any, schema: str, document: str, *, within: str = "") -> Iterator[Finding]:
    """`value` is what stands in `document` at the key `within`; `schema` is a name of `mrpack_schemas`."""
    for error in sorted(
        _validator(schema).iter_errors(value), key=lambda error: [str(part) for part in error.absolute_path]
    ):
        path = key_path(error.absolute_path)
        where = f"{within}.{path}" if within and path and path[0] != "[" else within + path
        yield found(document, where, f"schema:{schema}", _message(error))


@cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator(load(schema))


def _message(error: ValidationError) -> str:
    """Without the instance, which may be the whole document."""
    if isinstance(error.instance, dict | list) and error.validator not in {
        "required",
        "additionalProperties",
    }:
        return f"breaks {error.validator}: {str(error.validator_value)[:120]}"
    return error.message
