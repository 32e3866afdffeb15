"""Pictures inside a terminal, for those that can: the protocols of kitty and of iTerm2."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Final

_CHUNK: Final = 4096
_PNG: Final = b"\x89PNG"


def find_encoder(environment: Mapping[str, str]) -> Callable[[bytes], str] | None:
    """What turns a picture into the characters that show it here; None when this terminal shows none.

    Inside tmux and screen the sequences would not reach the terminal.
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if term.startswith(("tmux", "screen", "dumb")) or "TMUX" in environment:
        return None
    if term in {"xterm-kitty", "xterm-ghostty"} or "KITTY_WINDOW_ID" in environment:
        return kitty
    if program in {"iTerm.app", "WezTerm", "mintty"} or environment.get("LC_TERMINAL") == "iTerm2":
        return iterm2
    return None


def kitty(content: bytes) -> str:
    """Graphics protocol, format 100: PNG. Empty for other formats, which it does not take."""
    if not content.startswith(_PNG):
        return ""
    text = base64.b64encode(content).decode("ascii")
    pieces = [text[at : at + _CHUNK] for at in range(0, len(text), _CHUNK)]
    out = []
    for number, piece in enumerate(pieces):
        first = "f=100,a=T,q=2," if number == 0 else ""
        out.append(f"\x1b_G{first}m={int(number < len(pieces) - 1)};{piece}\x1b\\")
    return "".join(out)


def iterm2(content: bytes) -> str:
    """OSC 1337, any format."""
    text = base64.b64encode(content).decode("ascii")
    return f"\x1b]1337;File=inline=1;size={len(content)}:{text}\x07"
