"""Commands for air gaps: `export` to one file or a pipe, `import` from one."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from mrpack.cli import options
from mrpack.cli.invocation import Invocation, command
from mrpack.cli.messages import writing_result
from mrpack.cli.progress import reporting
from mrpack.cli.values import FILE, local_models
from mrpack.errors import UsageError, from_os_error
from mrpack.verbs import archive as verbs
from mrpack.verbs.scratch import scratch_file

_PIPE: Final = Path("-")


@command("export")
@click.argument("model", shell_complete=local_models)
@click.argument("file", type=FILE)
@options.referrers
def export(invocation: Invocation, model: str, file: Path, referrers: bool) -> None:
    """Write the local MODEL to FILE, an OCI image layout in one tar. Prints the digest.

    The same model gives the same bytes. FILE has its name only when it is complete; `-` is standard output.
    skopeo and podman read it as `oci-archive:FILE`.

    \b
    Examples:
      mrpack export smollm2 smollm2.tar
      mrpack export smollm2 - | ssh gpu.example.com mrpack import -
    """
    if file == _PIPE:
        _export_to_pipe(invocation, model, referrers=referrers)
        return
    with reporting(invocation, "exporting") as report:
        moved = verbs.export_model(invocation.workspace, model, file, referrers=referrers, report=report)
    invocation.result(
        str(moved.digest), {"reference": moved.name, "digest": str(moved.digest), "size": moved.size}
    )


def _export_to_pipe(invocation: Invocation, model: str, *, referrers: bool) -> None:
    if invocation.json:
        raise UsageError("--json does not go with `-`", hint="standard output is the archive")
    if sys.stdout.isatty():
        raise UsageError("an archive is nothing for a terminal", hint="name a FILE, or write into a pipe")
    pipe = sys.stdout.buffer
    with reporting(invocation, "exporting") as report, writing_result():
        digest = verbs.stream_model(invocation.workspace, model, pipe, referrers=referrers, report=report)
        pipe.flush()
    invocation.say(str(digest))


@command("import")
@click.argument("file", type=FILE)
@click.argument("name", required=False)
@options.referrers
def import_(invocation: Invocation, file: Path, name: str | None, referrers: bool) -> None:
    """Bring the models in FILE into the local store, or the one in it as NAME. Prints their names.

    FILE comes from `mrpack export`, `skopeo copy … oci-archive:FILE` or `docker save`; `-` is standard
    input. Everything is verified; nothing is unpacked beside the store.

    \b
    Examples:
      mrpack import smollm2.tar
      mrpack import smollm2.tar registry.example.com/team/smollm2:v1
    """
    with _received(invocation, file) as path, reporting(invocation, "importing") as report:
        called = "standard input" if file == _PIPE else str(file)
        imported = verbs.import_models(
            invocation.workspace, path, name, called=called, referrers=referrers, report=report
        )
    invocation.result(
        "\n".join(moved.name for moved in imported),
        [{"reference": moved.name, "digest": str(moved.digest), "size": moved.size} for moved in imported],
    )


@contextlib.contextmanager
def _received(invocation: Invocation, file: Path) -> Iterator[Path]:
    """A file that can be read at any place, which a pipe cannot."""
    if file != _PIPE:
        yield file
        return
    if sys.stdin.isatty():
        raise UsageError("no archive comes from a terminal", hint="name a FILE, or read from a pipe")
    with scratch_file(invocation.workspace, ".tar") as path:
        try:
            with path.open("xb") as copy:
                shutil.copyfileobj(sys.stdin.buffer, copy)
        except OSError as error:
            raise from_os_error(error, "keep what comes from standard input") from error
        yield path
