"""The command `completion`: scripts that let a shell ask for the words that may follow."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from mrpack.cli.invocation import Invocation, command
from mrpack.errors import Unsupported

# In place of click's: readline ends words at colons, and replaces what comes after. Names of models hold
# them, so that words are joined before mrpack is asked, and its answers cut where readline goes on.
_BASH: Final = """\
_mrpack_completion() {
    local IFS=$'\\n' word kind value
    local -a words=("${COMP_WORDS[0]}")
    for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
        if [[ ($word == :* || ${words[-1]} == *:) && $COMP_LINE == *"${words[-1]}$word"* ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
    done
    local last=${COMP_WORDS[COMP_CWORD]}
    [[ -n ${last//:} ]] || last=
    local there=${words[-1]%"$last"}
    COMPREPLY=()
    while IFS=, read -r kind value; do
        if [[ $kind == file ]]; then
            compopt -o default
        elif [[ $kind == plain ]]; then
            COMPREPLY+=("${value#"$there"}")
        fi
    done < <(COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) _MRPACK_COMPLETE=bash_complete "$1")
}
complete -o nosort -F _mrpack_completion mrpack
"""


@command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(invocation: Invocation, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    Example:
      mrpack completion bash > ~/.local/share/bash-completion/completions/mrpack
    """
    from mrpack.cli.main import cli  # noqa: PLC0415  # main imports no command

    kind = get_completion_class(shell)
    if kind is None:
        raise Unsupported(f"no completion for {shell}")
    script = _BASH if shell == "bash" else kind(cli, {}, "mrpack", "_MRPACK_COMPLETE").source()
    invocation.result(script.rstrip("\n"), {"shell": shell, "script": script})
