"""Options that several commands share, each declared once."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from mrpack.environment import JOBS_LIMIT, load_settings
from mrpack.errors import MrpackError, UsageError
from mrpack.model.amounts import parse_size
from mrpack.store.store import Store
from mrpack.workspace import Access


def key_values(texts: Sequence[str], what: str) -> dict[str, str]:
    """Of `KEY=VALUE`; `what` names one of them. Raises UsageError, also for a key that comes twice."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(f"bad {what} {text[:80]!r}", hint="write KEY=VALUE")
        if key in found:
            raise UsageError(f"{what} {key[:80]!r} is given twice")
        found[key] = value
    return found


class Size(click.ParamType[int]):
    """Bytes, written as `500K` or `10M`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_size(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


class _File(click.Path):
    """A path; none is what a shell makes of a variable that is not set, and not the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


FILE: Final = _File(path_type=Path)


def local_models(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Of the shell's completion: what `mrpack list` calls them."""
    try:
        settings = load_settings(os.environ)
        models = Store(settings.home, settings.references, cache=settings.cache).models()
    except MrpackError:
        return []
    names = sorted(model.reference.familiar(settings.references) for model in models)
    return [CompletionItem(name) for name in names if name.startswith(begun)]


def files(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Of the shell's completion: it does that itself."""
    return [CompletionItem(begun, type="file")]


def models_or_files(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Where either is taken."""
    return [*local_models(context, parameter, begun), *files(context, parameter, begun)]


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
_REGISTRY: Final = (
    click.option(
        "--plain-http",
        is_flag=True,
        help="Speak HTTP without TLS to this registry. Loopback does so anyway.",
    ),
    click.option("--ca-file", type=FILE, metavar="FILE", help="Trust this PEM file of certificates too."),
    click.option("--insecure-skip-verify", is_flag=True, help="Do not check the registry's TLS certificate."),
)


limit_rate = click.option(
    "--limit-rate",
    type=Size(),
    metavar="SIZE",
    help="Bytes a second over all connections, such as 10M. [default: `limit_rate` of config.toml]",
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

    for option in reversed(_REGISTRY):
        option(run)
    return run
