"""Settings that cannot be meant are refused, by the place where they stand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mrpack.environment import load_settings, user_folder
from mrpack.errors import UsageError
from mrpack.oci.reference import Reference

WRONG = {
    'jobs = "3"': "jobs is not a whole number",
    "jobs = true": "jobs is not a whole number",
    "jobs = 0": "jobs is 0 (1 to 64)",
    "jobs = -1": "jobs is -1 (1 to 64)",
    "limit_rate = 5": "limit_rate is not a text",
    "defaults = 1": "defaults is not a table",
    '[registries."a.example"]\nmirrors = "b.example"': 'registries."a.example": mirrors is not a list',
    '[registries."a.example"]\nmirrors = [5]': 'registries."a.example": mirrors is not a list of texts',
    '[registries."a.example"]\nplain_http = 1': 'registries."a.example": plain_http is not true or false',
    '[registries."https://a.example"]': (
        'registries."https://a.example" is more than HOST[:PORT] (write it as in references)'
    ),
    '[registries."a.example"]\nmirrors = ["http://b.example/"]': (
        'registries."a.example": mirrors: "http://b.example/" is more than HOST[:PORT]'
        " (write it as in references)"
    ),
    '[defaults]\nregistry = "a b"': "defaults: registry is 'a b' (write it as in references)",
    '[defaults]\nnamespace = "../a"': "defaults: namespace is '../a' (write it as in references)",
    '[defaults]\ntag = ""': "defaults: tag is '' (write it as in references)",
    'home = "~no-such-user/x"': "home: no home folder for ~no-such-user/x (write the whole path)",
    '[registries."a.example"]\nca_file = "~no-such-user/x"': (
        'registries."a.example": ca_file: no home folder for ~no-such-user/x (write the whole path)'
    ),
}


@pytest.mark.parametrize("written", WRONG)
def test_a_wrong_setting_is_named_with_its_file(written: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(written)
    with pytest.raises(UsageError) as caught:
        load_settings({"MRPACK_CONFIG_HOME": str(tmp_path)})
    assert str(caught.value) == f"{file}: {WRONG[written]}"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("MRPACK_DEFAULT_REGISTRY", "a b", "MRPACK_DEFAULT_REGISTRY is 'a b'"),
        ("MRPACK_DEFAULT_NAMESPACE", "..", "MRPACK_DEFAULT_NAMESPACE is '..'"),
        ("MRPACK_DEFAULT_TAG", "a b", "MRPACK_DEFAULT_TAG is 'a b'"),
        ("MRPACK_HOME", "~no-such-user/x", "MRPACK_HOME: no home folder for ~no-such-user/x"),
    ],
)
def test_a_wrong_variable_is_named(variable: str, value: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_settings({"MRPACK_CONFIG_HOME": "/none", variable: value})
    assert caught.value.message == said


def test_models_may_have_no_namespace_by_default(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[defaults]\nregistry = "localhost:5000"\nnamespace = ""')
    references = load_settings({"MRPACK_CONFIG_HOME": str(tmp_path)}).references
    assert str(Reference.parse("m", references)) == "localhost:5000/m:latest"


def test_home_is_where_it_was_when_the_program_started() -> None:
    assert load_settings({"MRPACK_CONFIG_HOME": "/none", "MRPACK_HOME": "here"}).home == Path.cwd() / "here"


def test_a_wrong_word_of_a_variable_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        load_settings({"MRPACK_CONFIG_HOME": "/none", "MRPACK_INDEXES": "a=https://x https://user:secret@y"})
    assert "word 2" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "files"),
    [
        ({"REGISTRY_AUTH_FILE": "/a.json", "XDG_RUNTIME_DIR": "/run/user/7"}, ["/a.json"]),
        (
            {"XDG_RUNTIME_DIR": "/run/user/7", "XDG_CONFIG_HOME": "/c"},
            ["/run/user/7/containers/auth.json", "/c/containers/auth.json"],
        ),
        (
            {},
            [f"/run/containers/{os.getuid()}/auth.json", f"{Path.home()}/.config/containers/auth.json"],
        ),
    ],
)
def test_podman_keeps_credentials_in_two_places(environ: dict[str, str], files: list[str]) -> None:
    assert [str(path) for path in load_settings(environ).podman_auth] == files


@pytest.mark.parametrize(
    ("platform", "environ", "folder"),
    [
        ("linux", {}, "~/.local/share/mrpack"),
        ("linux", {"XDG_DATA_HOME": ""}, "~/.local/share/mrpack"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "~/.local/share/mrpack"),
        ("linux", {"XDG_DATA_HOME": "/data"}, "/data/mrpack"),
        ("darwin", {}, "~/Library/Application Support/mrpack"),
        ("darwin", {"XDG_DATA_HOME": "/data"}, "/data/mrpack"),
    ],
)
def test_files_of_users_are_where_their_system_has_them(
    platform: str, environ: dict[str, str], folder: str
) -> None:
    assert user_folder("XDG_DATA_HOME", environ, platform) == Path(folder).expanduser()


def test_each_kind_of_file_has_its_folder() -> None:
    settings = load_settings({"XDG_CONFIG_HOME": "/c", "XDG_DATA_HOME": "/d", "XDG_CACHE_HOME": "/e"})
    folders = (settings.config_home, settings.home, settings.cache)
    assert folders == (Path("/c/mrpack"), Path("/d/mrpack"), Path("/e/mrpack"))
