"""Options that several commands share, each declared once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from mrpack.cli.sections import section
from mrpack.cli.values import FILE, Size
from mrpack.environment import JOBS_LIMIT
from mrpack.workspace import Access

jobs = click.option(
    "--jobs",
    type=click.IntRange(1, JOBS_LIMIT),
    metavar="N",
    help="Blobs under way at once; more of small ones, unless N is 1. [default: 3, or `jobs` of config.toml]",
)
hash_jobs = click.option(
    "--jobs",
    type=click.IntRange(1, JOBS_LIMIT),
    metavar="N",
    help="Blobs hashed at once. [default: one a processor]",
)
_REGISTRY: Final = "Registry"
_registry = section(
    _REGISTRY,
    click.option(
        "--plain-http",
        is_flag=True,
        help="Speak HTTP without TLS to this registry. Loopback does so anyway.",
    ),
    click.option("--ca-file", type=FILE, metavar="FILE", help="Trust this PEM file of certificates too."),
    click.option("--insecure-skip-verify", is_flag=True, help="Do not check the registry's TLS certificate."),
)


limit_rate = section(
    _REGISTRY,
    click.option(
        "--limit-rate",
        type=Size(),
        metavar="SIZE",
        help="Bytes a second over all connections, such as 10M. [default: `limit_rate` of config.toml]",
    ),
)
referrers = click.option(
    "--referrers", is_flag=True, help="Bring what belongs to it too: signatures, bills of materials."
)


def transfer_options(function: Callable[..., None]) -> Callable[..., None]:
    """As `registry_options`, for commands that move blobs."""

    @functools.wraps(function)
    def run(*args: Any, access: Access, limit_rate: int | None, **rest: Any) -> None:
        function(*args, access=replace(access, limit_rate=limit_rate), **rest)

    return registry_options(limit_rate(run))


def registry_options(function: Callable[..., None]) -> Callable[..., None]:
    """How to reach the registry of this call; the function gets them as one `access`."""

    @functools.wraps(function)
    def run(
        *args: Any, plain_http: bool, ca_file: Path | None, insecure_skip_verify: bool, **rest: Any
    ) -> None:
        access = Access(plain_http=plain_http, ca_file=ca_file, skip_verify=insecure_skip_verify)
        function(*args, access=access, **rest)

    return _registry(run)
