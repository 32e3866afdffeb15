"""The settings of image models served with Diffusers; the request may replace those of one image."""

from __future__ import annotations

from typing import Final

from mrpack.model.overrides.kinds import Choice, Kind, Pattern, Prose, Real, Switch, Whole
from mrpack.model.overrides.settings import Setting

_SIZE: Final = Pattern("[1-9][0-9]{1,3}x[1-9][0-9]{1,3}", "width x height in pixels, such as 1024x768")

# Those of runtime/mrpack_runtime/image_server/schedulers.py, which a test compares.
SCHEDULERS: Final = (
    "ddim",
    "ddpm",
    "deis",
    "dpm++-2m",
    "dpm++-2m-karras",
    "dpm++-2m-sde",
    "euler",
    "euler-ancestral",
    "heun",
    "lcm",
    "lms",
    "pndm",
    "unipc",
)


def _row(name: str, kind: Kind, meaning: str, unit: str = "") -> Setting:
    """The arguments of pipelines have the same names, but for those of our own server."""
    return Setting(f"diffusers.{name}", kind, meaning, unit, source=f"Diffusers pipelines, `{name}`")


def _own(name: str, kind: Kind, meaning: str, unit: str = "") -> Setting:
    return Setting(f"diffusers.{name}", kind, meaning, unit, source="image server of mrpack")


DIFFUSERS: Final = (
    _row("num_inference_steps", Whole(1, 1000), "of denoising for an image", "steps"),
    _row("guidance_scale", Real(0, 100), "how closely an image follows its prompt"),
    _row("true_cfg_scale", Real(0, 100), "guidance by a negative prompt, in models that have both"),
    _row("max_sequence_length", Whole(1, 4096), "of a prompt", "tokens"),
    _row("negative_prompt", Prose(4096), "what images should not show"),
    _own("size", _SIZE, "of an image", "pixels"),
    _own("max_size", _SIZE, "a request may ask for no more pixels than this has", "pixels"),
    _own("max_images", Whole(1, 10), "that a request may ask for", "images"),
    _own("max_queue", Whole(0, 1000), "that wait while one is painted", "requests"),
    _own("output_format", Choice(("png", "jpeg", "webp")), "of image files"),
    _own("scheduler", Choice(SCHEDULERS), "in place of the model's own, where that can be replaced by it"),
    _own("device", Choice(("auto", "cuda", "mps", "cpu")), "to compute on; auto: the first that is there"),
    _own(
        "dtype",
        Choice(("auto", "float32", "float16", "bfloat16")),
        "to compute in; auto: float32 on a CPU, else in 16 bits, as the weights are where they have that",
    ),
    _own(
        "cpu_offload",
        Choice(("none", "model", "sequential")),
        "what moves to the GPU only while it is needed: nothing, whole parts, or single layers",
    ),
    _own("attention_slicing", Switch(), "compute attention in slices: less memory, more time"),
    _own("vae_slicing", Switch(), "decode the images of a request one by one"),
    _own("vae_tiling", Switch(), "decode an image in tiles"),
)
