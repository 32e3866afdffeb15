"""The dialect of CNCF ModelPack v1."""

from mrpack.model.dialects.modelpack.dialect import ARTIFACT_TYPE, CONFIG, MODELPACK

__all__ = ["ARTIFACT_TYPE", "CONFIG", "MODELPACK"]
