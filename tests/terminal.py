"""A program on a terminal of its own, as a person sits there: what it shows, and what is typed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.program import PROGRAM, Mrpack
from tests.waiting import DEADLINE_S

# Makes standard input the terminal of the session, so that Ctrl-C is a signal.
_OWN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Typist:
    """A program on a terminal, and who types there."""

    terminal: int
    process: subprocess.Popen[bytes]
    seen: str = field(default="")

    def read(self, wanted: str) -> str:
        """All up to `wanted`, which must come."""
        assert self._comes(wanted, DEADLINE_S), self.seen
        before, _, self.seen = self.seen.partition(wanted)
        return before

    def interrupt(self, press: Callable[[], object], wanted: str) -> None:
        """Until it is heard: Python sleeps on a signal that comes just before it waits for a key."""
        for _ in range(10):
            press()
            if self._comes(wanted, DEADLINE_S / 6):
                break
        self.read(wanted)

    def _comes(self, wanted: str, within_s: float) -> bool:
        deadline = time.monotonic() + within_s
        while wanted not in self.seen:
            if time.monotonic() > deadline:
                return False
            if select.select([self.terminal], [], [], 0.1)[0]:
                self.seen += os.read(self.terminal, 4096).decode()
        return True

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def say(self, text: str, wanted: str) -> str:
        self.type(f"{text}\n")
        return self.read(wanted)

    def read_to_the_end(self) -> str:
        """Until the program has closed its terminal."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            try:
                more = os.read(self.terminal, 4096)
            except OSError:  # as Linux says it
                break
            if not more:
                break
            self.seen += more.decode()
        return self.seen


def drawn_lines(text: str) -> list[str]:
    """All that were ever on the screen, without colours and moves of the cursor."""
    return [line.rstrip() for line in re.split(r"[\r\n]+", _ESCAPES.sub("", text))]


@contextlib.contextmanager
def at_terminal(program: Mrpack, *arguments: str, columns: int = 80, **more: str) -> Iterator[Typist]:
    """Kills it at the end. `more` is further environment, where TERM belongs."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", _OWN_TERMINAL, *PROGRAM, *arguments],
        stdin=end,
        stdout=end,
        stderr=end,
        env={**program.environment, **more},
        start_new_session=True,
    )
    os.close(end)
    try:
        yield Typist(terminal, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(DEADLINE_S)
        os.close(terminal)
