"""What an engine may touch, held by the kernel: docs/serving.md says what holds where."""

from mrpack_runtime.confinement.confine import Sandbox, confine
from mrpack_runtime.confinement.kernel import Kernel, probe_kernel

__all__ = ["Kernel", "Sandbox", "confine", "probe_kernel"]
