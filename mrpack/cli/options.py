"""Options that several commands share, each declared once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from mrpack.workspace import Access

FILE: Final = click.Path(path_type=Path)

jobs = click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Blobs under way at once. [default: 3, or `jobs` of config.toml]",
)
hash_jobs = click.option(
    "--jobs", type=click.IntRange(1, 64), metavar="N", help="Blobs hashed at once. [default: one a processor]"
)
_REGISTRY: Final = (
    click.option(
        "--plain-http",
        is_flag=True,
        help="Speak HTTP without TLS to this registry. Loopback does so anyway.",
    ),
    click.option("--ca-file", type=FILE, metavar="FILE", help="Trust this PEM file of certificates too."),
    click.option("--insecure-skip-verify", is_flag=True, help="Do not check the registry's TLS certificate."),
)


def registry_options(function: Callable[..., None]) -> Callable[..., None]:
    """How to reach the registry of this call; the function gets them as one `access`."""

    @functools.wraps(function)
    def run(
        *args: Any, plain_http: bool, ca_file: Path | None, insecure_skip_verify: bool, **rest: Any
    ) -> None:
        access = Access(plain_http=plain_http, ca_file=ca_file, skip_verify=insecure_skip_verify)
        function(*args, access=access, **rest)

    for option in reversed(_REGISTRY):
        option(run)
    return run
