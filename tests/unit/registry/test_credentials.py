"""Credentials in files and in helper programs, as Docker and podman keep them."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import sys
import traceback
from pathlib import Path

import pytest

from mrpack.errors import HostRefused, UsageError
from mrpack.registry import Credential, CredentialStore, Secret
from mrpack.registry.credential_helper import CredentialHelper

ALICE = Credential(username="alice", password=Secret("wonder:land"))


def auth(pair: str) -> dict[str, str]:
    return {"auth": base64.b64encode(pair.encode()).decode()}


def write(folder: Path, config: object) -> CredentialStore:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return CredentialStore(folder, search_path=str(folder / "bin"))


def install_helper(folder: Path, name: str, program: str = "") -> Path:
    """A real credential helper that keeps its secrets in a JSON file; `program` runs before it."""
    kept = folder / f"{name}.json"
    path = folder / "bin" / f"docker-credential-{name}"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(
        f"""#!{sys.executable}
import json, pathlib, sys
verb, given = sys.argv[1], sys.stdin.read()
{program}
path = pathlib.Path({str(kept)!r})
kept = json.loads(path.read_text()) if path.exists() else {{}}
if verb == "store":
    entry = json.loads(given)
    kept[entry["ServerURL"]] = entry
elif given not in kept:
    print("credentials not found in native keychain")
    sys.exit(1)
elif verb == "get":
    print(json.dumps(kept[given]))
else:
    del kept[given]
path.write_text(json.dumps(kept))
"""
    )
    path.chmod(0o755)
    return kept


def test_nothing_is_found_where_there_is_nothing(tmp_path: Path) -> None:
    assert CredentialStore(tmp_path / "absent").get("r.example.com") is None


@pytest.mark.parametrize(
    ("registry", "key"),
    [
        ("docker.io", "https://index.docker.io/v1/"),
        ("docker.io", "docker.io"),
        ("docker.io", "index.docker.io"),
        ("docker.io", "https://registry-1.docker.io"),
        ("r.example.com:5000", "r.example.com:5000"),
        ("r.example.com:5000", "https://r.example.com:5000"),
        ("r.example.com:5000", "http://r.example.com:5000/v2/"),
    ],
)
def test_a_registry_is_found_under_every_spelling(tmp_path: Path, registry: str, key: str) -> None:
    store = write(tmp_path, {"auths": {key: auth("alice:wonder:land")}})
    assert store.get(registry) == ALICE
    assert store.get("other.example.com") is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (auth("alice:wonder:land"), ALICE),
        (auth("alice:wonder:land\0\0"), ALICE),
        ({"username": "alice", "password": "wonder:land"}, ALICE),
        ({"identitytoken": "refresh"}, Credential(identity_token=Secret("refresh"))),
        (
            {**auth("<token>:"), "identitytoken": "refresh"},
            Credential(username="<token>", identity_token=Secret("refresh")),
        ),
        ({"registrytoken": "bearer"}, Credential(registry_token=Secret("bearer"))),
        ({}, None),
        ({"auth": ""}, None),
        ({"auth": 5}, None),
        ("text", None),
    ],
)
def test_entries_have_several_forms(tmp_path: Path, entry: object, expected: Credential | None) -> None:
    assert write(tmp_path, {"auths": {"r": entry}}).get("r") == expected


def test_the_closest_namespace_wins_in_a_podman_file(tmp_path: Path) -> None:
    auths = {"r": auth("wide:1"), "r/team": auth("team:2"), "r/team/model": auth("model:3")}
    (tmp_path / "auth.json").write_text(json.dumps({"auths": auths}))
    store = CredentialStore(tmp_path, podman_files=[tmp_path / "absent", tmp_path / "auth.json"])
    users = [store.get("r", name) for name in ("team/model", "team/other", "teamwork/x", "")]
    assert [user.username for user in users if user] == ["model", "team", "wide", "wide"]


def test_what_the_environment_gives_goes_first_and_is_never_written(tmp_path: Path) -> None:
    write(tmp_path, {"auths": {"r": auth("kept:1"), "q": auth("kept:2")}})
    given = Secret(json.dumps({"auths": {"r": auth("given:3"), "p": auth("given:4")}}))
    store = CredentialStore(tmp_path, given=given)
    users = [store.get(name) for name in ("r", "q", "p")]
    assert [user.username for user in users if user] == ["given", "kept", "given"]
    assert (store.erase("r"), store.erase("p")) == (True, False)
    assert "given" not in (tmp_path / "config.json").read_text()


def test_a_podman_file_names_helpers_too(tmp_path: Path) -> None:
    install_helper(tmp_path, "test")
    write(tmp_path, {"credsStore": "test"}).put("r", ALICE)
    (tmp_path / "auth.json").write_text(
        json.dumps({"credHelpers": {"r": "test"}, "auths": {"q": auth("b:2")}})
    )
    store = CredentialStore(
        tmp_path / "absent", podman_files=[tmp_path / "auth.json"], search_path=str(tmp_path / "bin")
    )
    assert store.get("r") == ALICE
    assert store.get("q") == Credential(username="b", password=Secret("2"))
    assert store.get("s") is None


def test_the_docker_config_goes_before_podman(tmp_path: Path) -> None:
    store = write(tmp_path, {"auths": {"r": auth("docker:1")}})
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {"r": auth("podman:2"), "q": auth("podman:2")}}))
    both = CredentialStore(tmp_path, podman_files=[tmp_path / "auth.json"])
    assert [found.username for name in "rq" if (found := both.get(name))] == ["docker", "podman"]
    assert store.get("q") is None


def test_a_podman_file_that_cannot_be_read_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "auth.json").mkdir()
    assert CredentialStore(tmp_path / "absent", podman_files=[tmp_path / "auth.json"]).get("r") is None
    assert "auth.json" in caplog.text


@pytest.mark.parametrize("setting", [{"credsStore": "test"}, {"credHelpers": {"r.example.com": "test"}}])
def test_a_helper_program_stores_finds_and_forgets(tmp_path: Path, setting: dict[str, object]) -> None:
    kept = install_helper(tmp_path, "test")
    store = write(tmp_path, setting)
    assert store.get("r.example.com") is None
    assert "test" in store.put("r.example.com", ALICE)
    assert store.get("r.example.com") == ALICE
    assert "wonder" not in (tmp_path / "config.json").read_text()
    assert store.erase("r.example.com")
    assert not store.erase("r.example.com")
    assert store.get("r.example.com") is None
    assert kept.read_text() == "{}"


def test_a_helper_keeps_identity_tokens_under_its_marker(tmp_path: Path) -> None:
    kept = install_helper(tmp_path, "test")
    store = write(tmp_path, {"credsStore": "test"})
    store.put("docker.io", Credential(identity_token=Secret("refresh")))
    (entry,) = json.loads(kept.read_text()).values()
    assert entry == {"ServerURL": "https://index.docker.io/v1/", "Username": "<token>", "Secret": "refresh"}
    assert store.get("docker.io") == Credential(identity_token=Secret("refresh"))


def test_one_registry_can_have_a_helper_of_its_own(tmp_path: Path) -> None:
    install_helper(tmp_path, "own")
    install_helper(tmp_path, "general")
    store = write(tmp_path, {"credsStore": "general", "credHelpers": {"r": "own"}})
    assert store.put("r", ALICE) == "the credential helper own"
    assert store.put("q", ALICE) == "the credential helper general"


@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("absent", None),
        ("failing", "sys.exit(3)"),
        ("garbage", "print('not json'); sys.exit(0)"),
        ("list", "print('[]'); sys.exit(0)"),
        ("empty", "print('{}'); sys.exit(0)"),
        ("nothing", """print('{"Username": null, "Secret": null}'); sys.exit(0)"""),
        ("deep", "print('[' * 100_000); sys.exit(0)"),
        ("bytes", "sys.stdout.buffer.write(bytes(range(256))); sys.exit(0)"),
        ("silent", "sys.exit(0)"),
        ("endless", "while True: print('garbage' * 1000)"),
        ("../bin/traversing", None),
    ],
)
def test_a_broken_helper_is_reported_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, program: str | None
) -> None:
    if program is not None:
        install_helper(tmp_path, name, program)
    store = write(tmp_path, {"credsStore": name, "auths": {"r": auth("alice:wonder:land")}})
    with caplog.at_level(logging.WARNING):
        assert store.get("r") == ALICE
    assert "docker-credential-" in caplog.text


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(600)",
        "import os, time; os.close(1); time.sleep(600)",
        "import subprocess; subprocess.run(['sleep', '60'])",
    ],
)
def test_a_helper_that_hangs_is_ended(tmp_path: Path, program: str) -> None:
    install_helper(tmp_path, "hangs", program)
    helper = CredentialHelper("hangs", str(tmp_path / "bin"), timeout_s=0.2)
    with pytest.raises(HostRefused, match="no answer"):
        helper.get("r")


def test_a_broken_helper_is_an_error_when_storing(tmp_path: Path) -> None:
    with pytest.raises(HostRefused):
        write(tmp_path, {"credsStore": "absent"}).put("r", ALICE)


def test_logging_in_keeps_what_others_wrote(tmp_path: Path) -> None:
    before = {"auths": {"q": auth("bob:b"), "r": auth("old:o")}, "psFormat": "x", "HttpHeaders": {"A": "b"}}
    store = write(tmp_path, before)
    (tmp_path / "config.json").chmod(0o644)
    assert store.put("r", ALICE) == str(tmp_path / "config.json")
    after = json.loads((tmp_path / "config.json").read_text())
    assert after == {**before, "auths": {"q": auth("bob:b"), "r": auth("alice:wonder:land")}}
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_logging_in_makes_a_private_config(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path / "new" / "docker")
    store.put("docker.io", Credential(username="u", password=Secret("p"), identity_token=Secret("t")))
    config = tmp_path / "new" / "docker" / "config.json"
    assert config.parent.stat().st_mode & 0o777 == 0o700
    assert config.stat().st_mode & 0o777 == 0o600
    entry = json.loads(config.read_text())["auths"]["https://index.docker.io/v1/"]
    assert entry == {**auth("u:p"), "identitytoken": "t"}


def test_a_linked_config_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "dotfiles.json").write_text("{}")
    (tmp_path / "config.json").symlink_to(tmp_path / "dotfiles.json")
    CredentialStore(tmp_path).put("r", ALICE)
    assert (tmp_path / "config.json").is_symlink()
    assert "auths" in (tmp_path / "dotfiles.json").read_text()


def test_logging_out_forgets_every_spelling(tmp_path: Path) -> None:
    keys = ["https://index.docker.io/v1/", "docker.io", "q"]
    store = write(tmp_path, {"auths": {key: auth("a:b") for key in keys}})
    assert store.erase("docker.io")
    assert list(json.loads((tmp_path / "config.json").read_text())["auths"]) == ["q"]
    assert not store.erase("docker.io")


@pytest.mark.parametrize("content", ["{", "[]", "\xff", "[" * 100_000])
def test_a_broken_config_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=r"config\.json"):
        CredentialStore(tmp_path).get("r")


def test_an_auth_that_is_not_base64_is_an_error_without_the_secret(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        write(tmp_path, {"auths": {"r": {"auth": "c2VjcmV0!"}}}).get("r")
    assert "c2VjcmV0" not in str(caught.value)


def test_a_secret_shows_itself_only_when_asked() -> None:
    credential = Credential(username="alice", password=Secret("hush"), identity_token=Secret("hush"))
    assert "hush" not in f"{credential!r} {credential} {[credential]} {credential.basic!r}"
    assert credential.password.reveal() == "hush"
    assert "hush" not in "".join(traceback.format_exception(ValueError(credential)))
    with pytest.raises(TypeError):
        pickle.dumps(credential)
