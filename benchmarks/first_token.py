"""From nothing to a model's first word: through `mrpack serve`, and with the same engine started by hand.

    python benchmarks/first_token.py MODEL [--rounds 5]

MODEL is in the local store. By hand: the very command that `mrpack serve --dry-run` shows, a question as soon
as its `/health` says so. Through mrpack: a gateway that runs, with nothing loaded, and the question. The two
take turns. Prints milliseconds; the goal is that mrpack adds at most 150.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from measure import machine

from mrpack_runtime.wire.client import GatewayClient
from mrpack_runtime.wire.endpoint import UnixEndpoint

MRPACK = (sys.executable, "-m", "mrpack")
# Nobody's start-up should wait for us.
LOOK_AGAIN_S = 0.01
DEADLINE_S = 300.0


def body(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 4}


def first_word(client: GatewayClient, model: str) -> None:
    with contextlib.closing(client.chat(body(model))) as events:
        for event in events:
            if any(choice["delta"].get("content") for choice in event.get("choices", ())):
                return
    raise SystemExit("the model said nothing")


class Engine(http.client.HTTPConnection):
    """Over its Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def is_healthy(path: Path) -> bool:
    connection = Engine(path)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def by_hand_ms(model: str) -> float:
    """The socket of the command that is shown lies in a folder of a run that is over: it gets another."""
    done = subprocess.run(
        [*MRPACK, "serve", model, "--dry-run", "--json", "--sandbox", "off"],
        capture_output=True,
        text=True,
        check=True,
    )
    (shown,) = json.loads(done.stdout)
    with tempfile.TemporaryDirectory(prefix="b") as folder:
        old = Path(re.findall(r"/[\w./-]+\.sock", " ".join(shown["command"]))[0])
        command = [word.replace(str(old.parent), folder) for word in shown["command"]]
        path = Path(folder, old.name)
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not is_healthy(path):
                if process.poll() is not None or time.perf_counter() - begin > DEADLINE_S:
                    raise SystemExit(f"it did not start: {' '.join(command)}")
                time.sleep(LOOK_AGAIN_S)
            first_word(GatewayClient(UnixEndpoint(path)), model)
            return (time.perf_counter() - begin) * 1000
        finally:
            process.kill()
            process.wait()


def through_mrpack_ms(client: GatewayClient, model: str) -> float:
    client.unload(everything=True, force=True)
    begin = time.perf_counter()
    first_word(client, model)
    return (time.perf_counter() - begin) * 1000


@contextlib.contextmanager
def gateway(*options: str) -> Iterator[GatewayClient]:
    with tempfile.TemporaryDirectory(prefix="b") as folder:
        path = Path(folder, "s")
        process = subprocess.Popen(
            [*MRPACK, "serve", "--socket", str(path), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield GatewayClient(UnixEndpoint(path))
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    seen: dict[str, list[float]] = {"by hand": [], "mrpack, no sandbox": [], "mrpack": []}
    with gateway("--sandbox", "off") as plain, gateway() as confined:
        for _ in range(options.rounds):
            seen["by hand"].append(by_hand_ms(options.model))
            seen["mrpack, no sandbox"].append(through_mrpack_ms(plain, options.model))
            seen["mrpack"].append(through_mrpack_ms(confined, options.model))
    print(", ".join(f"{key} {value}" for key, value in machine().items()) + f", {options.rounds} rounds\n")
    print("| way | median ms | least ms |\n|---|---|---|")
    for name, times in seen.items():
        print(f"| {name} | {statistics.median(times):.0f} | {min(times):.0f} |")


if __name__ == "__main__":
    main()
