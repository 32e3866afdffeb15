"""Code in a model: what would run on the machine that loads it."""

from mrpack.formats.code.detect import Finding, find_code

__all__ = ["Finding", "find_code"]
