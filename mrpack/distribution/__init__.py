"""A store or layout as a registry: the server side of distribution-spec 1.1."""

from mrpack.distribution.listener import Limits
from mrpack.distribution.names import Naming
from mrpack.distribution.registry import Rules
from mrpack.distribution.server import RegistryServer, serving

__all__ = ["Limits", "Naming", "RegistryServer", "Rules", "serving"]
