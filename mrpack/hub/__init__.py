"""Hugging Face repositories as a source of models."""

from mrpack.hub.reference import HUB_REGISTRY, HubReference, is_hub_reference, parse_hub_reference

__all__ = ["HUB_REGISTRY", "HubReference", "is_hub_reference", "parse_hub_reference"]
