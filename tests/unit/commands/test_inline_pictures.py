"""Pictures in terminals: which can, and what they are sent."""

from __future__ import annotations

import base64
import re

import pytest

from mrpack_runtime.commands.inline import find_encoder, iterm2, kitty

PNG = b"\x89PNG" + bytes(range(256)) * 40


@pytest.mark.parametrize(
    ("environment", "encoder"),
    [
        ({"TERM": "xterm-kitty"}, kitty),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, kitty),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, iterm2),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, iterm2),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, None),
        ({"TERM": "screen-256color", "TERM_PROGRAM": "iTerm.app"}, None),
        ({"TERM": "xterm-256color"}, None),
        ({}, None),
    ],
)
def test_terminals_are_told_by_their_environment(environment, encoder):
    assert find_encoder(environment) is encoder


def test_kitty_gets_the_file_in_pieces():
    pieces = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", kitty(PNG))
    assert pieces[0][0] == "f=100,a=T,q=2,m=1"
    assert [keys for keys, _ in pieces[1:]] == ["m=1"] * (len(pieces) - 2) + ["m=0"]
    assert all(len(text) <= 4096 for _, text in pieces)
    assert base64.b64decode("".join(text for _, text in pieces)) == PNG
    assert kitty(b"\xff\xd8 a JPEG") == ""


def test_iterm2_gets_the_file_at_once():
    keys, _, text = iterm2(PNG).removeprefix("\x1b]1337;File=").removesuffix("\x07").partition(":")
    assert keys == f"inline=1;size={len(PNG)}"
    assert base64.b64decode(text) == PNG
