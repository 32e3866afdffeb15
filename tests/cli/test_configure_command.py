"""configure: settings that stay, as typed, and what a running gateway makes of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.test_serve_commands import serving
from tests.documented_keys import checked
from tests.fakes.llama_server import FakeLlamaServer
from tests.processes import is_alive
from tests.program import Mrpack
from tests.waiting import until


@pytest.fixture
def program(mrpack: Mrpack, tmp_path: Path, tiny_model: Path) -> Mrpack:
    """With a fake llama-server on PATH and one model, `tiny`, which has settings of its own."""
    fake = FakeLlamaServer.install(tmp_path / "bin")
    mrpack.environment["PATH"] = f"{fake.folder}{os.pathsep}{mrpack.environment['PATH']}"
    mrpack("package", "--gguf", tiny_model, "--set", "context_size=512", "--set", "sampling.top_k=7", "tiny")
    return mrpack


def effective(program: Mrpack) -> dict[str, tuple[object, str]]:
    shown = program("configure", "show", "--effective", "tiny", "--json").json
    found = checked("configure show --effective", shown)["effective"]
    return {key: (entry["value"], entry["place"]) for key, entry in found.items()}


def test_all_settings_are_listed_with_what_they_take(mrpack):
    rows = mrpack("configure", "keys", "--json").json
    temperature = next(row for row in rows if row["key"] == "sampling.temperature")
    assert temperature["takes"] == "a number from 0 to 5"
    assert len(mrpack("configure", "keys", "context_size").out.splitlines()) == 2
    assert "shows all" in mrpack("configure", "keys", "no_such").err
    assert "mrpack configure keys" in mrpack("configure", "m", "xyzzy=1", fails=2).last_line


def test_settings_are_merged_and_unset_key_by_key(program):
    assert program("configure", "tiny", "context_size=256", "keep_alive=1h").out.splitlines() == [
        "context_size=256",
        "keep_alive=1h",
    ]
    program("configure", "set", "tiny", 'sampling.stop=["a", "b"]')
    program("configure", "tiny", "--unset", "keep_alive")
    shown = program("configure", "show", "tiny", "--json").json
    checked("configure MODEL, configure show", shown)
    assert shown == {"model": "tiny", "settings": {"context_size": 256, "sampling": {"stop": ["a", "b"]}}}
    assert "tiny" in program("configure", "list").out
    assert program("configure", "list", "--json").json == {"tiny": shown["settings"]}
    assert program("configure", "reset", "tiny").out == "reset 1 model\n"
    assert program("configure", "list", "--json").json == {}


def test_every_value_shows_where_it_comes_from(program):
    assert effective(program)["context_size"] == (512, "artifact")
    program("configure", "tiny", "context_size=256")
    assert effective(program)["context_size"] == (256, "configure")
    assert effective(program)["sampling.top_k"] == (7, "artifact")
    assert "mrpack configure" in program("configure", "show", "--effective", "tiny").out
    program("configure", "tiny", "context_size=null")
    assert effective(program)["context_size"] == (None, "configure")


def test_the_command_line_is_stronger_than_what_is_kept(program):
    program("configure", "tiny", "context_size=256")

    def size(*options: str) -> str:
        words = program("serve", "tiny", "--dry-run", "--parallel", "1", *options, "--json").json[0][
            "command"
        ]
        return words[words.index("--ctx-size") + 1]

    assert size() == "256"
    assert size("--context-size", "128") == "128"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tiny",), "nothing to set"),
        (("tiny", "contextsize=1"), "did you mean context_size?"),
        (("tiny", "context_size=many"), "is not a whole number"),
        (("tiny", "--unset", "no_such"), "no such setting"),
        (("tiny", "context_size=1", "--unset", "context_size"), "both set and unset"),
        (("tiny", "llamacpp.log_file=/etc/passwd"), "no such setting"),
        (("reset",), "--all"),
        (("not a name", "context_size=1"), "not a name"),
    ],
)
def test_mistakes_are_named_and_change_nothing(program, arguments, words):
    assert words in program("configure", *arguments, fails=2).last_line
    assert program("configure", "list", "--json").json == {}


def test_a_model_that_is_not_here_can_be_configured_before_it_comes(program):
    program("configure", "registry.example.com/team/later", "context_size=64")
    assert list(program("configure", "list", "--json").json) == ["registry.example.com/team/later"]
    assert program("configure", "show", "--effective", "later", fails=3).last_line


def test_a_running_gateway_takes_a_change_at_the_next_request(program):
    with serving(program, "tiny") as served:
        until(lambda: served("ps", "--json").json and served("ps", "--json").json[0]["phase"] == "ready")
        (before,) = served("ps", "--json").json
        program("configure", "tiny", "llamacpp.batch_size=64")
        assert is_alive(before["pid"]), "nobody asked yet"
        served("run", "tiny", "hi")
        (after,) = served("ps", "--json").json
        assert not is_alive(before["pid"])
        assert "--batch-size" in after["command"]
        assert "--batch-size" not in before["command"]
        assert after["keep_alive"] == "-1", "a model that was named to serve stays"
        program("configure", "tiny", "sampling.temperature=0")
        served("run", "tiny", "hi")
        assert served("ps", "--json").json[0]["pid"] == after["pid"], "that is no matter of the engine"
