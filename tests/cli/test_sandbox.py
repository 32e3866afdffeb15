"""How far engines are confined, as users say and see it."""

from __future__ import annotations

import sys

import pytest

from tests.program import Mrpack

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone confines programs")


def shown(program: Mrpack, *arguments: str, **more: str) -> str:
    (entry,) = program("serve", "tiny", "--dry-run", "--json", *arguments, **more).json
    confinement: str = entry["confinement"]
    return confinement


def test_a_dry_run_says_what_an_engine_may_touch(program):
    assert "\n# may touch: " in program("serve", "tiny", "--dry-run").out


def test_the_option_wins_over_the_environment(program):
    assert shown(program, "--sandbox", "off") == "not confined: switched off"
    assert shown(program, MRPACK_SANDBOX="off") == "not confined: switched off"
    assert "switched off" not in shown(program, "--sandbox", "auto", MRPACK_SANDBOX="off")


def test_what_is_required_and_cannot_be_is_refused(program):
    """The engine here is a script, of which nobody knows what it starts."""
    done = program("serve", "tiny", "--dry-run", "--sandbox", "required", fails=8)
    assert "cannot be confined here as is required" in done.last_line
    assert "--sandbox auto" in done.last_line
