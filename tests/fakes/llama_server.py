"""A `llama-server` for PATH that is tests/fakes/engine.py: found, asked and started as the real one is."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

_ENGINE = Path(__file__).with_name("engine.py")
_SCRIPT = """#!{python}
import os, sys
if "--version" in sys.argv:
    print("version: 1 (fake)")
elif "--help" in sys.argv:
    print("usage: llama-server")
else:
    value = dict(zip(sys.argv[1:], sys.argv[2:]))
    where = ["--socket", value["--host"], "--alias", value["--alias"]]
    os.execv({python!r}, [{python!r}, {engine!r}, *where, *open({options!r}).read().split()])
"""


@dataclass(frozen=True)
class FakeLlamaServer:
    """`folder` goes to the front of PATH."""

    folder: Path

    @classmethod
    def install(cls, folder: Path) -> FakeLlamaServer:
        folder.mkdir()
        fake = cls(folder)
        fake.set_options("")
        program = folder / "llama-server"
        text = _SCRIPT.format(python=sys.executable, engine=str(_ENGINE), options=str(folder / "options"))
        program.write_text(text)
        program.chmod(0o755)
        return fake

    def set_options(self, options: str) -> None:
        """Of tests/fakes/engine.py, for processes that are started from now on."""
        (self.folder / "options").write_text(options)
