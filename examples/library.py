"""mrpack as a library: package a model, move it through a registry, check it, and open it as files.

    python examples/library.py model.gguf [--name team/model:v1]

The model goes into your own store (`MRPACK_HOME`); the registry is mrpack's, on a free port of this machine,
and what is pulled from it goes into a temporary store.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import mrpack
from mrpack.distribution import serving


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", default="team/model:v1")
    options = parser.parse_args()
    try:
        walk_through(options.model, options.name)
    except mrpack.MrpackError as error:
        # Every error says what, where and what to try; its class is the family, with an exit code.
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def walk_through(model: Path, name: str) -> None:
    mine = mrpack.open_workspace()
    request = mrpack.PackageRequest(source=model, wishes=mrpack.Wishes(context_size=512))
    packaged = mrpack.package(mine, request, name)
    digest = packaged.manifest.descriptor.digest
    print(f"packaged {packaged.name}: {packaged.config.parameters} parameters, {digest}")

    with serving(mine.store.layout) as address, tempfile.TemporaryDirectory() as folder:
        theirs = mrpack.open_workspace({**os.environ, "MRPACK_HOME": folder})
        reference = f"{address}/{mrpack.Reference.parse(name).repository}@{digest}"
        print(f"in the registry: {mrpack.inspect_remote(theirs, reference).artifact.config.quantization}")
        pulled = mrpack.pull(theirs, reference)
        print(f"pulled {pulled.size} bytes")
        checked, damages = mrpack.verify(theirs, [])
        print(f"verified {checked} model: {'damaged' if damages else 'all content is right'}")

    bundle = mrpack.resolve(mine, name)
    print(f"an engine opens {bundle.main_path.name}, one of {len(list(bundle.folder.iterdir()))} files")


if __name__ == "__main__":
    sys.exit(main())
