"""The dialect of Docker Model Runner."""

from mrpack.model.dialects.docker.dialect import CONFIG_FILES, CONFIG_FOLDER, DOCKER

__all__ = ["CONFIG_FILES", "CONFIG_FOLDER", "DOCKER"]
