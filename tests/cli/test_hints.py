"""What people who got it slightly wrong are told: what it is, once, and what to write instead."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.fakes.raw_server import RawServer, send
from tests.fakes.tiny_gguf import write_markov
from tests.fakes.tiny_safetensors import write_stable_diffusion
from tests.program import Mrpack

_MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
# What servers written in Go answer on a port for TLS to who does not speak it.
_NOT_TLS = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"


@pytest.fixture
def stored(mrpack: Mrpack, tiny_model: Path) -> str:
    """The id of a local model called `tiny`."""
    mrpack("package", tiny_model, "tiny", "-q")
    (model,) = mrpack("list", "--json").json
    return str(model["digest"]).partition(":")[2][:12]


def test_a_failed_copy_says_once_what_failed(mrpack: Mrpack, tmp_path: Path) -> None:
    with RawServer(lambda connection: connection.sendall(_MISSING)) as registry:
        name = f"{registry.address}/team/m:v1"
        told = mrpack("copy", name, f"oci:{tmp_path / 'layout'}", fails=3).last_line
    assert told.count(name) == 1, told
    assert told.count("resolve") <= 1, told


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(("copy", "{}", "oci:out:v1"), "mrpack push {} oci:out:v1"), (("referrers", "{}"), "push it")],
)
def test_a_local_name_where_a_registry_is_read_is_pointed_out(
    mrpack: Mrpack, stored: str, arguments: tuple[str, ...], hint: str
) -> None:
    with RawServer(lambda connection: connection.sendall(_MISSING)) as registry:
        name = f"{registry.address}/team/tiny:v1"
        mrpack("tag", "tiny", name)
        told = mrpack(*(word.format(name) for word in arguments), fails=3).last_line
        assert "in the local store" in told
        assert hint.format(name) in told
        elsewhere = mrpack("copy", f"{registry.address}/team/other:v1", "oci:out:v1", fails=3).last_line
    assert "in the local store" not in elsewhere


def test_a_destination_that_cannot_be_written_is_no_matter_of_the_local_store(
    mrpack: Mrpack, stored: str, registry: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    name = f"{registry}/team/tiny:v1"
    mrpack("tag", "tiny", name)
    told = mrpack("copy", name, f"oci-archive:{tmp_path / 'pipe'}", fails=8).last_line
    assert "no regular file" in told
    assert "in the local store" not in told


def test_a_local_registry_that_may_speak_tls_is_told_how(mrpack: Mrpack, stored: str) -> None:
    with RawServer(send(_NOT_TLS)) as registry:
        told = mrpack("push", "tiny", f"{registry.address}/team/tiny:v1", fails=5).last_line
    assert "it may speak TLS" in told
    assert "--ca-file" in told
    assert "--insecure-skip-verify" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ("pull", "hf.co/Org/Repo:F16", "--output", "out"),
        ("push", "tiny", "hf.co/Org/Repo"),
        ("copy", "hf.co/Org/Repo", "oci:out"),
        ("package", "--from", "tiny", "hf.co/Org/Repo"),
    ],
)
def test_hugging_face_is_no_registry(mrpack: Mrpack, stored: str, arguments: tuple[str, ...]) -> None:
    assert "not for Hugging Face" in mrpack(*arguments, fails=2).last_line


def test_a_place_where_a_local_name_is_wanted_is_pointed_out(
    mrpack: Mrpack, stored: str, tiny_model: Path
) -> None:
    told = mrpack("push", "ollama:smol:135m", "example.com/a:v1", fails=2).last_line
    assert "`mrpack copy ollama:smol:135m example.com/a:v1`" in told
    assert "`mrpack push NAME oci:foo`" in mrpack("package", tiny_model, "oci:foo", fails=2).last_line
    assert "mrpack push" not in mrpack("package", tiny_model, "ollama:foo", fails=8).last_line


def test_a_name_that_could_be_several_models_comes_with_all_of_them(
    mrpack: Mrpack, stored: str, tmp_path: Path
) -> None:
    other = write_markov(tmp_path, dtype="q8_0")
    mrpack("package", other, "b/tiny:v2", "-q")
    mrpack("tag", "b/tiny:v2", "c/tiny:v3")
    mrpack("tag", "tiny", "a/tiny:v4")
    mrpack("rm", "ai/tiny")
    told = mrpack("inspect", "tiny", fails=2).last_line
    assert "docker.io/a/tiny:v4, docker.io/b/tiny:v2, docker.io/c/tiny:v3" in told


def test_an_id_that_is_too_short_is_written_out(mrpack: Mrpack, stored: str) -> None:
    for short in (stored[:7], f"sha256:{stored[:7]}"):
        assert stored in mrpack("inspect", short, fails=3).last_line
    assert "mrpack pull" in mrpack("inspect", "0000000", fails=3).last_line


def test_removing_what_is_not_here_removes_nothing_and_offers_no_pull(mrpack: Mrpack, stored: str) -> None:
    told = mrpack("rm", "tiny", "other", fails=3).last_line
    assert "nothing was removed" in told
    assert "pull" not in told
    mrpack("inspect", "tiny")


def test_an_id_with_several_names_removes_none_of_them(mrpack: Mrpack, stored: str) -> None:
    mrpack("tag", "tiny", "team/tiny:v2")
    told = mrpack("rm", stored[:12], fails=2).last_line
    assert "2 names: tiny, team/tiny:v2" in told
    assert len(mrpack("list", "--json").json) == 2
    mrpack("rm", "team/tiny:v2")
    assert mrpack("rm", stored[:12]).out == "removed docker.io/ai/tiny:latest\n"


def test_a_choice_that_is_missing_is_asked_for_on_one_line(mrpack: Mrpack) -> None:
    assert "choose from: bash, zsh, fish" in mrpack("completion", fails=2).last_line.lower()


def test_a_local_model_as_a_source_is_pointed_out(mrpack: Mrpack, stored: str) -> None:
    assert "`mrpack package --from tiny MODEL`" in mrpack("package", "tiny", "m", fails=3).last_line


def test_one_model_is_no_plural(mrpack: Mrpack, stored: str) -> None:
    assert mrpack("df").out.startswith("1 model, ")


def test_a_file_with_another_quantization_is_refused_with_its_own(mrpack: Mrpack, tmp_path: Path) -> None:
    model = write_markov(tmp_path)
    assert "quantized as F16" in mrpack("package", model, "m", "--quantization", "Q4_K_M", fails=2).last_line
    mrpack("package", model, "m", "--quantization", "F16")


def test_a_pipeline_takes_no_context_size(mrpack: Mrpack, tmp_path: Path) -> None:
    pipeline = write_stable_diffusion(tmp_path / "sd")
    assert "--context-size" in mrpack("package", pipeline, "m", "--context-size", "4096", fails=2).last_line
    again = mrpack("package", pipeline, "m", "--as", "dduf", "--context-size", "4096", fails=2)
    assert "--context-size" in again.last_line
    mrpack("package", pipeline, "m", "-q")
    for dialect in ("docker", "cncf"):
        words = ("--from", "m", "n", "--context-size", "4096", "--format", dialect)
        assert "--context-size" in mrpack("package", *words, fails=2).last_line


def test_help_shows_other_names_and_exit_codes(mrpack: Mrpack) -> None:
    told = mrpack("--help").out
    for names in ("list, ls", "gc, prune", "unload, stop"):
        assert names in told
    assert "130 interrupted" in " ".join(told.split())
    assert mrpack("ls", "--help").out.startswith("Usage: mrpack list ")


@pytest.mark.parametrize(("typed", "meant"), [("lst", "list"), ("inspct", "inspect"), ("prun", "prune")])
def test_a_mistyped_command_is_guessed(mrpack: Mrpack, typed: str, meant: str) -> None:
    assert f"did you mean '{meant}'?" in mrpack(typed, fails=2).last_line


@pytest.mark.parametrize(
    ("typed", "meant"), [("show", "inspect"), ("cp", "copy"), ("tags", "list --remote"), ("chat", "run")]
)
def test_what_other_tools_call_it_is_known(mrpack: Mrpack, typed: str, meant: str) -> None:
    assert f"did you mean '{meant}'?" in mrpack(typed, fails=2).last_line


def test_options_of_a_command_are_sent_behind_it(mrpack: Mrpack) -> None:
    assert "'--json' before the command" in mrpack("--json", "list", fails=2).last_line


@pytest.mark.parametrize("command", ["inspect", "push", "run", "serve"])
def test_who_brings_the_file_itself_is_told_to_package_it(
    mrpack: Mrpack, tiny_model: Path, command: str
) -> None:
    told = mrpack(command, tiny_model, fails=2, stdin="hi").last_line
    assert "`mrpack package PATH NAME`" in told


def test_a_file_that_could_be_a_name_is_not_looked_for_in_a_registry(
    mrpack: Mrpack, tiny_model: Path, tmp_path: Path
) -> None:
    mrpack("package", tiny_model, "other", "-q")
    (tmp_path / "tiny.gguf").write_bytes(tiny_model.read_bytes())
    assert "`mrpack package tiny.gguf NAME`" in mrpack("run", "tiny.gguf", "hi", fails=2).last_line


def test_what_resembles_no_command_is_not_guessed(mrpack: Mrpack) -> None:
    assert re.fullmatch(
        r"mrpack: no command 'xyzzy' \(see `mrpack --help`\)", mrpack("xyzzy", fails=2).last_line
    )


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("https://localhost:1", "https://localhost:1"),
        ("https://localhost/", "https://localhost:2"),
        ("http://[::1]:1", "http://[::1]:1"),
        ("::1", "http://[::1]:2"),
        ("[::1]", "http://[::1]:2"),
    ],
)
def test_the_address_of_a_gateway_may_be_a_url(mrpack: Mrpack, address: str, asked: str) -> None:
    told = mrpack("ps", "--host", address, "--port", 2, fails=3).last_line
    assert f"no gateway answers at {asked} " in told


@pytest.mark.parametrize(
    "address",
    [
        "https://localhost:a",
        "ftp://localhost",
        "https://me@localhost",
        "http://[x",
        "http://a b",
        "a b",
        "localhost/v1",
        "localhost:1",
        "",
    ],
)
def test_what_is_no_address_of_a_gateway_is_refused(mrpack: Mrpack, address: str) -> None:
    assert f"{address!r} is no address" in mrpack("ps", "--host", address, fails=2).last_line


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("tiyn", "did you mean tiny? If not, `mrpack pull tiyn` fetches it"),
        ("assistent", "did you mean registry.example.com/team/assistant:v1?"),
        ("assistant:v2", "did you mean registry.example.com/team/assistant:v1?"),
        ("registry.example.com/taem/assistant:v1", "did you mean registry.example.com/team/assistant:v1?"),
        ("else", "`mrpack pull else` fetches it"),
        ("sha256:{:.3}", "an id has 12 digits at least, as {} has"),
        ("sha256:", "an id has 12 digits at least, as {} has"),
        ("{:.4}", "an id has 12 digits at least, as {} has"),
        ("sha256:0fedcba", "`mrpack list` shows what is there"),
        ("0fedcba98765", "`mrpack list` shows what is there"),
    ],
)
def test_a_model_that_is_not_here_may_be_one_that_is(
    mrpack: Mrpack, stored: str, typed: str, hint: str
) -> None:
    mrpack("tag", "tiny", "registry.example.com/team/assistant:v1")
    told = mrpack("inspect", typed.format(stored), fails=3).last_line
    assert f"({hint.format(stored)}" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("lst",), "no command 'lst': did you mean 'list'? (see `mrpack --help`)"),
        (("registry", "srve"), "'srve': did you mean 'serve'? (see `mrpack registry --help`)"),
        (("list", "--jsn"), "'--jsn': did you mean '--json'? (see `mrpack list --help`)"),
        (("package", "--quantise", "Q8_0"), ": did you mean '--quantize' or "),
        (("list", "--xyzzy"), "no such option '--xyzzy' (see"),
    ],
)
def test_a_mistyped_word_of_ours_is_guessed(mrpack: Mrpack, arguments: tuple[str, ...], told: str) -> None:
    assert told in mrpack(*arguments, fails=2).last_line
