"""Tries what a confined program must not do, and what it must; one JSON object on standard output.

python prober.py '{"secret": FILE, "model": FILE, "run": FOLDER, "outside": FOLDER, "port": N, …}'
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def outcome(attempt: Callable[[], Any]) -> str:
    try:
        attempt()
    except OSError as error:
        return type(error).__name__ if type(error) is not OSError else f"OSError {error.errno}"
    return "done"


def connect(address: Any, family: int = socket.AF_INET) -> None:
    with socket.socket(family) as client:
        client.settimeout(5)
        client.connect(address)


def own_loopback() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        connect(server.getsockname())


def listen(port: int) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))


def main() -> None:
    wanted = json.loads(sys.argv[1])
    run, outside = Path(wanted["run"]), Path(wanted["outside"])
    parent = wanted["parent"]
    tried: dict[str, Callable[[], Any]] = {
        "read the model": lambda: Path(wanted["model"]).read_bytes(),
        "change the model": lambda: os.close(os.open(wanted["model"], os.O_WRONLY)),
        "add to the model": (Path(wanted["model"]).parent / "new").touch,
        "read a secret": lambda: Path(wanted["secret"]).read_text(),
        "list a home": lambda: list(Path(wanted["secret"]).parent.iterdir()),
        "write to the run folder": lambda: (run / "new").write_text("x"),
        "listen in the run folder": lambda: socket.socket(socket.AF_UNIX).bind(str(run / "s")),
        "write elsewhere": lambda: (outside / "new").write_text("x"),
        "link the secret": lambda: os.link(wanted["secret"], run / "linked"),
        "read /etc/shadow": lambda: Path("/etc/shadow").read_bytes(),
        "read another's environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
        "signal another": lambda: os.kill(parent, 0),
        "connect out": lambda: connect(("127.0.0.1", wanted["port"])),
        "connect to an abstract socket": lambda: connect(f"\0{wanted['abstract']}", socket.AF_UNIX),
        "listen on a port": lambda: listen(wanted["free"]),
        "speak to itself over loopback": own_loopback,
        "send a datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(
            b"x", ("127.0.0.1", wanted["port"])
        ),
        "open a device": lambda: os.close(os.open("/dev/null", os.O_WRONLY)),
        "run a program of the system": lambda: subprocess.run(["/bin/true"], check=True),
        "run what it wrote": lambda: run_own(run),
    }
    print(json.dumps({name: outcome(attempt) for name, attempt in tried.items()}))


def run_own(folder: Path) -> None:
    program = folder / "own.sh"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    subprocess.run([program], check=True)


if __name__ == "__main__":
    main()
