"""The pipeline that a folder of files is."""

from __future__ import annotations

from collections.abc import Iterable

from mrpack.errors import NotFound
from mrpack.model.pipeline import INDEX_LIMIT, INDEX_NAME, Pipeline, parse_pipeline
from mrpack.readable import ReadableFile


def is_pipeline(files: Iterable[ReadableFile]) -> bool:
    return any(file.name == INDEX_NAME for file in files)


def read_pipeline(files: Iterable[ReadableFile]) -> Pipeline:
    """The pipeline, whose components all have files; `Component.is_foreign` tells which bring code.

    Raises:
        NotFound: no index, or no file of a component.
        InvalidArtifact: the index is malformed.
    """
    by_name = {file.name: file for file in files}
    index = by_name.get(INDEX_NAME)
    if index is None:
        raise NotFound(f"no {INDEX_NAME}: not a Diffusers folder")
    pipeline = parse_pipeline(index.read(limit=INDEX_LIMIT), index.where)
    folders = {name.partition("/")[0] for name in by_name if "/" in name}
    for component in pipeline.components:
        if component.name not in folders:
            raise NotFound(f"no files of the component {component.name!r}, which {index.where} names")
    return pipeline
