"""Registries: content over HTTP, as a target of the content port."""

from mrpack.registry.credential import Credential, FixedCredentials
from mrpack.registry.credentials import CredentialStore
from mrpack.registry.remote import RegistryTarget
from mrpack.registry.secret import Secret
from mrpack.registry.session import RegistrySession
from mrpack.registry.settings import ProxySettings, RegistrySettings

__all__ = [
    "Credential",
    "CredentialStore",
    "FixedCredentials",
    "ProxySettings",
    "RegistrySession",
    "RegistrySettings",
    "RegistryTarget",
    "Secret",
]
