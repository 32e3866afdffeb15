"""The options of `package`, declared once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import click

from mrpack.cli.sections import section
from mrpack.cli.values import FILE, local_models

_DIALECTS: Final = click.Choice(["docker", "cncf"])

_SECTIONS: Final = (
    section(
        "Source",
        click.option(
            "--gguf", type=FILE, metavar="FILE", help="A GGUF file, any shard of a set, or a folder."
        ),
        click.option(
            "--safetensors",
            "--safetensors-dir",
            type=FILE,
            metavar="FOLDER",
            help="A Safetensors model folder.",
        ),
        click.option("--dduf", type=FILE, metavar="FILE", help="A DDUF file."),
        click.option("--diffusers", type=FILE, metavar="FOLDER", help="A Diffusers pipeline folder."),
        click.option(
            "--as",
            "one_file",
            metavar="FORMAT",
            help="Write a Diffusers folder as one file of this format first: dduf.",
        ),
        click.option(
            "--from",
            "stored",
            metavar="MODEL",
            shell_complete=local_models,
            help="A local model; no weight of it is read.",
        ),
        click.option(
            "--drop",
            multiple=True,
            metavar="PATH|ROLE",
            help="With --from: leave out a file, or all of a role; repeatable.",
        ),
        click.option(
            "--include", multiple=True, metavar="GLOB", help="Of a folder, only files that match; repeatable."
        ),
        click.option(
            "--exclude", multiple=True, metavar="GLOB", help="Of a folder, no files that match; repeatable."
        ),
        click.option("--quantization", metavar="NAME", help="Which GGUF model of a folder, such as Q4_K_M."),
        click.option("--allow-code", is_flag=True, help="Pack files that run code when the model is loaded."),
    ),
    section(
        "Further files",
        click.option(
            "-l",
            "--license",
            "licenses",
            type=FILE,
            multiple=True,
            metavar="FILE",
            help="A licence; repeatable.",
        ),
        click.option("--chat-template", type=FILE, metavar="FILE", help="A Jinja chat template."),
        click.option("--mmproj", type=FILE, metavar="FILE", help="The multimodal projector, a GGUF file."),
        click.option(
            "--lora",
            "adapters",
            type=FILE,
            multiple=True,
            metavar="FILE|DIR",
            help="A LoRA: in GGUF or Safetensors, or a folder of PEFT; repeatable.",
        ),
    ),
    section(
        "Run-time settings",
        click.option(
            "--context-size", type=int, metavar="N", help="Context size in tokens. [default: the model's own]"
        ),
        click.option(
            "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A run-time setting; repeatable."
        ),
        click.option("--overrides", type=FILE, metavar="FILE", help="A document of run-time settings."),
        click.option(
            "--hf-overrides",
            "--hf_overrides",
            metavar="JSON",
            help="Overrides of config.json, and vLLM settings.",
        ),
    ),
    section(
        "Artifact",
        click.option(
            "--format",
            "dialect",
            type=_DIALECTS,
            default="docker",
            show_default=True,
            help="Artifact dialect.",
        ),
        click.option(
            "--also", type=_DIALECTS, help="A second manifest over the same layers, as MODEL-DIALECT."
        ),
        click.option(
            "--auto-tag", is_flag=True, help="Tag MODEL by size and quantization, such as 135M-Q4_1."
        ),
        click.option(
            "--annotation",
            "annotations",
            multiple=True,
            metavar="KEY=VALUE",
            help="Of the manifest; repeatable.",
        ),
        click.option(
            "--created",
            metavar="TIME",
            help="Creation time, RFC 3339. [default: SOURCE_DATE_EPOCH, else 1970-01-01T00:00:00Z]",
        ),
        click.option(
            "--file-metadata",
            type=click.Choice(["normalized", "preserve"]),
            default="normalized",
            show_default=True,
            help="Same digest everywhere, or the files' own modes and times, as Docker Model Runner does.",
        ),
    ),
)


def package_options(function: Callable[..., None]) -> Callable[..., None]:
    for options in reversed(_SECTIONS):
        function = options(function)
    return function
