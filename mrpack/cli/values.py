"""What arguments and options take: sizes, paths, KEY=VALUE, and the names that a shell completes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from mrpack.errors import MrpackError, UsageError
from mrpack.model.amounts import parse_size

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


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


def key_value_lines(settings: Mapping[str, Any]) -> list[str]:
    """As `--set` takes them."""
    return [f"{key}={value_text(settings[key])}" for key in sorted(settings, key=setting_order)]


def setting_order(key: str) -> tuple[bool, str]:
    """Those of a group, such as an engine, come after the others."""
    return "." in key, key


def value_text(value: Any) -> str:
    """Of a setting, as KEY=VALUE takes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


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
    from click.shell_completion import CompletionItem  # noqa: PLC0415  # for a key of the shell

    from mrpack.environment import load_settings  # noqa: PLC0415
    from mrpack.store.store import Store  # noqa: PLC0415

    try:
        settings = load_settings(os.environ)
        models = Store(settings.home, settings.references, cache=settings.cache).models()
    except MrpackError:
        return []
    names = sorted(model.reference.familiar(settings.references) for model in models)
    return [CompletionItem(name) for name in names if name.startswith(begun)]


def files(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Of the shell's completion: it does that itself."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415  # for a key of the shell

    return [CompletionItem(begun, type="file")]


def models_or_files(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Where either is taken."""
    return [*local_models(context, parameter, begun), *files(context, parameter, begun)]
