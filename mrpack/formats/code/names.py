"""Telling code by the name of a file: what Python, the loader of the system or `torch.load` would run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_PYTHON: Final = "Python code"
_LIBRARY: Final = "a shared library"
_PICKLE: Final = "a pickle"
_SUFFIXES: Final[Mapping[str, str]] = {
    "ckpt": _PICKLE,
    "dill": _PICKLE,
    "dll": _LIBRARY,
    "dylib": _LIBRARY,
    "joblib": _PICKLE,
    "pickle": _PICKLE,
    "pkl": _PICKLE,
    "pt": _PICKLE,
    "pth": _PICKLE,
    "py": _PYTHON,
    "pyc": _PYTHON,
    "pyd": _LIBRARY,
    "pyw": _PYTHON,
    "so": _LIBRARY,
}
# With the version behind it, as in `libmodel.so.1.2`.
_SUFFIX = re.compile(r"\.([a-z]+)(?:(?<=\.so)(?:\.[0-9]+)+)?$")


def reason_by_name(name: str) -> str:
    """What code a file of this name is; empty for none."""
    match = _SUFFIX.search(name.lower())
    return _SUFFIXES.get(match[1], "") if match else ""
