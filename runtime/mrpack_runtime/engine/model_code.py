"""What a Safetensors model must not bring when an engine opens it that could run it as code.

Engines are never told to trust code of a model, they load weights as Safetensors alone, and can fetch
nothing. So a config may still name classes of its own (`auto_map`), as long as there is no file that they
could be in: the engine takes its own code for the architecture, or says that it has none. Where there is one,
we do not rely on the engine; vLLM for one has run it in spite of that before (CVE-2026-22807).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mrpack.errors import Unsupported
from mrpack.formats.code.documents import reasons_by_document
from mrpack.readable import open_file
from mrpack_runtime.engine import ModelBundle

_WEIGHTS: Final = ".safetensors"
# What Python imports.
_MODULES: Final = frozenset({".py", ".pyc", ".pyd", ".pyw", ".so"})


def refuse_code(bundle: ModelBundle) -> None:
    """Reads the model's configs when there is code among its files.

    Raises:
        Unsupported: the weights are pickles, or a config asks for code that the model brings.
    """
    if not any(path.suffix == _WEIGHTS for path in bundle.weights):
        raise Unsupported(
            "the model has no Safetensors weights, and others are never loaded: pickles run code",
            hint="convert it, such as with save_pretrained of Transformers",
        )
    files = sorted(path for path in bundle.folder.rglob("*") if path.is_file())
    code = next((path for path in files if path.suffix.lower() in _MODULES), None)
    if code is None:
        return
    for path in files:
        for reason in reasons_by_document(open_file(path, _name(path, bundle))):
            raise Unsupported(
                f"{_name(path, bundle)} {reason}, and the model brings {_name(code, bundle)}: "
                "code of a model is never run",
                hint="engines have their own for most architectures: package the model with --exclude '*.py'",
            )


def _name(path: Path, bundle: ModelBundle) -> str:
    return path.relative_to(bundle.folder).as_posix()
