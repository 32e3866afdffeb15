"""Checking artifacts and model files against the schemas and the rules of our own writers."""

from mrpack.lint.artifact import lint_artifact
from mrpack.lint.files import lint_files
from mrpack.lint.findings import Finding

__all__ = ["Finding", "lint_artifact", "lint_files"]
