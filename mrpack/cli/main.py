"""The `mrpack` program: finds the command, runs it, and turns errors into one line and an exit code."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module  # noqa: TID251  # the one lazy loader; every target stands in COMMANDS
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import click

from mrpack.cli.messages import fill_closed_streams, tell, writing_result
from mrpack.errors import MrpackError, from_os_error, is_of_host, one_line
from mrpack.version import VERSION

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# 128 + SIGINT, as shells report it.
_INTERRUPTED: Final = 130
# Objects between two collections of garbage: the 700 of Python take a tenth of a command.
_COLLECT_AFTER: Final = 20_000
_USUAL: Final = gc.get_threshold()[0]
# Commands of this section end before garbage matters; in that of others are buffers: a pull of 200 files over
# TLS would take 82 MiB instead of 45.
_BRIEF: Final = "Local store"
# Columns of help: at most, and at least where a terminal is narrow.
_HELP_WIDTHS: Final = (98, 50)
# By name alone: nothing here is imported from there (ADR 4).
_RUNTIME: Final = "mrpack_runtime.commands"


class Entry(NamedTuple):
    """Where a command lives and the line `mrpack --help` shows for it, so that help imports no command.

    A tuple: to make the class takes a fifth of a dataclass's 1 ms, which every start would pay.
    """

    section: str
    summary: str
    target: str


COMMANDS: Final = {
    "package": Entry("Build", "Build an artifact from model files.", "mrpack.cli.package:package"),
    "lint": Entry("Build", "Check an artifact, or files before packaging.", "mrpack.cli.lint:lint"),
    "push": Entry("Move", "Push a model to a registry.", "mrpack.cli.transfer:push"),
    "pull": Entry("Move", "Pull a model into the local store.", "mrpack.cli.transfer:pull"),
    "copy": Entry("Move", "Copy between registries, layouts and archives.", "mrpack.cli.transfer:copy"),
    "export": Entry("Move", "Write a model to one file.", "mrpack.cli.archive:export"),
    "import": Entry("Move", "Bring in what such a file holds.", "mrpack.cli.archive:import_"),
    "attach": Entry("Move", "Attach files to an artifact.", "mrpack.cli.referrers:attach"),
    "referrers": Entry("Move", "List what is attached to one.", "mrpack.cli.referrers:referrers"),
    "login": Entry("Move", "Keep credentials for a registry.", "mrpack.cli.login:login"),
    "logout": Entry("Move", "Forget the credentials of a registry.", "mrpack.cli.login:logout"),
    "registry": Entry("Move", "Serve the local store as an OCI registry.", "mrpack.cli.registry:registry"),
    "list": Entry("Local store", "List local models.", "mrpack.cli.local:list_models"),
    "inspect": Entry("Local store", "Show what an artifact is and holds.", "mrpack.cli.inspect:inspect"),
    "tag": Entry("Local store", "Give a local model another name.", "mrpack.cli.local:tag"),
    "rm": Entry("Local store", "Remove local models.", "mrpack.cli.local:remove"),
    "resolve": Entry("Local store", "Print the path an engine opens.", "mrpack.cli.local:resolve"),
    "verify": Entry("Local store", "Hash stored content again and compare.", "mrpack.cli.care:verify"),
    "repair": Entry("Local store", "Bring a damaged store back.", "mrpack.cli.care:repair"),
    "df": Entry("Local store", "Show what the store takes on disk.", "mrpack.cli.care:df"),
    "gc": Entry("Local store", "Remove content that no model needs.", "mrpack.cli.care:gc"),
    "serve": Entry("Serve", "Serve models over HTTP.", f"{_RUNTIME}.serve:serve"),
    "run": Entry("Serve", "Ask a model once, or chat with it.", f"{_RUNTIME}.run:run"),
    "status": Entry("Serve", "Show engines and the running gateway.", f"{_RUNTIME}.status:status"),
    "ps": Entry("Serve", "List the models that are loaded.", f"{_RUNTIME}.ps:ps"),
    "logs": Entry("Serve", "Show the logs of gateway and engines.", f"{_RUNTIME}.logs:logs"),
    "unload": Entry("Serve", "Unload models from memory.", f"{_RUNTIME}.unload:unload"),
    "bench": Entry("Serve", "Measure how fast a model answers.", f"{_RUNTIME}.bench:bench"),
    "configure": Entry("Serve", "Keep settings for a model.", f"{_RUNTIME}.configure:configure"),
    "engines": Entry(
        "Engines", "List engines, and what this machine allows.", f"{_RUNTIME}.engines:list_engines"
    ),
    "install-runner": Entry("Engines", "Install an engine.", f"{_RUNTIME}.install_runner:install_runner"),
    "reinstall-runner": Entry(
        "Engines", "Install an engine again.", f"{_RUNTIME}.install_runner:reinstall_runner"
    ),
    "uninstall-runner": Entry("Engines", "Remove an engine.", f"{_RUNTIME}.install_runner:uninstall_runner"),
    "doctor": Entry("Engines", "Try every engine, and say what repairs it.", f"{_RUNTIME}.doctor:doctor"),
    "version": Entry("Other", "Show the version.", "mrpack.cli.about:version"),
    "completion": Entry("Other", "Print a shell completion script.", "mrpack.cli.completion:completion"),
}
ALIASES: Final = {"ls": "list", "prune": "gc", "stop": "unload"}
# What other tools for models and images call it.
_ELSEWHERE: Final = {
    **dict.fromkeys(("build", "create", "pack"), "package"),
    **dict.fromkeys(("delete", "remove", "rmi"), "rm"),
    **dict.fromkeys(("chat", "generate"), "run"),
    **dict.fromkeys(("info", "show"), "inspect"),
    **dict.fromkeys(("repo", "tags"), "list --remote"),
    "convert": "copy",
    "cp": "copy",
    "discover": "referrers",
    "images": "list",
    "load": "import",
    "save": "export",
    "start": "serve",
    "unpack": "pull --output",
}


class Program(click.Group):
    """Commands by table, and those of other packages by entry point; imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        name = ALIASES.get(cmd_name, cmd_name)
        entry = COMMANDS.get(name)
        if entry is not None:
            module, _, attribute = entry.target.partition(":")
            found = getattr(import_module(module), attribute)
            assert isinstance(found, click.Command)  # noqa: S101  # the table is ours
            if entry.section != _BRIEF:
                gc.set_threshold(_USUAL)
            return found
        return _plugin(name)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """By the table: to show their names, no command is imported."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415  # for a key of the shell

        names = [name for name in COMMANDS if name.startswith(incomplete)]
        found = [CompletionItem(name, help=COMMANDS[name].summary) for name in names]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with writing_result():  # of --version and --help
            try:
                return super().parse_args(ctx, args)
            except click.NoSuchOption as error:
                # click would guess: --version for --json.
                wrong = f"no option {error.option_name!r} before the command: its own come after it"
                raise click.UsageError(wrong, ctx) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader of our result went away, as `head` does: nothing is wrong, but click would exit 1.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except KeyboardInterrupt:
            # click would write an empty line first, into files and pipes too.
            _interrupted()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = (*COMMANDS, *ALIASES)
        if args[0] not in known and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from difflib import get_close_matches  # noqa: PLC0415  # for people who mistype

            near = _ELSEWHERE.get(args[0]) or next(iter(get_close_matches(args[0], known, n=1)), "")
            ctx.fail(f"no command {args[0]!r}" + (f": did you mean {near!r}?" if near else ""))
        name, command, rest = super().resolve_command(ctx, args)
        return (command.name if command else name), command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl(
                    [
                        (", ".join((name, *_aliases(name))), entry.summary)
                        for name, entry in COMMANDS.items()
                        if entry.section == section
                    ]
                )


def _aliases(name: str) -> list[str]:
    return [alias for alias, meant in ALIASES.items() if meant == name]


def _plugin(name: str) -> click.Command | None:
    from importlib.metadata import entry_points  # noqa: PLC0415  # 40 ms that --help does not need

    for point in entry_points(group="mrpack.commands", name=name):
        found = point.load()
        assert isinstance(found, click.Command), f"{point.value} is not a command"  # noqa: S101
        return found
    return None


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Every command has its own --help with an example. Exit codes: 0 done, 1 a bug, 2 usage, "
    "3 not found, 4 access denied, 5 registry or network, 6 wrong bytes, 7 invalid artifact, "
    "8 not possible here, 9 engine failed, 130 interrupted.",
)
@click.version_option(VERSION, prog_name="mrpack", message="%(prog)s %(version)s")
def cli() -> None:
    """Package AI models as OCI artifacts, move them through any registry, and serve them."""


def main(args: list[str] | None = None) -> NoReturn:
    """Run and exit with a code of docs/cli.md; no traceback reaches a user unless `--debug` asks for it."""
    fill_closed_streams()
    gc.set_threshold(_COLLECT_AFTER)
    arguments = sys.argv[1:] if args is None else args
    code = _run(arguments)
    # What lives now dies with the process: the collections at its end need not look at it.
    gc.freeze()
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    try:
        result = cli.main(
            args=arguments, prog_name="mrpack", standalone_mode=False, terminal_width=_help_width()
        )
    except MrpackError as error:
        return _fail(str(error), error.exit_code, debug=debug)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "mrpack"
        return _fail(f"{_in_our_voice(error)} (see `{path} --help`)", error.exit_code, debug=debug)
    except click.ClickException as error:
        return _fail(_in_our_voice(error), error.exit_code, debug=debug)
    except (KeyboardInterrupt, click.Abort):
        _interrupted()
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            _interrupted()  # as Python before 3.12 wraps it when it comes while a class is made
        if debug:
            raise
        if isinstance(error, OSError) and is_of_host(error):
            refused = from_os_error(error, "a disk or this machine failed")
            return _fail(str(refused), refused.exit_code)
        return _fail(
            f"unexpected {type(error).__name__}: {error} (a bug: repeat with --debug and report it)", 1
        )
    return result if isinstance(result, int) else 0


def _help_width() -> int:
    """As click finds it, without `shutil` and the formats of archives, which are a tenth of --help."""
    try:
        columns = int(os.environ.get("COLUMNS") or os.get_terminal_size().columns)
    except (OSError, ValueError):
        columns = 0
    most, least = _HELP_WIDTHS
    return max(min((columns or 80) - 2, most), least)


def _in_our_voice(error: click.ClickException) -> str:
    """What click says in sentences, and over several lines where it lists choices."""
    near = getattr(error, "possibilities", None)
    line = " ".join((error.message if near else error.format_message()).split()).rstrip(".")
    meant = f": did you mean {' or '.join(map(repr, near))}?" if near else ""
    return line[:1].lower() + line[1:] + meant


def _fail(line: str, code: int, *, debug: bool = False) -> int:
    if debug:
        import traceback  # noqa: PLC0415  # for people who look for a bug

        traceback.print_exc()
    tell(f"mrpack: {one_line(line)}")
    return code


def _interrupted() -> NoReturn:
    """Leave at once: transfer threads may wait for the network, and no state needs them to finish."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # people press twice
    with suppress(OSError):  # whoever read it may have left
        sys.stdout.flush()
    end_of_echo = "\n" if sys.stderr.isatty() else ""  # where the terminal wrote ^C
    tell(f"{end_of_echo}mrpack: interrupted")
    os._exit(_INTERRUPTED)
