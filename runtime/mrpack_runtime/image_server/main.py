"""The program: loads one pipeline, then serves it on a Unix socket until it is told to stop."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from .line import Line
from .service import Service
from .sizes import parse_size
from .wire import HEAD_LIMIT, serve_connection

_LOG: Final = logging.getLogger("image server")
_BACKLOG: Final = 128
# A step that is under way cannot be broken off; whoever stops us kills us later.
_STOP_S: Final = 5.0
# Requests that wait while one is painted.
DEFAULT_QUEUE: Final = 16


def main(argument: str) -> int:
    """`argument` is JSON, as engines/diffusers/launch.py writes it."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    _LOG.setLevel(logging.INFO)
    warnings.simplefilter("ignore")
    wanted: dict[str, Any] = json.loads(argument)
    settings = wanted["settings"]
    try:
        from .loading import CannotLoad, load  # noqa: PLC0415  # torch: some seconds
        from .painter import TorchPainter, quiet, size_rules, use_threads  # noqa: PLC0415
    except ImportError as error:
        sys.stderr.write(f"error: this Python cannot run Diffusers: {error}\n")
        return 2
    quiet()
    use_threads(wanted["threads"])
    try:
        pipeline = load(
            Path(wanted["folder"]),
            wanted["pipeline"],
            settings,
            [Path(path) for path in wanted["adapters"]],
            bfloat16_cpu=wanted["bfloat16"],
        )
    except CannotLoad as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except (OSError, ValueError, RuntimeError) as error:
        sys.stderr.write(f"error: the pipeline cannot be loaded: {' '.join(str(error).split())}\n")
        return 1
    largest = parse_size(settings["max_size"]) if "max_size" in settings else None

    def count() -> None:
        line.counters.images += 1

    painter = TorchPainter(
        pipeline, size_rules(pipeline, largest), count_image=count, memory=wanted["memory"]
    )
    line = Line(painter.paint, settings.get("max_queue", DEFAULT_QUEUE), time.monotonic)
    service = Service(painter, line, model=wanted["name"], defaults=settings)
    asyncio.run(_serve(service, wanted["socket"]))
    line.close(_STOP_S)
    # Without the clean-up of an interpreter whose threads may still compute.
    sys.stderr.flush()
    os._exit(0)


async def _serve(service: Service, socket: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError):  # at the end; Python 3.11 would log it as a failure
            await serve_connection(service.handle, reader, writer)

    server = await asyncio.start_unix_server(connected, socket, limit=HEAD_LIMIT, backlog=_BACKLOG)
    _LOG.info("listening")
    await stop.wait()
    server.close()
