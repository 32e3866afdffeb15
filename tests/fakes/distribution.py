"""The real `docker-registry` (Distribution) as a plain process on a free port."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Self

import yaml

from tests.waiting import DEADLINE_S

PROGRAM = shutil.which("docker-registry")
_LISTENING = re.compile(r"listening on (?:127\.0\.0\.1|\[::\]):(\d+)")


class Distribution:
    """`config` is laid over a configuration that is anonymous, on plain http and on disk in `folder`."""

    def __init__(self, folder: Path, config: dict[str, Any] | None = None) -> None:
        assert PROGRAM is not None
        folder.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info", "formatter": "text"},
            "storage": {
                "filesystem": {"rootdirectory": str(folder / "storage")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": "127.0.0.1:0", "secret": "of this test run"},
        }
        for key, value in (config or {}).items():
            content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
        path = folder / "config.yml"
        path.write_text(yaml.safe_dump(content))
        self._log: list[str] = []
        self._port_known = threading.Event()
        self.port = 0
        self._process = subprocess.Popen(
            [PROGRAM, "serve", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        deadline = time.monotonic() + DEADLINE_S
        while not self._port_known.wait(0.02):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise AssertionError("docker-registry did not start:\n" + "".join(self._log))

    @property
    def name(self) -> str:
        """As in references."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return "".join(self._log)

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._log.append(line)
            if not self.port and (match := _LISTENING.search(line)):
                self.port = int(match[1])
                self._port_known.set()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
