"""Code that a JSON document of a model asks for: in files of the model, or in packages nobody knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from mrpack.errors import InvalidArtifact
from mrpack.model.document import DOCUMENT_LIMIT, read_document
from mrpack.model.pipeline import INDEX_LIMIT, INDEX_NAME, parse_pipeline
from mrpack.readable import ReadableFile

# Keys that name classes in files of the model, at any depth: Transformers, then Diffusers.
_CODE_KEYS: Final = frozenset({"auto_map", "custom_pipeline", "custom_pipelines"})
_UNREADABLE: Final = "a config that cannot be looked through"


def reasons_by_document(file: ReadableFile) -> Iterator[str]:
    """Only for documents in which a loader looks for code; vocabularies, however large, are none."""
    name = PurePosixPath(file.name).name
    check = _CHECKS.get(name, _check_config if name.endswith("config.json") else None)
    if check is not None:
        yield from check(file)


def _check_config(file: ReadableFile) -> Iterator[str]:
    if file.size > DOCUMENT_LIMIT:
        yield _UNREADABLE
        return
    try:
        document = read_document(file)
    except InvalidArtifact:
        yield _UNREADABLE
        return
    for key in sorted(_code_keys(document)):
        yield f"asks for code with {key!r}"


def _code_keys(document: Mapping[str, Any]) -> set[str]:
    """Without recursion: what could be parsed could still be too deep for us."""
    found: set[str] = set()
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            found |= {key for key in _CODE_KEYS & value.keys() if value[key]}
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found


def _check_pipeline(file: ReadableFile) -> Iterator[str]:
    yield from _check_config(file)
    if file.size > INDEX_LIMIT:
        return
    try:
        pipeline = parse_pipeline(file.read(limit=INDEX_LIMIT), file.where)
    except InvalidArtifact:
        yield _UNREADABLE
        return
    if pipeline.module:
        yield f"takes its pipeline {pipeline.class_name} from {pipeline.module}.py"
    for component in pipeline.components:
        if component.is_foreign:
            yield (
                f"takes the component {component.name!r} from {component.library}, "
                "which is neither Diffusers nor Transformers"
            )


_CHECKS: Final[Mapping[str, Callable[[ReadableFile], Iterator[str]]]] = {
    INDEX_NAME: _check_pipeline,
    "modular_model_index.json": _check_config,
}
