"""A `llama-quantize` for PATH: writes tiny models that are what they were asked to be, or fails as told."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.tiny_gguf import write_markov

_SCRIPT = """#!{python}
import os, shutil, sys, time
folder = {folder!r}
how = open(folder + "/how").read()
open(folder + "/calls", "a").write(" ".join(sys.argv[1:]) + "\\n")
*_, source, target, kind, threads = sys.argv
open(target, "wb").write(b"GGUF")
sys.stderr.write("[   1/   3] output.weight - [ 64, 64, 1, 1], type = f16, converting to q8_0 ..\\n")
sys.stderr.flush()
if how == "hang":
    open(folder + "/pid", "w").write(str(os.getpid()))
    time.sleep(1000)
if how == "fail":
    sys.stderr.write("llama_model_quantize: failed to quantize: the disk is made of cheese\\nmain: sorry\\n")
    sys.exit(1)
shutil.copyfile(folder + "/" + ("7" if how == "wrong" else kind) + ".gguf", target)
sys.stderr.write("[   3/   3] output_norm.weight - [ 64, 1, 1, 1], type = f32\\n")
"""


@dataclass(frozen=True)
class FakeLlamaQuantize:
    """`folder` goes to the front of PATH."""

    folder: Path

    @classmethod
    def install(cls, folder: Path) -> FakeLlamaQuantize:
        folder.mkdir()
        fake = cls(folder)
        fake.behave("")
        for dtype, kind in (("q8_0", 7), ("Q4_K_M", 15)):
            write_markov(folder, dtype=dtype).rename(folder / f"{kind}.gguf")
        program = folder / "llama-quantize"
        program.write_text(_SCRIPT.format(python=sys.executable, folder=str(folder)))
        program.chmod(0o755)
        return fake

    def behave(self, how: str) -> None:
        """`hang` after the first tensor, `fail` there, make the `wrong` thing, or (empty) do as asked."""
        (self.folder / "how").write_text(how)

    @property
    def calls(self) -> list[list[str]]:
        path = self.folder / "calls"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def pid(self) -> int | None:
        """Of the call that hangs."""
        path = self.folder / "pid"
        text = path.read_text() if path.exists() else ""
        return int(text) if text else None
