"""Package AI models as OCI artifacts, move them through any registry, and serve them.

    import mrpack

    workspace = mrpack.open_workspace()
    request = mrpack.PackageRequest(source=Path("model.gguf"))
    mrpack.package(workspace, request, "registry.example.com/team/model:v1", push=True)
    mrpack.pull(workspace, "registry.example.com/team/model:v1")
    print(mrpack.resolve(workspace, "model").main_path)

Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module  # noqa: TID251  # lazy public names; every target stands in _PUBLIC

from mrpack.version import VERSION

# Type checkers know the word; `typing` would be most of what the program imports before it takes Ctrl-C.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mrpack.content.copy import copy as copy_content
    from mrpack.content.memory import MemoryTarget
    from mrpack.content.ports import Source, Target
    from mrpack.digest import Digest
    from mrpack.environment import Settings, load_settings
    from mrpack.errors import MrpackError
    from mrpack.model.artifact import ModelArtifact
    from mrpack.model.config import ModelConfig
    from mrpack.oci.descriptor import Descriptor
    from mrpack.oci.manifest import Index, Manifest
    from mrpack.oci.reference import Reference
    from mrpack.packing.plan import Extras, FileFacts, Wishes
    from mrpack.packing.walk import Choice
    from mrpack.registry import RegistrySession, RegistrySettings, RegistryTarget
    from mrpack.store.bundle import Bundle
    from mrpack.store.layout import OciLayout
    from mrpack.store.store import Store
    from mrpack.verbs.care import verify
    from mrpack.verbs.inspect import inspect, inspect_remote
    from mrpack.verbs.local import list_models, remove, resolve, tag
    from mrpack.verbs.login import login, logout
    from mrpack.verbs.package import PackageRequest, package
    from mrpack.verbs.quantize import QuantizeRequest, find_quantizer, package_quantized
    from mrpack.verbs.transfer import copy, pull, push
    from mrpack.workspace import Access, Workspace, open_workspace

__all__ = [
    "Access",
    "Bundle",
    "Choice",
    "Descriptor",
    "Digest",
    "Extras",
    "FileFacts",
    "Index",
    "Manifest",
    "MemoryTarget",
    "ModelArtifact",
    "ModelConfig",
    "MrpackError",
    "OciLayout",
    "PackageRequest",
    "QuantizeRequest",
    "Reference",
    "RegistrySession",
    "RegistrySettings",
    "RegistryTarget",
    "Settings",
    "Source",
    "Store",
    "Target",
    "Wishes",
    "Workspace",
    "__version__",
    "copy",
    "copy_content",
    "find_quantizer",
    "inspect",
    "inspect_remote",
    "list_models",
    "load_settings",
    "login",
    "logout",
    "open_workspace",
    "package",
    "package_quantized",
    "pull",
    "push",
    "remove",
    "resolve",
    "tag",
    "verify",
]

__version__ = VERSION

_PUBLIC = {
    "copy_content": "mrpack.content.copy:copy",
    "MemoryTarget": "mrpack.content.memory",
    "Source": "mrpack.content.ports",
    "Target": "mrpack.content.ports",
    "Digest": "mrpack.digest",
    "Settings": "mrpack.environment",
    "load_settings": "mrpack.environment",
    "MrpackError": "mrpack.errors",
    "ModelArtifact": "mrpack.model.artifact",
    "ModelConfig": "mrpack.model.config",
    "Descriptor": "mrpack.oci.descriptor",
    "Index": "mrpack.oci.manifest",
    "Manifest": "mrpack.oci.manifest",
    "Reference": "mrpack.oci.reference",
    "Choice": "mrpack.packing.walk",
    "Extras": "mrpack.packing.plan",
    "FileFacts": "mrpack.packing.plan",
    "Wishes": "mrpack.packing.plan",
    "RegistrySession": "mrpack.registry",
    "RegistrySettings": "mrpack.registry",
    "RegistryTarget": "mrpack.registry",
    "Bundle": "mrpack.store.bundle",
    "OciLayout": "mrpack.store.layout",
    "Store": "mrpack.store.store",
    "inspect": "mrpack.verbs.inspect",
    "inspect_remote": "mrpack.verbs.inspect",
    "list_models": "mrpack.verbs.local",
    "remove": "mrpack.verbs.local",
    "resolve": "mrpack.verbs.local",
    "tag": "mrpack.verbs.local",
    "verify": "mrpack.verbs.care",
    "login": "mrpack.verbs.login",
    "logout": "mrpack.verbs.login",
    "PackageRequest": "mrpack.verbs.package",
    "package": "mrpack.verbs.package",
    "QuantizeRequest": "mrpack.verbs.quantize",
    "find_quantizer": "mrpack.verbs.quantize",
    "package_quantized": "mrpack.verbs.quantize",
    "copy": "mrpack.verbs.transfer",
    "pull": "mrpack.verbs.transfer",
    "push": "mrpack.verbs.transfer",
    "Access": "mrpack.workspace",
    "Workspace": "mrpack.workspace",
    "open_workspace": "mrpack.workspace",
}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mrpack' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(import_module(module), attribute or name)


def __dir__() -> list[str]:
    return __all__
