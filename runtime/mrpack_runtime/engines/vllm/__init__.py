"""vLLM, on GPUs and on processors."""

from mrpack_runtime.engines.vllm.declaration import ENGINE

__all__ = ["ENGINE"]
