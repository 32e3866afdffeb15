"""The command `configure`: settings of a model that are kept on this machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from mrpack.cli.invocation import Invocation, command
from mrpack.cli.messages import columns
from mrpack.cli.table import printable, render_table
from mrpack.cli.values import key_value_lines, local_models, setting_order, value_text
from mrpack.errors import NotFound, UsageError
from mrpack.model.amounts import counted
from mrpack.model.overrides import Origin, Overrides, parse_setting

if TYPE_CHECKING:
    from mrpack_runtime.settings.file import FileSettings

_SET: Final = "set"


class _Configure(click.Group):
    """`configure MODEL KEY=VALUE` is `configure set MODEL KEY=VALUE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        helps = set(self.get_help_option_names(ctx))
        if args and args[0] not in {*self.commands, *helps}:
            args = [_SET, *args]
        return super().parse_args(ctx, args)


@click.group("configure", cls=_Configure)
def configure() -> None:
    """Keep settings for a model on this machine, over those that its artifact carries.

    They count from the next request on, in a running gateway too: an engine that has others is started
    again, after the requests that it answers. Settings belong to a name with its tag; `null` as value takes
    away what the artifact says.

    \b
    Examples:
      mrpack configure smollm2 context_size=4096 sampling.temperature=0.2
      mrpack configure set smollm2 --unset context_size
      mrpack configure show --effective smollm2
      mrpack configure keys
      mrpack configure reset smollm2
    """


@command(_SET)
@click.argument("model", shell_complete=local_models)
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--unset", multiple=True, metavar="KEY", help="Keep this setting no longer; repeatable.")
def set_settings(
    invocation: Invocation, *, model: str, settings: tuple[str, ...], unset: tuple[str, ...]
) -> None:
    """Set some settings of MODEL; the others that are kept stay.

    \b
    Example:
      mrpack configure set smollm2 keep_alive=1h llamacpp.flash_attn=on
    """
    if not settings and not unset:
        raise UsageError("nothing to set", hint=f"mrpack configure {model} KEY=VALUE")
    changes: dict[str, Any] = {}
    for text in settings:
        changes |= parse_setting(text).values
    gone = {key for text in unset for key in parse_setting(f"{text}=null").values}
    both = sorted(gone & changes.keys())
    if both:
        raise UsageError(f"{both[0]} is both set and unset")

    def edit(kept: Overrides) -> Overrides:
        left = {key: value for key, value in kept.values.items() if key not in gone}
        return Overrides({**left, **changes})

    name = _public_name(invocation, model)
    kept = _store(invocation).change(name, edit)
    _show_kept(invocation, name, kept)
    if not kept:
        invocation.say(f"nothing is set for {name} any more")


@command("show")
@click.argument("model", shell_complete=local_models)
@click.option(
    "--effective", is_flag=True, help="All settings that the model runs with, and where each comes from."
)
def show(invocation: Invocation, *, model: str, effective: bool) -> None:
    """Show what is kept for MODEL.

    \b
    Examples:
      mrpack configure show smollm2
      mrpack configure show --effective smollm2
    """
    name = _public_name(invocation, model)
    kept = _store(invocation).get(name)
    if not effective:
        _show_kept(invocation, name, kept)
        if not kept:
            invocation.say(f"nothing is set for {name}")
        return
    from mrpack_runtime.models.store_library import StoreLibrary  # noqa: PLC0415
    from mrpack_runtime.settings.merged import CommandSettings, effective_settings  # noqa: PLC0415

    bundle = StoreLibrary(invocation.workspace).find(name)
    found = effective_settings(bundle, CommandSettings(), kept).settings
    rows = [
        (key, value_text(found[key].value), found[key].origin.label)
        for key in sorted(found, key=setting_order)
    ]
    value = {
        key: {"value": sourced.value, "origin": sourced.origin.label, "place": _PLACES[sourced.origin]}
        for key, sourced in found.items()
    }
    table = render_table(("SETTING", "VALUE", "FROM"), rows, columns(sys.stdout))
    invocation.result(table, {"model": name, "effective": value})


@command("list")
def list_configured(invocation: Invocation) -> None:
    """List the models for which something is kept.

    \b
    Example:
      mrpack configure list
    """
    kept = _store(invocation).all()
    rows = [(name, " ".join(key_value_lines(overrides.values))) for name, overrides in sorted(kept.items())]
    invocation.result(
        render_table(("MODEL", "SETTINGS"), rows, columns(sys.stdout)),
        {name: overrides.to_json() for name, overrides in sorted(kept.items())},
    )
    if not kept:
        invocation.say("nothing is set for any model")


@command("keys")
@click.argument("part", required=False)
def list_keys(invocation: Invocation, *, part: str | None) -> None:
    """List all settings there are, or those with PART in their key.

    `package --set`, `serve --set` and `run --set` take the same.

    \b
    Examples:
      mrpack configure keys
      mrpack configure keys sampling
    """
    from mrpack.model.overrides import SETTINGS  # noqa: PLC0415  # --help needs no table

    found = [setting for setting in SETTINGS if part is None or part in setting.key]
    rows = [(setting.key, setting.unit, setting.meaning, setting.kind.words) for setting in found]
    names = ("key", "unit", "meaning", "takes")
    invocation.result(
        render_table([name.upper() for name in names], rows, columns(sys.stdout)),
        [dict(zip(names, row, strict=True)) for row in rows],
    )
    if not found:
        invocation.say(f"no setting has {part!r} in its key: `mrpack configure keys` shows all")


@command("reset")
@click.argument("models", nargs=-1, metavar="[MODEL]...", shell_complete=local_models)
@click.option("--all", "everything", is_flag=True, help="All models.")
def reset(invocation: Invocation, *, models: tuple[str, ...], everything: bool) -> None:
    """Forget what is kept for MODELs, or for all.

    \b
    Examples:
      mrpack configure reset smollm2
      mrpack configure reset --all
    """
    if bool(models) == everything:
        raise UsageError("name the MODELs to reset, or give --all")
    store = _store(invocation)
    names = tuple(store.all()) if everything else [_public_name(invocation, model) for model in models]
    done = [name for name in names if store.get(name)]
    for name in done:
        store.set(name, Overrides())
    invocation.result(f"reset {counted(len(done), 'model')}", {"reset": done})


for _command in (set_settings, show, list_configured, list_keys, reset):
    configure.add_command(_command)

_PLACES: Final[Mapping[Origin, str]] = {
    Origin.ENGINE: "engine",
    Origin.MODEL_FILES: "model-files",
    Origin.OTHER_TOOL: "other-tool",
    Origin.ARTIFACT: "artifact",
    Origin.CONFIGURE: "configure",
    Origin.COMMAND: "command-line",
    Origin.REQUEST: "request",
}


def _store(invocation: Invocation) -> FileSettings:
    from mrpack_runtime.settings.file import FileSettings  # noqa: PLC0415  # --help needs no file

    settings = invocation.settings
    return FileSettings(settings.config_home, settings.references)


def _public_name(invocation: Invocation, model: str) -> str:
    """That of the local model; a model that is not here yet may be configured by its full name."""
    from mrpack.oci.reference import Reference  # noqa: PLC0415

    store = invocation.workspace.store
    try:
        return store.find(model).reference.familiar(store.defaults)
    except NotFound:
        return Reference.parse(model, store.defaults).familiar(store.defaults)


def _show_kept(invocation: Invocation, name: str, kept: Overrides) -> None:
    lines = [printable(line) for line in key_value_lines(kept.values)]
    invocation.result("\n".join(lines), {"model": name, "settings": kept.to_json()})
