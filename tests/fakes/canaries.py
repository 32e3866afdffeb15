"""Code that tells when it runs: each kind makes a file, the canary, once somebody loads or imports it."""

from __future__ import annotations

import io
import json
import marshal
import os
import pickle
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np

Maker = Callable[[Path], bytes]


class Touch:
    """Its pickle makes the canary when it is loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch {self.canary}",)


def pickled(canary: Path) -> bytes:
    return pickle.dumps(Touch(canary))


def python(canary: Path) -> bytes:
    return f"import pathlib\npathlib.Path({str(canary)!r}).touch()\nclass Model: pass\n".encode()


def startup_hook(canary: Path) -> bytes:
    """A line that Python runs at its start, of a `.pth` file where it looks for packages."""
    return f"import os; os.system('touch {canary}')\n".encode()


def torch_archive(canary: Path) -> bytes:
    return _zipped({"archive/data.pkl": pickled(canary), "archive/version": b"3\n"})


def keras_lambda(canary: Path) -> bytes:
    code = marshal.dumps(compile(python(canary), "lambda", "exec"))
    layer = {"class_name": "Lambda", "config": {"function": {"code": code.hex()}}}
    return _zipped({"config.json": json.dumps({"config": {"layers": [layer]}}).encode()})


def numpy_objects(canary: Path) -> bytes:
    content = io.BytesIO()
    np.save(content, np.array([Touch(canary)], dtype=object), allow_pickle=True)
    return content.getvalue()


def shared_library(canary: Path) -> bytes:
    """With a constructor, where there is a compiler."""
    source = '#include <stdlib.h>\n__attribute__((constructor)) static void f(void) { system("touch %s"); }\n'
    try:
        done = subprocess.run(
            ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", "/dev/stdout"],
            input=(source % canary).encode(),
            capture_output=True,
            check=False,
        )
    except OSError:
        return b"\x7fELF" + bytes(60)
    return done.stdout or b"\x7fELF" + bytes(60)


def _zipped(members: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


# What may lie in any model's folder, and nobody asks for.
LYING_ABOUT: Final[Mapping[str, Maker]] = {
    "pytorch_model.bin": pickled,
    "training_args.bin": pickled,
    "model.pt": torch_archive,
    "last.ckpt": pickled,
    "scaler.joblib": pickled,
    "features.npy": numpy_objects,
    "head.keras": keras_lambda,
    "libops.so": shared_library,
    "sitecustomize.py": python,
    "usercustomize.py": python,
    "conftest.py": python,
    "hook.pth": startup_hook,
    "adapter_model.bin": pickled,
}


def edit_json(path: Path, **keys: object) -> None:
    """Keys laid over those of a JSON document, which need not be there yet; `None` takes one away."""
    document = json.loads(path.read_bytes()) if path.exists() else {}
    changed = {key: value for key, value in {**document, **keys}.items() if value is not None}
    path.write_text(json.dumps(changed))
