"""A folder of tiny wheels that installers take in place of a package index."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

# What torch says of a machine without GPUs.
TORCH = """
class cuda:
    is_available = staticmethod(lambda: False)
class backends:
    class mps:
        is_available = staticmethod(lambda: False)
class cpu:
    _is_avx512_supported = staticmethod(lambda: False)
"""


class Wheelhouse:
    """`environment` makes pip and uv look here and nowhere else."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.folder),
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_CACHE_DIR": str(self.folder / ".pip"),
            "UV_NO_INDEX": "1",
            "UV_FIND_LINKS": str(self.folder),
            "UV_OFFLINE": "1",
            "UV_CACHE_DIR": str(self.folder / ".uv"),
            "UV_NO_CONFIG": "1",
        }

    def add(
        self, name: str, version: str, files: Mapping[str, str] | None = None, requires: tuple[str, ...] = ()
    ) -> None:
        """`files`: the modules, by default one empty one of the same name."""
        module = name.replace("-", "_")
        contents = dict(files if files is not None else {f"{module}.py": ""})
        info = f"{module}-{version}.dist-info"
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        contents[f"{info}/METADATA"] = "\n".join([*lines, *(f"Requires-Dist: {one}" for one in requires), ""])
        contents[f"{info}/WHEEL"] = (
            "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        record = [f"{path},sha256={_hash(text)},{len(text.encode())}" for path, text in contents.items()]
        contents[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
        with zipfile.ZipFile(self.folder / f"{module}-{version}-py3-none-any.whl", "w") as wheel:
            for path, text in contents.items():
                wheel.writestr(path, text)


def _hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
