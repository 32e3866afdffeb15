"""Imports what an engine is made of and says what it saw; run by the engine's own Python.

    python -I run_probe.py '{"imports": ["torch"], "calls": ["torch:get_num_threads"]}'

It imports nothing of ours. The last line of standard output is one JSON object: `device`, `python`, and
`error` (null, or `type`, `message` and `module` of what failed). A fault that ends the process, such as an
illegal instruction, leaves no line.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from typing import Any

_MESSAGE_LIMIT = 500


def device() -> str:
    """As torch sees it; empty without torch."""
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return ""
    if torch.cuda.is_available():
        kind = "rocm" if getattr(torch.version, "hip", None) else "cuda"
        return f"{kind}: {torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"
    if torch.backends.mps.is_available():
        return "metal"
    return "cpu"


def probe(wanted: dict[str, list[str]]) -> dict[str, Any]:
    module = ""
    try:
        for module in wanted["imports"]:
            importlib.import_module(module)  # noqa: TID251  # names come from a recipe
        for module in wanted["calls"]:
            name, _, path = module.partition(":")
            found: Any = importlib.import_module(name)  # noqa: TID251
            for part in path.split("."):
                found = getattr(found, part)
            found()
        seen = device()
    except BaseException as error:  # noqa: BLE001  # foreign code: whatever it raises is the finding
        message = str(error).strip()[:_MESSAGE_LIMIT]
        return {"device": "", "error": {"type": type(error).__name__, "message": message, "module": module}}
    return {"device": seen, "error": None}


def main() -> None:
    answer = probe(json.loads(sys.argv[1])) | {"python": platform.python_version()}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    sys.stdout.flush()
    os._exit(0)  # threads of what was imported are not waited for


if __name__ == "__main__":
    main()
