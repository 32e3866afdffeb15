"""The JSON of the commands has the keys that docs/cli.md names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.documented_keys import checked
from tests.program import Mrpack


@pytest.fixture
def program(mrpack: Mrpack, tiny_model: Path) -> Mrpack:
    """With one model, `tiny`."""
    mrpack("package", tiny_model, "tiny")
    return mrpack


def test_what_describes_models_has_the_documented_keys(program: Mrpack, tiny_model: Path) -> None:
    packaged = program("package", tiny_model, "tiny:two", "--also", "cncf", "--json").json
    checked("package: layers", checked("package", packaged)["layers"][0])
    checked("list", program("list", "--json").json[0])
    inspected = program("inspect", "tiny:two", "--json").json
    checked("inspect: files", checked("inspect", inspected)["files"][0])
    checked("lint", program("lint", "tiny:two", "--json").json)
    resolved = program("resolve", "tiny:two", "--json").json
    checked("resolve: files", checked("resolve", resolved)["files"][0])


def test_what_changes_the_store_has_the_documented_keys(program: Mrpack) -> None:
    checked("tag", program("tag", "tiny", "tiny:two", "--json").json)
    checked("rm", program("rm", "tiny:two", "--json").json)
    checked("df", program("df", "--json").json)
    checked("gc", program("gc", "--json").json)
    checked("repair", program("repair", "--json").json)
    store = Path(program("resolve", "tiny").out.strip()).parents[2] / "store"
    moved = program("copy", f"oci:{store}:docker.io/ai/tiny:latest", "oci:layout:v1", "--json").json
    checked("push, pull, copy, export", moved)


def test_hashing_again_is_told_as_it_goes_on(program: Mrpack) -> None:
    for command in ("verify", "repair"):
        events = [json.loads(line) for line in program(command, "--progress", "json").err.splitlines()[:-1]]
        assert {event["event"] for event in events} == {"worked"}
        assert all(event["what"].startswith("verifying ") for event in events)
        assert {event["size"] for event in events} == {event["position"] for event in events}


def test_damage_has_the_documented_keys(program: Mrpack) -> None:
    home = Path(program("resolve", "tiny").out.strip()).parents[2]
    largest = max((home / "store" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    # A file of its own: the model's own is shared with other tests.
    content = largest.read_bytes()
    largest.unlink()
    largest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = program("verify", "--json", fails=6).json
    checked("verify: damaged", checked("verify", found)["damaged"][0])


def test_what_needs_no_model_has_the_documented_keys(mrpack: Mrpack) -> None:
    checked("configure keys, a list", mrpack("configure", "keys", "--json").json[0])
    mrpack("configure", "later", "context_size=256")
    checked("configure reset", mrpack("configure", "reset", "later", "--json").json)
    checked("logout", mrpack("logout", "registry.example.com", "--json").json)
    checked("version", mrpack("version", "--json").json)
