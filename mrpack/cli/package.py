"""The command `package`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mrpack.cli import options
from mrpack.cli.invocation import Invocation, command
from mrpack.cli.package_options import package_options
from mrpack.cli.progress import reporting
from mrpack.cli.sections import section
from mrpack.cli.values import FILE, files
from mrpack.errors import UsageError
from mrpack.workspace import Access

if TYPE_CHECKING:
    from mrpack.verbs.package import Packaged


@command("package")
@click.argument("arguments", nargs=-1, required=True, metavar="[SOURCE] MODEL", shell_complete=files)
@package_options
@click.option(
    "--push", is_flag=True, help="Send it straight to the registry of MODEL, not to the local store."
)
@section(
    "Quantizing",
    click.option(
        "--quantize",
        metavar="NAME,…",
        help="Make these of an F16, BF16 or F32 GGUF file with llama.cpp; each gets a tag of its own.",
    ),
    click.option("--imatrix", type=FILE, metavar="FILE", help="With --quantize: an importance matrix."),
    click.option("--allow-requantize", is_flag=True, help="With --quantize: of a quantized file, too."),
)
@click.option("--dry-run", is_flag=True, help="Say what would be built, and its digest; write nothing.")
@options.jobs
@options.transfer_options
def package(
    invocation: Invocation,
    arguments: tuple[str, ...],
    push: bool,
    quantize: str | None,
    imatrix: Path | None,
    allow_requantize: bool,
    dry_run: bool,
    jobs: int | None,
    access: Access,
    **given: Any,
) -> None:
    """Build an OCI artifact named MODEL from model files, or from a local model. Prints its digest.

    SOURCE is a GGUF or DDUF file, a folder with a Safetensors model or a Diffusers pipeline, or a repository
    of Hugging Face. The same files give the same digest on every machine.

    \b
    Examples:
      mrpack package ./SmolLM2-135M-Instruct.Q4_1.gguf smollm2:135M-Q4_1
      mrpack package ./Qwen2-0.5B registry.example.com/team/qwen2:bf16 --exclude '*.md' --push
      mrpack package --gguf ./m-00001-of-00003.gguf --license LICENSE --context-size 8192 m --auto-tag
      mrpack package hf.co/Qwen/Qwen2-0.5B-Instruct-GGUF:Q4_K_M registry.example.com/qwen2:q4 --push
      mrpack package --from smollm2 --set sampling.temperature=0.2 smollm2:precise
      mrpack package ./model-F16.gguf registry.example.com/team/model --quantize Q4_K_M,Q8_0 --push
    """
    from mrpack.cli.package_request import PackageOptions  # noqa: PLC0415  # --help packs nothing
    from mrpack.verbs import package as verbs  # noqa: PLC0415
    from mrpack.verbs.quantize import QuantizeRequest, find_quantizer, package_quantized  # noqa: PLC0415

    request, name = PackageOptions(**given).request(arguments, os.environ.get("SOURCE_DATE_EPOCH"))
    if quantize is not None and request.stored is not None:
        raise UsageError("--quantize does not go with --from", hint="give the F16, BF16 or F32 file")
    if quantize is None and (imatrix or allow_requantize):
        raise UsageError("--imatrix and --allow-requantize go with --quantize")
    done: tuple[Packaged, ...]
    with reporting(invocation, "pushing" if push else "storing") as report:
        if quantize is None:
            done = (
                verbs.package(
                    invocation.workspace,
                    request,
                    name,
                    push=push,
                    dry_run=dry_run,
                    access=access,
                    jobs=jobs,
                    report=report,
                ),
            )
        else:
            wanted = QuantizeRequest(
                quantizations=quantize.split(","), importance=imatrix, requantize=allow_requantize
            )
            done = package_quantized(
                invocation.workspace,
                request,
                name,
                wanted,
                find=lambda: find_quantizer(invocation.settings.home, os.environ),
                push=push,
                dry_run=dry_run,
                access=access,
                jobs=jobs,
                report=report,
            )
    for note in done[0].notes:
        invocation.say(note)
    for packaged in done:
        if (request.auto_tag or quantize is not None) and packaged.name:
            invocation.say(f"{packaged.name}:")
        _say(invocation, packaged)
    values = [_value(packaged) for packaged in done]
    invocation.result(
        "\n".join(str(packaged.manifest.descriptor.digest) for packaged in done),
        values[0] if quantize is None else values,
    )


def _say(invocation: Invocation, packaged: Packaged) -> None:
    config = packaged.config
    for layer in packaged.layers:
        invocation.say(f"{layer.role:<14} {layer.path}")
    labels = [config.format, config.architecture, config.parameters, config.quantization]
    invocation.say(" ".join(label for label in labels if label))
    if packaged.also:
        name, manifest = packaged.also
        invocation.say(f"also {name} as {manifest.descriptor.digest}")


def _value(packaged: Packaged) -> dict[str, Any]:
    config, also = packaged.config, packaged.also
    return {
        "reference": packaged.name or None,
        "digest": str(packaged.manifest.descriptor.digest),
        "also": {"reference": also[0], "digest": str(also[1].descriptor.digest)} if also else None,
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
    }
