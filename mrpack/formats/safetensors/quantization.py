"""How the weights of a model are quantized, by the settings that its quantizer left behind."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_LABEL_LIMIT: Final = 32
_BITS_KEYS: Final = ("bits", "w_bit", "wbits", "nbits", "num_bits")
# Which settings only one method has, for configs from before `quant_method`.
_TELLTALES: Final = (
    ("load_in_4bit", "bitsandbytes"),
    ("load_in_8bit", "bitsandbytes"),
    ("config_groups", "compressed-tensors"),
    ("quant_algo", "modelopt"),
    ("desc_act", "gptq"),
    ("w_bit", "awq"),
    ("zero_point", "awq"),
)

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """`method` as Transformers calls it; `label` as artifacts carry it, such as `AWQ-INT4`.

    `bits`: of a weight, if the settings say; `settings`: all of them, as they lay.
    """

    method: str
    label: str
    bits: int | None
    settings: Settings


def find_scheme(settings: Settings, method: str = "") -> Scheme | None:
    """None when the settings quantize no weights. `method` counts when they name none themselves."""
    named = settings.get("quant_method")
    method = named.lower() if isinstance(named, str) and named else method
    method = method or next((name for key, name in _TELLTALES if settings.get(key) is not None), "")
    label = _LABELS.get(method, _named)(settings, method) if method else ""
    return Scheme(method=method, label=label, bits=_bits(settings), settings=settings) if label else None


def _bits(settings: Settings) -> int | None:
    """Also from compressed-tensors, where each group of layers has its own; the first one then."""
    for level in (settings, *_weights_of_groups(settings)):
        for key in _BITS_KEYS:
            bits = level.get(key)
            if isinstance(bits, int) and not isinstance(bits, bool) and 0 < bits <= 32:
                return bits
    return None


def _named(_settings: Settings, method: str) -> str:
    """The name as it is: methods whose names say what they do, and those of tomorrow."""
    return re.sub(r"[^A-Z0-9]+", "_", method.rpartition("/")[2].upper()).strip("_")[:_LABEL_LIMIT]


def _integers(name: str) -> Callable[[Settings, str], str]:
    def label(settings: Settings, _method: str) -> str:
        bits = _bits(settings)
        return f"{name}-INT{bits}" if bits else name

    return label


def _always(name: str) -> Callable[[Settings, str], str]:
    return lambda _settings, _method: name


def _bitsandbytes(settings: Settings, _method: str) -> str:
    if settings.get("load_in_4bit"):
        kind = settings.get("bnb_4bit_quant_type")
        return "BNB-NF4" if kind == "nf4" else "BNB-FP4"
    return "BNB-INT8" if settings.get("load_in_8bit") else ""


def _mlx(settings: Settings, _method: str) -> str:
    bits, mode = _bits(settings), settings.get("mode", "affine")
    if bits is None or "group_size" not in settings:
        return ""
    return f"MLX-INT{bits}" if mode == "affine" or not isinstance(mode, str) else f"MLX-{_named({}, mode)}"


def _modelopt(settings: Settings, _method: str) -> str:
    algorithm = settings.get("quant_algo")
    return _named({}, algorithm) if isinstance(algorithm, str) else ""


def _quanto(settings: Settings, _method: str) -> str:
    weights = settings.get("weights")
    return f"QUANTO-{_named({}, weights)}" if isinstance(weights, str) else "QUANTO"


def _compressed_tensors(settings: Settings, _method: str) -> str:
    """One label for each group of layers; empty when only activations or caches are quantized."""
    labels = {
        _group_label(weights, group.get("input_activations"), str(settings.get("format", "")))
        for group, weights in zip(_groups(settings), _weights_of_groups(settings), strict=True)
        if weights
    }
    return "+".join(sorted(labels))


def _groups(settings: Settings) -> list[Settings]:
    groups = settings.get("config_groups")
    return [group for group in groups.values() if isinstance(group, dict)] if isinstance(groups, dict) else []


def _weights_of_groups(settings: Settings) -> list[Settings]:
    weights = (group.get("weights") for group in _groups(settings))
    return [value if isinstance(value, dict) else {} for value in weights]


def _group_label(weights: Settings, activations: Any, form: str) -> str:
    """`W4A16` when activations stay as they are; `W8A8-INT8`, `FP8`, `NVFP4` when they do not."""
    bits, kind = weights.get("num_bits"), weights.get("type")
    inputs = activations if isinstance(activations, dict) else {}
    if kind == "float" and bits == 4:
        four = "MXFP4" if form.startswith("mxfp4") else "NVFP4"
        return four if inputs else f"{four}A16"
    if kind == "float" and bits == 8 and inputs.get("num_bits") == 8:
        return "FP8"
    label = f"W{bits}A{inputs.get('num_bits', 16)}"
    suffix = f"-{'FP' if inputs.get('type') == 'float' else 'INT'}{inputs.get('num_bits')}" if inputs else ""
    return label + (suffix or (f"-FP{bits}" if kind == "float" else ""))


_LABELS: Final[Mapping[str, Callable[[Settings, str], str]]] = {
    "auto-round": _integers("AUTOROUND"),
    "auto_awq": _integers("AWQ"),
    "auto_gptq": _integers("GPTQ"),
    "awq": _integers("AWQ"),
    "awq_marlin": _integers("AWQ"),
    "bitsandbytes": _bitsandbytes,
    "compressed-tensors": _compressed_tensors,
    "eetq": _always("EETQ-INT8"),
    "fbgemm_fp8": _always("FP8"),
    "fp8": _always("FP8"),
    "gptq": _integers("GPTQ"),
    "gptq_marlin": _integers("GPTQ"),
    "hqq": _integers("HQQ"),
    "intel/auto-round": _integers("AUTOROUND"),
    "mlx": _mlx,
    "modelopt": _modelopt,
    "quanto": _quanto,
}
