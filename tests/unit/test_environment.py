"""Settings that cannot be meant are refused, by the place where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrpack.environment import load_settings
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
