"""The tiny language models of tiny_safetensors as the transformers library itself writes them.

For the Python of an engine: `python tests/fakes/tiny_transformers.py OUT` writes the folders FOLDERS.
Each model still gives the answer `tiny_safetensors.ANSWER`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Final

FOLDERS: Final = ("llama", "llama-sharded", "qwen2", "qwen2-sharded")
_OFFLINE: Final = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
_ROOT: Final = Path(__file__).resolve().parents[2]


def main(out: Path) -> None:
    os.environ |= _OFFLINE
    sys.path.insert(0, str(_ROOT))
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tests.fakes import tiny_safetensors

    writers = {"llama": tiny_safetensors.write_llama, "qwen2": tiny_safetensors.write_qwen2}
    for name, write in writers.items():
        with tempfile.TemporaryDirectory() as place:
            raw = write(Path(place))
            model = AutoModelForCausalLM.from_pretrained(raw, dtype="auto")
            tokenizer = AutoTokenizer.from_pretrained(raw)
        # 512 x 64 embeddings in bfloat16 are the largest tensor: 64 KiB, so that 100 kB make four shards.
        for folder, shard_size in ((name, "1GB"), (f"{name}-sharded", "100KB")):
            model.save_pretrained(out / folder, max_shard_size=shard_size)
            tokenizer.save_pretrained(out / folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
