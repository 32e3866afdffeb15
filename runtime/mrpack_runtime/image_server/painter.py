"""The pipeline itself: the only module that knows torch and Diffusers."""

# Both live in another Python.
# pyright: reportMissingImports=false

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import diffusers
import torch

from .line import Job, Painted, Preview
from .memory import free_memory
from .pictures import encode, fit, mask_of, open_picture, size_of
from .refusal import Refusal
from .signature import Signature
from .sizes import Size, SizeRules, most_pixels
from .wish import Source, Wish

_LOG: Final = logging.getLogger("image server")
_CHANNELS: Final = 4
# Of a pixel's values in the widest layer of a decoder, how many copies live at once: 4.4 were measured with
# Stable Diffusion's, in float32 on a processor.
_COPIES: Final = 5


class TorchPainter:
    """One pipeline, and those for edits that share its parts. `paint` belongs to one thread."""

    def __init__(
        self, pipeline: Any, rules: SizeRules, *, count_image: Callable[[], None], memory: int
    ) -> None:
        self._pipeline = pipeline
        self._rules = rules
        self._memory = memory
        self._count_image = count_image
        self._signature = Signature.of(type(pipeline).__name__, pipeline.__call__)
        self._for_edits: dict[bool, Any] = {}

    def check(self, wish: Wish) -> None:
        if wish.source is None:
            self._signature.arguments(wish)
        if wish.size is not None:
            self._rules.check(wish.size, free_memory(str(self._pipeline.device), self._memory))

    def paint(self, job: Job) -> None:
        wish = job.wish
        pipeline, own = (self._pipeline, {}) if wish.source is None else self._edit(wish, wish.source)
        signature = Signature.of(type(pipeline).__name__, pipeline.__call__)
        arguments = signature.arguments(wish) | {
            name: value for name, value in own.items() if name in signature
        }
        for index in range(wish.count):
            seed = wish.seed + index
            watch = _Watch(job, index, pipeline, signature, arguments)
            generator = torch.Generator("cpu").manual_seed(seed)  # the same noise on every device
            try:
                result = pipeline(**arguments, **watch.arguments, generator=generator)
            finally:
                if hasattr(pipeline, "maybe_free_model_hooks"):  # a pipeline that was left does not
                    pipeline.maybe_free_model_hooks()
            image = _first_image(result)
            size = size_of(image)
            notes = {"Software": "mrpack", "seed": str(seed), "pipeline": signature.pipeline}
            content = encode(image, wish.output_format, wish.compression, notes)
            self._count_image()
            job.report(Painted(index, seed, size.width, size.height, content))

    def _edit(self, wish: Wish, source: Source) -> tuple[Any, dict[str, Any]]:
        """The pipeline for an edit, and what it gets beside the arguments of every pipeline."""
        pipeline = self._pipeline_for_edits(with_mask=source.mask is not None)
        image = open_picture(source.image, "image")
        size = wish.size or size_of(image).down_to(self._rules.unit)
        self._rules.check(size, free_memory(str(self._pipeline.device), self._memory))
        own: dict[str, Any] = {"image": fit(image, size), "width": size.width, "height": size.height}
        if source.mask is not None:
            own["mask_image"] = mask_of(open_picture(source.mask, "mask"), size)
        return pipeline, own

    def _pipeline_for_edits(self, *, with_mask: bool) -> Any:
        """Raises Refusal when there is none for this kind of model."""
        wanted = {"image", "mask_image"} if with_mask else {"image"}
        if not self._signature.lacking(wanted):
            return self._pipeline
        if with_mask not in self._for_edits:
            auto = diffusers.AutoPipelineForInpainting if with_mask else diffusers.AutoPipelineForImage2Image
            try:
                made = auto.from_pipe(self._pipeline)
            except ValueError:
                what = "edit with a mask" if with_mask else "edit"
                raise Refusal(
                    f"{self._signature.pipeline} cannot {what} images",
                    param="mask" if with_mask else "image",
                    code="unsupported_operation",
                ) from None
            made.set_progress_bar_config(disable=True)
            self._for_edits[with_mask] = made
        return self._for_edits[with_mask]


class _Watch:
    """Looks in after every step of one image: counts it, shows it, and ends it when nobody waits any more.

    The few pipelines without a callback (five of Diffusers 0.42) can only be left between images.
    """

    def __init__(
        self, job: Job, index: int, pipeline: Any, signature: Signature, arguments: dict[str, Any]
    ) -> None:
        self._job = job
        self._index = index
        self._pipeline = pipeline
        self._size = (arguments.get("width"), arguments.get("height"))
        self._asked = arguments.get("num_inference_steps", signature.steps)
        self._previews = 0
        self.arguments: dict[str, Any] = {}
        if "callback_on_step_end" in signature:
            self.arguments["callback_on_step_end"] = self._after_step
        elif "callback" in signature:
            self.arguments["callback"] = lambda step, *_: self._count(step)
        if job.has_left:
            job.step(index, 0, None)

    def _after_step(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        del timestep
        steps = self._count(step)
        wanted = self._job.wish.partial_images
        if wanted > self._previews and steps and step + 1 < steps:
            due = (step + 1) * (wanted + 1) // steps
            if due > self._previews:
                self._previews = due
                self._preview(pipeline, tensors.get("latents"), due - 1)
        return tensors

    def _count(self, step: int) -> int | None:
        """How many steps it will be; edits skip some, by their strength."""
        steps = getattr(self._pipeline, "num_timesteps", None) or self._asked
        self._job.step(self._index, step + 1, steps)
        return steps

    def _preview(self, pipeline: Any, latents: Any, number: int) -> None:
        """Nothing for pipelines whose state we cannot decode: clients expect that there may be fewer."""
        vae: Any = getattr(pipeline, "vae", None)
        width, height = self._size
        if not isinstance(vae, diffusers.AutoencoderKL) or latents is None:
            return
        if hasattr(pipeline, "_unpack_latents") and width and height:
            latents = pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)  # noqa: SLF001
        if latents.ndim != _CHANNELS or latents.shape[1] != vae.config.latent_channels:
            return
        config = vae.config
        latents = latents / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)
        with torch.no_grad():
            decoded = vae.decode(latents.to(vae.dtype), return_dict=False)[0]
        image = pipeline.image_processor.postprocess(decoded, output_type="pil")[0]
        wish = self._job.wish
        self._job.report(
            Preview(self._index, number, encode(image, wish.output_format, wish.compression, {}))
        )


def _first_image(result: Any) -> Any:
    images = getattr(result, "images", None)
    if not images:
        raise Refusal("the pipeline makes no images", status=501, code="unsupported_operation")
    return images[0]


def size_rules(pipeline: Any, largest: Size | None) -> SizeRules:
    """Transformers join 2x2 points of the latent image to one patch; U-Nets take any number of them."""
    factor = getattr(pipeline, "vae_scale_factor", None)
    factor = factor if isinstance(factor, int) and factor > 0 else 8
    unit = factor * 2 if "transformer" in pipeline.components else factor
    vae: Any = getattr(pipeline, "vae", None)
    channels = getattr(getattr(vae, "config", None), "block_out_channels", None)
    tiled = getattr(vae, "use_tiling", False)
    pixel_bytes = 0
    if channels and not tiled:
        # The last block begins with the channels of the one before.
        pixel_bytes = _COPIES * channels[:2][-1] * torch.finfo(vae.dtype).bits // 8
    return SizeRules(
        unit=unit, pixels=most_pixels(_default_size(pipeline, factor), largest), pixel_bytes=pixel_bytes
    )


def _default_size(pipeline: Any, factor: int) -> Size | None:
    """In the latent image's points; newer pipelines have an attribute, the U-Nets of older ones a setting."""
    unet = getattr(getattr(pipeline, "unet", None), "config", None)
    points = getattr(pipeline, "default_sample_size", None) or getattr(unet, "sample_size", None)
    return Size(points * factor, points * factor) if isinstance(points, int) else None


def quiet() -> None:
    """Libraries warn about prompts that are too long by quoting them: the log must not have them."""
    import transformers  # noqa: PLC0415  # heavy, and diffusers has imported it

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def use_threads(count: int) -> None:
    torch.set_num_threads(count)
