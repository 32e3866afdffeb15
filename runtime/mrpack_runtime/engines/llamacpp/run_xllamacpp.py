"""The engine process of the launcher `xllamacpp`; run by the engine's own Python, imports nothing of ours.

    python -I run_xllamacpp.py '{"model.path": "/m.gguf", "hostnames": ["/run/x.sock"], ...}'

Keys are paths of attributes in CommonParams. A word stands for the enum member that ends with it, `{"file":
F}` for the text of a file. Attributes are renamed between releases: one that is missing ends the program
with status 2.
"""

# The package lives in another Python, or is made of one extension.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import json
import signal
import sys
from enum import Enum
from pathlib import Path
from typing import Any

import xllamacpp


def converted(name: str, current: Any, value: Any) -> Any:
    """`value` in the type of the attribute's `current` value."""
    match current, value:
        case Enum(), str():
            return member(type(current), value)
        case [Enum(), *_], str():  # a list of one
            return [member(type(current[0]), value)]
        case _, {"file": path}:
            return Path(path).read_text(encoding="utf-8")
        case set(), list():
            return set(value)
        case list(), list() if name == "lora_adapters":
            return [adapter(**each) for each in value]
        case _:
            return value


def member(kind: type[Enum], word: str) -> Enum:
    found = [member for name, member in kind.__members__.items() if name.endswith(f"_{word}")]
    return min(found, key=lambda member: len(member.name))


def adapter(path: str, scale: float) -> Any:
    found = xllamacpp.CommonAdapterLoraInfo()
    found.path = path
    found.scale = scale
    return found


def parameters(wanted: dict[str, Any]) -> Any:
    params = xllamacpp.CommonParams()
    for path, value in wanted.items():
        *parts, name = path.split(".")
        holder = params
        for part in parts:
            holder = getattr(holder, part)
        setattr(holder, name, converted(name, getattr(holder, name), value))
    return params


def main() -> int:
    try:
        params = parameters(json.loads(sys.argv[1]))
    except (AttributeError, ValueError, OSError) as error:
        sys.stderr.write(f"error: this xllamacpp does not fit: {error}\n")
        return 2
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:  # the cause is on stderr already
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stderr.write(f"listening on {server.listening_address}\n")
    while True:  # the server has threads of its own; SIGTERM ends the process
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
