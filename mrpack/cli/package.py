"""The command `package`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from mrpack.cli import options
from mrpack.cli.invocation import Invocation, command
from mrpack.cli.progress import reporting
from mrpack.errors import UsageError
from mrpack.packing.plan import Extras, FileFacts, Wishes
from mrpack.packing.walk import Choice
from mrpack.verbs import package as verbs
from mrpack.workspace import Access


@command("package")
@click.argument("arguments", nargs=-1, required=True, metavar="[SOURCE] MODEL")
@click.option("--gguf", type=options.FILE, metavar="FILE", help="A GGUF file, any shard, or a folder.")
@click.option(
    "--safetensors", "--safetensors-dir", type=options.FILE, metavar="DIR", help="A Safetensors model folder."
)
@click.option("--dduf", type=options.FILE, metavar="FILE", help="A DDUF file.")
@click.option("--diffusers", type=options.FILE, metavar="DIR", help="A Diffusers pipeline folder.")
@click.option(
    "-l",
    "--license",
    "licenses",
    type=options.FILE,
    multiple=True,
    metavar="FILE",
    help="A licence text; may be repeated.",
)
@click.option("--chat-template", type=options.FILE, metavar="FILE", help="A Jinja chat template.")
@click.option("--mmproj", type=options.FILE, metavar="FILE", help="The multimodal projector, a GGUF file.")
@click.option(
    "--lora",
    "adapters",
    type=options.FILE,
    multiple=True,
    metavar="FILE",
    help="A LoRA adapter in GGUF; may be repeated.",
)
@click.option(
    "--context-size", type=int, metavar="N", help="Context size in tokens. [default: the model's own]"
)
@click.option("--include", multiple=True, metavar="GLOB", help="Of a folder, only files that match.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Of a folder, no files that match.")
@click.option("--quantization", metavar="NAME", help="Which GGUF model of a folder, such as Q4_K_M.")
@click.option("--allow-code", is_flag=True, help="Pack files that run code when the model is loaded.")
@click.option(
    "--push", is_flag=True, help="Send it straight to the registry of MODEL, not to the local store."
)
@click.option(
    "--created",
    metavar="TIME",
    help="Creation time, RFC 3339. [default: SOURCE_DATE_EPOCH, else 1970-01-01T00:00:00Z]",
)
@click.option(
    "--file-metadata",
    type=click.Choice(["normalized", "preserve"]),
    default="normalized",
    show_default=True,
    help="Same digest everywhere, or the files' own modes and times as Docker Model Runner writes them.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be built, and its digest; write nothing.")
@options.jobs
@options.registry_options
def package(
    invocation: Invocation,
    arguments: tuple[str, ...],
    gguf: Path | None,
    safetensors: Path | None,
    dduf: Path | None,
    diffusers: Path | None,
    licenses: tuple[Path, ...],
    chat_template: Path | None,
    mmproj: Path | None,
    adapters: tuple[Path, ...],
    context_size: int | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    quantization: str | None,
    allow_code: bool,
    push: bool,
    created: str | None,
    file_metadata: str,
    dry_run: bool,
    jobs: int | None,
    access: Access,
) -> None:
    """Build an OCI artifact named MODEL from model files. Prints its digest.

    The same files give the same digest on every machine.

    \b
    Examples:
      mrpack package ./SmolLM2-135M-Instruct.Q4_1.gguf smollm2:135M-Q4_1
      mrpack package ./Qwen2-0.5B registry.example.com/team/qwen2:bf16 --exclude '*.md'
      mrpack package --gguf ./m-00001-of-00003.gguf --license LICENSE registry.example.com/m:v1 --push
    """
    given = {"gguf": gguf, "safetensors": safetensors, "dduf": dduf, "diffusers": diffusers}
    kind, source, name = _source_and_name(arguments, given)
    request = verbs.PackageRequest(
        source=source,
        kind=kind,
        wishes=Wishes(
            extras=Extras(licenses=licenses, chat_template=chat_template, mmproj=mmproj, adapters=adapters),
            context_size=context_size,
            facts=FileFacts(
                preserve=file_metadata == "preserve",
                mtime_ns=_source_date_ns(os.environ.get("SOURCE_DATE_EPOCH")),
            ),
            choice=Choice(include=include, exclude=exclude),
            quantization=quantization,
            allow_code=allow_code,
        ),
        created=created,
    )
    with reporting(invocation, "pushing" if push else "storing") as report:
        packaged = verbs.package(
            invocation.workspace,
            request,
            name,
            push=push,
            dry_run=dry_run,
            access=access,
            jobs=jobs,
            report=report,
        )
    _show(invocation, packaged)


def _source_and_name(
    arguments: tuple[str, ...], given: Mapping[str, Path | None]
) -> tuple[str | None, Path, str]:
    """`SOURCE MODEL`, or one option that names the kind, and MODEL."""
    named = [(kind, path) for kind, path in given.items() if path is not None]
    if len(named) > 1:
        raise UsageError(f"--{named[0][0]} and --{named[1][0]} are two sources", hint="give one")
    if len(arguments) != (1 if named else 2):
        raise UsageError(
            "give SOURCE and MODEL, or --gguf FILE and MODEL", hint="see `mrpack package --help`"
        )
    if named:
        return *named[0], arguments[0]
    return None, Path(arguments[0]), arguments[1]


def _source_date_ns(text: str | None) -> int:
    """reproducible-builds.org, SOURCE_DATE_EPOCH: seconds since 1970 as a decimal integer."""
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"SOURCE_DATE_EPOCH is not a number of seconds: {text!r}")
    return int(text) * 1_000_000_000


def _show(invocation: Invocation, packaged: verbs.Packaged) -> None:
    config = packaged.config
    for layer in packaged.layers:
        invocation.say(f"{layer.role:<14} {layer.path}")
    labels = [config.format, config.architecture, config.parameters, config.quantization]
    invocation.say(" ".join(label for label in labels if label))
    descriptor = packaged.manifest.descriptor
    invocation.result(
        str(descriptor.digest),
        {
            "reference": packaged.name or None,
            "digest": str(descriptor.digest),
            "format": config.format,
            "parameters": config.parameters or None,
            "quantization": config.quantization or None,
            "architecture": config.architecture or None,
            "context_size": config.context_size,
            "layers": [
                {
                    "path": layer.path,
                    "role": str(layer.role),
                    "media_type": descriptor.media_type,
                    "digest": str(descriptor.digest),
                    "size": descriptor.size,
                }
                for layer, descriptor in zip(packaged.layers, packaged.manifest.layers, strict=True)
            ],
        },
    )
