"""Settings that cannot be meant are refused, by the place where they stand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mrpack.environment import load_settings, user_folder
from mrpack.errors import UsageError

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
}


@pytest.mark.parametrize("written", WRONG)
def test_a_wrong_setting_is_named_with_its_file(written: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(written)
    with pytest.raises(UsageError) as caught:
        load_settings({"MRPACK_CONFIG_HOME": str(tmp_path)})
    assert str(caught.value) == f"{file}: {WRONG[written]}"


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
