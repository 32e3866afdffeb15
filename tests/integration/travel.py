"""Models from one home to another, through a real registry."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from tests.integration.conftest import Registry
from tests.program import Mrpack


def sent(registry: Registry, receiver: Mrpack, folder: Path, *source: str | Path) -> str:
    """Packaged and pushed in a home below `folder`, then pulled, verified and shown here: the name.

    `source` are arguments of `package`.
    """
    name = f"{registry.name}/sent/{uuid4().hex[:12]}:v1"
    sender = Mrpack({**receiver.environment, "MRPACK_HOME": str(folder / "sender")}, folder)
    sender("package", *source, name, "--push")
    receiver("pull", name)
    for command in ("verify", "inspect", "lint"):
        receiver(command, name)
    return name
