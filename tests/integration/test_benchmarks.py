"""The benchmark of transfers runs, with a few MiB, and leaves nothing out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.demands import demand

pytestmark = [pytest.mark.registry, pytest.mark.slow]

TRANSFER = Path(__file__).parents[2] / "benchmarks/transfer.py"
CLIENTS = ["curl", "mrpack", "skopeo", "oras-py", "modelpack-client"]


def test_transfers_are_measured_in_all_their_ways(docker_registry: None, tmp_path: Path) -> None:
    absent = [name for name in ("skopeo", "curl", "openssl") if shutil.which(name) is None]
    demand(f"{', '.join(absent)}: not installed" if absent else "")
    done = subprocess.run(
        [sys.executable, TRANSFER, "--small", "--out", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

    report = json.loads((tmp_path / "transfer.json").read_text())
    rows = [(cost["job"], cost["client"]) for cost in report["costs"]]
    ways = ("", ", 5 files", ", TLS", ", 5 files, TLS")
    jobs = [f"{verb}{way}" for verb in ("pull", "push") for way in ways]
    assert rows == [
        ("package", "openssl dgst"),
        ("package", "mrpack"),
        *((job, client) for job in jobs for client in CLIENTS),
    ]
    assert all(cost["wall"] > 0 and cost["rss"] > 0 and len(cost["walls"]) == 1 for cost in report["costs"])
    assert {"date", "cpu", "load", *CLIENTS} - {"mrpack"} <= set(report["machine"])

    for job, client in rows:
        assert f"| {job} | {client} |" in done.stdout
        assert f"| {job} | {client} |" in (tmp_path / "transfer.md").read_text()
    ET.parse(tmp_path / "transfer.svg")
