"""The engine of docs/engines.md, installed as somebody else's package, is found and started like ours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fakes.tiny_safetensors import write_llama
from tests.program import Mrpack

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"


def add_distribution(site: Path, name: str, **files: str) -> None:
    folder = site / f"{name.replace('-', '_')}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for file, text in files.items():
        (folder / f"{file}.txt").write_text(text)


@pytest.fixture
def program(mrpack: Mrpack, tmp_path: Path) -> Mrpack:
    section = PAGE.read_text(encoding="utf-8").partition("\n## A further engine\n")[2]
    code, points = re.findall(r"^```(?:python|toml)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    group, line = re.fullmatch(r'\[project\.entry-points\."([\w.]+)"\]\n(.*)\n', points).groups()
    site = tmp_path / "site"
    site.mkdir()
    (site / "example_engine.py").write_text(code)
    add_distribution(site, "example-engine", entry_points=f"[{group}]\n{line.replace(chr(34), '')}\n")
    add_distribution(site, "example-server")
    mrpack.environment["PYTHONPATH"] = str(site)
    return mrpack


def test_the_engine_of_the_page_is_one_of_ours(program: Mrpack, tmp_path: Path) -> None:
    state = next(one for one in program("engines", "--json").json if one["name"] == "example")
    assert (state["state"], state["formats"]) == ("installed", ["safetensors"])
    program("package", write_llama(tmp_path / "llama"), "tiny")
    shown = program("serve", "tiny", "--backend", "example", "--dry-run").out
    assert re.search(r"-I -m example_server --model \S+ --port \d+$", shown, re.MULTILINE), shown
