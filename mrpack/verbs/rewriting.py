"""An artifact in another dialect: written anew over the same layers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from mrpack.model.dialects import WRITERS
from mrpack.packing.pack import pack
from mrpack.packing.plan import Wishes
from mrpack.packing.plan_stored import plan_stored
from mrpack.targets import Origin
from mrpack.verbs.stored import read_stored
from mrpack.workspace import Workspace


@contextlib.contextmanager
def rewritten(workspace: Workspace, origin: Origin, dialect: str) -> Iterator[tuple[Origin, tuple[str, ...]]]:
    """`origin` as a row of WRITERS writes it, and notes for people: what is not carried over.

    Files in archives are unpacked for that, and become layers of their own, while the bracket is open.
    """
    with read_stored(workspace, origin.source, origin.source.resolve(origin.ref)) as stored:
        plan = plan_stored(stored.artifact, stored.settings, Wishes(), code=stored.code)
        packed = pack(plan, WRITERS[dialect], base=stored.content)
        yield replace(origin, source=packed, ref=packed.ref), stored.notes
