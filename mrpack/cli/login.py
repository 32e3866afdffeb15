"""Commands on credentials: `login` and `logout`."""

from __future__ import annotations

import sys

import click

from mrpack.cli import options
from mrpack.cli.invocation import Invocation, command
from mrpack.errors import UsageError
from mrpack.verbs import login as verbs
from mrpack.workspace import Access


@command("login")
@click.argument("registry")
@click.option("-u", "--username", metavar="NAME", help="Who logs in.  [default: asked for on the terminal]")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@options.registry_options
def login(
    invocation: Invocation,
    registry: str,
    username: str | None,
    password_stdin: bool,
    access: Access,
) -> None:
    """Check credentials at REGISTRY and keep them where Docker, podman and other tools find them.

    They go to the credential helper that Docker's config names, else into that config. A password is never
    taken from the command line, where other users could see it.

    \b
    Example:
      echo "$TOKEN" | mrpack login registry.example.com -u ci --password-stdin
    """
    if not password_stdin and not sys.stdin.isatty():
        raise UsageError("no terminal to ask for the password", hint="use --password-stdin")
    if username is None:
        if password_stdin:
            raise UsageError("--password-stdin needs --username")
        username = click.prompt("Username", err=True)
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else _ask_password()
    if not password:
        raise UsageError("the password is empty")
    where = verbs.login(invocation.workspace, registry, str(username), password, access)
    invocation.say(f"credentials for {registry} are kept in {where}")
    invocation.result("", {"registry": registry, "username": username, "kept_in": where})


def _ask_password() -> str:
    return str(click.prompt("Password", hide_input=True, err=True))


@command("logout")
@click.argument("registry")
def logout(invocation: Invocation, registry: str) -> None:
    """Forget the credentials of REGISTRY.

    \b
    Example:
      mrpack logout registry.example.com
    """
    known = verbs.logout(invocation.workspace, registry)
    invocation.say(f"credentials for {registry} {'removed' if known else 'were not known'}")
    invocation.result("", {"registry": registry, "removed": known})
