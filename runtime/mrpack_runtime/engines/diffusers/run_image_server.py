"""Starts the image server; run by the engine's own Python, which sees nothing else of ours.

    python -I run_image_server.py '{"socket": "/run/x.sock", "folder": "/bundles/…", "pipeline": …, …}'

Its package is loaded by path, under a name of its own: beside it may lie a whole site-packages.
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_PACKAGE = "image_server"


def load_package() -> None:
    folder = Path(__file__).resolve().parents[2] / _PACKAGE
    spec = spec_from_file_location(_PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None:
        raise ImportError(f"no package {folder}")
    package = sys.modules[_PACKAGE] = module_from_spec(spec)
    spec.loader.exec_module(package)


if __name__ == "__main__":
    load_package()
    from image_server.main import main  # type: ignore[import-not-found]

    sys.exit(main(sys.argv[1]))
