"""The documentation agrees with the code: what is derived, what is named, what is linked to."""

from __future__ import annotations

import ast
import contextlib
import itertools
import pkgutil
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

import mrpack.errors
from mrpack.cli.main import cli
from mrpack.environment import RegistryRules, Settings, load_settings
from mrpack.errors import MrpackError
from mrpack.oci.reference import ReferenceDefaults
from mrpack_runtime.gateway.routes import OPENAI_ROUTES, ROUTES
from scripts import generate_cli, generate_quantizations

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Folders with files of ours; others are environments and caches.
FOLDERS = (".github", "benchmarks", "docs", "examples", "mrpack", "runtime", "schemas", "scripts", "tests")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```+).*?^\1", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Not a part of the path of an address.
DOCUMENT = re.compile(r"(?<![\w-]/)docs/[\w./-]*\w(?:\.md\b,? \"(?P<heading>[^\"]+)\")?")
VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b")


def files(*suffixes: str) -> list[Path]:
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    return sorted(path for path in found if path.suffix in suffixes and "corpus" not in path.parts)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


PAGES = files(".md")


def test_the_reference_is_what_the_commands_say_of_themselves() -> None:
    page = read("docs/cli.md")
    assert page == generate_cli.page_text(page), "run: python scripts/generate_cli.py"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(FENCE.sub("", text)):
        path, _, anchor = unquote(target).partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        there = page.parent / path if path else page
        if not there.exists() or (anchor and anchor not in anchors(there.read_text(encoding="utf-8"))):
            broken.append(target)
    assert not broken


def spoken(path: Path) -> str:
    """What a file says about the project: of a test, comments and docstrings; its strings are test data."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py" or not path.is_relative_to(ROOT / "tests"):
        return text
    comments = re.findall(r"#.*$", text, re.MULTILINE)
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = (ast.get_docstring(node) for node in ast.walk(ast.parse(text)) if isinstance(node, nodes))
    return "\n".join(filter(None, (*comments, *docstrings)))


def test_documents_that_the_sources_name_exist_and_have_the_heading() -> None:
    missing = []
    for path in files(".py", ".toml", ".sh", ".yml", ".md", ""):
        for match in DOCUMENT.finditer(spoken(path)):
            page, _, _ = match[0].partition(",")
            heading = match["heading"]
            there = ROOT / page.strip('" ')
            if not there.exists() or (heading and f"# {heading}\n" not in there.read_text(encoding="utf-8")):
                missing.append(f"{name(path)}: {match[0]}")
    assert not missing


def test_the_page_on_testing_names_what_is_there() -> None:
    named = re.findall(r"`((?:tests|benchmarks)/[\w./]+)`", read("docs/testing.md"))
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_exit_codes_are_those_of_the_error_tree() -> None:
    table = read("docs/cli.md").partition("## Exit codes")[2].partition("\n## ")[0]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    tree = {
        kind.exit_code
        for kind in vars(mrpack.errors).values()
        if isinstance(kind, type) and issubclass(kind, MrpackError)
    }
    assert documented == tree | {0, 130}


def test_quantizations_are_those_of_the_table() -> None:
    page = read("docs/formats.md")
    assert generate_quantizations.page_text(page) == page, "run scripts/generate_quantizations.py"


def test_media_types_of_the_dialects_are_listed() -> None:
    page = read("docs/formats.md")
    dialects = ROOT / "mrpack" / "model" / "dialects"
    constants = {
        node.value
        for path in dialects.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    # A text that ends in a dot, or holds a field, is the beginning of several.
    types = {text.partition("{")[0] for text in constants if re.fullmatch(r"application/[\w.+{}-]+", text)}
    assert len(types) > 20
    assert not {text for text in types if text not in page}


def tree_of(kind: type[MrpackError]) -> Iterator[type[MrpackError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from tree_of(below)


def test_errors_of_the_gateway_are_listed() -> None:
    table = read("docs/serving.md").partition("## Errors")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (\d+) \| (.*?) \|", table, re.MULTILINE))
    ours = ("mrpack.errors", "mrpack_runtime")
    shown = {kind for kind in tree_of(MrpackError) if kind.__module__.startswith(ours)}
    missing = {
        (kind.http_status, kind.code)
        for kind in shown
        if f"`{kind.code}`" not in rows.get(str(kind.http_status), "")
    }
    assert not missing


def test_routes_of_the_gateway_are_listed() -> None:
    page = read("docs/serving.md")
    assert not {f"{route.method} {route.path}" for route in (*ROUTES, *OPENAI_ROUTES)} - set(
        re.findall(r"`((?:GET|POST|DELETE) [^`]+)`", page)
    )


def test_settings_page_names_every_variable() -> None:
    used = set()
    for source in ("mrpack", "runtime"):
        for path in (ROOT / source).rglob("*.py"):
            found = set(re.findall(r'"([A-Z][A-Z_]+_[A-Z_]+)"', path.read_text(encoding="utf-8")))
            used |= found if path.name == "environment.py" and source == "mrpack" else set()
            used |= {variable for variable in found if variable.startswith("MRPACK_")}
    assert {"MRPACK_HOME", "HTTPS_PROXY"} <= used
    named = set(VARIABLE.findall(read("docs/settings.md")))
    assert not used - named
    assert {variable for variable in named if variable.startswith("MRPACK_")} <= used


def test_the_example_of_the_settings_page_sets_everything(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```", read("docs/settings.md"), re.MULTILINE | re.DOTALL)
    (tmp_path / "config.toml").write_text(block, encoding="utf-8")
    settings = load_settings({"MRPACK_CONFIG_HOME": str(tmp_path)})
    bare = load_settings({"MRPACK_CONFIG_HOME": str(tmp_path / "none")})
    of_environment = {
        "cache",
        "config_home",
        "docker_auth",
        "docker_config",
        "podman_auth",
        "proxies",
        "neighbour_folders",
    }
    for field in fields(Settings):
        if field.name not in of_environment:
            assert getattr(settings, field.name) != getattr(bare, field.name), field.name
    for field in fields(ReferenceDefaults):
        assert getattr(settings.references, field.name) != getattr(bare.references, field.name)
    for field in fields(RegistryRules):
        rules = [getattr(rule, field.name) for rule in settings.registries.values()]
        assert any(value != getattr(RegistryRules(), field.name) for value in rules), field.name
    assert set(tomllib.loads(block)) == {
        "home",
        "jobs",
        "limit_rate",
        "defaults",
        "engines",
        "indexes",
        "registries",
    }


def test_the_workflow_of_the_readme_is_the_one_in_examples() -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", read("README.md"), re.MULTILINE | re.DOTALL)
    assert block == read("examples/ci/github-actions.yml")


def shown_commands(text: str) -> Iterator[str]:
    """Calls of mrpack in the blocks of a page, one a line, and in its tables."""
    blocks = [match[0] for match in FENCE.finditer(text)]
    blocks += re.findall(r"^    (?:\S.*)$", FENCE.sub("", text), re.MULTILINE)
    for row in re.findall(r"^\|.*$", text, re.MULTILINE):
        blocks += re.findall(r"`(mrpack [a-z-]+ [^`]+)`", row)
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|\|\||[|;()]", line.partition(" # ")[0]):
            words = part.strip().removeprefix("$ ").lstrip()
            words = re.sub(r"^(?:\w+=\S* |- run: |run: )+", "", words)
            if words.startswith("mrpack "):
                yield words.removeprefix("mrpack ")


def check_command(words: list[str]) -> None:
    """Raises click.UsageError for a command, an option, a value or an argument that there is not."""
    context = cli.make_context("mrpack", [], resilient_parsing=True)
    command: click.Command | None = cli
    while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        command, words = command.get_command(context, words[0]), words[1:]
    if command is None:
        raise click.UsageError("no such command")
    with contextlib.suppress(click.exceptions.Exit):  # of --help
        command.make_context(command.name, words)


def without_redirections(words: list[str]) -> list[str]:
    """Up to the first; nothing of the command stands behind one in our pages."""
    return list(itertools.takewhile(lambda word: not re.match(r"\d?[<>]", word), words))


@pytest.mark.parametrize("page", [page for page in PAGES if "adr" not in page.parts], ids=name)
def test_shown_commands_are_understood(page: Path) -> None:
    wrong = []
    for line in shown_commands(page.read_text(encoding="utf-8")):
        try:
            words = shlex.split(line)
        except ValueError:  # a quotation that goes on in the next line
            words = line.split()
        try:
            check_command(without_redirections(words))
        except click.UsageError as error:
            wrong.append(f"{line}: {error.message}")
    assert not wrong


def our_names(block: str) -> Iterator[str]:
    """What Python code takes from us, such as `mrpack.package`."""
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mrpack"):
            yield from (f"{node.module}:{item.name}" for item in node.names)
        elif (
            isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "mrpack"
        ):
            yield f"mrpack:{node.attr}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_shown_python_names_what_there_is(page: Path) -> None:
    for block in PYTHON.findall(page.read_text(encoding="utf-8")):
        for named in our_names(block):
            pkgutil.resolve_name(named)
