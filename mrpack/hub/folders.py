"""What of a repository that is one model, a folder of Safetensors or a pipeline, is needed to run it.

Left out is only what is known to be needed by nobody who has the rest: the same weights for other programs,
and what a training run left behind. Code and pickles of other names stay, and packing refuses them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from pathspec import GitIgnoreSpec

from mrpack.hub.listing import HubFile, HubListing, Selection
from mrpack.model.pipeline import INDEX_NAME
from mrpack.model.weight_formats import format_by_name
from mrpack.packing.walk import IGNORE_FILE

MODEL: Final = "safetensors"
PIPELINE: Final = "diffusers"

# Patterns of .gitignore.
_UNNEEDED: Final = GitIgnoreSpec.from_lines(
    (
        # The weights for ONNX, OpenVINO, Core ML, TensorFlow, Flax, Rust, llama.cpp, and as one DDUF file.
        *("onnx/", "openvino/", "coreml/", "*.mlpackage/", "*model*.onnx", "*model*.onnx_data*"),
        *("tf_model*.h5", "flax_model*.msgpack*", "diffusion_flax_model*.msgpack*", "rust_model.ot"),
        *("*.gguf", "*.dduf"),
        # The weights as their authors' own programs read them.
        "/original/",
        # Left behind by training.
        *("checkpoint-[0-9]*/", "runs/", "events.out.tfevents.*"),
        *("training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "rng_state*.pth"),
    )
)
# The weights as pickles; left out only beside a Safetensors file.
_PICKLED: Final = GitIgnoreSpec.from_lines(
    (
        *("pytorch_model*.bin", "pytorch_model*.bin.index*.json"),
        *("diffusion_pytorch_model*.bin", "diffusion_pytorch_model*.bin.index*.json"),
        *("adapter_model.bin", "consolidated*.pth"),
    )
)
# Of a pipeline the weights lie in its folders; at the top are the same in one file.
_CHECKPOINTS: Final = GitIgnoreSpec.from_lines(("/*.safetensors", "/*.ckpt", "/*.pt", "/*.pth", "/*.bin"))
# Mistral's second copy of `model.safetensors`.
_SECOND_COPY: Final = GitIgnoreSpec.from_lines(("/consolidated*.safetensors",))
_FIRST_COPY: Final = GitIgnoreSpec.from_lines(("/model*.safetensors",))

# `model.fp16.safetensors`, its shards `model.fp16-00001-of-00002.safetensors`, and their index.
_VARIANT = re.compile(
    r"(?P<stem>.+)\.(?:bf16|fp16|fp32|fp8|non_ema)(?P<shard>-[0-9]{5}-of-[0-9]{5})?\.safetensors"
    r"|(?P<indexed>.+)\.safetensors\.index\.(?:bf16|fp16|fp32|fp8|non_ema)\.json"
)
_PLAIN = re.compile(r"(?P<stem>.+?)(?:-[0-9]{5}-of-[0-9]{5})?\.safetensors")


def is_pipeline(files: Sequence[HubFile]) -> bool:
    return any(file.path == INDEX_NAME for file in files)


def is_model(files: Sequence[HubFile]) -> bool:
    return not is_pipeline(files) and any(
        _is_weights(file) and not _UNNEEDED.match_file(file.path) for file in files
    )


def choose_model(listing: HubListing) -> Selection:
    return Selection(kind=MODEL, files=tuple(_needed(listing.files)))


def choose_pipeline(listing: HubListing) -> Selection:
    inner = [file for file in listing.files if not _CHECKPOINTS.match_file(file.path)]
    return Selection(kind=PIPELINE, files=tuple(_needed(inner)))


def _needed(files: Sequence[HubFile]) -> list[HubFile]:
    """Names that begin with a dot are nobody's but the ignore file's, which packing reads."""
    kept = [
        file
        for file in files
        if file.path == IGNORE_FILE
        or not (_UNNEEDED.match_file(file.path) or any(part[:1] == "." for part in file.path.split("/")))
    ]
    folders = {file.folder for file in kept if _is_weights(file)}
    kept = [file for file in kept if file.folder not in folders or not _PICKLED.match_file(file.path)]
    if any(_FIRST_COPY.match_file(file.path) for file in kept):
        kept = [file for file in kept if not _SECOND_COPY.match_file(file.path)]
    return _without_variants(kept)


def _without_variants(files: list[HubFile]) -> list[HubFile]:
    """The plain weights alone, when every variant stands beside them; else all: some program asks for it."""
    plain = {
        file.folder + match["stem"]
        for file in files
        if not _VARIANT.fullmatch(file.name) and (match := _PLAIN.fullmatch(file.name))
    }
    variants = {
        file.path: file.folder + (match["stem"] or match["indexed"])
        for file in files
        if (match := _VARIANT.fullmatch(file.name))
    }
    if not plain.issuperset(variants.values()):
        return files
    return [file for file in files if file.path not in variants]


def _is_weights(file: HubFile) -> bool:
    return format_by_name(file.path) == MODEL
