"""A `mrpack serve` with real engines, and what it answers."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.program import Mrpack

# The first request starts its engine.
LIMIT_S = 400.0


@dataclass(frozen=True)
class Served:
    process: subprocess.Popen[str]
    url: str

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and answer; a stream as the list of its events."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
                content = answer.read().decode()
                if answer.headers.get_content_type() != "text/event-stream":
                    return answer.status, json.loads(content)
                return answer.status, [line[6:] for line in content.splitlines() if line.startswith("data: ")]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def ps(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/engines/ps", timeout=LIMIT_S) as answer:
            return json.load(answer)


@contextmanager
def serving(mrpack: Mrpack, *arguments: str) -> Iterator[Served]:
    process = mrpack.start("serve", "--port", "0", "--ready-timeout", str(LIMIT_S), *arguments)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, process.communicate()
        yield Served(process, url)
    finally:
        process.terminate()
        process.communicate()
