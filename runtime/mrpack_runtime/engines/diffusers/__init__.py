"""Diffusers, behind our own image server."""

from mrpack_runtime.engines.diffusers.declaration import ENGINE

__all__ = ["ENGINE"]
