"""Painting on the command line: images of a prompt, with their progress, into files or a pipe."""

from __future__ import annotations

import base64
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mrpack.cli.invocation import Invocation
from mrpack.cli.messages import can_redraw, writing_result
from mrpack.cli.sections import section
from mrpack.errors import EngineFailed, UsageError, from_os_error
from mrpack.model.amounts import counted
from mrpack_runtime.commands.inline import find_encoder

if TYPE_CHECKING:
    from mrpack_runtime.wire.client import GatewayClient

_PIPE: Final = "-"
_FORMATS: Final = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
# After how many steps of how many of the image with this index.
Report = Callable[[int, int, int | None], None]

_options = section(
    "Image models",
    click.option(
        "-o",
        "--output",
        metavar="FILE",
        help="Where the image goes, .png, .jpg or .webp; -: standard output, as PNG.",
    ),
    click.option("--size", metavar="WxH", help="In pixels, such as 1024x768."),
    click.option(
        "--steps",
        type=click.IntRange(1, 1000),
        metavar="N",
        help="Of denoising; more take longer.",
    ),
    click.option(
        "--guidance",
        type=click.FloatRange(0, 100),
        metavar="X",
        help="How closely the prompt is followed.",
    ),
    click.option("--negative-prompt", metavar="TEXT", help="What the image should not show."),
    click.option(
        "--images",
        type=click.IntRange(1, 10),
        metavar="N",
        help="How many; further files get a number.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Painting:
    """What the options say; None: nothing."""

    output: str | None = None
    size: str | None = None
    steps: int | None = None
    guidance: float | None = None
    negative_prompt: str | None = None
    images: int | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Of the request."""
        found = {
            "n": self.images,
            "size": self.size,
            "steps": self.steps,
            "guidance": self.guidance,
            "negative_prompt": self.negative_prompt,
        }
        return {name: value for name, value in found.items() if value is not None}


def painting_options(function: Callable[..., None]) -> Callable[..., None]:
    """The function gets them as `painting`."""

    @functools.wraps(function)
    def run(*args: Any, **rest: Any) -> None:
        own = {name: rest.pop(name) for name in Painting.__dataclass_fields__}
        function(*args, painting=Painting(**own), **rest)

    return _options(run)


def paint(
    invocation: Invocation,
    client: GatewayClient,
    model: str,
    prompt: str,
    painting: Painting,
    place: Place,
    seed: int | None,
) -> None:
    """Writes the images; prints their names. Raises as `GatewayClient.paint`."""
    count = place.count
    body = {
        "model": model,
        "prompt": prompt,
        "output_format": place.format,
        **painting.fields,
        **({} if seed is None else {"seed": seed}),
    }
    images: list[_Image] = []
    with _reporting(invocation, count) as report, closing(client.paint(body)) as events:
        for event in events:
            kind = str(event.get("type", "")).rpartition(".")[2]
            if kind == "progress":
                report(event["image_index"], event["step"], event.get("steps"))
            elif kind == "completed":
                content = base64.b64decode(event["b64_json"])
                path = place.put(content, event["image_index"])
                images.append(_Image(path, event.get("seed"), event.get("size"), content))
    if len(images) < count:
        raise EngineFailed("the answer ended too early")
    place.show([image.content for image in images])
    if place.path is not None:
        kept = [{"path": image.path, "seed": image.seed, "size": image.size} for image in images]
        invocation.result("\n".join(image.path for image in images), {"model": model, "images": kept})
    invocation.say(f"seed {', '.join(str(image.seed) for image in images)}")


@dataclass(frozen=True, slots=True)
class _Image:
    path: str
    seed: int | None
    size: str | None
    content: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where images go: numbered files, a pipe, or only the terminal's own window."""

    path: Path | None
    is_pipe: bool
    format: str
    count: int

    @classmethod
    def of(cls, output: str | None, count: int, *, model: str, is_json: bool) -> Place:
        """Raises UsageError before any work is done."""
        if output == _PIPE:
            if count > 1 or is_json:
                raise UsageError("--output - takes one image, and no --json")
            if sys.stdout.isatty():
                raise UsageError("an image is nothing for a terminal", hint="--output FILE, or a pipe")
            return cls(None, is_pipe=True, format="png", count=count)
        if output is None:
            if is_json or not sys.stdout.isatty() or find_encoder(os.environ) is None:
                raise UsageError(f"{model} paints images", hint="say where they go: --output FILE.png")
            return cls(None, is_pipe=False, format="png", count=count)
        path = Path(output)
        if path.suffix.lower() not in _FORMATS:
            raise UsageError(f"--output {output}: the name must end in {', '.join(_FORMATS)}")
        if not path.absolute().parent.is_dir():
            raise UsageError(f"--output {output}: there is no folder {path.parent}")
        return cls(path, is_pipe=False, format=_FORMATS[path.suffix.lower()], count=count)

    def put(self, content: bytes, index: int) -> str:
        """The path of the file; empty when it went elsewhere."""
        if self.is_pipe:
            with writing_result():
                sys.stdout.buffer.write(content)
                sys.stdout.buffer.flush()
        if self.path is None:
            return ""
        path = self.path
        if self.count > 1:
            path = path.with_name(f"{path.stem}-{index + 1}{path.suffix}")
        try:
            path.write_bytes(content)
        except OSError as error:
            raise from_os_error(error, f"write {path}") from error
        return str(path)

    def show(self, images: list[bytes]) -> None:
        """In a terminal that can."""
        if sys.stdout.isatty() and (encode := find_encoder(os.environ)):
            for content in images:
                click.echo(encode(content))


@contextmanager
def _reporting(invocation: Invocation, count: int) -> Iterator[Report]:
    how = invocation.progress
    if invocation.quiet or how == "none":
        yield lambda *_: None
    elif how == "json":
        yield _tell_json
    elif how == "auto" and can_redraw(sys.stderr):
        with _bar(count) as report:
            yield report
    else:
        yield _tell_line(count)


def _tell_json(image: int, step: int, steps: int | None) -> None:
    click.echo(json.dumps({"event": "step", "image": image, "step": step, "steps": steps}), err=True)


def _tell_line(count: int) -> Report:
    """One line for each image."""

    def tell(image: int, step: int, steps: int | None) -> None:
        if step == 1:
            of = f" of {count}" if count > 1 else ""
            click.echo(
                f"painting image {image + 1}{of}" + (f", {counted(steps, 'step')}" if steps else ""), err=True
            )

    return tell


@contextmanager
def _bar(count: int) -> Iterator[Report]:
    from rich.console import Console  # noqa: PLC0415  # 70 ms, only for a terminal
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: PLC0415
    from rich.progress import TimeRemainingColumn as Left  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        Left(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("loading", total=None)

        def report(image: int, step: int, steps: int | None) -> None:
            words = f"painting {image + 1} of {count}" if count > 1 else "painting"
            progress.update(task, description=words, total=steps, completed=step)

        yield report
