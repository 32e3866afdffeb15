"""A pull whose blobs come in parts, as those of 128 MiB and more do, of blobs small enough to crash."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mrpack.content.copy import copy
from mrpack.oci.reference import Reference
from mrpack.store.blobs import BlobFolder
from mrpack.store.layout import OciLayout
from mrpack.store.receiving import Sizes
from mrpack.workspace import open_workspace

_MIB = 1024 * 1024
SIZES = Sizes(
    threads_from=_MIB,
    parts_from=2 * _MIB,
    least_part=_MIB,
    most_part=2 * _MIB,
    step=256 * 1024,
    least_half=_MIB,
)


def pull(arguments: Sequence[str]) -> int:
    """`arguments`: the reference, and MRPACK_HOME. For a zygote."""
    from mrpack.cli.main import _fail, _interrupted
    from mrpack.errors import MrpackError

    reference, home = arguments[:2]
    try:
        with open_workspace(os.environ) as workspace:
            target = workspace.registry(Reference.parse(reference))
            layout = OciLayout(Path(home) / "store")
            layout.blobs = BlobFolder(layout.root, SIZES)
            with layout.operation():
                copy(target, "v1", layout, reference, jobs=1)
    except MrpackError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _interrupted()
    return 0
