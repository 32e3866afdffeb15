"""The one table of settings: what is derived from it agrees with it, and with the engines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import InvalidArtifact
from mrpack.model.overrides import BY_KEY, SETTINGS, json_schema, parse_overrides
from mrpack_runtime.engine import Operation
from mrpack_runtime.engines.llamacpp.settings import OPTIONS
from scripts.generate_overrides import PAGE, SCHEMA, page_text, schema_text
from tests.unit.model.overrides_values import documents, values

VALIDATOR = jsonschema.Draft202012Validator(json_schema())
# JSON Schema's `$` is the very end; that of Python's expressions lets a line feed follow.
TEXT = st.text(max_size=8).filter(lambda text: not text.endswith("\n"))
NUMBERS = st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def test_the_files_that_are_derived_are_up_to_date() -> None:
    hint = "run: python scripts/generate_overrides.py"
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), hint
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_text(page), hint


def test_every_setting_says_what_it_means_and_where_that_is_defined() -> None:
    assert len(BY_KEY) == len(SETTINGS)
    for setting in SETTINGS:
        assert re.fullmatch(r"(?:(?:sampling|llamacpp|vllm|diffusers)\.)?[a-z][a-z0-9_]*", setting.key)
        assert setting.meaning
        assert setting.source
        assert setting.kind.words
        assert not setting.refines or BY_KEY[setting.refines]


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


@given(documents())
def test_the_schema_takes_what_the_parser_takes(document: dict[str, Any]) -> None:
    parse_overrides(document)
    VALIDATOR.validate(document)


@given(st.data())
def test_schema_and_parser_agree_on_any_value(data: st.DataObject) -> None:
    setting = data.draw(st.sampled_from(SETTINGS))
    value = data.draw(JSON | values(setting))
    document = {setting.group: {setting.name: value}} if setting.group else {setting.name: value}
    assert VALIDATOR.is_valid(document) == _parses(document)


def _parses(document: dict[str, Any]) -> bool:
    try:
        parse_overrides(document)
    except InvalidArtifact:
        return False
    return True


@given(JSON)
def test_schema_and_parser_agree_on_any_document(document: Any) -> None:
    if isinstance(document, dict) and not any("." in key for key in document):
        assert VALIDATOR.is_valid(document) == _parses(document)


def test_the_modes_are_the_operations_of_the_runtime() -> None:
    assert all(BY_KEY["mode"].kind.takes(operation.value) for operation in Operation)


def test_the_settings_of_llamacpp_are_those_that_its_launchers_spell() -> None:
    known = {setting.name for setting in SETTINGS if setting.group == "llamacpp"}
    assert known == {option.name for option in OPTIONS}


def test_the_page_shows_a_document_that_is_right() -> None:
    page = Path(PAGE).read_text(encoding="utf-8")
    example = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert example
    assert parse_overrides(example[1].encode())
