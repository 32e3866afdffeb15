"""The environment that every engine starts with: an allow-list, a private home, and offline switches."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mrpack_runtime.machine.host import HostFacts

# An engine gets its model as files: it has nothing to fetch and nobody to report to.
_OFFLINE: Final = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
}
# User site-packages could shadow an engine's own; lines of a dying engine must not stay in a buffer.
_PYTHON: Final = {"PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}


def engine_environment(host: HostFacts, run_folder: Path) -> dict[str, str]:
    """`host.environment` is the allow-listed part of ours; `run_folder` becomes home and temporary folder."""
    folder = str(run_folder)
    return {
        "LANG": "C.UTF-8",
        **host.environment,
        "HOME": folder,
        "TMPDIR": folder,
        "XDG_CACHE_HOME": f"{folder}/cache",
        "XDG_CONFIG_HOME": f"{folder}/config",
        "XDG_DATA_HOME": f"{folder}/data",
        "XDG_STATE_HOME": f"{folder}/state",
        **_OFFLINE,
        **_PYTHON,
    }
