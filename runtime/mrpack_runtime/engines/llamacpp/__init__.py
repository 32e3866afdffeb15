"""llama.cpp, behind its launchers."""

from mrpack_runtime.engines.llamacpp.declaration import ENGINE

__all__ = ["ENGINE"]
