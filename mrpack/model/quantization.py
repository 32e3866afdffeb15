"""The quantizations of GGUF models: one table for labels, tags and choices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from mrpack.errors import Unsupported
from mrpack.model.config import ModelConfig

_PREFIX: Final = "MOSTLY_"


@dataclass(frozen=True, slots=True)
class Quantization:
    """A way to store the weights of a whole model.

    `bits_per_weight` include block scales: those of the tensor type for a plain quantization, the average
    over Llama 3.1 8B for a mixture (llama.cpp, tools/quantize/README.md). `tensor_type` is the ggml type of
    most tensors; `file_type` llama.cpp's `general.file_type`; `needs_importance`: llama.cpp (build 10434)
    makes it only with an importance matrix; `removed`: llama.cpp no longer opens it.
    """

    name: str
    bits_per_weight: float
    tensor_type: str
    file_type: int
    note: str
    aliases: tuple[str, ...] = ()
    needs_importance: bool = False
    removed: bool = False

    @property
    def label(self) -> str:
        """As Docker Model Runner writes it into configs, such as `MOSTLY_Q4_K_M`."""
        return _PREFIX + self.name

    def to_json(self) -> dict[str, Any]:
        """Stable keys."""
        return {
            "name": self.name,
            "label": self.label,
            "bits_per_weight": self.bits_per_weight,
            "tensor_type": self.tensor_type,
            "file_type": self.file_type,
            "note": self.note,
            "aliases": list(self.aliases),
            "needs_importance_matrix": self.needs_importance,
            "removed": self.removed,
        }


_EXACT = "as trained"
_HALF = "no visible loss"
_NEAR = "close to lossless, twice the size of 4 bits"
_VERY_GOOD = "very small loss"
_GOOD = "small loss; the usual choice"
_FAIR = "moderate loss"
_LOW = "high loss"
_LAST = "very high loss; only for very large models"
_OLD = "from before K-quants; a K-quant of the size is better"
_GONE = "removed from llama.cpp; quantize again"

QUANTIZATIONS: Final = (
    Quantization("F32", 32.0, "F32", 0, _EXACT, ("ALL_F32", "FP32", "FLOAT32")),
    Quantization("F16", 16.0, "F16", 1, _HALF, ("FP16", "FLOAT16")),
    Quantization("BF16", 16.0, "BF16", 32, _HALF, ("BFLOAT16",)),
    Quantization("Q8_0", 8.5, "Q8_0", 7, _NEAR),
    Quantization("Q6_K", 6.5625, "Q6_K", 18, _VERY_GOOD),
    Quantization("Q5_K_M", 5.7036, "Q5_K", 17, _VERY_GOOD, ("Q5_K",)),
    Quantization("Q5_K_S", 5.5704, "Q5_K", 16, _VERY_GOOD),
    Quantization("Q5_1", 6.0, "Q5_1", 9, _OLD),
    Quantization("Q5_0", 5.5, "Q5_0", 8, _OLD),
    Quantization("Q4_K_M", 4.8944, "Q4_K", 15, _GOOD, ("Q4_K",)),
    Quantization("Q4_K_S", 4.6672, "Q4_K", 14, "small loss"),
    Quantization("IQ4_NL", 4.6818, "IQ4_NL", 25, "small loss"),
    Quantization("IQ4_XS", 4.4597, "IQ4_XS", 30, "small loss"),
    Quantization("Q4_1", 5.0, "Q4_1", 3, _OLD),
    Quantization("Q4_0", 4.5, "Q4_0", 2, "moderate loss; fast on CPUs"),
    Quantization("MXFP4", 4.25, "MXFP4", 38, "for models trained in it", ("MXFP4_MOE",)),
    Quantization("NVFP4", 4.5, "NVFP4", 39, "for models trained in it"),
    Quantization("Q3_K_L", 4.2979, "Q3_K", 13, _FAIR),
    Quantization("Q3_K_M", 3.996, "Q3_K", 12, _FAIR, ("Q3_K",)),
    Quantization("Q3_K_S", 3.6429, "Q3_K", 11, _LOW),
    Quantization("IQ3_M", 3.7628, "IQ3_S", 27, _FAIR),
    Quantization("IQ3_S", 3.6606, "IQ3_S", 26, _FAIR),
    Quantization("IQ3_XS", 3.4977, "IQ3_S", 22, _FAIR, needs_importance=True),
    Quantization("IQ3_XXS", 3.2548, "IQ3_XXS", 23, _LOW, needs_importance=True),
    Quantization("Q2_K", 3.1593, "Q2_K", 10, _LOW),
    Quantization("Q2_K_S", 2.9697, "Q2_K", 21, _LOW, needs_importance=True),
    Quantization("IQ2_M", 2.9294, "IQ2_S", 29, _LOW, needs_importance=True),
    Quantization("IQ2_S", 2.7403, "IQ2_XS", 28, _LOW, needs_importance=True),
    Quantization("IQ2_XS", 2.5882, "IQ2_XS", 20, _LAST, needs_importance=True),
    Quantization("IQ2_XXS", 2.3824, "IQ2_XXS", 19, _LAST, needs_importance=True),
    Quantization("IQ1_M", 2.146, "IQ1_M", 31, _LAST, needs_importance=True),
    Quantization("IQ1_S", 2.0042, "IQ1_S", 24, _LAST, needs_importance=True),
    Quantization("TQ2_0", 2.0625, "TQ2_0", 37, "for models trained with three weight values"),
    Quantization("TQ1_0", 1.6875, "TQ1_0", 36, "for models trained with three weight values"),
    Quantization("Q1_0", 1.125, "Q1_0", 40, "for models trained with two weight values"),
    Quantization("Q4_1_SOME_F16", 5.0, "Q4_1", 4, _GONE, removed=True),
    Quantization("Q4_2", 5.0, "Q4_2", 5, _GONE, removed=True),
    Quantization("Q4_3", 6.0, "Q4_3", 6, _GONE, removed=True),
    Quantization("Q4_0_4_4", 4.5, "Q4_0_4_4", 33, _GONE, removed=True),
    Quantization("Q4_0_4_8", 4.5, "Q4_0_4_8", 34, _GONE, removed=True),
    Quantization("Q4_0_8_8", 4.5, "Q4_0_8_8", 35, _GONE, removed=True),
)

_BY_NAME: Final[Mapping[str, Quantization]] = MappingProxyType(
    {name: row for row in QUANTIZATIONS for name in (row.name, *row.aliases)}
)
_BY_FILE_TYPE: Final[Mapping[int, Quantization]] = MappingProxyType(
    {row.file_type: row for row in QUANTIZATIONS}
)

# A whole label such as "135M", "8x7B" or "30B-A3B" (GGUF naming convention), or a count as configs have it.
_SIZE_LABEL = re.compile(r"(?:\d{1,4}x)?\d{1,6}(?:\.\d{1,2})?[KMBTQ](?:-[A-Za-z0-9.]{1,12})?", re.ASCII)
_COUNT = re.compile(r"(\d{1,6}(?:\.\d{1,4})?) ?([KMBTQ]?)", re.ASCII)


def find_quantization(label: str) -> Quantization | None:
    """The quantization a label means, whatever its case.

    Takes `Q4_K_M`, `MOSTLY_Q4_K_M`, and the pairs such as `IQ2_XXS/Q4_K_M` of artifacts from before September
    2025, in which the second half is the meaning.
    """
    name = label.strip().upper().rpartition("/")[2]
    return _BY_NAME.get(name.removeprefix(_PREFIX))


def find_file_type(number: int) -> Quantization | None:
    """By llama.cpp's `general.file_type`."""
    return _BY_FILE_TYPE.get(number)


def auto_tag(config: ModelConfig) -> str:
    """The tag that says size and quantization of a model, such as `135M-Q4_1` or `8B-BF16`.

    The size is the model's own `general.size_label`, else its rounded number of parameters.

    Raises:
        Unsupported: the config knows neither.
    """
    parts = [part for part in (_size_label(config), _quantization_part(config.quantization)) if part]
    if not parts:
        raise Unsupported(
            f"no tag can be derived: this {config.format} model says neither its size nor its quantization",
            hint="name a tag",
        )
    return "-".join(parts)


def _size_label(config: ModelConfig) -> str:
    own = config.metadata.get("general.size_label", "")
    if _SIZE_LABEL.fullmatch(own):
        return own
    count = _COUNT.fullmatch(config.parameters)
    if count is None or not float(count[1]):
        return ""
    value = float(count[1])
    digits = f"{value:.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0")
    return digits + count[2]


def _quantization_part(label: str) -> str:
    known = find_quantization(label)
    if known:
        return known.name
    # Data types and schemes of Safetensors ("BF16", "GPTQ-INT4") are names already, but tags have no "+" for
    # mixed ones; "mixed" and "unknown" say nothing.
    return label.replace("+", "-") if re.fullmatch(r"[A-Z][A-Z0-9_+-]{0,31}", label) else ""
