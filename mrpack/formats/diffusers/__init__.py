"""Diffusers: a pipeline as a folder, recognised by its `model_index.json`."""

from mrpack.formats.diffusers.folder import is_pipeline, read_pipeline
from mrpack.formats.diffusers.survey import survey

__all__ = ["is_pipeline", "read_pipeline", "survey"]
