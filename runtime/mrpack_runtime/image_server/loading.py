"""From a folder to a pipeline that is ready: strict about code, and refusing settings that it cannot keep."""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from inspect import isfunction
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
import transformers

from .precision import choose_dtype, find_variant, weights_dtype
from .schedulers import SCHEDULERS
from .signature import Signature

_LOG: Final = logging.getLogger("image server")
_INDEX: Final = "model_index.json"
_LIBRARIES: Final = {"diffusers": diffusers, "transformers": transformers}
# Settings that are arguments of the pipeline's call.
_ARGUMENTS: Final = (
    *("num_inference_steps", "guidance_scale", "true_cfg_scale", "max_sequence_length", "negative_prompt"),
)
_SWITCHES: Final[Mapping[str, tuple[str, str]]] = {
    # setting: part of the pipeline ("" for itself), method
    "attention_slicing": ("", "enable_attention_slicing"),
    "vae_slicing": ("vae", "enable_slicing"),
    "vae_tiling": ("vae", "enable_tiling"),
}
_OFFLOADS: Final = {"model": "enable_model_cpu_offload", "sequential": "enable_sequential_cpu_offload"}


class CannotLoad(Exception):  # says what cannot be done
    """In words for the user."""


def load(
    folder: Path,
    class_name: str,
    settings: Mapping[str, Any],
    adapters: Sequence[Path],
    *,
    bfloat16_cpu: bool,
) -> Any:
    """A pipeline on its device. `class_name` is that of `model_index.json`, which the launcher has read.

    No code of the model runs: the class is one of Diffusers, weights are Safetensors, nothing is fetched.

    Raises:
        CannotLoad: this model, these settings or these adapters do not go together.
        OSError, ValueError: files of the model are missing or broken.
    """
    kind: Any = getattr(diffusers, class_name, None)
    is_pipeline = isinstance(kind, type) and issubclass(kind, diffusers.DiffusionPipeline)
    # The base of all has nothing to call.
    if not is_pipeline or not isfunction(kind.__call__):
        raise CannotLoad(f"Diffusers {diffusers.__version__} has no pipeline {class_name}")
    pipeline: Any = kind
    _check_components(folder)
    _check_arguments(kind, settings)
    device = _device(settings.get("device", "auto"))
    dtype = settings.get("dtype", "auto")
    if dtype == "auto":
        dtype = choose_dtype(device, weights_dtype(folder), fast_bfloat16=_has_bfloat16(device, bfloat16_cpu))
    pipeline = pipeline.from_pretrained(
        str(folder),
        torch_dtype=getattr(torch, dtype),
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        variant=find_variant(f"{path.parent.name}/{path.name}" for path in folder.glob("*/*")),
    )
    pipeline.set_progress_bar_config(disable=True)
    _take_scheduler(pipeline, settings.get("scheduler"))
    _add_adapters(pipeline, adapters)
    _switch_on(pipeline, settings)
    _place(pipeline, device, settings.get("cpu_offload", "none"))
    _LOG.info("%s on %s in %s, %d adapters", class_name, device, dtype, len(adapters))
    return pipeline


def _check_components(folder: Path) -> None:
    """The launcher has seen to their libraries; what these have of a name may still be no class."""
    index = json.loads((folder / _INDEX).read_bytes())
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list) or None in value:
            continue
        library, class_name = value
        holder = _LIBRARIES.get(library) or getattr(diffusers.pipelines, library, None)
        found = getattr(holder, class_name, None)
        if found is not None and not isinstance(found, type):
            raise CannotLoad(f"the component {name} is {library}.{class_name}, which is no class")


def _check_arguments(kind: type[Any], settings: Mapping[str, Any]) -> None:
    """Settings are promises: one that the pipeline has no argument for is an error, not a silence."""
    signature = Signature.of(kind.__name__, kind.__call__)
    lacking = signature.lacking(name for name in _ARGUMENTS if name in settings)
    if lacking:
        raise CannotLoad(f"diffusers.{lacking[0]}: {kind.__name__} has no {lacking[0]}")


def _device(asked: str) -> str:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked == "auto":
        return next(name for name, found in there.items() if found)
    if not there[asked]:
        raise CannotLoad(f"diffusers.device {asked}: this machine, or this build of torch, has none")
    return asked


def _has_bfloat16(device: str, on_cpu: bool) -> bool:  # noqa: FBT001  # two facts
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return on_cpu if device == "cpu" else True


def _take_scheduler(pipeline: Any, name: str | None) -> None:
    if name is None:
        return
    class_name, options = SCHEDULERS[name]
    current = pipeline.scheduler
    known = {kind.__name__: kind for kind in (*current.compatibles, type(current))}
    if class_name not in known:
        raise CannotLoad(
            f"diffusers.scheduler {name}: this model's {type(current).__name__} cannot be replaced by it"
        )
    pipeline.scheduler = known[class_name].from_config(current.config, **options)


def _add_adapters(pipeline: Any, adapters: Sequence[Path]) -> None:
    if not adapters:
        return
    if not hasattr(pipeline, "load_lora_weights"):
        raise CannotLoad(f"{type(pipeline).__name__} takes no LoRA adapters")
    names = []
    for number, path in enumerate(adapters):
        names.append(f"adapter{number}")
        pipeline.load_lora_weights(
            str(path.parent),
            weight_name=path.name,
            adapter_name=names[-1],
            use_safetensors=True,
            local_files_only=True,
        )
    if frozenset(name for found in pipeline.get_list_adapters().values() for name in found) != frozenset(
        names
    ):
        raise CannotLoad("an adapter has no weights for any part of this pipeline")
    pipeline.set_adapters(names)


def _switch_on(pipeline: Any, settings: Mapping[str, Any]) -> None:
    for setting, (part, method) in _SWITCHES.items():
        if settings.get(setting):
            holder = getattr(pipeline, part, None) if part else pipeline
            if not hasattr(holder, method):
                raise CannotLoad(f"diffusers.{setting}: {type(pipeline).__name__} cannot do that")
            getattr(holder, method)()


def _place(pipeline: Any, device: str, offload: str) -> None:
    if offload == "none" or device == "cpu":  # on a processor there is nowhere else to move to
        pipeline.to(device)
    else:
        getattr(pipeline, _OFFLOADS[offload])(device=device)
