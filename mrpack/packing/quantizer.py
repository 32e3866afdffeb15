"""The port through which GGUF models are quantized: by programs of an engine, never in our own process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mrpack.model.quantization import Quantization


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeJob:
    """`source` is a GGUF file, or the first shard of a set; `target`, where nothing is yet, becomes one file.

    `importance`: an importance matrix in GGUF. `requantize`: take a source that was quantized before, too.
    """

    source: Path
    target: Path
    quantization: Quantization
    importance: Path | None = None
    requantize: bool = False


class Quantizer(Protocol):
    """What an entry point of the group `mrpack.quantizers` makes, out of the home and the environment."""

    name: str
    """For people: which program or library, and where."""

    def quantize(self, job: QuantizeJob, report: Callable[[int, int], None]) -> None:
        """Blocks until `target` is whole; `report` is told the tensors that are done, and all there are.

        Whatever is raised, also in `report` and by Ctrl-C: its process is gone then, and so is `target`.

        Raises:
            Unsupported: this quantizer cannot do that.
            EngineFailed: it tried, and says why not.
            HostRefused: no process, or no space.
        """
        ...
